"""The edges of leaving: cheap coins, single lots, two symbols, stakes of others, and the orders that are under way."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import Halted, OrderIntent, OrderRefused, Purpose, Reason, StakeTransferred
from libs.common.values import to_units
from services.risk import cash, kernel, limits, orders
from services.risk.config import Allow, EntryStyle
from services.risk.verdict import Measured
from tests.unit.risk.desk import SECOND, D, Desk, Side, config, halted, of, only, opened
from tests.unit.risk.pairs import PERP, SPOT, ask, legs, paired, stakes, traded

KEY = "trend|BTCUSDT"


def between_two(**changes: Any) -> Desk:
    """trend long 0.166, mean short 0.166 of Bitcoin, a second apart: the book is flat. Ether is at 3,000."""
    desk = opened(config(auto_arm=True, **changes))
    desk.hold()
    desk.later()
    desk.hold("-1", strategy="mean")
    desk.instrument("ETHUSDT", "0.01")
    desk.tick("3000", "ETHUSDT")
    desk.later()
    assert desk.state.ledger.lots("BTCUSDT") == 0
    return desk


# --- what a lot, a price and a side may be ---------------------------------------------------------------------------


def test_the_side_that_closes_is_the_other_one() -> None:
    """It is compared with the signs of orders under way, so it is 1 or -1 for any size."""
    assert [kernel.against(lots) for lots in (-7, -1, 1, 7)] == [1, 1, -1, -1]


def test_stamps_count_while_they_are_younger_than_the_span() -> None:
    assert kernel.later([1, 2, 3, 3, 4], 2) == [3, 3, 4]
    assert kernel.later([1, 2], 2) == kernel.later([], 2) == []


@pytest.mark.parametrize(("target", "side", "stopped"), [("1", Side.SELL, "0.297"), ("-1", Side.BUY, "0.303")])
def test_a_coin_below_a_dollar_is_stopped_and_left_like_any_other(target: str, side: Side, stopped: str) -> None:
    allow = {"trend": Allow(symbols=("DOGEUSDT",))}
    desk = opened(config(auto_arm=True, allow=allow, max_position_size=D(10**6), max_order_usd=D(1000)))
    desk.instrument("DOGEUSDT", "1", tick_size=D("0.00001"), max_qty=D(10**6))
    desk.tick("0.3", "DOGEUSDT", width="0.00001")
    entry = only(desk.signal(target, symbol="DOGEUSDT", stop_distance=D("0.003")), OrderIntent)
    desk.fill(entry, price=D("0.3"))
    stop = only(desk.tick(stopped, "DOGEUSDT", width="0.00001"), OrderIntent)
    assert (stop.purpose, stop.side, stop.qty) == (Purpose.STOP, side, entry.qty)
    assert abs(stop.price - D(stopped)) < D("0.01")


def test_a_stop_is_of_its_own_symbol() -> None:
    """The lots of one symbol are not valued at the price of the other."""
    desk = opened()
    desk.hold()
    desk.instrument("ETHUSDT", "0.01")
    desk.tick("3000", "ETHUSDT")
    order = only(desk.signal(symbol="ETHUSDT", stop_distance=D(30)), OrderIntent)
    desk.fill(order, price=D(3000))
    assert of(desk.tick("2990", "ETHUSDT") + desk.tick("3010", "ETHUSDT"), OrderIntent) == []
    stop = only(desk.tick("2970", "ETHUSDT"), OrderIntent)
    assert (stop.symbol, stop.qty) == ("ETHUSDT", order.qty)


def test_exactly_the_least_that_the_venue_trades_is_no_dust() -> None:
    """5 USD at 60,000 is 0.000084 in the venue's steps."""
    for left, is_dust in (("0.000084", False), ("0.000083", True)):
        desk = paired()
        order = only(desk.signal("1", "trend", SPOT), OrderIntent)
        traded(desk, order)
        out = only(desk.signal("0", "trend", SPOT), OrderIntent)
        traded(desk, out, out.qty - D(left))
        assert of(desk.later(), OrderIntent) == [] if is_dust else only(desk.later(), OrderIntent).qty == D(left)


