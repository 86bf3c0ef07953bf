"""The edges of what the book learns: time, beats, drift, flatness; and what arms and restarts it."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import CancelIntent, Halted, Mode, ModeChanged, OrderIntent, OrderRefused, Reason, Resumed
from libs.common.record import Started, Timer
from services.risk import halts
from services.risk.config import EntryStyle, RiskConfig
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, Side, config, halted, of, only, opened

WIDE = {"max_daily_loss": D(1), "max_weekly_loss": D(1)}


# --- time and beats --------------------------------------------------------------------------------------------------


def test_a_beat_counts_the_records_that_moved_the_books_time() -> None:
    """What operators send and what comes back of risk's own words is not counted twice."""
    desk = opened()
    desk.now += 5 * SECOND
    before = only(desk.put(Timer(), "timer"), e.Heartbeat).commits
    for _ in range(3):
        desk.tick("60000")
    desk.put(e.ModelPromote(operator="a", nonce="n", expires_at=0, model="m"), "command")
    desk.now += 5 * SECOND
    assert only(desk.put(Timer(), "timer"), e.Heartbeat).commits == before + 4


def test_a_reversal_that_was_told_too_late_is_refused_by_name_when_its_exit_fills_at_once() -> None:
    desk = opened()
    desk.hold()
    late = e.Signal(
        strategy="trend", symbol="BTCUSDT", target=D(-1), p=D("0.6"), payoff=D("1.5"), stop_distance=D(600), horizon_ms=1
    )  # fmt: skip
    exit_ = only(desk.put(late, "signal", at=desk.now - 10 * SECOND), OrderIntent)
    assert only(desk.fill(exit_), OrderRefused).reason is Reason.EXPIRED


def test_on_a_tape_a_signal_lives_for_three_of_its_instants() -> None:
    desk = opened()
    for window_ms, wait, is_good in ((5000, 14, True), (5000, 15, False), (1000, 9, True), (1000, 10, False)):
        desk.put(e.Instant(number=1, window_ms=window_ms), "clock")
        told = desk.now
        desk.now += wait * SECOND
        desk.tick("60000")
        order = e.Signal(
            strategy="trend", symbol="BTCUSDT", target=D(1), p=D("0.6"), payoff=D("1.5"), stop_distance=D(600),
            horizon_ms=1, score=D(desk.seq),
        )  # fmt: skip
        made = desk.put(order, "signal", at=told)
        assert bool(of(made, OrderIntent)) is is_good, (window_ms, wait)
        for approved in of(made, OrderIntent):
            desk.cancelled(approved)


# --- the account -----------------------------------------------------------------------------------------------------


def funding(desk: Desk, fee: str) -> list[e.Event]:
    return desk.put(
        e.FundingPaid(symbol="BTCUSDT", exec_id="f", qty=D("0.1"), mark=D(60_000), rate=D(0), fee=D(fee), exec_at=desk.now),
        "fill",
    )  # fmt: skip


def test_what_funding_earned_lifts_the_peak_that_drawdown_is_measured_from() -> None:
    """10,000 and 1,000 of funding; 10 % of 11,000 are lost at 9,900 and not before, though no price came in between."""
    desk = opened(config(auto_arm=True, max_drawdown=D("0.10"), **WIDE))
    funding(desk, "-1000")
    assert of(funding(desk, "1099"), Halted) == []
    halt = only(funding(desk, "1"), Halted)
    assert (halt.reason, halt.measured) == (Reason.MAX_DRAWDOWN, D("0.10"))


def test_stakes_against_each_other_are_closed_when_the_exchange_confirms_flat() -> None:
    """trend long, mean short, the book flat: the liquidation closes both stakes, their exits and their stops."""
    desk = opened()
    entry = desk.hold()
    desk.hold("-1", strategy="mean")
    assert desk.state.ledger.lots("BTCUSDT") == 0
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.cancelled(exit_)
    halted(desk, flatten=True)
    assert entry.qty == D("0.166")
    made = desk.put(e.FlatConfirmed(checked_at=desk.now, wallet=D(0)), "account")
    assert [stake.lots for stake in desk.state.ledger.stakes.values()] == [0, 0]
    assert (desk.state.tasks, desk.state.stops) == ({}, {})
    assert [type(event) for event in made] == [ModeChanged, e.PortfolioMarked]
    assert only(made, e.PortfolioMarked).mode is Mode.HALTED, "the end of a liquidation is marked"


