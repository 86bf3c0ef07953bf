"""Matching: who trades how much at what price."""

from __future__ import annotations

import pytest

from tests.simbench import PRICE, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def fills(bench: Bench) -> list[tuple[str, str, bool]]:
    return [(row["execPrice"], row["execQty"], row["isMaker"]) for row in bench.rows("execution")]


def test_taker_walks_the_levels_best_first(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.025", "60010"))
    assert order.status == "Filled"
    assert fills(bench) == [("60001", "0.01", False), ("60002", "0.01", False), ("60003", "0.005", False)]


def test_ioc_remainder_is_cancelled(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.5", "60002", timeInForce="IOC"))
    assert (order.status, order.reject_reason, order.cum_lots) == ("Cancelled", "EC_CancelForNoFullFill", 20)
    assert bench.rows("order")[-1]["leavesQty"] == "0"
    assert bench.rows("order")[-1]["cumExecQty"] == "0.02"


def test_ioc_without_a_counterparty_is_cancelled_unfilled(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.01", "59990", timeInForce="IOC"))
    assert (order.status, order.reject_reason) == ("Cancelled", "EC_NoImmediateQtyToFill")


def test_fok_fills_all_or_nothing(bench: Bench) -> None:
    nothing = bench.order(bench.create("Buy", "0.021", "60002", timeInForce="FOK"))
    assert (nothing.status, nothing.cum_lots) == ("Cancelled", 0)
    everything = bench.order(bench.create("Buy", "0.02", "60002", timeInForce="FOK"))
    assert everything.status == "Filled"


def test_post_only_that_would_cross_is_cancelled(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.01", "60001", timeInForce="PostOnly"))
    assert (order.status, order.reject_reason, order.cum_lots) == ("Cancelled", "EC_PostOnlyWillTakeLiquidity", 0)
    resting = bench.order(bench.create("Buy", "0.01", "60000", timeInForce="PostOnly"))
    assert resting.status == "New"


def test_what_is_taken_is_gone_until_the_market_moves(bench: Bench) -> None:
    bench.create("Buy", "0.01", "60001", timeInForce="IOC")
    again = bench.order(bench.create("Buy", "0.01", "60001", timeInForce="IOC"))
    assert again.cum_lots == 0
    bench.book()
    bench.play()
    assert bench.order(bench.create("Buy", "0.01", "60001", timeInForce="IOC")).cum_lots == 10


def test_maker_waits_behind_the_queue_at_its_price(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.005", "59999"))
    assert (order.status, order.queue_ahead) == ("New", 10)
    bench.print(PRICE - 10, 7, -1)
    bench.play()
    assert (order.cum_lots, order.queue_ahead) == (0, 3)
    bench.print(PRICE - 10, 5, -1)
    bench.play()
    assert (order.status, order.cum_lots) == ("PartiallyFilled", 2)
    bench.print(PRICE - 10, 5, -1)
    bench.play()
    assert order.status == "Filled"
    assert fills(bench) == [("59999", "0.002", True), ("59999", "0.003", True)]


def test_prints_by_the_same_side_do_not_fill_a_maker(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.005", "59999"))
    bench.print(PRICE - 10, 500, 1)
    bench.play()
    assert (order.cum_lots, order.queue_ahead) == (0, 10)


def test_maker_is_filled_when_the_price_trades_through(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.005", "59999"))
    bench.print(PRICE - 11, 1, -1)
    bench.play()
    assert order.status == "Filled"
    assert fills(bench) == [("59999", "0.005", True)]


def test_maker_is_filled_when_the_book_moves_onto_it(bench: Bench) -> None:
    order = bench.order(bench.create("Sell", "0.015", "60003"))
    bench.book(asks=[(PRICE + 100, 10)], bids=[(PRICE + 30, 4)])
    bench.play()
    assert (order.status, order.cum_lots) == ("PartiallyFilled", 4)


def test_two_makers_share_a_print(bench: Bench) -> None:
    first = bench.order(bench.create("Buy", "0.005", "60000"))
    second = bench.order(bench.create("Buy", "0.005", "60000"))
    bench.print(PRICE, 7, -1)
    bench.play()
    assert (first.cum_lots, second.cum_lots) == (5, 2)


def test_market_order_stops_at_the_price_limit() -> None:
    bench = Bench(book=False)
    bench.book(asks=[(PRICE + 10, 10), (PRICE * 102 // 100, 1000)])
    bench.play()
    order = bench.order(bench.create("Buy", "0.1"))
    assert (order.status, order.cum_lots, order.tif) == ("Cancelled", 10, "IOC")
    mark = bench.exchange.venue.markets["BTCUSDT"].mark
    assert order.ticks == mark + mark // 100


def test_reduce_only_is_cut_to_the_position(bench: Bench) -> None:
    bench.create("Buy", "0.01", "60010")
    order = bench.order(bench.create("Sell", "0.5", "59990", reduceOnly=True, timeInForce="IOC"))
    assert (order.lots, order.status, bench.position()) == (10, "Filled", 0)


def test_reduce_only_needs_an_opposite_position(bench: Bench) -> None:
    assert bench.create("Sell", "0.01", "59990", reduceOnly=True)["retCode"] == 110017
    bench.create("Buy", "0.01", "60010")
    assert bench.create("Buy", "0.01", "60010", reduceOnly=True)["retMsg"].startswith("reduce-only order has same side")


def test_resting_reduce_only_orders_follow_the_position(bench: Bench) -> None:
    bench.create("Buy", "0.01", "60010")
    resting = bench.order(bench.create("Sell", "0.01", "60100", reduceOnly=True))
    bench.create("Sell", "0.004", "59990", timeInForce="IOC")
    assert (resting.lots, resting.status) == (6, "New")
    bench.create("Sell", "0.006", "59990", timeInForce="IOC")
    assert (resting.status, resting.cancel_type) == ("Cancelled", "CancelByReduceOnly")


def test_attached_stop_closes_the_position_when_its_price_is_reached(bench: Bench) -> None:
    bench.create("Buy", "0.01", "60010", stopLoss="59900", orderLinkId="parent")
    (stop,) = bench.account.open_orders.values()
    assert (stop.status, stop.stop_type, stop.parent_link_id, stop.reduce_only) == (
        "Untriggered",
        "StopLoss",
        "parent",
        True,
    )
    bench.book(middle=PRICE - 1100)
    bench.play()
    assert (bench.position(), stop.status, bench.account.open_orders) == (0, "Filled", {})


def test_stops_are_cancelled_with_the_position(bench: Bench) -> None:
    bench.create("Buy", "0.01", "60010", stopLoss="59900")
    bench.create("Sell", "0.01", "59990", reduceOnly=True)
    stops = [row for row in bench.rows("order") if row["stopOrderType"] == "StopLoss"]
    assert (stops[-1]["cancelType"], stops[-1]["orderStatus"]) == ("CancelByTpSlTsClear", "Deactivated")
    assert not bench.account.open_orders


def test_conditional_order_waits_for_its_trigger(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.01", triggerPrice="60500", triggerDirection=1))
    assert order.status == "Untriggered"
    bench.book(middle=PRICE + 5100)
    bench.play()
    assert order.status == "Filled"


def test_amend_moves_price_and_loses_the_queue(bench: Bench) -> None:
    answer = bench.create("Buy", "0.005", "59999")
    order = bench.order(answer)
    bench.print(PRICE - 10, 7, -1)
    bench.play()
    amended = bench.ask("POST", "/v5/order/amend", body={
        "category": "linear", "symbol": "BTCUSDT", "orderId": order.order_id, "price": "59998", "qty": "0.004"})  # fmt: skip
    assert amended["retCode"] == 0
    assert (order.ticks, order.lots, order.queue_ahead) == (PRICE - 20, 4, 10)


def test_cancel_all_takes_what_it_names(bench: Bench) -> None:
    for price in ("59990", "59980"):
        bench.create("Buy", "0.001", price)
    answer = bench.ask("POST", "/v5/order/cancel-all", body={"category": "linear", "settleCoin": "USDT"})
    assert len(answer["result"]["list"]) == 2
    assert {row["cancelType"] for row in bench.rows("order")[-2:]} == {"CancelByUser"}
    assert not bench.account.open_orders


def test_every_size_exceeding_the_depth_fills_partially(bench: Bench) -> None:
    order = bench.order(bench.create("Buy", "0.06", "60100"))
    assert (order.status, order.cum_lots) == ("PartiallyFilled", 50)
    bench.book(middle=PRICE + 1100)
    bench.play()
    assert order.status == "PartiallyFilled"
    bench.book(middle=PRICE + 500)
    bench.play()
    assert order.status == "Filled"
