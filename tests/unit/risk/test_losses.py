"""Loss limits, their bases, midnight, cash, restarts."""

from __future__ import annotations

import pytest

from libs.common import events as e
from libs.common.events import OrderIntent, OrderRefused, Reason
from services.risk.state import Window
from tests.unit.risk.desk import DAY, MINUTE, SECOND, D, Desk, config, of, only, opened

WIDE = {"max_daily_loss": D(1), "max_weekly_loss": D(1), "max_drawdown": D(1)}


def arming(**changes: D) -> Desk:
    return opened(config(auto_arm=True, **changes))


def holding(desk: Desk, stop: str = "6000") -> Desk:
    """Long 0.1 BTC at 60000 with a far stop: 100 USD of price are 10 USD."""
    order = only(desk.signal(stop_distance=D(600)), OrderIntent)
    desk.fill(order, D("0.1"), D(60000))
    desk.cancelled(order, "0.1")
    desk.state.stops["trend|BTCUSDT"] = D(stop)
    return desk


def to_midnight(desk: Desk) -> None:
    desk.later(DAY - desk.now % DAY)


@pytest.mark.parametrize(
    ("changes", "reason", "price"),
    [
        ({"max_weekly_loss": D(1), "max_drawdown": D(1)}, Reason.MAX_DAILY_LOSS, 58_000),
        ({"max_daily_loss": D(1), "max_drawdown": D(1)}, Reason.MAX_WEEKLY_LOSS, 55_000),
        ({"max_daily_loss": D(1), "max_weekly_loss": D(1)}, Reason.MAX_DRAWDOWN, 50_000),
    ],
)
def test_loss_halts_when_it_reaches_the_limit(changes: dict[str, D], reason: Reason, price: int) -> None:
    desk = holding(arming(**changes), stop="30000")
    assert of(desk.tick(D(price) + D("0.1")), e.Halted) == []
    made = desk.tick(D(price))
    halted = only(made, e.Halted)
    assert (halted.reason, halted.measured, halted.scope) == (reason, halted.limit, "book")
    assert only(made, e.CancelIntent) == e.CancelIntent(symbol="", reason=reason.value)
    assert of(desk.tick(D(price)), e.Halted) == []
    assert only(desk.signal(strategy="mean"), OrderRefused).reason is Reason.MODE


def test_profit_never_halts() -> None:
    desk = holding(arming(max_daily_loss=D("0.001"), max_weekly_loss=D("0.001"), max_drawdown=D("0.001")))
    for price in range(60_000, 200_000, 10_000):
        assert of(desk.tick(price), e.Halted) == []
    assert desk.state.peak_units > 10**12


def test_peak_of_zero_divides_nothing() -> None:
    desk = Desk()
    desk.instrument()
    desk.later()
    desk.tick("60000")
    assert desk.halts() == []
    marked = only(desk.cash("0"), e.PortfolioMarked)
    assert marked.drawdown == marked.daily_loss == D(0)
    assert only(desk.signal(), OrderRefused).reason is Reason.NOT_RECONCILED


def test_deposit_hides_no_loss() -> None:
    desk = holding(arming())
    desk.tick("58500")
    before = only(desk.cash("1000000"), e.PortfolioMarked)
    assert before.daily_loss == D("0.015")
    assert before.drawdown == D("0.015")


def test_withdrawal_halts_nothing() -> None:
    desk = holding(arming())
    desk.tick("58500")
    made = desk.cash("-5000")
    assert of(made, e.Halted) == []
    assert only(made, e.PortfolioMarked).daily_loss == D("0.015")
    assert of(desk.cash("-4000"), e.Halted) == []


def test_first_cash_sets_the_bases() -> None:
    desk = opened()
    assert (desk.state.peak_units, desk.state.day.base_units, desk.state.week.base_units) == (10**12,) * 3


def test_loss_running_over_midnight_is_counted_in_full() -> None:
    desk = holding(arming())
    desk.tick("58500")
    to_midnight(desk)
    assert (desk.state.day.base_units, desk.state.day.carried) == (10**12, ["BTCUSDT"])
    assert only(desk.tick("58000"), e.Halted).reason is Reason.MAX_DAILY_LOSS


def test_carried_loss_ends_when_flat() -> None:
    desk = holding(arming())
    desk.tick("58500")
    to_midnight(desk)
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.fill(exit_, price=D(58_500))
    desk.later()
    assert desk.state.day == Window(20_001, 985_000_000_000, 985_000_000_000)
    assert desk.halts()[1:] == []


def test_what_closing_a_carried_loss_costs_is_counted_with_it() -> None:
    desk = holding(arming())
    desk.tick("58500")
    to_midnight(desk)
    exit_ = only(desk.signal("0"), OrderIntent)
    halted = only(desk.fill(exit_, price=D(57_990)), e.Halted)
    assert (halted.reason, halted.measured) == (Reason.MAX_DAILY_LOSS, D("0.0201"))
    desk.later()
    assert desk.state.day == Window(20_001, 985_000_000_000, 985_000_000_000)