@pytest.mark.parametrize("told", ["NaN", "Infinity"])
def test_a_margin_ratio_that_is_no_number_counts_as_all_of_it_and_as_no_more(told: str) -> None:
    desk = opened()
    changed = only(
        desk.put(e.AccountSnapshot(wallet=D(0), equity=D(0), available=D(0), margin_ratio=D(told)), "account"),
        ModeChanged,
    )
    assert (changed.reason, changed.detail) == (Reason.MAX_MARGIN_RATIO, "measured 1, limit 0.5")


@pytest.mark.parametrize(
    ("factor", "quantity"),
    [("0.5", "0.083"), ("1", "0.166"), ("3", "0.166"), ("0", None), ("-1", None), ("NaN", None), ("Infinity", None)],
)
def test_drift_only_ever_makes_a_strategy_smaller(factor: str, quantity: str | None) -> None:
    """10,000 x 0.5 x 0.06 x (0.6 x 1.5 - 0.4) / 1.5 / 600 = 0.1667; a factor that is no number counts as none."""
    desk = opened(config(auto_arm=True, kelly_fraction=D("0.06"), max_order_usd=D(20_000)))
    desk.put(e.DriftMeasured(strategy="trend", model="", psi=D(0), rolling_sharpe=D(0), factor=D(factor)), "model")
    assert 0 <= desk.state.drift["trend"] <= 1
    made = desk.signal()
    if quantity is None:
        assert only(made, OrderRefused).reason is Reason.BELOW_MINIMUM
    else:
        assert only(made, OrderIntent).qty == D(quantity)


def test_the_last_models_that_were_blocked_are_remembered() -> None:
    desk = opened()
    for number in range(100):
        desk.put(e.ModelBlocked(model=f"m{number}", reason="drift"), "model")
    assert desk.state.blocked_models == [f"m{number}" for number in range(36, 100)]


def test_an_address_that_the_exchange_banned_enters_nothing() -> None:
    desk = opened()
    made = desk.put(e.Heartbeat(service="execution", http_silent_ms=2500), "health:execution")
    changed = only(made, ModeChanged)
    assert (changed.new, changed.reason) == (Mode.REDUCE_ONLY, Reason.RATE_LIMIT)
    assert changed.detail == "measured 2500, limit 0"
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE


def test_a_core_that_was_not_started_measures_losses_by_its_settings() -> None:
    desk = Desk(config())
    desk.instrument()
    desk.cash()
    assert of(funding(desk, "199"), Halted) == []
    assert of(desk.tick("60000"), Halted) == []
    assert only(funding(desk, "1"), Halted).reason is Reason.MAX_DAILY_LOSS


# --- arming ----------------------------------------------------------------------------------------------------------


def unarmed(**changes: Any) -> Desk:
    desk = Desk(config(auto_arm=True, **changes))
    desk.put(Started(fresh=True), "timer")
    desk.instrument()
    return desk


