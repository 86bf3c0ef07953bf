"""Pairs: both legs or none, at one quantity; what loses a leg is unwound whole; dust and free balance on spot."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import Halted, OrderIntent, OrderRefused, Purpose, Reason, TimeInForce
from libs.common.values import to_units
from services.risk import cash, hedges
from services.risk.config import Allow, EntryStyle
from tests.unit.risk.desk import SECOND, D, Desk, Side, of, only
from tests.unit.risk.pairs import PERP, SPOT, ask, legs, paired, stakes, traded


def held(desk: Desk, **changes: Any) -> dict[str, OrderIntent]:
    """A whole pair."""
    orders = legs(ask(desk, **changes))
    for order in orders.values():
        assert of(traded(desk, order), OrderIntent) == []
    return orders


def halted(desk: Desk) -> list[e.Event]:
    return desk.put(e.HaltRequested(operator="a", nonce=str(desk.seq), expires_at=0, reason="r"), "command")


def test_both_legs_at_one_quantity_on_the_coarser_lot() -> None:
    desk = paired(entry={"arb": EntryStyle(style="post_only")})
    made = ask(desk)
    assert [order.symbol for order in of(made, OrderIntent)] == [SPOT, PERP]
    orders = legs(made)
    assert orders[SPOT].qty == orders[PERP].qty == D("0.137")
    assert (orders[SPOT].side, orders[PERP].side) == (Side.BUY, Side.SELL)
    assert {o.time_in_force for o in orders.values()} == {TimeInForce.IOC}, "a pair does not rest"
    assert {o.stop_distance for o in orders.values()} == {D(0)}, "no leg has a stop of its own"
    assert len({o.order_link_id for o in orders.values()}) == 2
    assert desk.state.stops == {}


@pytest.mark.parametrize(
    ("limit", "value", "quantity"),
    [
        ("max_position_size", D("0.05"), D("0.05")),
        ("max_order_usd", D(1300), D("0.021")),
        ("max_gross_usd", D(12_000), D("0.099")),
        ("max_leverage", D(1), D("0.082")),
        ("position_limit_usd", D(3000), D("0.049")),
    ],
)
def test_one_cap_of_either_leg_shrinks_both(limit: str, value: Any, quantity: Any) -> None:
    orders = legs(ask(paired(**{limit: value})))
    assert {order.qty for order in orders.values()} == {quantity}


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda d: d.put(e.FeedDown(symbol=SPOT, reason="silence"), "tick"), Reason.MODE),
        (lambda d: d.instrument(SPOT, "0.000001", category="spot", status="Closed"), Reason.NO_MARKET),
        (lambda d: d.tick("61000", SPOT), None),
        (halted, Reason.MODE),
        (lambda d: d.put(e.Mismatch(kind="x", symbol="", ours="", venue="", healed=True), "account"), Reason.NOT_RECONCILED),
    ],
)  # fmt: skip
def test_one_leg_that_may_not_refuses_both(prepare: Any, reason: Reason | None) -> None:
    desk = paired()
    prepare(desk)
    made = ask(desk)
    if reason is None:
        assert len(of(made, OrderIntent)) == 2
        return
    refused = only(made, OrderRefused)
    assert (refused.reason, of(made, OrderIntent)) == (reason, [])
    assert refused.detail.startswith("leg ")


def test_no_coins_are_sold_that_are_not_owned() -> None:
    desk = paired()
    assert only(ask(desk, "1"), OrderRefused).reason is Reason.SPOT_SHORT
    assert only(desk.signal("-1", "trend", SPOT), OrderRefused).reason is Reason.SPOT_SHORT


def test_default_deny_is_by_leg() -> None:
    desk = paired(allow={"arb": Allow(symbols=(PERP,))}, allocation={"arb": D("0.5")})
    assert only(ask(desk), OrderRefused).reason is Reason.ALLOW_LIST
    assert desk.state.hedges == {}


@pytest.mark.parametrize("changes", [{"hedge": PERP}, {"stop_distance": D(0)}, {"p": D("NaN")}])
def test_poison_pairs_are_refused(changes: dict[str, Any]) -> None:
    desk = paired()
    made = desk.signal("-1", "arb", PERP, **({"hedge": SPOT} | changes))
    assert only(made, OrderRefused).reason is Reason.MALFORMED
    assert only(desk.signal("-1", "arb", PERP, hedge="NONE"), OrderRefused).reason is Reason.UNKNOWN_SYMBOL


def test_sizing_that_raises_refuses_and_halts() -> None:
    for symbol in (PERP, SPOT):
        desk = paired()
        desk.state.markets[symbol].step = 0
        made = ask(desk)
        assert only(made, OrderRefused).reason is Reason.EXCEPTION
        only(made, Halted)


def test_below_the_minimum_of_one_leg() -> None:
    desk = paired(kelly_fraction=D("0.0001"))
    assert only(ask(desk), OrderRefused).reason is Reason.BELOW_MINIMUM


def test_a_pair_is_not_resized_and_leaves_whole() -> None:
    desk = paired()
    assert only(ask(desk, "0"), OrderRefused).reason is Reason.NO_CHANGE
    held(desk)
    assert stakes(desk) == (D("-0.137"), D("0.137"))
    assert only(ask(desk, "-0.2"), OrderRefused).reason is Reason.NO_CHANGE
    out = legs(ask(desk, "0"))
    assert {o.qty for o in out.values()} == {D("0.137")}
    assert (out[SPOT].side, out[PERP].side) == (Side.SELL, Side.BUY)
    assert only(ask(desk, "0"), OrderRefused).reason is Reason.IN_FLIGHT
    for order in out.values():
        assert of(traded(desk, order), OrderIntent) == []
    assert (stakes(desk), desk.state.tasks) == ((0, 0), {})
    assert len(legs(ask(desk))) == 2, "and in again"


def test_leg_that_never_traded_unwinds_the_other() -> None:
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[SPOT])
    made = traded(desk, orders[PERP], 0)
    out = only(made, OrderIntent)
    assert (out.symbol, out.side, out.qty, out.reduce_only, out.purpose) == (
        SPOT, Side.SELL, D("0.137"), True, Purpose.EXIT,
    )  # fmt: skip
    traded(desk, out)
    assert stakes(desk) == (0, 0)


def test_partly_filled_leg_unwinds_both_the_larger_first() -> None:
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[SPOT])
    out = of(traded(desk, orders[PERP], "0.1"), OrderIntent)
    assert [(o.symbol, o.qty) for o in out] == [(SPOT, D("0.137")), (PERP, D("0.1"))]


def test_halt_between_the_legs_unwinds_what_was_bought() -> None:
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[SPOT])
    halted(desk)
    refusal = e.OrderRejected(order_link_id=orders[PERP].order_link_id, symbol=PERP, reason="gate")
    out = only(desk.put(refusal, "order"), OrderIntent)
    assert (out.symbol, out.qty) == (SPOT, D("0.137"))


def test_unanswered_leg_is_waited_for_half_a_second_of_tape_and_unwound_when_it_comes_late() -> None:
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[SPOT])
    assert of(desk.later(SECOND // 4), OrderIntent) == []
    out = only(desk.later(SECOND // 4), OrderIntent)
    assert out.symbol == SPOT
    traded(desk, out)
    late = of(traded(desk, orders[PERP]), OrderIntent)
    late += of(desk.later(SECOND // 2), OrderIntent)
    assert [(o.symbol, o.side, o.reduce_only) for o in late] == [(PERP, Side.BUY, True)]


def test_adl_of_one_leg_unwinds_the_pair_in_any_mode() -> None:
    for prepare in (lambda d: [], halted):
        desk = paired()
        held(desk)
        prepare(desk)
        out = of(desk.adjust(Side.BUY, "0.1", "60000"), OrderIntent)
        assert [(o.symbol, o.qty) for o in out] == [(SPOT, D("0.137")), (PERP, D("0.037"))]


def test_halt_leaves_a_whole_pair_alone_and_lets_it_out() -> None:
    desk = paired()
    held(desk)
    halted(desk)
    assert of(desk.later(), OrderIntent) == []
    assert len(legs(ask(desk, "0"))) == 2


def test_fee_in_coins_is_no_missing_leg() -> None:
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[SPOT], "0.136863")
    assert of(traded(desk, orders[PERP]), OrderIntent) == []
    assert of(desk.later(), OrderIntent) == []


def test_stop_is_on_both_legs_together() -> None:
    desk = paired()
    held(desk, stop_distance=D(600))
    for price in (60_500, 61_000, 61_500, 61_000, 60_500, 60_000):
        made = desk.tick(price, SPOT, width="0.01") + desk.tick(price)
        assert of(made, OrderIntent) == [], "the pair earns or loses nothing by the price"
    assert of(desk.tick(60_599), OrderIntent) == []
    assert {o.symbol for o in of(desk.tick(60_600), OrderIntent)} == {PERP, SPOT}


def test_pair_against_another_strategy_on_the_same_perpetual() -> None:
    """trend is long more than the pair is short: the pair's purchase would grow the book, so in a halt it is handed over."""
    desk = paired(max_order_usd=D(5000))
    held(desk)
    big = only(desk.signal("1", "trend", PERP, stop_distance=D(100)), OrderIntent)
    desk.fill(big)
    more = only(desk.signal("1", "trend", PERP, stop_distance=D(50)), OrderIntent)
    desk.fill(more)
    assert desk.state.ledger.lots(PERP) > 0
    halted(desk)
    made = ask(desk, "0")
    handed = only(made, e.StakeTransferred)
    assert (handed.seller, handed.buyer, handed.qty) == ("trend", "arb", D("0.083"))
    traded(desk, legs(made)[SPOT])
    assert stakes(desk) == (0, 0)