def test_a_pair_of_single_lots_has_a_stop() -> None:
    desk = paired(max_position_size=D("0.001"))
    for order in legs(ask(desk, stop_distance=D(600))).values():
        traded(desk, order)
    assert stakes(desk) == (D("-0.001"), D("0.001"))
    assert of(desk.tick("60599"), OrderIntent) == []
    assert {order.symbol for order in of(desk.tick("60600"), OrderIntent)} == {PERP, SPOT}


# --- liquidation -----------------------------------------------------------------------------------------------------


def test_one_slice_of_a_symbol_at_a_time_even_of_one_lot() -> None:
    desk = opened(config(auto_arm=True, flatten_slice_usd=D(60)))
    desk.hold()
    first = only(halted(desk, flatten=True), OrderIntent)
    assert first.qty == D("0.001")
    assert of(desk.later() + desk.later(), OrderIntent) == []


def test_an_exit_under_way_is_not_tried_again_beside_the_slices() -> None:
    """The first slice leaves most of the position: the exit would go on for the rest of it."""
    desk = opened(config(auto_arm=True, flatten_slice_usd=D(4000)))
    desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.cancelled(exit_)
    assert only(halted(desk, flatten=True), OrderIntent).purpose is Purpose.FLATTEN
    assert of(desk.later(), OrderIntent) == []


# --- exits that meet themselves --------------------------------------------------------------------------------------


def test_an_exit_that_all_of_the_position_is_leaving_already_is_in_flight() -> None:
    """Wanted again and left again while the first exit is open: there is a price, and nothing to sell."""
    desk = opened()
    desk.hold()
    only(desk.signal("0"), OrderIntent)
    desk.signal("1")
    assert desk.state.tasks == {}
    assert only(desk.signal("0"), OrderRefused).reason is Reason.IN_FLIGHT


def test_out_after_a_reversal_is_out() -> None:
    desk = opened()
    desk.hold()
    desk.cancelled(only(desk.signal("-1"), OrderIntent))
    exit_ = only(desk.signal("0"), OrderIntent)
    made = desk.fill(exit_, price=D(60_000)) + desk.later()
    assert (of(made, OrderIntent), of(made, OrderRefused)) == ([], [])


# --- exits against others --------------------------------------------------------------------------------------------


def test_a_reversal_whose_stake_was_handed_over_enters_with_the_clock() -> None:
    """This second's entries are used up, so trend's sale goes to mean at mark; its short follows in the next second."""
    desk = between_two(order_rate=D(1))
    only(desk.signal(strategy="mean", symbol="ETHUSDT"), OrderIntent)
    made = desk.signal("-1")
    handed = only(made, StakeTransferred)
    assert (handed.seller, handed.buyer, handed.qty) == ("trend", "mean", D("0.166"))
    assert of(made, OrderIntent) == []
    entry = only(desk.later(), OrderIntent)
    assert (entry.strategy, entry.side, entry.purpose) == ("trend", Side.SELL, Purpose.ENTRY)
    assert of(desk.later(), OrderIntent) == []


@pytest.mark.parametrize("under_way", [("mean", "ETHUSDT"), ("trend", "BTCUSDT")])
def test_an_exit_waits_for_its_own_orders_in_the_symbol_and_for_no_others(under_way: tuple[str, str]) -> None:
    """mean leaves; what the book is not short it buys from the market, whatever else rests."""
    strategy, symbol = under_way
    styles = {name: EntryStyle(style="post_only", ttl_ms=60_000) for name in ("trend", "mean")}
    desk = opened(config(auto_arm=True, entry=styles, max_order_usd=D(20_000)))
    for name, side, quantity in (("trend", "1", "0.1"), ("mean", "-1", "0.15")):
        order = only(desk.signal(side, name), OrderIntent)
        desk.fill(order, D(quantity), D(60_000))
        desk.cancelled(order, quantity)
    desk.instrument("ETHUSDT", "0.01")
    desk.tick("3000", "ETHUSDT")
    exit_ = only(desk.signal("0", "mean"), OrderIntent)
    only(desk.signal("1", strategy, symbol, stop_distance=D(30) if symbol == "ETHUSDT" else D(300)), OrderIntent)
    desk.fill(exit_, price=D(60_000))
    rest = only(desk.later(), OrderIntent)
    assert (rest.strategy, rest.side, rest.qty, rest.reduce_only) == ("mean", Side.BUY, D("0.1"), False)
    assert of(desk.later(), OrderIntent) == [], "now it has one"