@pytest.mark.parametrize(
    ("window_ms", "age", "is_armed"),
    [
        (0, 15 * SECOND - 1, True),
        (0, 15 * SECOND, False),
        (4000, 15 * SECOND - 1, True),
        (MINUTE // 10**6, 3 * MINUTE - 1, True),
        (MINUTE // 10**6, 3 * MINUTE, False),
    ],
)
def test_a_fresh_book_arms_on_a_tick_that_is_not_yet_silence(window_ms: int, age: int, is_armed: bool) -> None:
    desk = unarmed()
    desk.put(e.Instant(number=1, window_ms=window_ms), "clock")
    desk.tick("60000")
    desk.cash()
    desk.now += age
    assert bool(of(desk.reconcile(), Resumed)) is is_armed


def test_a_fresh_book_arms_on_one_market_of_many_and_says_how_it_stands() -> None:
    desk = unarmed()
    desk.instrument("ETHUSDT", "0.01")
    desk.tick("60000")
    desk.cash()
    made = desk.reconcile()
    assert only(made, Resumed).operator == "auto_arm"
    assert only(made, e.PortfolioMarked).mode is Mode.NORMAL


def test_a_fresh_book_arms_on_no_price_without_a_tick_and_on_no_tick_without_a_price() -> None:
    desk = unarmed()
    desk.mark("60000")
    desk.cash()
    assert of(desk.reconcile(), Resumed) == []
    desk = unarmed()
    desk.put(e.Tick(symbol="BTCUSDT", last=D("NaN"), bids=(), asks=()), "tick")
    desk.cash()
    assert of(desk.reconcile(), Resumed) == []


@pytest.mark.parametrize("missing", ["cash", "reconcile"])
def test_a_fresh_book_without_money_or_reconciliation_is_not_armed(missing: str) -> None:
    desk = unarmed()
    made = desk.cash() if missing != "cash" else desk.reconcile()
    assert of(made + desk.tick("60000"), Resumed) == []


# --- restarts --------------------------------------------------------------------------------------------------------


def restarted(desk: Desk, settings: RiskConfig) -> list[e.Event]:
    desk.settings = settings
    desk.restart()
    return desk.put(Started(fresh=False), "timer")


def test_a_file_that_tightens_below_what_is_lost_already_halts_at_the_start() -> None:
    desk = opened()
    desk.hold()
    desk.tick("59500")
    made = restarted(desk, config(max_daily_loss=D("0.005")))
    assert only(made, Halted).reason is Reason.MAX_DAILY_LOSS
    assert desk.state.limits_version == 2


def test_a_file_that_tightens_below_what_is_held_reduces_from_the_start() -> None:
    desk = opened()
    desk.hold()
    changed = only(restarted(desk, config(max_position_size=D("0.1"))), ModeChanged)
    assert (changed.scope, changed.new) == ("symbol:BTCUSDT", Mode.REDUCE_ONLY)


def test_a_window_cut_short_is_over_for_the_peers_too() -> None:
    """Services differ under an open window; the operator who closes it is told at once."""
    desk = opened()
    desk.put(e.UpgradeOpened(until_at=desk.now + MINUTE, operator="alice"), "portfolio")
    for service, code in (("signal", "new"), ("execution", "old")):
        assert of(desk.put(e.Heartbeat(service=service, code=code), f"health:{service}"), Halted) == []
    desk.put(e.UpgradeOpened(until_at=desk.now, operator="alice"), "portfolio")
    body = e.UpgradeWindow(operator="alice", nonce="w", expires_at=0, minutes=0)
    assert only(desk.put(body, "command"), Halted).reason is Reason.HASH


# --- going down ------------------------------------------------------------------------------------------------------


def test_a_fact_is_one_too_many_and_already_a_breach() -> None:
    use = halts.fact(Reason.GAP, "why")
    assert (use.breached, use.detail) == (True, "why")
    desk = opened()
    halt = only(desk.put(e.Heartbeat(service="signal", gap="tick"), "health:signal"), Halted)
    assert (halt.measured, halt.limit) == (1, 0)


@pytest.mark.parametrize("flatten", [False, True])
def test_a_cause_that_came_too_often_halts_with_all_that_a_halt_does(flatten: bool) -> None:
    """Entries are swept, the book is marked and, where so configured, sold."""
    desk = opened(config(auto_arm=True, clears_a_day=0, flatten_on_halt=flatten))
    desk.hold()
    made = desk.put(e.Heartbeat(service="execution", clock_offset_ms=900), "health:execution")
    assert only(made, Halted).reason is Reason.CLOCK_OFFSET_MS
    only(made, CancelIntent)
    only(made, e.PortfolioMarked)
    assert [event.new for event in of(made, ModeChanged)] == [Mode.LIQUIDATING] * flatten


def test_an_entry_without_a_time_of_its_own_rests_until_the_mode_falls() -> None:
    desk = opened(config(auto_arm=True, entry={"trend": EntryStyle(style="post_only", ttl_ms=0)}))
    resting = only(desk.signal(), OrderIntent)
    assert of(desk.later(10 * SECOND), CancelIntent) == []
    assert desk.state.orders[resting.order_link_id].open_lots == 166
    assert resting.side is Side.BUY