def test_liquidation_takes_the_larger_leg_first() -> None:
    desk = paired()
    held(desk)
    desk.tick("60600", SPOT, width="0.01")
    made = desk.put(e.FlattenRequested(operator="a", nonce="f", expires_at=0), "command")
    assert [o.symbol for o in of(made, OrderIntent)] == [SPOT, PERP]
    assert only(ask(desk, "0"), OrderRefused).reason is Reason.MODE


# --- spot ------------------------------------------------------------------------------------------------------------


def snapshot(desk: Desk, coins: str) -> None:
    desk.now += SECOND
    body = e.AccountSnapshot(wallet=D(0), equity=D(0), available=D(0), balances={"BTC": D(coins)})
    desk.put(body, "account")


def test_spot_exit_sells_at_most_the_free_balance() -> None:
    desk = paired()
    held(desk)
    snapshot(desk, "0.1368632")
    out = legs(ask(desk, "0"))
    assert out[SPOT].qty == D("0.136863")


def test_a_balance_told_before_the_last_trade_counts_for_nothing() -> None:
    desk = paired()
    snapshot(desk, "0")
    held(desk)
    assert legs(ask(desk, "0"))[SPOT].qty == D("0.137")


def test_dust_on_spot_is_reported_and_counts_as_flat() -> None:
    desk = paired()
    order = only(desk.signal("1", "trend", SPOT), OrderIntent)
    traded(desk, order)
    out = only(desk.signal("0", "trend", SPOT), OrderIntent)
    traded(desk, out, out.qty - D("0.00005"))
    assert desk.state.tasks == {}
    refused = only(desk.signal("0", "trend", SPOT), OrderRefused)
    assert (refused.reason, refused.detail[:5]) == (Reason.BELOW_MINIMUM, "dust:")
    assert of(desk.put(e.FlattenRequested(operator="a", nonce="f", expires_at=0), "command"), OrderIntent) == []
    assert only(desk.put(e.FlatConfirmed(checked_at=0, wallet=D(0)), "account"), e.ModeChanged).new is e.Mode.HALTED