def test_who_goes_on_leaving_keeps_the_stop_he_came_with() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.hold("-1", strategy="mean")
    desk.cancelled(exit_)
    rest = only(desk.later(), OrderIntent)
    assert (rest.reduce_only, rest.stop_distance) == (False, 0)
    assert desk.state.stops[KEY] == D(600)


def test_an_exit_against_others_whose_limits_fail_halts_the_book_and_hands_nothing_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(state: Any, draft: Any) -> Measured:
        raise ZeroDivisionError("nothing to divide by")

    desk = between_two()
    monkeypatch.setattr(limits, "ENTRY", limits.ENTRY | {Reason.ALLOW_LIST: broken})
    made = desk.signal("0")
    assert only(made, OrderRefused).reason is Reason.EXCEPTION
    assert only(made, Halted).reason is Reason.EXCEPTION
    assert of(made, StakeTransferred) == []
    assert only(desk.signal("0"), StakeTransferred).seller == "trend", "the halt lets it out"


# --- orders under way ------------------------------------------------------------------------------------------------


def test_an_approval_has_the_same_id_in_every_version() -> None:
    """A rolled upgrade that decides a signal once more must not make a second order of it; the venue takes 36 characters."""
    link = orders.link_id("0" * 32, Purpose.EXIT, KEY)
    assert link == "tg-cb5c62d552731fad08a2e3fecd7ffc"
    others = {orders.link_id("1" * 32, Purpose.EXIT, KEY), orders.link_id("0" * 32, Purpose.STOP, KEY)}
    assert len({link, *others, orders.link_id("0" * 32, Purpose.EXIT, "mean|BTCUSDT")}) == 4


def test_a_fill_of_an_order_that_was_forgotten_still_moves_the_book() -> None:
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    desk.cancelled(order)
    assert desk.state.orders == {}
    desk.fill(order, D("0.1"), D(60_000))
    assert (desk.state.ledger.lots("BTCUSDT"), desk.state.orders) == (100, {})
    assert only(desk.signal("0"), OrderIntent).qty == D("0.1")


# --- cash ------------------------------------------------------------------------------------------------------------


def free(desk: Desk) -> Any:
    return D(cash.free_units(desk.state)) / 10**8


def test_a_hundredth_of_what_is_free_is_kept_back() -> None:
    desk = paired()
    assert free(desk) == D(9900)
    desk.state.ledger.wallet_units = to_units(D("0.00000150"))
    assert cash.free_units(desk.state) == 149
    desk.state.ledger.wallet_units = -1
    assert cash.free_units(desk.state) == 0


def test_coins_hold_their_price_and_a_perpetual_its_margin() -> None:
    """A fifth at the leverage of 5 that is allowed, rounded up; all of it below a leverage of 1."""
    desk = paired()
    assert cash.held_units(desk.state, SPOT, 1001) == 1001
    assert cash.held_units(desk.state, PERP, 1001) == 201
    desk.put(e.LimitChanged(version=2, limits={"max_leverage": D("0.5")}), "portfolio")
    assert cash.held_units(desk.state, PERP, 1001) == 1001


@pytest.mark.parametrize("symbol", [PERP, SPOT])
def test_an_order_and_then_its_position_hold_cash_and_an_exit_none(symbol: str) -> None:
    desk = paired(max_order_usd=D(5000))
    order = only(desk.signal("1", "trend", symbol), OrderIntent)
    worth = order.qty * order.price
    held = worth if symbol == SPOT else worth / 5
    assert abs(free(desk) - D("0.99") * (10_000 - held)) < D("0.001")
    traded(desk, order)
    desk.now += SECOND
    held = order.qty * 60_000 / (1 if symbol == SPOT else 5)
    assert abs(free(desk) - D("0.99") * (10_000 - held)) < D("0.001")
    before = free(desk)
    only(desk.signal("0", "trend", symbol), OrderIntent)
    assert free(desk) == before
