"""The edges of commands: what is heard twice, what is at the end of its time, whose seal is kept, who may go where."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import (
    CommandRefused,
    Halted,
    LimitChanged,
    Mode,
    PortfolioMarked,
    Reason,
    Resumed,
    StageChanged,
    UpgradeOpened,
)
from services.risk import commands
from services.risk.state import Signature
from tests.unit.risk.desk import MINUTE, D, Desk, of, only, opened
from tests.unit.risk.test_commands import command, halt, settings


def test_a_command_heard_twice_is_only_refused_and_lengthens_nothing() -> None:
    desk = opened(settings())
    only(command(desk, e.PauseRequested, key="none", nonce="n", expires_at=5), Halted)
    made = command(desk, e.HaltRequested, key="none", nonce="n", expires_at=desk.now + MINUTE, reason="r")
    assert [type(event) for event in made] == [CommandRefused]
    assert desk.state.nonces["n"] == 5


@pytest.mark.parametrize(
    ("kind", "reason", "told"),
    [
        (e.FlattenRequested, "", "flatten"),
        (e.FlattenRequested, "storm", "storm"),
        (e.PauseRequested, "", "pause"),
        (e.PauseRequested, "lunch", "lunch"),
    ],
)
def test_the_reason_of_an_operator_is_told(kind: type[e.Command], reason: str, told: str) -> None:
    made = command(opened(settings()), kind, key="none", reason=reason)
    assert only(made, Halted).detail == f"alice: {told}"


@pytest.mark.parametrize("fields", [{"scope": "symbol:NONE"}, {"scope": "strategy:trend", "flatten": True}])
def test_a_scope_that_is_none_halts_nothing(fields: dict[str, Any]) -> None:
    made = command(opened(settings()), e.HaltRequested, key="none", reason="r", **fields)
    assert [type(event) for event in made] == [CommandRefused]


def test_the_archiver_halts_for_a_stale_log_and_nobody_names_another_cause() -> None:
    desk = opened(settings())
    stale = only(command(desk, e.HaltRequested, "archiver", "none", reason="ahead", cause=Reason.STALE_LOG), Halted)
    assert (stale.reason, stale.scope, stale.mode, stale.detail) == (
        Reason.STALE_LOG, "book", Mode.HALTED, "archiver: ahead",
    )  # fmt: skip
    assert of(command(desk, e.HaltRequested, "archiver", "none", reason="x", cause=Reason.STALE_LOG), Halted) == []
    named = only(command(desk, e.HaltRequested, key="none", reason="x", cause=Reason.MAX_DRAWDOWN), Halted)
    assert named.reason is Reason.OPERATOR
    resumed = only(command(desk, e.ResumeRequested, halt_id=desk.halts()[-2].id), Resumed)
    assert resumed.mode is Mode.HALTED, "the operator's own stands"


def test_a_resumed_book_is_marked() -> None:
    desk = opened(settings())
    made = command(desk, e.ResumeRequested, halt_id=halt(desk))
    assert [type(event) for event in made] == [Resumed, PortfolioMarked]


def test_a_seal_may_be_good_for_a_day_and_not_longer() -> None:
    desk = opened(settings())
    halt_id = halt(desk)
    made = command(desk, e.ResumeRequested, halt_id=halt_id, expires_at=desk.now + commands.LONGEST_NS + 1)
    assert only(made, CommandRefused).reason == "EXPIRY_TOO_FAR"
    only(command(desk, e.ResumeRequested, halt_id=halt_id, expires_at=desk.now + commands.LONGEST_NS), Resumed)


def test_a_stage_may_be_said_again_in_live_and_the_longest_window_is_open() -> None:
    desk = opened(settings())
    desk.state.stage = "staged"
    assert only(command(desk, e.StageChange, stage="staged"), StageChanged).stage == "staged"
    assert only(command(desk, e.StageChange, stage="ramp"), CommandRefused).reason == "NO_EVIDENCE"
    desk.state.stage = "paper"
    only(command(desk, e.UpgradeWindow, minutes=commands.LONGEST_WINDOW_MIN), UpgradeOpened)
    refused = only(command(desk, e.UpgradeWindow, minutes=commands.LONGEST_WINDOW_MIN + 1), CommandRefused)
    assert refused.reason == "VALUE"


# --- two operators ---------------------------------------------------------------------------------------------------


def live() -> tuple[Desk, str]:
    desk = opened(settings())
    halt_id = halt(desk)
    desk.state.stage = "full"
    return desk, halt_id


def ask(desk: Desk, halt_id: str, operator: str, span: int = MINUTE) -> list[e.Event]:
    return command(desk, e.ResumeRequested, operator, halt_id=halt_id, expires_at=desk.now + span)


def test_the_first_seal_is_good_until_it_expires_and_not_at_that_instant() -> None:
    for wait, is_obeyed in ((MINUTE - 1, True), (MINUTE, False)):
        desk, halt_id = live()
        assert only(ask(desk, halt_id, "alice"), CommandRefused).reason == "SECOND_OPERATOR"
        desk.now += wait
        desk.tick("60000")
        made = ask(desk, halt_id, "bob")
        assert bool(of(made, Resumed)) is is_obeyed
        if not is_obeyed:
            assert [s.operator for s in desk.state.signatures.values()] == ["bob"], "his is the first now"


def test_a_first_seal_is_not_pushed_out_by_asking_again() -> None:
    desk, halt_id = live()
    ask(desk, halt_id, "alice")
    until = desk.state.signatures[f"resume {halt_id}"].expires_at
    ask(desk, halt_id, "alice", 2 * MINUTE)
    assert desk.state.signatures[f"resume {halt_id}"] == Signature("alice", until)


def test_seals_are_kept_for_as_many_subjects_as_there_is_room_the_oldest_go_first() -> None:
    desk, halt_id = live()
    desk.state.signatures = {f"limit x {n}": Signature("bob", desk.now + n) for n in range(commands.OPEN_SUBJECTS)}
    desk.state.signatures[f"resume {halt_id}"] = desk.state.signatures.pop("limit x 0")
    desk.state.signatures = {f"resume {halt_id}": Signature("bob", desk.now)} | {
        key: kept for key, kept in desk.state.signatures.items() if key.startswith("limit")
    }
    ask(desk, halt_id, "alice")
    kept = list(desk.state.signatures.items())
    assert len(kept) == commands.OPEN_SUBJECTS
    assert kept[-1][0] == f"resume {halt_id}", "a seal given anew is the newest"
    command(desk, e.StageChange, stage="nowhere")
    body = e.CommandRefused(nonce="unheard", operator="bob", reason="SECOND_OPERATOR")
    desk.state.subject = "limit y 1"
    desk.put(body, "portfolio")
    assert len(desk.state.signatures) == commands.OPEN_SUBJECTS
    assert "limit x 1" not in desk.state.signatures
    assert desk.state.signatures["limit y 1"] == Signature("bob", 0), "of a command not heard no seal is good"


@pytest.mark.parametrize("forged", [{"key": "none"}, {"key": "alice"}, {"expires_at": 0}])
def test_a_seal_that_does_not_count_is_nobodys_first(forged: dict[str, Any]) -> None:
    """Whoever writes bob's name on a command has not made bob the first of two."""
    desk, halt_id = live()
    refused = only(command(desk, e.ResumeRequested, "bob", halt_id=halt_id, **forged), CommandRefused)
    assert refused.reason in ("SEAL", "EXPIRED")
    assert desk.state.signatures == {}
    assert only(ask(desk, halt_id, "alice"), CommandRefused).reason == "SECOND_OPERATOR"