@pytest.mark.parametrize("ratio", ["NaN", "sNaN", "Infinity"])
def test_a_margin_ratio_that_is_no_number_stops_entries_and_no_process(ratio: str) -> None:
    desk = paired()
    made = desk.put(
        e.AccountSnapshot(wallet=D(0), equity=D(0), available=D(0), margin_ratio=D(ratio), balances={"BTC": D("NaN")}),
        "account",
    )
    assert only(made, e.ModeChanged).reason is Reason.MAX_MARGIN_RATIO
    assert desk.state.balances == {}
    desk.restart()
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE


def test_margin_ratio_stops_entries() -> None:
    desk = paired()
    body = e.AccountSnapshot(wallet=D(0), equity=D(0), available=D(0), margin_ratio=D("0.5"))
    assert only(desk.put(body, "account"), e.ModeChanged).reason is Reason.MAX_MARGIN_RATIO
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE


def test_memory_of_pairs_round_trips() -> None:
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[SPOT])
    desk.restart()
    (hedge,) = desk.state.hedges.values()
    assert (hedge.symbol, hedge.hedge, hedge.naked_at) == (PERP, SPOT, desk.now)
    assert hedges.is_naked(desk.state, hedge)


def test_nothing_is_unwound_beside_a_liquidation() -> None:
    desk = paired()
    held(desk)
    desk.put(e.FlattenRequested(operator="a", nonce="f", expires_at=0), "command")
    assert of(desk.adjust(Side.BUY, "0.1", "60000"), OrderIntent) == []
    assert all(order.purpose is Purpose.FLATTEN for order in of(desk.later(), OrderIntent))


