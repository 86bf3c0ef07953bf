"""Operators: down without a key, up with one, twice nothing, in live two of them."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common import seal
from libs.common.events import CommandRefused, Halted, LimitChanged, Mode, OrderIntent, OrderRefused, Reason, Resumed
from libs.common.record import Started
from services.risk.config import RiskConfig
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, config, of, only, opened

KEYS = {name: seal.generate() for name in ("alice", "bob")}
PUBLIC = {name: public for name, (_, public) in KEYS.items()}


def settings(**changes: Any) -> RiskConfig:
    return config(auto_arm=True, operator_keys=PUBLIC, **changes)


def command(desk: Desk, kind: type[e.Command], operator: str = "alice", key: str = "", **fields: Any) -> list[e.Event]:
    """A sealed command of an operator; `key` "none" leaves the seal away."""
    desk.seq += 1
    base: dict[str, Any] = {"operator": operator, "nonce": f"n{desk.seq}", "expires_at": desk.now + MINUTE}
    body = kind(**(base | fields))
    if key != "none":
        body = seal.sign(KEYS[key or operator][0], body)
    return desk.put(body, "command")


def halt(desk: Desk, **fields: Any) -> str:
    only(command(desk, e.HaltRequested, key="none", **({"reason": "test"} | fields)), Halted)
    return desk.halts()[-1].id


def test_halt_needs_no_key_and_no_clock() -> None:
    desk = opened(settings())
    made = command(desk, e.HaltRequested, "nobody", "none", reason="fire", expires_at=0)
    halted = only(made, Halted)
    assert (halted.reason, halted.scope, halted.mode, halted.detail) == (
        Reason.OPERATOR, "book", Mode.HALTED, "nobody: fire",
    )  # fmt: skip
    only(made, e.CancelIntent)
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE


def test_resume_with_a_valid_seal() -> None:
    desk = opened(settings())
    halt_id = halt(desk)
    resumed = only(command(desk, e.ResumeRequested, halt_id=halt_id), Resumed)
    assert (resumed.halt_id, resumed.operator, resumed.mode) == (halt_id, "alice", Mode.NORMAL)
    only(desk.signal(), OrderIntent)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": "none"}, "SEAL"),
        ({"key": "bob"}, "SEAL"),
        ({"operator": "mallory", "key": "alice"}, "SEAL"),
        ({"expires_at": 0}, "EXPIRED"),
        ({"halt_id": "other"}, "UNKNOWN_HALT"),
        ({"halt_id": ""}, "UNKNOWN_HALT"),
    ],
)
def test_resume_refused(fields: dict[str, Any], reason: str) -> None:
    desk = opened(settings())
    fields = {"halt_id": halt(desk)} | fields
    made = command(desk, e.ResumeRequested, **fields)
    assert only(made, CommandRefused).reason == reason
    assert of(made, Resumed) == []
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE


def test_changed_command_breaks_its_seal() -> None:
    desk = opened(settings())
    first, second = halt(desk), halt(desk, scope="symbol:BTCUSDT")
    body = seal.sign(
        KEYS["alice"][0],
        e.ResumeRequested(operator="alice", nonce="x", expires_at=desk.now + MINUTE, halt_id=first),
    )
    forged = e.ResumeRequested(operator="alice", nonce="x", expires_at=body.expires_at, halt_id=second, seal=body.seal)
    assert only(desk.put(forged, "command"), CommandRefused).reason == "SEAL"


def test_nonce_counts_once() -> None:
    desk = opened(settings())
    halt_id = halt(desk)
    body = e.ResumeRequested(operator="alice", nonce="once", expires_at=desk.now + MINUTE, halt_id=halt_id)
    body = seal.sign(KEYS["alice"][0], body)
    only(desk.put(body, "command"), Resumed)
    halt(desk)
    assert only(desk.put(body, "command"), CommandRefused).reason == "DUPLICATE"


def test_operators_clock_does_not_move_the_books() -> None:
    desk = opened(settings())
    before = desk.state.now
    desk.put(e.HaltRequested(operator="a", nonce="n", expires_at=0, reason="r"), "command", at=desk.now * 2)
    assert desk.state.now == before


def test_resume_before_reconciled_lets_no_entry_pass() -> None:
    desk = opened(settings())
    halt_id = halt(desk)
    desk.put(Started(fresh=False), "timer")
    only(command(desk, e.ResumeRequested, halt_id=halt_id), Resumed)
    assert only(desk.signal(), OrderRefused).reason is Reason.NOT_RECONCILED
    desk.reconcile()
    only(desk.signal(), OrderIntent)


def test_liquidating_is_not_resumed() -> None:
    desk = opened(settings())
    desk.hold()
    halt_id = halt(desk, flatten=True)
    assert only(command(desk, e.ResumeRequested, halt_id=halt_id), CommandRefused).reason == "LIQUIDATING"


def test_pause_lets_exits_go_on() -> None:
    desk = opened(settings())
    desk.hold()
    halted = only(command(desk, e.PauseRequested, key="none", scope="strategy:trend"), Halted)
    assert (halted.mode, halted.scope) == (Mode.REDUCE_ONLY, "strategy:trend")
    only(desk.signal("0"), OrderIntent)
    only(desk.signal(strategy="mean"), OrderIntent)
    assert of(command(desk, e.PauseRequested, key="none", scope="strategy:trend"), Halted) == []


def test_halt_of_a_strategy_cancels_its_entries_one_by_one() -> None:
    desk = opened(settings())
    order = only(desk.signal(), OrderIntent)
    made = command(desk, e.HaltRequested, key="none", reason="r", scope="strategy:trend")
    assert only(made, e.CancelIntent).order_link_id == order.order_link_id


def test_halt_of_a_symbol_sweeps_it() -> None:
    desk = opened(settings())
    made = command(desk, e.HaltRequested, key="none", reason="r", scope="symbol:BTCUSDT")
    assert only(made, e.CancelIntent).symbol == "BTCUSDT"


def test_flatten_of_an_already_halted_book() -> None:
    desk = opened(settings())
    desk.hold()
    halt(desk)
    made = command(desk, e.FlattenRequested, key="none")
    assert of(made, Halted) == []
    assert only(made, e.ModeChanged).new is Mode.LIQUIDATING
    assert of(command(desk, e.FlattenRequested, key="none"), e.ModeChanged) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "symbol:NONE"},
        {"scope": "desk"},
        {"scope": "strategy:x"},
        {"scope": "symbol:BTCUSDT", "flatten": True},
    ],
)
def test_scope_that_is_none(fields: dict[str, Any]) -> None:
    desk = opened(settings())
    made = command(desk, e.HaltRequested, key="none", **({"reason": "r"} | fields))
    assert only(made, CommandRefused).reason == "SCOPE"


def test_limit_change() -> None:
    desk = opened(settings())
    made = command(desk, e.LimitChange, name="max_order_usd", value=D(100))
    changed = only(made, LimitChanged)
    assert (changed.version, changed.limits["max_order_usd"], changed.operator) == (2, D(100), "alice")
    assert only(desk.signal(), OrderIntent).limits_version == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "nonsense", "value": D(1)}, "UNKNOWN_LIMIT"),
        ({"name": "max_drawdown", "value": D("NaN")}, "VALUE"),
        ({"name": "max_drawdown", "value": D(-1)}, "VALUE"),
        ({"name": "max_drawdown", "value": D(1), "key": "none"}, "SEAL"),
    ],
)
def test_limit_change_refused(fields: dict[str, Any], reason: str) -> None:
    desk = opened(settings())
    assert only(command(desk, e.LimitChange, **fields), CommandRefused).reason == reason


def test_lowered_loss_limit_halts_at_once() -> None:
    desk = opened(settings())
    desk.hold()
    desk.tick("59500")
    made = command(desk, e.LimitChange, name="max_daily_loss", value=D("0.005"))
    assert only(made, Halted).reason is Reason.MAX_DAILY_LOSS


def test_stage_change() -> None:
    desk = opened(settings())
    assert only(command(desk, e.StageChange, stage="moon"), CommandRefused).reason == "UNKNOWN_STAGE"
    assert only(command(desk, e.StageChange, stage="full", key="none"), CommandRefused).reason == "SEAL"
    assert only(command(desk, e.StageChange, stage="staged"), CommandRefused).reason == "SECOND_OPERATOR"
    assert only(command(desk, e.StageChange, stage="staged"), CommandRefused).reason == "SECOND_OPERATOR"
    changed = only(command(desk, e.StageChange, "bob", stage="staged"), e.StageChanged)
    assert (changed.share, desk.state.stage, desk.state.signatures) == (D("0.01"), "staged", {})


def test_live_needs_two_operators_and_rebases_once_a_day() -> None:
    desk = opened(settings(stage="full"))
    for round_ in range(2):
        desk.put(Halted(reason=Reason.MAX_DRAWDOWN, measured=D(1), limit=D(1)), "halt")
        halt_id = desk.state.blocks["book/max_drawdown"].halt_id
        first = only(command(desk, e.ResumeRequested, halt_id=halt_id), CommandRefused)
        if round_ == 0:
            assert first.reason == "SECOND_OPERATOR"
            only(command(desk, e.ResumeRequested, "bob", halt_id=halt_id), Resumed)
        else:
            assert first.reason == "ONE_REBASE_A_DAY"


def test_memory_of_commands_is_bounded() -> None:
    desk = opened(settings(stage="full"))
    for index in range(40):
        command(desk, e.LimitChange, name="max_drawdown", value=D(index))
    for index in range(1100):
        desk.put(e.ModelPromote(operator="a", nonce=f"m{index}", expires_at=0, model="m"), "command")
    assert (len(desk.state.nonces), len(desk.state.signatures)) == (1000, 32)


def test_model_commands_are_not_risks() -> None:
    desk = opened(settings())
    assert command(desk, e.ModelPromote, model="m") == []
    assert SECOND
