"""What only reduces: exits in every mode, stops, retries that widen, reversals, liquidation."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import CancelIntent, Halted, Mode, ModeChanged, OrderIntent, OrderRefused, Purpose, Reason
from services.risk.config import EntryStyle
from tests.unit.risk.desk import SECOND, D, Desk, Side, config, halted, of, only, opened


def test_exit_is_reduce_only_at_the_exit_collar() -> None:
    desk = opened()
    order = desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    assert (exit_.side, exit_.qty, exit_.reduce_only, exit_.purpose) == (Side.SELL, order.qty, True, Purpose.EXIT)
    assert exit_.price == D(60_000) * D("0.97")
    assert exit_.expires_at == desk.now + 2 * SECOND


def test_exit_passes_in_halted_and_reduce_only_whatever_is_breached() -> None:
    desk = opened()
    desk.hold()
    halted(desk)
    desk.state.reconciled = False
    desk.state.limits = config(max_order_usd=D(0), max_position_size=D(0), order_rate=D(0)).limits
    only(desk.signal("0"), OrderIntent)


def test_retry_widens_to_the_venues_limit_and_stays_in_its_chain() -> None:
    desk = opened()
    desk.hold()
    order = only(desk.signal("0"), OrderIntent)
    first = desk.out[-1]
    assert of(desk.later(), OrderIntent) == [], "still under way"
    desk.cancelled(order)
    second = only(desk.later(), OrderIntent)
    assert second.price == D(60_000) * D("0.95"), "twice 3 % is cut at the venue's 5 %"
    assert second.order_link_id != order.order_link_id
    assert first.correlation != ""
    desk.fill(second, D("0.1"))
    desk.cancelled(second, "0.1")
    third = only(desk.later(), OrderIntent)
    assert third.qty == order.qty - D("0.1")
    desk.fill(third)
    assert of(desk.later(), OrderIntent) == []
    assert desk.state.tasks == {}


def test_exit_in_flight_is_not_sent_twice() -> None:
    desk = opened()
    desk.hold()
    desk.signal("0")
    assert only(desk.signal("0"), OrderRefused).reason is Reason.IN_FLIGHT


def test_nothing_to_exit() -> None:
    assert only(opened().signal("0"), OrderRefused).reason is Reason.NO_CHANGE


def test_exit_without_any_mark_has_no_price() -> None:
    desk = opened()
    desk.hold()
    desk.state.markets["BTCUSDT"].mark = D(0)
    assert only(desk.signal("0"), OrderRefused).reason is Reason.NO_MARKET


def test_exit_cancels_the_strategys_resting_entry() -> None:
    desk = opened(config(auto_arm=True, entry={"trend": EntryStyle(style="post_only", ttl_ms=1000)}))
    resting = only(desk.signal(), OrderIntent)
    made = desk.signal("0")
    assert only(made, CancelIntent).order_link_id == resting.order_link_id
    assert only(made, OrderRefused).reason is Reason.NO_CHANGE


def test_resting_entry_is_cancelled_after_its_time_until_it_is_dead() -> None:
    desk = opened(config(auto_arm=True, entry={"trend": EntryStyle(style="post_only", ttl_ms=3000)}))
    resting = only(desk.signal(), OrderIntent)
    assert of(desk.later(2 * SECOND), CancelIntent) == []
    assert only(desk.later(), CancelIntent) == CancelIntent(
        order_link_id=resting.order_link_id, symbol="BTCUSDT", reason="ttl"
    )
    assert of(desk.later(), CancelIntent) == []
    assert len(of(desk.later(4 * SECOND), CancelIntent)) == 1
    desk.cancelled(resting)
    assert of(desk.later(5 * SECOND), CancelIntent) == []


def test_resting_entries_go_when_the_mode_falls() -> None:
    desk = opened(config(auto_arm=True, entry={"trend": EntryStyle(style="post_only", ttl_ms=30_000)}))
    desk.signal()
    desk.later(5 * SECOND)
    desk.put(e.Heartbeat(service="execution", clock_offset_ms=900), "health:execution")
    assert only(desk.later(), CancelIntent).reason == "REDUCE_ONLY"


def test_exit_clears_own_resting_orders_out_of_its_way() -> None:
    desk = opened(config(auto_arm=True, entry={"mean": EntryStyle(style="post_only", ttl_ms=30_000)}))
    desk.hold()
    resting = only(desk.signal("1", strategy="mean"), OrderIntent)
    made = desk.signal("0")
    assert only(made, CancelIntent).order_link_id == resting.order_link_id
    only(made, OrderIntent)


def test_smaller_target_sells_a_part_once() -> None:
    desk = opened()
    desk.hold()
    part = only(desk.signal("0.1"), OrderIntent)
    assert part.reduce_only
    assert D(0) < part.qty < D("0.166")
    assert desk.state.tasks == {}


def test_small_changes_are_left_alone() -> None:
    desk = opened(config(auto_arm=True, max_order_usd=D(100_000)))
    desk.hold()
    assert only(desk.signal("0.9"), OrderRefused).reason is Reason.NO_CHANGE


def test_reversal_exits_now_and_enters_when_flat() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("-1"), OrderIntent)
    assert exit_.purpose is Purpose.EXIT
    made = desk.fill(exit_, price=D(60_000))
    entry = only(made, OrderIntent)
    assert (entry.purpose, entry.side, entry.reduce_only) == (Purpose.ENTRY, Side.SELL, False)
    assert desk.state.pending == {}


def test_reversal_is_not_entered_on_an_expired_signal() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("-1"), OrderIntent)
    desk.later(10 * SECOND)
    assert of(desk.fill(exit_), OrderIntent) == []


def test_reversal_is_not_entered_after_a_halt() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("-1"), OrderIntent)
    halted(desk)
    assert only(desk.fill(exit_), OrderRefused).reason is Reason.MODE
    assert of(desk.later(), OrderRefused) == []


def test_reversal_whose_exit_failed_is_entered_after_the_retry() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("-1"), OrderIntent)
    assert desk.cancelled(exit_) == []
    again = only(desk.later(), OrderIntent)
    assert again.purpose is Purpose.EXIT
    only(desk.fill(again, price=D(60_000)), OrderIntent)


def test_new_signal_on_the_held_side_ends_the_exit() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.cancelled(exit_)
    desk.signal("1")
    assert of(desk.later(), OrderIntent) == []


@pytest.mark.parametrize(("target", "inside", "beyond"), [("1", "59400.1", "59400"), ("-1", "60599.9", "60600")])
def test_software_stop(target: str, inside: str, beyond: str) -> None:
    desk = opened()
    desk.hold(target)
    assert of(desk.tick(inside), OrderIntent) == []
    stop = only(desk.tick(beyond), OrderIntent)
    assert (stop.purpose, stop.reduce_only, stop.strategy) == (Purpose.STOP, True, "trend")
    assert of(desk.tick(beyond), OrderIntent) == []
    desk.fill(stop)
    assert (desk.state.stops, desk.state.tasks) == ({}, {})


def test_stop_works_while_halted() -> None:
    desk = opened()
    desk.hold()
    halted(desk)
    only(desk.tick("59400"), OrderIntent)


def test_stop_is_of_the_strategys_own_entry() -> None:
    desk = opened()
    order = only(desk.signal(stop_distance=D(600)), OrderIntent)
    desk.fill(order, price=D(60_000))
    desk.tick("59500")
    desk.fill(only(desk.signal(strategy="mean", stop_distance=D(600)), OrderIntent), price=D(59_500))
    made = desk.tick("59350")
    assert [order.strategy for order in of(made, OrderIntent)] == ["trend"]


def test_flatten_slices_until_the_exchange_says_flat() -> None:
    desk = opened(config(auto_arm=True, flatten_slice_usd=D(4000)))
    desk.hold()
    made = halted(desk, flatten=True)
    assert [type(event) for event in made] == [Halted, CancelIntent, ModeChanged, e.PortfolioMarked, OrderIntent]
    assert only(made, ModeChanged).new is Mode.LIQUIDATING
    first = only(made, OrderIntent)
    assert (first.purpose, first.strategy, first.qty) == (Purpose.FLATTEN, "risk", D("0.066"))
    assert of(desk.later(), OrderIntent) == []
    assert only(desk.signal("0"), OrderRefused).reason is Reason.MODE
    slices = [only(desk.cancelled(first), OrderIntent)]
    for index in range(3):
        assert of(desk.put(e.FlatConfirmed(checked_at=desk.now, wallet=D(0)), "account"), ModeChanged) == []
        made = of(desk.fill(slices[-1]), OrderIntent)
        assert len(made) == (index < 2), "the next one follows the fill, until nothing is left"
        slices += made
    assert slices[0].price < first.price, "an unfilled slice reaches further"
    assert slices[1].price == first.price, "a filled one does not"
    assert of(desk.later(), OrderIntent) == []
    ended = only(desk.put(e.FlatConfirmed(checked_at=desk.now, wallet=D(0)), "account"), ModeChanged)
    assert (ended.old, ended.new) == (Mode.LIQUIDATING, Mode.HALTED)
    assert of(desk.put(e.FlatConfirmed(checked_at=desk.now, wallet=D(0)), "account"), ModeChanged) == []


def test_slices_that_end_at_once_are_bounded_by_the_order_rate() -> None:
    """A venue that refuses every slice hears eight of them a second, then the next with the clock."""
    desk = opened(config(auto_arm=True))
    desk.hold()
    made = of(halted(desk, flatten=True), OrderIntent)
    sent = 0
    while made:
        (slice_,), sent = made, sent + 1
        body = e.OrderRejected(order_link_id=slice_.order_link_id, symbol=slice_.symbol, reason="x")
        made = of(desk.put(body, "order"), OrderIntent)
    assert sent == desk.state.limits.order_rate == 8
    slice_ = only(desk.later(), OrderIntent)
    assert len(of(desk.cancelled(slice_), OrderIntent)) == 1, "a second later they follow each other again"


def test_an_order_rate_of_none_stops_no_slice() -> None:
    desk = opened(config(auto_arm=True, flatten_slice_usd=D(4000)))
    desk.hold()
    desk.put(e.LimitChanged(version=2, limits={"order_rate": D(0)}), "portfolio")
    first = only(halted(desk, flatten=True), OrderIntent)
    assert of(desk.fill(first), OrderIntent) == []
    desk.now += SECOND
    only(desk.tick("60000") + desk.later(), OrderIntent)


def test_a_partly_filled_slice_is_waited_for() -> None:
    desk = opened()
    desk.hold()
    first = only(halted(desk, flatten=True), OrderIntent)
    assert of(desk.fill(first, D("0.1")), OrderIntent) == []
    assert only(desk.cancelled(first, "0.1"), OrderIntent).qty == D("0.066")


def test_flatten_on_halt_by_a_limit() -> None:
    desk = opened(config(auto_arm=True, flatten_on_halt=True, velocity=D(100)))
    desk.hold()
    desk.state.stops.clear()
    made = desk.tick("58000")
    assert only(made, ModeChanged).new is Mode.LIQUIDATING
    only(desk.later(), OrderIntent)


def test_a_loss_booked_by_a_fill_is_liquidated_at_once() -> None:
    desk = opened(config(auto_arm=True, flatten_on_halt=True))
    desk.hold()
    made = desk.fill(only(desk.signal("0"), OrderIntent), D("0.1"), D("57000"))
    assert only(made, ModeChanged).new is Mode.LIQUIDATING
    assert of(made, OrderIntent) == [], "the exit under way takes the rest"
    desk = opened(config(auto_arm=True, flatten_on_halt=True))
    desk.hold()
    body = e.FundingPaid(
        symbol="BTCUSDT", exec_id="f", qty=D("0.166"), mark=D(60_000), rate=D("0.03"), fee=D(300), exec_at=desk.now
    )
    made = desk.put(body, "fill")
    assert only(made, OrderIntent).purpose is Purpose.FLATTEN


def test_stops_and_exits_under_way_wait_for_the_liquidation() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    halted(desk, flatten=True)
    made = of(desk.cancelled(exit_), OrderIntent)
    assert [order.purpose for order in made] == [Purpose.FLATTEN]
    assert of(desk.later() + desk.tick("59000"), OrderIntent) == []


def test_flatten_of_a_flat_book_waits_for_the_exchange() -> None:
    desk = opened()
    made = desk.put(e.FlattenRequested(operator="alice", nonce="n", expires_at=0), "command")
    assert of(made, OrderIntent) == []
    assert only(desk.put(e.FlatConfirmed(checked_at=0, wallet=D(0)), "account"), ModeChanged).new is Mode.HALTED


def test_large_position_is_closed_in_orders_the_venue_takes() -> None:
    desk = opened()
    desk.hold()
    desk.instrument(max_qty=D("0.1"))
    exit_ = only(desk.signal("0"), OrderIntent)
    assert exit_.qty == D("0.1")
    desk.fill(exit_)
    assert only(desk.later(), OrderIntent).qty == D("0.066")


def resolved(desk: Desk, order: OrderIntent, outcome: str, traded: str = "0") -> list[e.Event]:
    body = e.OrderResolved(order_link_id=order.order_link_id, symbol=order.symbol, outcome=outcome, cum_qty=D(traded))
    return desk.put(body, "order")


@pytest.mark.parametrize(
    ("outcome", "traded", "kept"),
    [("live", "0", "0.166"), ("dead", "0", None), ("cancelled", "0.05", "0.05"), ("filled", "0", "0.166")],
)
def test_reservation_lasts_until_proven(outcome: str, traded: str, kept: str | None) -> None:
    """What traded stays reserved until its fills have come."""
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    resolved(desk, order, outcome, traded)
    reserved = desk.state.orders.get(order.order_link_id)
    assert (None if reserved is None else D(reserved.open_lots) / 1000) == (None if kept is None else D(kept))
    if outcome == "cancelled":
        desk.fill(order, D("0.05"))
        assert desk.state.orders == {}


def test_unknown_orders_change_nothing() -> None:
    desk = opened()
    body: dict[str, Any] = {"order_link_id": "x", "symbol": "BTCUSDT"}
    desk.put(e.OrderRejected(**body, reason="?"), "order")
    desk.put(e.OrderResolved(**body, outcome="filled"), "order")
    assert desk.state.orders == {}


def test_lot_change_carries_open_orders_along() -> None:
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    desk.instrument(lot="0.0001")
    reserved = desk.state.orders[order.order_link_id]
    assert (reserved.lots, reserved.lot_units) == (1660, 600_601_000)
    desk.instrument(lot="0.1")
    assert desk.state.markets["BTCUSDT"].step == 1


def test_stop_without_a_mark_waits() -> None:
    desk = opened()
    desk.hold()
    desk.state.markets["BTCUSDT"].mark_units = 0
    desk.put(e.Reference(symbol="NONE", mark=D(1), index=D(1)), "reference")
    desk.put(e.Reference(symbol="BTCUSDT", mark=D(0), index=D(1)), "reference")
    assert desk.state.tasks == {}


def test_venue_without_a_stated_maximum_takes_the_whole_exit() -> None:
    desk = opened()
    order = desk.hold()
    desk.instrument(max_qty=D(0), price_limit_ratio=D(0))
    exit_ = only(desk.signal("0"), OrderIntent)
    assert (exit_.qty, exit_.price) == (order.qty, D(58_200))


def test_liquidation_without_a_price_waits_for_one() -> None:
    desk = opened()
    desk.hold()
    desk.state.markets["BTCUSDT"].mark = D(0)
    assert of(halted(desk, flatten=True), OrderIntent) == []
    desk.tick("60000")
    only(desk.later(), OrderIntent)


def test_reversal_that_cannot_be_sized_refuses_and_halts() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("-1"), OrderIntent)
    desk.state.markets["BTCUSDT"].step = 0
    made = desk.fill(exit_, price=D(60_000))
    assert only(made, OrderRefused).reason is Reason.EXCEPTION
    assert only(made, Halted).reason is Reason.EXCEPTION


def test_rejected_exit_is_tried_again() -> None:
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.put(e.OrderRejected(order_link_id=exit_.order_link_id, symbol="BTCUSDT", reason="x", code=1), "order")
    assert only(desk.later(), OrderIntent).price < exit_.price


def test_lot_change_of_one_symbol_is_its_own() -> None:
    desk = opened()
    desk.instrument("ETHUSDT", "0.01")
    order = only(desk.signal(), OrderIntent)
    desk.instrument("ETHUSDT", "0.1")
    assert desk.state.orders[order.order_link_id].lots == 166
    desk.instrument(price_limit_ratio=D("0.05"), lot="0.0005")
    assert desk.state.orders[order.order_link_id].lots == 332
    assert desk.state.markets["BTCUSDT"].mark_units == 30 * 10**8
