"""The edges of what is learnt of a market: prices that are none, delays, silence, the venue's rules in lots of the book."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import Halted, ModeChanged, OrderIntent, Reason
from services.risk import markets
from services.risk.state import Market
from tests.unit.risk.desk import SECOND, D, Desk, Side, config, of, only, opened


def market(desk: Desk) -> Market:
    return desk.state.markets["BTCUSDT"]


@pytest.mark.parametrize(
    ("price", "is_sane"),
    [("0", False), ("-1", False), ("0.5", True), ("NaN", False), ("Infinity", False), ("999999999999", True), ("1e12", False)],
)  # fmt: skip
def test_a_price_is_a_positive_number_within_reason(price: str, is_sane: bool) -> None:
    assert markets.sane(D(price)) == (D(price) if is_sane else 0)


def test_the_venues_rules_are_kept_in_the_books_lots() -> None:
    """The venue's lot grew to 0.01; the book keeps its own of 0.001."""
    desk = opened()
    desk.instrument(lot="0.01", min_qty=D("0.0255"), max_qty=D(3))
    grid = desk.state.ledger.grids["BTCUSDT"]
    known = market(desk)
    assert known.step * grid.lot_size == D("0.01")
    assert (known.min_lots - 1) * grid.lot_size < D("0.0255") <= known.min_lots * grid.lot_size
    assert known.max_lots * grid.lot_size == 3


def test_a_market_below_one_is_valued_again_when_its_rules_change() -> None:
    desk = opened(price="0.5")
    desk.instrument(lot="0.0001")
    assert market(desk).mark_units == desk.state.ledger.lot_units("BTCUSDT", D("0.5"))


@pytest.mark.parametrize(("delay_ms", "is_late"), [(999, False), (1000, True)])
def test_a_tick_is_late_by_the_limit(delay_ms: int, is_late: bool) -> None:
    desk = opened()
    made = desk.tick("60000", exchange_at=desk.now - delay_ms * 1_000_000, received_at=desk.now)
    changes = of(made, ModeChanged)
    assert [change.reason for change in changes] == ([Reason.FEED_DELAY_MS] if is_late else [])
    if is_late:
        assert desk.state.conditions["book/feed_delay_ms"].measured == 1000


@pytest.mark.parametrize("known", [{"exchange_at": 1}, {"received_at": 10**18}])
def test_half_a_stamp_says_nothing_of_delay(known: dict[str, Any]) -> None:
    assert of(opened().tick("60000", **known), ModeChanged) == []


def test_index_and_mark_follow_the_last_trade_until_a_reference_comes() -> None:
    desk = opened()
    desk.tick("60010")
    assert (market(desk).mark, market(desk).index) == (60_010, 60_010)
    desk.put(e.Reference(symbol="BTCUSDT", mark=D(60_020), index=D(60_030)), "reference")
    desk.tick("60040")
    assert (market(desk).mark, market(desk).index) == (60_020, 60_030)


def test_a_fast_mark_counts_like_a_fast_trade() -> None:
    desk = opened()
    desk.mark("60000")
    assert only(desk.mark("61200"), ModeChanged).reason is Reason.VELOCITY


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_a_book_with_one_side_has_no_spread(side: str) -> None:
    desk = opened()
    desk.now += SECOND
    before = list(market(desk).spreads)
    body: dict[str, Any] = {"bids": ((D(60_000), D(1)),), "asks": ((D(60_001), D(1)),)} | {side: ()}
    desk.put(e.Tick(symbol="BTCUSDT", last=D(60_000), **body), "tick")
    assert market(desk).spreads == before


def test_a_book_below_one_has_a_spread() -> None:
    desk = opened(price="0.5")
    desk.now += SECOND
    before = len(market(desk).spreads)
    desk.tick("0.5")
    assert len(market(desk).spreads) == before + 1