def test_two_seals_open_one_window() -> None:
    desk = opened(settings(stage="full"))
    for _ in range(2):
        made = command(desk, e.UpgradeWindow, "alice", minutes=5)
        assert only(made, CommandRefused).reason == "SECOND_OPERATOR"
        only(command(desk, e.UpgradeWindow, "bob", minutes=5), UpgradeOpened)
    again = command(desk, e.UpgradeWindow, "bob", minutes=5)
    assert only(again, CommandRefused).reason == "SECOND_OPERATOR", "alice's seal is used up"


def test_seals_that_were_used_up_take_no_room_from_one_that_still_waits() -> None:
    desk, halt_id = live()
    raised = {"name": "max_order_usd", "value": D(20_000)}
    assert only(command(desk, e.LimitChange, "alice", **raised), CommandRefused).reason == "SECOND_OPERATOR"
    for _ in range(commands.OPEN_SUBJECTS + 1):
        ask(desk, halt_id, "alice")
        only(ask(desk, halt_id, "bob"), Resumed)
        halt_id = halt(desk)
    assert only(command(desk, e.LimitChange, "bob", **raised), LimitChanged).requested_by == "alice"


@pytest.mark.parametrize(("left", "reason"), [(0, "EXPIRED"), (1, None)])
def test_a_command_is_good_until_it_expires_and_not_at_that_instant(left: int, reason: str | None) -> None:
    desk = opened(settings())
    made = command(desk, e.LimitChange, name="max_order_usd", value=D(100), expires_at=desk.now + left)
    assert [refused.reason for refused in of(made, CommandRefused)] == ([reason] if reason else [])


def test_who_cannot_seal_is_not_told_which_halts_there_are() -> None:
    desk = opened(settings())
    halt(desk)
    assert only(command(desk, e.ResumeRequested, key="none", halt_id="none"), CommandRefused).reason == "SEAL"
    assert only(command(desk, e.ResumeRequested, halt_id="none"), CommandRefused).reason == "UNKNOWN_HALT"


@pytest.mark.parametrize(("expires_in", "goes"), [(0, True), (1, False)])
def test_a_full_memory_of_nonces_lets_the_dead_go(expires_in: int, goes: bool) -> None:
    desk = opened(settings())
    desk.state.nonces = {f"old{n}": desk.now + MINUTE for n in range(commands.NONCES_KEPT - 1)}
    desk.state.nonces["edge"] = desk.now + expires_in
    command(desk, e.PauseRequested, key="none")
    assert ("edge" not in desk.state.nonces) is goes


@pytest.mark.parametrize(("over", "goes"), [(0, False), (1, True)])
def test_a_nonce_is_kept_as_long_as_its_seal_could_be_good(over: int, goes: bool) -> None:
    desk = opened(settings())
    desk.state.nonces = {f"old{n}": desk.now + MINUTE for n in range(commands.NONCES_KEPT - 1)}
    desk.state.nonces["edge"] = desk.now + commands.LONGEST_NS + over
    command(desk, e.PauseRequested, key="none")
    assert ("edge" not in desk.state.nonces) is goes
