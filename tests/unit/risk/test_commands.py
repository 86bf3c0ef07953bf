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
        ({"name": "max_drawdown", "value": D("0.10")}, "NO_CHANGE"),
        ({"name": "exit_collar", "value": D(0)}, "VALUE"),
        ({"name": "max_gross_usd", "value": D("1e999999")}, "VALUE"),
        ({"name": "max_gross_usd", "value": D("sNaN")}, "VALUE"),
    ],
)
def test_limit_change_refused(fields: dict[str, Any], reason: str) -> None:
    desk = opened(settings())
    assert only(command(desk, e.LimitChange, **fields), CommandRefused).reason == reason


def test_the_highest_limit_there_is() -> None:
    desk = opened(settings())
    over = D(10) ** 12 + D("0.1")
    assert only(command(desk, e.LimitChange, name="max_gross_usd", value=over), CommandRefused).reason == "VALUE"
    only(command(desk, e.LimitChange, name="max_gross_usd", value=D(10) ** 12), LimitChanged)


def test_limit_change_says_who_why_old_and_new() -> None:
    desk = opened(settings())
    changed = only(command(desk, e.LimitChange, name="max_order_usd", value=D(100), reason="thin book"), LimitChanged)
    assert changed.changed == (e.Rebase("max_order_usd", D(10_000), D(100)),)
    assert (changed.why, changed.requested_by) == ("thin book", "")


@pytest.mark.parametrize(
    ("name", "value", "second"),
    [
        ("max_drawdown", "0.05", False),
        ("max_drawdown", "0.5", True),
        ("max_order_qty", "3", False),
        ("max_order_qty", "0", True),
    ],
)
def test_in_live_raising_a_limit_needs_two_operators_and_lowering_one(name: str, value: str, second: bool) -> None:
    desk = opened(settings(stage="full", max_order_qty=D(5)))
    made = command(desk, e.LimitChange, name=name, value=D(value))
    if second:
        assert only(made, CommandRefused).reason == "SECOND_OPERATOR"
        assert getattr(desk.state.limits, name) != D(value)
        assert only(command(desk, e.LimitChange, name=name, value=D(value)), CommandRefused).reason == "SECOND_OPERATOR"
        made = command(
            desk, e.LimitChange, "bob", name=name, value=D(f"{value}.0" if "." not in value else value + "0")
        )
        assert only(made, LimitChanged).requested_by == "alice"
    assert only(made, LimitChanged).limits[name] == D(value)
    assert desk.state.signatures == {}


def test_first_signature_expires() -> None:
    desk = opened(settings(stage="full"))
    command(desk, e.LimitChange, name="max_drawdown", value=D("0.5"))
    desk.later(2 * MINUTE)
    made = command(desk, e.LimitChange, "bob", name="max_drawdown", value=D("0.5"))
    assert only(made, CommandRefused).reason == "SECOND_OPERATOR"
    only(command(desk, e.LimitChange, name="max_drawdown", value=D("0.5")), LimitChanged)


def test_a_seal_good_for_longer_than_a_nonce_is_remembered_is_refused() -> None:
    desk = opened(settings())
    made = command(desk, e.LimitChange, name="max_drawdown", value=D("0.05"), expires_at=desk.now + 25 * 60 * MINUTE)
    assert only(made, CommandRefused).reason == "EXPIRY_TOO_FAR"


def test_no_flood_of_commands_makes_a_live_nonce_forgotten() -> None:
    desk = opened(settings())
    body = e.LimitChange(
        operator="alice", nonce="once", expires_at=desk.now + MINUTE, name="max_drawdown", value=D("0.05")
    )
    body = seal.sign(KEYS["alice"][0], body)
    only(desk.put(body, "command"), LimitChanged)
    for index in range(3000):
        expires_at = (0, desk.now + SECOND, desk.now * 2)[index % 3]
        desk.put(e.ModelPromote(operator="a", nonce=f"m{index}", expires_at=expires_at, model="m"), "command")
    assert only(desk.put(body, "command"), CommandRefused).reason == "DUPLICATE"
    desk.later(2 * MINUTE)
    desk.put(e.ModelPromote(operator="a", nonce="last", expires_at=0, model="m"), "command")
    assert len(desk.state.nonces) <= 1000
    assert only(desk.put(body, "command"), CommandRefused).reason in ("DUPLICATE", "EXPIRED")


def beat(desk: Desk, service: str, code: str, settings_: str = "c") -> list[e.Event]:
    return desk.put(e.Heartbeat(service=service, code=code, config=settings_), f"health:{service}")


def test_upgrade_window_needs_a_seal_and_ends() -> None:
    desk = opened(settings())
    assert only(command(desk, e.UpgradeWindow, minutes=5, key="none"), CommandRefused).reason == "SEAL"
    assert only(command(desk, e.UpgradeWindow, minutes=500), CommandRefused).reason == "VALUE"
    window = only(command(desk, e.UpgradeWindow, minutes=5, reason="1.2"), e.UpgradeOpened)
    assert (window.until_at, window.operator, window.why) == (desk.now + 5 * MINUTE, "alice", "1.2")
    beat(desk, "signal", "new")
    assert of(beat(desk, "execution", "old"), Halted) == []
    halted = only(desk.later(5 * MINUTE), Halted)
    assert (halted.reason, halted.detail) == (Reason.HASH, "code: execution old, signal new")


def test_upgrade_window_in_live_is_opened_by_two_and_closed_by_one() -> None:
    desk = opened(settings(stage="full"))
    assert only(command(desk, e.UpgradeWindow, minutes=5), CommandRefused).reason == "SECOND_OPERATOR"
    assert only(command(desk, e.UpgradeWindow, "bob", minutes=5), e.UpgradeOpened).requested_by == "alice"
    assert only(command(desk, e.UpgradeWindow, "bob", minutes=0), e.UpgradeOpened).until_at == desk.now


def test_risks_own_code_is_compared_too() -> None:
    desk = opened(settings())
    beat(desk, "risk", "old")
    assert only(beat(desk, "signal", "new"), Halted).reason is Reason.HASH


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
    assert only(command(desk, e.StageChange, stage="staged"), CommandRefused).reason == "NO_EVIDENCE"
    changed = only(command(desk, e.StageChange, stage="backtest", reason="again"), e.StageChanged)
    assert (changed.share, desk.state.stage, changed.operator, changed.why) == (D(1), "backtest", "alice", "again")
    only(command(desk, e.StageChange, "bob", stage="paper"), e.StageChanged)


def test_demotion_in_live_is_one_operators_and_promotion_nobodys_without_evidence() -> None:
    desk = opened(settings(stage="ramp-50"))
    assert only(command(desk, e.StageChange, stage="full"), CommandRefused).reason == "NO_EVIDENCE"
    assert only(command(desk, e.StageChange, stage="staged"), e.StageChanged).share == D("0.01")
    assert only(command(desk, e.StageChange, stage="ramp"), CommandRefused).reason == "NO_EVIDENCE"


def test_a_step_of_the_ramp_trades_what_the_ramp_may() -> None:
    assert of(opened(settings(stage="ramp-50"), equity="1000000").signal(), OrderIntent) != []


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