def test_silence_is_measured_and_on_a_tape_no_shorter_than_three_instants() -> None:
    desk = opened()
    assert of(desk.later(15 * SECOND - 1), ModeChanged) == []
    only(desk.later(1), ModeChanged)
    seen = desk.state.conditions["book/feed_silence"]
    assert (seen.measured, seen.limit) == (15_000, 15_000)
    desk = opened()
    desk.state.window_ns = 10 * SECOND
    desk.tick("60000")
    desk.now += 30 * SECOND - 1
    markets.on_time(desk.state)
    assert desk.state.conditions == {}
    desk.state.now += 30 * SECOND - 1
    markets.on_time(desk.state)
    assert desk.state.conditions == {}
    desk.state.now += 1
    markets.on_time(desk.state)
    seen = desk.state.conditions["book/feed_silence"]
    assert (seen.measured, seen.limit) == (30_000, 30_000)


def test_a_position_above_its_limit_is_found_by_the_clock() -> None:
    desk = opened(config(auto_arm=True))
    desk.hold()
    desk.state.limits = config(max_position_size=Decimal("0.1")).limits
    assert only(desk.later(), ModeChanged).reason is Reason.MAX_POSITION_SIZE


@pytest.mark.parametrize(("lowered_by", "is_over"), [("0", False), ("0.001", True)])
def test_a_position_may_be_all_that_its_limit_allows_and_not_a_lot_more(lowered_by: str, is_over: bool) -> None:
    desk = opened()
    held = desk.hold().qty
    desk.put(e.LimitChanged(version=2, limits={"max_position_size": held - D(lowered_by)}), "portfolio")
    assert [m.reason for m in of(desk.later(), ModeChanged)] == ([Reason.MAX_POSITION_SIZE] if is_over else [])


@pytest.mark.parametrize("side", Side)
def test_a_position_that_came_before_any_mark_is_worth_what_it_cost(side: Side) -> None:
    """An account that holds ETH when the book starts: no loss and no profit until there is a price."""
    desk = opened()
    equity = desk.state.equity_units
    assert of(desk.adjust(side, "2", "3000", "ETHUSDT"), Halted) == []
    desk.instrument("ETHUSDT", "0.01")
    assert of(desk.adjust(side, "1", "3100", "ETHUSDT"), Halted) == []
    assert desk.state.equity_units == equity
    desk.tick("3050", "ETHUSDT")
    assert desk.state.equity_units - equity == side.sign * (2 * 50 - 50) * 10**8


@pytest.mark.parametrize("part", ["0.0105", "0.00025", "0.1660000"])
def test_a_trade_that_is_no_whole_lots_makes_nobody_rich_and_no_order_smaller(part: str) -> None:
    """The book's lot gets finer with it; the position, the rest of the order and the venue's rules stay what they are."""
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    assert order.qty == D("0.166")
    equity, peak = desk.state.equity_units, desk.state.peak_units
    assert of(desk.fill(order, D(part), D(60_000)), Halted) == []
    lot = desk.state.ledger.grids["BTCUSDT"].lot_size
    assert D(part) % lot == 0
    assert (desk.state.equity_units, desk.state.peak_units) == (equity, peak)
    assert sum(o.open_lots for o in desk.state.orders.values()) * lot == D("0.166") - D(part)
    rules = market(desk)
    assert (rules.step * lot, rules.min_lots * lot, rules.max_lots * lot) == (D("0.001"), D("0.001"), 100)
    assert rules.mark_units == 60_000 * lot * 10**8
    desk.now += 5 * SECOND
    assert of(desk.tick("60001"), ModeChanged) == []
    only(desk.tick("61300"), ModeChanged)


def test_a_trade_of_no_whole_lots_in_a_symbol_without_a_market_is_only_booked() -> None:
    desk = opened()
    desk.adjust(Side.BUY, "2", "3000", "ETHUSDT")
    desk.adjust(Side.BUY, "0.5", "3000", "ETHUSDT")
    assert desk.state.ledger.quantity("ETHUSDT") == D("2.5")


def test_a_feed_that_is_down_says_for_how_long() -> None:
    desk = opened()
    desk.now += SECOND
    desk.put(e.FeedDown(symbol="BTCUSDT", reason="silence", silent_ms=1000), "tick")
    desk.later(2 * SECOND)
    seen = desk.state.conditions["book/feed_silence"]
    assert (seen.measured, seen.limit) == (3000, 15_000)
