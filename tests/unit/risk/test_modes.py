"""Modes: down by itself, up by people; transient causes; what a resume re-bases; the gate."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import Halted, Mode, ModeChanged, OrderIntent, OrderRefused, Reason, Resumed
from services.risk import modes
from services.risk.state import Block
from tests.unit.risk.desk import DAY, MINUTE, SECOND, D, Desk, config, of, only, opened


def raise_halt(desk: Desk, reason: Reason, scope: str = "book", mode: Mode = Mode.HALTED) -> str:
    """Write a halt as risk itself would, and return its id."""
    desk.put(Halted(reason=reason, measured=D(1), limit=D(0), scope=scope, mode=mode), "halt")
    return str(desk.state.blocks[f"{scope}/{reason}"].halt_id)


def resume(desk: Desk, halt_id: str) -> Resumed:
    block = modes.halt_named(desk.state, halt_id)
    assert block is not None
    event = modes.resumption(desk.state, block, "alice")
    desk.put(event, "halt")
    return event


@pytest.mark.parametrize(
    ("event", "gate"),
    [
        (Halted(reason=Reason.BORN, measured=D(0), limit=D(0)), {"book": "HALTED"}),
        (
            ModeChanged(scope="symbol:X", old=Mode.NORMAL, new=Mode.REDUCE_ONLY, reason=Reason.SPREAD),
            {"symbol:X": "REDUCE_ONLY"},
        ),
        (
            ModeChanged(scope="symbol:X", old=Mode.REDUCE_ONLY, new=Mode.NORMAL, reason=Reason.SPREAD),
            {"symbol:X": "open"},
        ),
        (Resumed(halt_id="h", scope="book", operator="a"), {"book": "open"}),
        (Resumed(halt_id="h", scope="book", operator="a", mode=Mode.HALTED), {"book": "HALTED"}),
        (e.CancelIntent(), {}),
    ],
)
def test_gate(event: e.Event, gate: dict[str, str]) -> None:
    assert modes.gate_changes(event) == gate


def test_worst_mode_wins() -> None:
    assert modes.worst() is Mode.NORMAL
    assert modes.worst(Mode.REDUCE_ONLY, Mode.HALTED, Mode.NORMAL) is Mode.HALTED
    desk = opened()
    raise_halt(desk, Reason.SPREAD, "symbol:BTCUSDT", Mode.REDUCE_ONLY)
    raise_halt(desk, Reason.FILLS_PER_MINUTE, "strategy:mean")
    state = desk.state
    assert modes.effective_mode(state, "trend", "BTCUSDT") is Mode.REDUCE_ONLY
    assert modes.effective_mode(state, "mean", "BTCUSDT") is Mode.HALTED
    assert modes.effective_mode(state, "trend", "ETHUSDT") is Mode.NORMAL


def test_resume_names_its_halt_and_leaves_the_others() -> None:
    desk = opened()
    first, second = raise_halt(desk, Reason.GAP), raise_halt(desk, Reason.HASH)
    assert resume(desk, first).mode is Mode.HALTED
    assert resume(desk, second).mode is Mode.NORMAL
    assert desk.state.blocks == {}
    desk.put(Resumed(halt_id=first, scope="book", operator="alice"), "halt")


def test_pause_then_halt_is_named_by_the_halt() -> None:
    desk = opened()
    pause = raise_halt(desk, Reason.OPERATOR, mode=Mode.REDUCE_ONLY)
    halt = raise_halt(desk, Reason.OPERATOR)
    assert raise_halt(desk, Reason.OPERATOR, mode=Mode.REDUCE_ONLY) != halt
    assert modes.scope_mode(desk.state, "book") is Mode.HALTED
    assert modes.halt_named(desk.state, pause) is None


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        (Reason.MAX_DAILY_LOSS, "day_base"),
        (Reason.MAX_WEEKLY_LOSS, "week_base"),
        (Reason.MAX_DRAWDOWN, "peak"),
    ],
)
def test_resume_rebases_equity_and_does_not_halt_again(reason: Reason, field: str) -> None:
    wide = {"max_daily_loss": D(1), "max_weekly_loss": D(1), "max_drawdown": D(1), "velocity": D(100)}
    desk = opened(config(auto_arm=True, **(wide | {reason.value: D("0.02")})))
    desk.hold()
    desk.state.stops.clear()
    made = desk.tick("58000")
    assert only(made, Halted).reason is reason
    resumed = resume(desk, desk.halts()[-1].id)
    equity = D(10_000) - D("0.166") * 2000
    assert resumed.rebased == (e.Rebase(field, D(10_000), equity),)
    assert of(desk.tick("57999"), Halted) == []
    only(desk.signal(strategy="mean"), OrderIntent)
    assert desk.state.rebases_today == 1


def test_resume_forgives_the_streak_until_the_next_loss_counts_again() -> None:
    desk = opened(config(auto_arm=True, max_consecutive_losses=D(2)))
    for _ in range(2):
        desk.hold()
        made = desk.fill(only(desk.signal("0"), OrderIntent), price=D(59_999))
    assert only(made, Halted).reason is Reason.MAX_CONSECUTIVE_LOSSES
    assert resume(desk, desk.halts()[-1].id).rebased == (e.Rebase("losing_streak", D(2), D(0)),)
    assert desk.state.streak == 0
    desk.hold()
    assert of(desk.fill(only(desk.signal("0"), OrderIntent), price=D(59_999)), Halted) == []
    assert desk.state.streak == 1
    desk.hold()
    desk.fill(only(desk.signal("0"), OrderIntent), price=D(60_001))
    assert (desk.state.streak, desk.state.streak_forgiven) == (0, 0)


def test_resume_clears_windows() -> None:
    desk = opened()
    desk.state.acks_ms = [2000] * 20
    assert resume(desk, raise_halt(desk, Reason.MAX_LATENCY_MS)).rebased == (e.Rebase("acks", D(20), D(0)),)
    desk.state.requests, desk.state.errors = 10, 5
    assert resume(desk, raise_halt(desk, Reason.MAX_ERROR_RATE)).rebased == (e.Rebase("api_errors", D(5), D(0)),)
    assert (desk.state.acks_ms, desk.state.requests) == ([], 0)


def test_resume_of_a_strategy_forgets_what_disabled_it() -> None:
    desk = opened()
    desk.hold()
    desk.hold(strategy="mean")
    assert resume(desk, raise_halt(desk, Reason.FILLS_PER_MINUTE, "strategy:trend")).rebased == ()
    assert list(desk.state.fills_at) == ["mean"]
    assert [key for key in desk.state.repeats if key.startswith("trend")] == []


def test_loss_rebase_once_a_day_in_live() -> None:
    desk = opened()
    block = Block("book", Reason.MAX_DRAWDOWN, Mode.HALTED, 0, "h")
    assert modes.may_rebase(desk.state, block)
    desk.state.rebases_today = 1
    assert modes.may_rebase(desk.state, block)
    desk.state.stage = "full"
    assert not modes.may_rebase(desk.state, block)
    assert modes.may_rebase(desk.state, Block("book", Reason.GAP, Mode.HALTED, 0, "h"))
    desk.state.rebases_today = 0
    assert modes.may_rebase(desk.state, block)


# --- transient causes ------------------------------------------------------------------------------------------------


def delayed(desk: Desk) -> list[e.Event]:
    """A tick that took a second."""
    return desk.tick("60000", exchange_at=desk.now - SECOND, received_at=desk.now)


def quiet(desk: Desk, span: int = MINUTE) -> list[e.Event]:
    """Time with ticks and a reconciliation, without any cause."""
    made = desk.later(1)
    made += desk.reconcile()
    for _ in range(span // (10 * SECOND)):
        made += desk.later(10 * SECOND)
        made += desk.tick("60000")
    return made + desk.later(SECOND)


def test_transient_cause_clears_itself_after_a_quiet_minute_and_reconciliation() -> None:
    desk = opened()
    changed = only(delayed(desk), ModeChanged)
    assert (changed.scope, changed.new, changed.reason) == ("book", Mode.REDUCE_ONLY, Reason.FEED_DELAY_MS)
    assert delayed(desk) == []
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE
    assert of(quiet(desk, 50 * SECOND), ModeChanged) == []
    back = only(quiet(desk), ModeChanged)
    assert (back.old, back.new, back.cleared) == (Mode.REDUCE_ONLY, Mode.NORMAL, True)
    only(desk.signal(), OrderIntent)


def test_transient_cause_waits_for_reconciliation() -> None:
    desk = opened()
    delayed(desk)
    for _ in range(10):
        desk.tick("60000")
        assert of(desk.later(10 * SECOND), ModeChanged) == []
    assert only(desk.reconcile(), ModeChanged).cleared


def test_fourth_time_a_day_halts_until_resumed() -> None:
    desk = opened()
    for _ in range(3):
        only(delayed(desk), ModeChanged)
        only(quiet(desk), ModeChanged)
    made = delayed(desk)
    assert only(made, Halted).reason is Reason.FEED_DELAY_MS
    assert of(quiet(desk), ModeChanged) == []
    resume(desk, desk.halts()[-1].id)
    only(delayed(desk), ModeChanged)


def test_clears_are_counted_by_day() -> None:
    desk = opened()
    desk.state.clears_today["book"] = 3
    desk.later(DAY)
    desk.tick("60000")
    assert desk.state.clears_today == {}


def test_transient_under_a_halt_leaves_it_halted() -> None:
    desk = opened()
    halt = raise_halt(desk, Reason.GAP)
    changed = only(delayed(desk), ModeChanged)
    assert (changed.old, changed.new) == (Mode.HALTED, Mode.HALTED)
    assert resume(desk, halt).mode is Mode.REDUCE_ONLY
    assert only(quiet(desk), ModeChanged).new is Mode.NORMAL


def test_transient_while_liquidating_changes_nothing_above() -> None:
    desk = opened()
    raise_halt(desk, Reason.GAP)
    desk.put(ModeChanged(scope="book", old=Mode.HALTED, new=Mode.LIQUIDATING, reason=Reason.GAP), "halt")
    assert modes.scope_mode(desk.state, "book") is Mode.LIQUIDATING
    assert only(delayed(desk), ModeChanged).new is Mode.LIQUIDATING
    assert delayed(desk) == []
    assert only(quiet(desk), ModeChanged).new is Mode.LIQUIDATING
    ended = modes.liquidated(desk.state)
    assert (ended.new, ended.reason) == (Mode.HALTED, Reason.GAP)
    desk.put(ended, "halt")
    assert not desk.state.liquidating


def test_halt_while_liquidating_keeps_liquidating() -> None:
    desk = opened()
    raise_halt(desk, Reason.GAP, mode=Mode.LIQUIDATING)
    assert desk.state.blocks["book/GAP"].mode is Mode.HALTED


def test_sticky_blocks_and_strangers_do_not_clear() -> None:
    desk = opened()
    raise_halt(desk, Reason.GAP)
    assert modes.cleared(desk.state, "book/GAP", 0) is None
    assert modes.cleared(desk.state, "book/none", 0) is None
    desk.state.blocks["book/spread"] = Block("book", Reason.SPREAD, Mode.REDUCE_ONLY, desk.now - SECOND)
    desk.state.reconciled_at = desk.now
    assert modes.cleared(desk.state, "book/spread", 0) is not None


def _clock(desk: Desk) -> list[e.Event]:
    return desk.put(e.Heartbeat(service="execution", clock_offset_ms=-500), "health:execution")


def _silence(desk: Desk) -> list[e.Event]:
    return desk.later(15 * SECOND)


def _down(desk: Desk) -> list[e.Event]:
    return desk.put(e.FeedDown(symbol="BTCUSDT", reason="silence", silent_ms=3000), "tick")


def _wide(desk: Desk) -> list[e.Event]:
    for _ in range(21):
        desk.now += SECOND
        desk.tick("60000")
    return desk.tick("60000", width="2")


def _fast(desk: Desk) -> list[e.Event]:
    for index in range(62):
        desk.now += 5 * SECOND
        desk.tick(60_000 + index % 2)
    desk.now += SECOND
    return desk.tick("60400")


@pytest.mark.parametrize(
    ("cause", "scope", "reason"),
    [
        (_clock, "book", Reason.CLOCK_OFFSET_MS),
        (_silence, "book", Reason.FEED_SILENCE),
        (_down, "book", Reason.FEED_SILENCE),
        (_wide, "symbol:BTCUSDT", Reason.SPREAD),
        (_fast, "symbol:BTCUSDT", Reason.VELOCITY),
    ],
)
def test_every_transient_cause(cause: Any, scope: str, reason: Reason) -> None:
    desk = opened()
    changed = only(cause(desk), ModeChanged)
    assert (changed.scope, changed.new, changed.reason) == (scope, Mode.REDUCE_ONLY, reason)


def test_velocity_is_watched_before_the_hour_is_known() -> None:
    """Of a symbol just seen, 2 % in 5 s is too fast: a run that starts in a crash enters nothing."""
    desk = opened()
    assert of(desk.tick("61199"), ModeChanged) == []
    changed = only(desk.tick("61200"), ModeChanged)
    assert (changed.scope, changed.new, changed.reason) == ("symbol:BTCUSDT", Mode.REDUCE_ONLY, Reason.VELOCITY)
    refused = only(desk.signal(), OrderRefused)
    use = next(use for use in refused.limits if use.name is Reason.VELOCITY)
    assert (use.measured, use.limit) == (D(10), D(10))


def test_velocity_of_an_unknown_symbol_grows_with_the_root_of_the_time_that_a_move_took() -> None:
    """Four windows between two prices (a tape of bars): twice the move is as fast."""
    desk = opened()
    desk.now += 20 * SECOND
    assert of(desk.tick("62399"), ModeChanged) == []
    desk = opened()
    desk.now += 20 * SECOND
    assert only(desk.tick("62400"), ModeChanged).reason is Reason.VELOCITY


def test_a_quiet_start_makes_no_small_move_fast_and_a_wild_one_counts_as_it_is() -> None:
    """Until there are sixty windows the wider of what is assumed and what was seen counts; then what was seen."""
    for windows, variance, fast in (
        (59, 1, False),
        (60, 1, True),
        (59, 4_000_000**2, False),
        (60, 4_000_000**2, False),
    ):
        desk = opened()
        market = desk.state.markets["BTCUSDT"]
        market.windows, market.variance_e18 = windows, variance
        price = "61199" if variance == 1 else "62399"
        assert (of(desk.tick(price), ModeChanged) != []) is fast, (windows, variance)


def test_a_spread_is_watched_after_five_seconds() -> None:
    desk = opened()
    for _ in range(4):
        assert of(desk.tick("60000", width="4"), ModeChanged) == []
        desk.now += SECOND
        desk.tick("60000")
    assert only(desk.tick("60000", width="4"), ModeChanged).reason is Reason.SPREAD


def test_feed_that_stays_down_does_not_clear() -> None:
    desk = opened()
    _down(desk)
    assert of(quiet(desk, 2 * MINUTE), ModeChanged) == []
    desk.put(e.FeedUp(symbol="BTCUSDT"), "tick")
    assert only(quiet(desk, 2 * MINUTE), ModeChanged).new is Mode.NORMAL


def test_feed_that_never_came_is_no_fault() -> None:
    desk = opened()
    desk.instrument("ETHUSDT", "0.01")
    assert desk.put(e.FeedDown(symbol="ETHUSDT", reason="silence"), "tick") == []
    assert desk.put(e.FeedDown(symbol="NONE", reason="silence"), "tick") == []
    assert desk.put(e.FeedUp(symbol="NONE"), "tick") == []


def test_limit_lowered_below_the_position_does_not_trap_it() -> None:
    desk = opened(config(auto_arm=True, max_order_usd=D(1000)))
    order = desk.hold()
    desk.put(e.LimitChanged(version=2, limits={"max_position_size": D("0.001")}), "portfolio")
    changed = only(desk.later(), ModeChanged)
    assert (changed.scope, changed.reason) == ("symbol:BTCUSDT", Reason.MAX_POSITION_SIZE)
    assert only(desk.signal(strategy="mean"), OrderRefused).reason is Reason.MODE
    exit_ = only(desk.signal("0"), OrderIntent)
    assert (exit_.reduce_only, exit_.qty) == (True, order.qty)
    desk.fill(exit_)
    assert only(quiet(desk, 2 * MINUTE), ModeChanged).cleared
