"""The edges of modes and halts: each part of a condition that keeps a scope down, or keeps it from going down too far."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import (
    CancelIntent,
    CommandRefused,
    Halted,
    Mode,
    ModeChanged,
    OrderIntent,
    OrderRefused,
    Reason,
    Resumed,
)
from libs.common.record import GapFound, Started, Timer
from services.risk import modes
from services.risk.config import STAGE_SHARES, EntryStyle
from services.risk.state import Block, RiskState
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, config, halted, of, only, opened
from tests.unit.risk.test_commands import command, halt, settings

RESTING = {"trend": EntryStyle(style="post_only", ttl_ms=60_000)}


def block(scope: str, reason: Reason, mode: Mode = Mode.HALTED, halt_id: str = "h") -> dict[str, Block]:
    return {f"{scope}/{reason}": Block(scope, reason, mode, 0, halt_id)}


def late_clock(desk: Desk) -> list[e.Event]:
    return desk.put(e.Heartbeat(service="execution", clock_offset_ms=900), "health:execution")


# --- liquidation -----------------------------------------------------------------------------------------------------


def test_the_end_of_a_liquidation_is_never_better_than_halted_and_named_by_the_books_own_halt() -> None:
    state = RiskState(liquidating=True)
    assert (modes.liquidated(state).new, modes.liquidated(state).reason) == (Mode.HALTED, Reason.OPERATOR)
    state.blocks = (
        block("book", Reason.CLOCK_OFFSET_MS, Mode.REDUCE_ONLY, "")
        | block("symbol:BTCUSDT", Reason.SPREAD, halt_id="other")
        | block("book", Reason.GAP)
    )
    ended = modes.liquidated(state)
    assert (ended.new, ended.reason, ended.detail) == (Mode.HALTED, Reason.GAP, "flat confirmed")


def test_a_liquidation_is_the_books_mode_and_no_symbols() -> None:
    desk = opened()
    desk.hold()
    halted(desk, flatten=True)
    assert modes.scope_mode(desk.state, "book") is Mode.LIQUIDATING
    assert modes.scope_mode(desk.state, "symbol:BTCUSDT") is Mode.NORMAL
    made = desk.put(e.Heartbeat(service="signal", gap="tick"), "health:signal")
    assert only(made, Halted).mode is Mode.LIQUIDATING, "another halt does not end it at the gate"


def test_a_flatten_of_an_open_book_halts_it() -> None:
    desk = opened()
    made = desk.put(e.FlattenRequested(operator="a", nonce="f", expires_at=0), "command")
    assert only(made, Halted).mode is Mode.HALTED
    assert [kept.mode for kept in desk.state.blocks.values()] == [Mode.HALTED]


def test_a_strategy_that_went_wild_is_stopped_and_the_book_is_not_sold() -> None:
    desk = opened(config(auto_arm=True, flatten_on_halt=True, signal_flood=D(3)))
    desk.hold(strategy="mean")
    made: list[e.Event] = []
    for _ in range(3):
        desk.now += SECOND
        made += desk.signal(score=D(1))
    assert only(made, Halted).scope == "strategy:trend"
    assert of(made, ModeChanged) == []
    assert not desk.state.liquidating


# --- transient causes ------------------------------------------------------------------------------------------------


def test_the_cause_that_came_too_often_halts_its_own_scope_alone() -> None:
    desk = opened(config(auto_arm=True, clears_a_day=0))
    for _ in range(21):
        desk.now += SECOND
        desk.tick("60000")
    halt_ = only(desk.tick("60000", width="2"), Halted)
    assert (halt_.scope, halt_.mode, halt_.reason) == ("symbol:BTCUSDT", Mode.HALTED, Reason.SPREAD)
    assert halt_.detail == "cleared itself 0 times today"
    assert modes.scope_mode(desk.state, "symbol:BTCUSDT") is Mode.HALTED
    assert modes.scope_mode(desk.state, "book") is Mode.NORMAL


def test_the_cause_that_came_too_often_in_a_liquidation_does_not_end_it() -> None:
    desk = opened(config(auto_arm=True, clears_a_day=0))
    halted(desk, flatten=True)
    assert only(late_clock(desk), Halted).mode is Mode.LIQUIDATING


def test_a_new_doubt_keeps_a_transient_cause_standing() -> None:
    """Reconciled since the cause, and then a difference: nothing clears before they agree again."""
    desk = opened()
    late_clock(desk)
    desk.now += SECOND
    desk.reconcile()
    desk.put(e.Mismatch(kind="fill", symbol="B", ours="1", venue="2", healed=True), "account")
    desk.now += MINUTE
    desk.tick("60000")
    assert of(desk.later(), ModeChanged) == []
    assert only(desk.reconcile(), ModeChanged).cleared


def test_no_resume_lifts_what_is_no_halt() -> None:
    """A transient cause has no id; a command that names none means nothing."""
    desk = opened(settings())
    late_clock(desk)
    assert only(command(desk, e.ResumeRequested, halt_id=""), CommandRefused).reason == "UNKNOWN_HALT"
    assert list(desk.state.blocks) == [f"book/{Reason.CLOCK_OFFSET_MS}"]
    assert not modes.is_halted_for(desk.state, "book", Reason.CLOCK_OFFSET_MS)


# --- resuming --------------------------------------------------------------------------------------------------------


def test_a_resumed_book_is_normal_though_a_symbol_is_halted_and_says_who_asked_and_why() -> None:
    desk = opened(settings())
    halt(desk, scope="symbol:BTCUSDT")
    halt_id = halt(desk)
    desk.state.stage = "full"
    command(desk, e.ResumeRequested, "bob", halt_id=halt_id, reason="it is mended")
    resumed = only(command(desk, e.ResumeRequested, "alice", halt_id=halt_id, reason="seen"), Resumed)
    assert (resumed.mode, resumed.scope) == (Mode.NORMAL, "book")
    assert (resumed.operator, resumed.requested_by, resumed.why) == ("alice", "bob", "seen")
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE


def test_a_resumed_strategy_forgets_its_own_words_and_nobody_elses() -> None:
    desk = opened()
    desk.signal()
    desk.signal(strategy="mean")
    desk.put(Halted(reason=Reason.SIGNAL_REPEATS, measured=D(1), limit=D(0), scope="strategy:trend"), "halt")
    halt_id = desk.state.blocks[f"strategy:trend/{Reason.SIGNAL_REPEATS}"].halt_id
    desk.put(Resumed(halt_id=halt_id, scope="strategy:trend", operator="a"), "halt")
    assert list(desk.state.repeats) == ["mean|BTCUSDT"]


# --- operators -------------------------------------------------------------------------------------------------------


def test_a_pause_becomes_a_halt_when_a_halt_is_asked_for_and_not_the_other_way_round() -> None:
    desk = opened()
    told: list[Mode] = []
    for index, kind in enumerate((e.PauseRequested, e.PauseRequested, e.HaltRequested, e.PauseRequested)):
        body = kind(operator="a", nonce=f"n{index}", expires_at=0, reason="r")
        told += [event.mode for event in of(desk.put(body, "command"), Halted)]
    assert told == [Mode.REDUCE_ONLY, Mode.HALTED]


@pytest.mark.parametrize("scope", ["x:BTCUSDT", "strategy:BTCUSDT", "symbol:trend", "x:trend", "", "symbol:"])
def test_a_scope_needs_its_kind_and_a_name_of_that_kind(scope: str) -> None:
    desk = opened()
    body = e.HaltRequested(operator="a", nonce="n", expires_at=0, reason="r", scope=scope)
    assert only(desk.put(body, "command"), CommandRefused).reason == "SCOPE"
    assert desk.state.blocks == {}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (e.StageChange, {"stage": "moon"}),
        (e.StageChange, {"stage": "paper"}),
        (e.UpgradeWindow, {"minutes": 500}),
        (e.LimitChange, {"name": "nonsense", "value": D(1)}),
    ],
)
def test_who_has_no_seal_is_told_nothing_else(kind: type[e.Command], fields: dict[str, Any]) -> None:
    desk = opened(settings(stage="full"))
    assert only(command(desk, kind, key="none", **fields), CommandRefused).reason == "SEAL"


# --- cancels ---------------------------------------------------------------------------------------------------------


def test_a_halted_strategys_entries_are_cancelled_by_name_symbol_and_reason() -> None:
    desk = opened(config(auto_arm=True, entry=RESTING))
    resting = only(desk.signal(), OrderIntent)
    body = e.HaltRequested(operator="a", nonce="n", expires_at=0, reason="r", scope="strategy:trend")
    assert only(desk.put(body, "command"), CancelIntent) == CancelIntent(
        order_link_id=resting.order_link_id, symbol="BTCUSDT", reason=Reason.OPERATOR.value
    )


def test_what_takes_at_once_is_not_cancelled_when_the_mode_falls() -> None:
    desk = opened()
    only(desk.signal(), OrderIntent)
    desk.later(5 * SECOND)
    late_clock(desk)
    assert of(desk.later(), CancelIntent) == []


# --- what the core is born with --------------------------------------------------------------------------------------


def test_a_core_begins_with_its_settings_and_a_fresh_book_says_that_they_are_the_files() -> None:
    desk = Desk(config(stage="staged", max_order_usd=D(77)))
    assert desk.state.limits.max_order_usd == 77
    assert (desk.state.stage, desk.state.share) == ("staged", STAGE_SHARES["staged"])
    made = desk.put(Started(fresh=True), "timer")
    assert (only(made, Halted).scope, only(made, Halted).mode) == ("book", Mode.HALTED)
    assert only(made, e.LimitChanged).operator == only(made, e.StageChanged).operator == "file"


def test_a_gap_is_no_time_of_the_books() -> None:
    desk = opened()
    before = desk.state.now
    desk.put(GapFound(stream="tick", expected=1, got=3), "timer", at=desk.now + MINUTE)
    assert desk.state.now == before


def test_only_a_timer_beats_between_the_minutes_and_only_risks_own_beat_counts() -> None:
    desk = opened()
    desk.put(Timer(), "timer")
    assert of(desk.later(10 * SECOND), e.Heartbeat) == [], "a tape's instants beat each minute"
    desk.put(e.Heartbeat(service="signal"), "health:signal")
    only(desk.put(Timer(), "timer"), e.Heartbeat)


def test_errors_of_requests_are_executions_alone() -> None:
    desk = opened()
    desk.put(e.Heartbeat(service="execution", api_requests=100, api_errors=7), "health:execution")
    desk.put(e.Heartbeat(service="signal"), "health:signal")
    assert (desk.state.requests, desk.state.errors) == (100, 7)


def test_a_limit_of_another_version_is_passed_over() -> None:
    desk = opened()
    desk.put(e.LimitChanged(version=2, limits={"gone": D(1), "max_order_usd": D(5)}), "portfolio")
    assert desk.state.limits.max_order_usd == 5