def test_carried_loss_ends_when_recovered() -> None:
    desk = holding(arming())
    desk.tick("58500")
    to_midnight(desk)
    desk.tick("60000")
    assert (desk.state.day.base_units, desk.state.day.carried) == (985_000_000_000, [])


def test_loss_realised_before_midnight_is_yesterdays() -> None:
    desk = holding(arming())
    desk.tick("58500")
    desk.fill(only(desk.signal("0"), OrderIntent), price=D(58_500))
    to_midnight(desk)
    assert (desk.state.day.base_units, desk.state.day.carried) == (985_000_000_000, [])
    assert desk.state.week.base_units == 10**12


def test_week_begins_on_monday() -> None:
    desk = holding(arming(**WIDE))
    desk.tick("60100")
    for day in range(2):
        to_midnight(desk)
        assert desk.state.week.base_units == 10**12, day
    to_midnight(desk)
    assert desk.state.week.base_units == 1_001 * 10**9


def test_one_carried_symbol_of_two_keeps_the_base() -> None:
    desk = arming(**WIDE)
    desk.state.day = Window(desk.state.day.number, 2 * 10**12, 10**12, ["BTCUSDT", "ETHUSDT"])
    holding(desk)
    assert desk.state.day.carried == ["ETHUSDT"]


def test_daily_loss_survives_a_restart() -> None:
    desk = holding(arming())
    desk.tick("58500")
    desk.restart()
    assert only(desk.tick("58000"), e.Halted).reason is Reason.MAX_DAILY_LOSS


def test_fees_and_funding_count() -> None:
    desk = holding(arming())
    paid = e.FundingPaid(
        symbol="BTCUSDT", exec_id="f", qty=D("0.1"), mark=D(60000), rate=D(1), fee=D(200), exec_at=desk.now
    )
    assert only(desk.put(paid, "fill"), e.Halted).reason is Reason.MAX_DAILY_LOSS


def test_losing_streak_halts_and_a_win_ends_it() -> None:
    desk = arming(max_consecutive_losses=D(3))
    for price, halts in (("59990", 0), ("59990", 0), ("60010", 0), ("59990", 0), ("59990", 0), ("59990", 1)):
        desk.later(10 * SECOND)
        desk.tick("60000")
        desk.hold("1")
        made = desk.fill(only(desk.signal("0"), OrderIntent), price=D(price))
        assert len(of(made, e.Halted)) == halts, price


def test_stage_share_scales_the_limits() -> None:
    """At 1 % of 10000 the daily limit of 2 % is 2 USD."""
    desk = arming()
    holding(desk)
    desk.put(e.StageChanged(stage="staged", share=D("0.01")), "portfolio")
    assert of(desk.tick("59980.1"), e.Halted) == []
    assert only(desk.tick("59980"), e.Halted).measured == D("0.02")


@pytest.mark.parametrize("reason", [Reason.MAX_DAILY_LOSS, Reason.MAX_WEEKLY_LOSS, Reason.MAX_DRAWDOWN])
def test_a_limit_of_nothing_halts_on_the_first_unit_lost_and_on_none(reason: Reason) -> None:
    desk = arming(**(WIDE | {reason.value: D(0)}))
    for fee, halts in ((D(0), 0), (D("0.00000001"), 1)):
        paid = e.FundingPaid(
            symbol="BTCUSDT", exec_id=str(fee), qty=D(0), mark=D(60_000), rate=D(0), fee=fee, exec_at=desk.now
        )
        assert [halted.reason for halted in of(desk.put(paid, "fill"), e.Halted)] == [reason] * halts


def test_a_mark_tells_each_loss_against_its_own_base() -> None:
    """10000 on Monday; 100 lost; since midnight 50 more; a peak of 10,200 in between."""
    desk = arming(**WIDE)
    desk.state.peak_units = 10_200 * 10**8
    desk.state.week = Window(desk.state.week.number, 10_000 * 10**8, 10_000 * 10**8)
    desk.state.day = Window(desk.state.day.number, 9_900 * 10**8, 9_900 * 10**8)
    desk.state.ledger.wallet_units = 9_850 * 10**8
    desk.now += MINUTE
    marked = only(desk.later(), e.PortfolioMarked)
    assert (marked.equity, marked.peak) == (9_850, 10_200)
    assert marked.daily_loss == D("0.005051")
    assert marked.weekly_loss == D("0.015")
    assert marked.drawdown == D("0.034314")


def test_a_strategy_cannot_move_the_books_clock() -> None:
    """A signal from next week rolls no window: the loss of today still counts."""
    desk = opened()
    day, week, now = desk.state.day, desk.state.week, desk.state.now
    desk.now += 8 * DAY
    desk.signal("1")
    assert (desk.state.day, desk.state.week, desk.state.now) == (day, week, now)