def test_coins_are_bought_with_what_no_margin_holds() -> None:
    """10,000 less 1 % to spare: 0.137 at 60,000 for the coins and a fifth of it as margin; whoever comes next gets what is left."""
    desk = paired(
        allow={"arb": Allow(symbols=(PERP, SPOT)), "trend": Allow(symbols=(SPOT,)), "late": Allow(symbols=(SPOT,))},
        allocation={"arb": D("0.4"), "trend": D("0.3"), "late": D("0.3")},
        max_position_size=D(10), position_limit_usd=D(100_000), max_net_usd=D(100_000),
    )  # fmt: skip
    held(desk)
    left = only(desk.signal("1", "trend", SPOT), OrderIntent)
    assert left.qty * left.price < 150
    traded(desk, left)
    assert only(desk.signal("1", "late", SPOT), OrderRefused).reason is Reason.SPOT_CASH


def test_orders_under_way_hold_their_cash() -> None:
    desk = paired()
    before = cash.free_units(desk.state)
    orders = legs(ask(desk))
    worth = D("0.137") * (orders[SPOT].price + D(60_000) / 5)
    assert abs(to_units(worth * D("0.99")) - (before - cash.free_units(desk.state))) < to_units(D(10))


def test_more_margin_than_money_leaves_no_cash() -> None:
    desk = paired()
    held(desk)
    desk.state.ledger.wallet_units = 0
    assert cash.free_units(desk.state) == 0
    desk.state.markets.pop(PERP)
    assert cash.free_units(desk.state) == 0


def test_a_wild_pair_is_disabled() -> None:
    desk = paired(signal_flood=D(5))
    for _ in range(5):
        desk.now += SECOND
        made = ask(desk, score=D(1))
    assert only(made, Halted).reason is Reason.SIGNAL_FLOOD
    for order in list(desk.state.orders.values()):
        desk.put(e.OrderRejected(order_link_id=order.order_link_id, symbol=order.symbol, reason="x"), "order")
    assert only(ask(desk), OrderRefused).detail == "disabled until resumed"
