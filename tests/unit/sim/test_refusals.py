"""Every refusal of a private route that trades or looks: its code and its words."""

from __future__ import annotations

from typing import Any

import pytest

from sim.config import SimConfig
from tests.simbench import BTC, PRICE, Bench

LIMIT = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}
MARKET = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"}
TARGET = {"category": "linear", "symbol": BTC}
STOP = {**MARKET, "side": "Sell", "triggerPrice": "59000", "triggerDirection": 2}


def post(bench: Bench, path: str, *parts: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for part in parts:
        body |= part
    return bench.ask("POST", f"/v5/{path}", body=body)


def traded() -> Bench:
    """Long 0.01 from 60001.0, last and mark at 60000.0."""
    bench = Bench()
    bench.print(PRICE, 1, 1)
    bench.play()
    bench.create("Buy", "0.01")
    bench.book()
    bench.play()
    return bench


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({**STOP, "triggerDirection": 0}, 10001, "triggerDirection"),
        ({**STOP, "triggerPrice": "61000"}, 110093, "expect Falling, but trigger_price[6100000000000] >= current[6000"),
        ({**STOP, "triggerDirection": 1}, 110092, "expect Rising, but trigger_price[5900000000000] <= current[6000"),
        ({**STOP, "triggerBy": "Moon"}, 10001, "triggerBy"),
        (
            {**LIMIT, "stopLoss": "59500"},
            10001,
            "StopLoss:5950000000000 set for Buy position should lower than base_price:59",
        ),
        (
            {**LIMIT, "takeProfit": "58500"},
            10001,
            "TakeProfit:5850000000000 set for Buy position should be higher than base",
        ),
        (
            {**MARKET, "stopLoss": "61000"},
            10001,
            "StopLoss:6100000000000 set for Buy position should lower than base_price:60",
        ),
        ({**MARKET, "side": "Sell", "stopLoss": "59000"}, 10001, "set for Sell position should higher than base_price"),
        ({**MARKET, "side": "Sell", "reduceOnly": True, "stopLoss": "61000"}, 10001, "reduce-only"),
        ({**LIMIT, "takeProfit": "61000", "tpLimitPrice": "61000"}, 10001, "tpslMode Partial"),
        ({**MARKET, "reduceOnly": True}, 110017, "same side"),
        ({**LIMIT, "positionIdx": 1}, 10001, "position idx not match position mode"),
        ({**LIMIT, "orderLinkId": "x" * 46}, 10001, "order link id is longer than 45"),
    ],
)
def test_create(body: dict[str, Any], code: int, words: str) -> None:
    bench = traded()
    answer = post(bench, "order/create", body)
    assert (answer["retCode"], words in answer["retMsg"]) == (code, True), answer


def test_an_open_order_may_be_one_too_many() -> None:
    bench = Bench(SimConfig())
    bench.exchange.venue.order_limit = 100
    codes = [post(bench, "order/create", STOP, {"orderLinkId": f"s{number}"})["retCode"] for number in range(3)]
    assert codes == [0, 0, 110009], "a fiftieth of the active ones may be conditional"
    bench.exchange.venue.order_limit = 3
    codes = [post(bench, "order/create", LIMIT, {"orderLinkId": f"l{n}"})["retCode"] for n in range(4)]
    assert codes == [0, 0, 0, 110020], "conditional ones do not count among the active"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({}, 10001, "order not modified"),
        ({"price": "59000", "qty": "0.010"}, 10001, "order not modified"),
        ({"qty": "0"}, 10001, "Qty invalid"),
        ({"price": "62000"}, 110003, "range"),
        ({"triggerPrice": "61000"}, 10001, "triggerPrice"),
        ({"stopLoss": "59500"}, 10001, "StopLoss"),
        ({"orderLinkId": "other"}, 110001, "order not exists or too late to replace"),
        ({"orderLinkId": ""}, 10001, "OrderId or orderLinkId is required"),
        ({"qty": "100"}, 110007, "ab not enough for new order"),
    ],
)
def test_amend(body: dict[str, Any], code: int, words: str) -> None:
    bench = traded()
    assert post(bench, "order/create", LIMIT, {"orderLinkId": "a"})["retCode"] == 0
    answer = post(bench, "order/amend", TARGET, {"orderLinkId": "a"}, body)
    assert (answer["retCode"], words in answer["retMsg"]) == (code, True), answer


def test_amend_changes_only_what_it_names() -> None:
    bench = traded()
    order = bench.order(post(bench, "order/create", LIMIT, {"orderLinkId": "a", "stopLoss": "58000"}))
    assert post(bench, "order/amend", TARGET, {"orderLinkId": "a", "qty": "0.02"})["retCode"] == 0
    assert (order.lots, order.ticks, order.stop_loss) == (20, 590_000, 580_000)
    assert post(bench, "order/amend", TARGET, {"orderLinkId": "a", "stopLoss": "0"})["retCode"] == 0
    assert order.stop_loss == 0, '"0" takes the stop away'
    assert (
        post(bench, "order/amend", TARGET, {"orderId": order.order_id, "orderLinkId": "x", "qty": "0.03"})["retCode"]
        == 0
    )
    assert order.lots == 30, "with both ids the order's own wins"


def test_an_order_cannot_shrink_to_what_was_filled() -> None:
    bench = Bench()
    order = bench.order(bench.create("Buy", "0.02", "60010", orderLinkId="a"))
    assert (order.cum_lots, order.status) == (20, "Filled")
    part = bench.order(bench.create("Buy", "0.1", "60030", orderLinkId="b"))
    assert 0 < part.cum_lots < 100
    qty = f"{part.cum_lots / 1000:.3f}"
    assert post(bench, "order/amend", TARGET, {"orderLinkId": "b", "qty": qty})["retCode"] == 110064
    assert post(bench, "order/amend", TARGET, {"orderLinkId": "a", "qty": "0.03"})["retCode"] == 110001


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({}, 10001, "OrderId or orderLinkId is required"),
        ({"orderLinkId": "none"}, 110001, "order not exists or too late to cancel"),
        ({"orderId": "none", "orderLinkId": "a"}, 110001, "too late to cancel"),
        ({"symbol": "ETHUSDT", "orderLinkId": "a"}, 110001, "too late to cancel"),
    ],
)
def test_cancel(body: dict[str, Any], code: int, words: str) -> None:
    bench = traded()
    assert post(bench, "order/create", LIMIT, {"orderLinkId": "a"})["retCode"] == 0
    answer = post(bench, "order/cancel", TARGET, body)
    assert (answer["retCode"], words in answer["retMsg"]) == (code, True), answer


def test_cancel_all_takes_what_its_filter_names() -> None:
    def cancelled(**more: str) -> list[str]:
        bench = traded()
        post(bench, "order/create", LIMIT, {"orderLinkId": "active"})
        post(bench, "order/create", STOP, {"orderLinkId": "stop"})
        post(bench, "position/trading-stop", TARGET, {"tpslMode": "Full", "positionIdx": 0, "stopLoss": "58000"})
        answer = post(bench, "order/cancel-all", {"category": "linear", "settleCoin": "USDT"}, more)
        return sorted(bench.account.by_id[row["orderId"]].link_id for row in answer["result"]["list"])

    assert cancelled() == ["", "active", "stop"]
    assert cancelled(orderFilter="Order") == ["active"]
    assert cancelled(orderFilter="StopOrder") == ["", "stop"]
    assert cancelled(orderFilter="StopOrder", stopOrderType="Stop") == ["stop"]
    assert cancelled(orderFilter="OpenOrder") == ["active", "stop"]
    assert post(Bench(), "order/cancel-all", {"category": "linear"})["retCode"] == 10001
    assert post(Bench(), "order/cancel-all", TARGET, {"orderFilter": "All"})["retCode"] == 10001


def test_cancel_all_takes_five_hundred_at_once_of_any_age() -> None:
    bench = Bench(SimConfig(rate_factor=1000))
    for number in range(510):
        bench.exchange.submit(
            bench.request("POST", "/v5/order/create", {**LIMIT, "qty": "0.001", "orderLinkId": f"n{number}"})
        )
    bench.play()
    first = post(bench, "order/cancel-all", TARGET)["result"]["list"]
    assert len(first) == 500
    assert len(post(bench, "order/cancel-all", TARGET)["result"]["list"]) == 10
    ages = [int(row["orderLinkId"][1:]) for row in first]
    assert set(ages) != set(range(500)), "not simply the oldest"


# --- stops of positions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"stopLoss": "61000"}, 10001, "StopLoss:6100000000000 set for Buy position should lower than base_price:6000"),
        (
            {"takeProfit": "59000"},
            10001,
            "TakeProfit:5900000000000 set for Buy position should be higher than base_price",
        ),
        ({"stopLoss": "0"}, 34040, "not modified"),
        ({"tpslMode": "Partial"}, 34040, "not modified"),
        ({"tpslMode": "Partial", "stopLoss": "58000", "slSize": "1"}, 10001, "exceeds the position"),
        ({"tpslMode": "Partial", "stopLoss": "58000", "tpSize": "0.01", "slSize": "0.005"}, 10001, "must be equal"),
        ({"tpslMode": "Partial", "stopLoss": "58000", "slLimitPrice": "57990"}, 10001, "slOrderType"),
        ({"takeProfit": "61000", "tpLimitPrice": "61000"}, 10001, "tpslMode Partial"),
        ({"positionIdx": 1, "stopLoss": "58000"}, 10001, "position idx not match position mode"),
        ({"stopLoss": "58000", "slTriggerBy": "Moon"}, 10001, "slTriggerBy"),
    ],
)
def test_trading_stop(body: dict[str, Any], code: int, words: str) -> None:
    answer = post(traded(), "position/trading-stop", TARGET, {"tpslMode": "Full", "positionIdx": 0}, body)
    assert (answer["retCode"], words in answer["retMsg"]) == (code, True), answer


def test_stops_need_a_position() -> None:
    answer = post(Bench(), "position/trading-stop", TARGET, {"tpslMode": "Full", "positionIdx": 0, "stopLoss": "58000"})
    assert (answer["retCode"], answer["retMsg"]) == (10001, "can not set tp/sl/ts for zero position")


def test_partial_stops_are_orders_of_their_own_and_die_with_the_position() -> None:
    bench = traded()
    partial = {"tpslMode": "Partial", "positionIdx": 0, "tpSize": "0.004", "slSize": "0.004"}
    limit = {"tpOrderType": "Limit", "tpLimitPrice": "61000"}
    both = {"takeProfit": "61000", "stopLoss": "58000"}
    assert post(bench, "position/trading-stop", TARGET, partial, both, limit)["retCode"] == 0
    assert post(bench, "position/trading-stop", TARGET, partial, {"stopLoss": "57000"})["retCode"] == 0
    rows = bench.ask("GET", "/v5/order/realtime", f"category=linear&symbol={BTC}")["result"]["list"]
    seen = {
        (row["stopOrderType"], row["orderType"], row["qty"], row["triggerPrice"], row["triggerDirection"])
        for row in rows
    }
    assert seen == {
        ("PartialTakeProfit", "Limit", "0.004", "61000", 1),
        ("PartialStopLoss", "Market", "0.004", "58000", 2),
        ("PartialStopLoss", "Market", "0.004", "57000", 2),
    }
    bench.create("Sell", "0.01", reduceOnly=True)
    assert {order.cancel_type for order in bench.account.closed if order.stop_type} == {"CancelByTpSlTsClear"}
    assert not bench.account.open_orders


def test_a_partial_stop_closes_its_part() -> None:
    bench = traded()
    partial = {"tpslMode": "Partial", "positionIdx": 0, "slSize": "0.004", "stopLoss": "59995"}
    assert post(bench, "position/trading-stop", TARGET, partial)["retCode"] == 0
    bench.book(middle=PRICE - 100)
    bench.print(PRICE - 100, 1, -1)
    bench.play(2)
    assert bench.position() == 6


def seen_at(bench: Bench, *ticks: int) -> None:
    for price in ticks:
        bench.book(middle=price)
        bench.print(price, 1, 1)
        bench.play()


def test_a_trailing_stop_follows_the_best_price_and_closes_when_it_comes_back() -> None:
    bench = traded()
    body = {"tpslMode": "Full", "positionIdx": 0, "trailingStop": "100", "activePrice": "60200"}
    assert post(bench, "position/trading-stop", TARGET, body)["retCode"] == 0
    (row,) = bench.ask("GET", "/v5/position/list", f"category=linear&symbol={BTC}")["result"]["list"]
    assert row["trailingStop"] == "100"
    seen_at(bench, PRICE - 2000, PRICE + 1900)
    assert bench.position() == 10, "not set going yet"
    seen_at(bench, PRICE + 2000, PRICE + 3000, PRICE + 2500)
    (stop,) = bench.account.open_orders.values()
    assert (stop.stop_type, stop.trigger_ticks, stop.create_type) == ("TrailingStop", 602_000, "CreateByTrailingStop")
    seen_at(bench, PRICE + 2000)
    bench.play()
    assert (bench.position(), bench.account.position(BTC).trailing) == (0, 0)


def test_a_stop_that_did_its_work_is_not_the_next_positions() -> None:
    bench = traded()
    body = {"tpslMode": "Full", "positionIdx": 0, "stopLoss": "59990"}
    assert post(bench, "position/trading-stop", TARGET, body)["retCode"] == 0
    seen_at(bench, PRICE - 200)
    bench.play()
    assert (bench.position(), bench.account.position(BTC).stop_loss) == (0, 0)
    bench.create("Buy", "0.01")
    bench.create("Buy", "0.01", "50000", stopLoss="49000")
    assert [order.stop_type for order in bench.account.open_orders.values()] == [""]


def test_a_trailing_stop_of_a_short_works_the_other_way_and_can_be_taken_back() -> None:
    bench = Bench()
    bench.print(PRICE, 1, 1)
    bench.play()
    bench.create("Sell", "0.01")
    body = {"tpslMode": "Full", "positionIdx": 0, "trailingStop": "50"}
    assert post(bench, "position/trading-stop", TARGET, body)["retCode"] == 0
    assert post(bench, "position/trading-stop", TARGET, body)["retCode"] == 34040
    (stop,) = bench.account.open_orders.values()
    seen_at(bench, PRICE - 1000)
    assert stop.trigger_ticks == PRICE - 500
    assert post(bench, "position/trading-stop", TARGET, body | {"trailingStop": "0"})["retCode"] == 0
    assert (stop.is_open, bench.account.position(BTC).trailing, bench.position()) == (False, 0, -10)


def test_a_trailing_stop_has_the_size_of_the_position_and_goes_with_it() -> None:
    bench = traded()
    body = {"tpslMode": "Full", "positionIdx": 0, "trailingStop": "500"}
    assert post(bench, "position/trading-stop", TARGET, body)["retCode"] == 0
    bench.create("Buy", "0.005")
    (stop,) = bench.account.open_orders.values()
    assert stop.lots == 15
    bench.create("Sell", "0.015", reduceOnly=True)
    assert (stop.is_open, stop.cancel_type) == (False, "CancelByTpSlTsClear")


@pytest.mark.parametrize("body", [{"trailingStop": "100", "activePrice": "59000"}, {"trailingStop": "70000"}])
def test_trailing_stops_that_cannot_be_meant(body: dict[str, Any]) -> None:
    answer = post(traded(), "position/trading-stop", TARGET, {"tpslMode": "Full", "positionIdx": 0}, body)
    assert (answer["retCode"], "last price" in answer["retMsg"]) == (10001, True)


def test_twenty_partial_stops_are_enough() -> None:
    bench = traded()
    body = {"tpslMode": "Partial", "positionIdx": 0, "slSize": "0.001", "stopLoss": "58000"}
    codes = [post(bench, "position/trading-stop", TARGET, body)["retCode"] for _ in range(21)]
    assert codes == [0] * 20 + [110061]


def test_a_cancelled_stop_is_no_longer_the_positions() -> None:
    bench = traded()
    post(bench, "position/trading-stop", TARGET, {"tpslMode": "Full", "positionIdx": 0, "stopLoss": "58000"})
    assert bench.account.position(BTC).stop_loss == 580_000
    (stop,) = bench.account.open_orders.values()
    moved = post(bench, "order/amend", TARGET, {"orderId": stop.order_id, "triggerPrice": "58500"})
    assert (moved["retCode"], bench.account.position(BTC).stop_loss) == (0, 585_000)
    assert post(bench, "order/cancel", TARGET, {"orderId": stop.order_id})["retCode"] == 0
    assert bench.account.position(BTC).stop_loss == 0


# --- modes and looks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"symbol": BTC, "mode": 0}, 110025),
        ({"coin": "USDT", "mode": 0}, 0),
        ({"mode": 0}, 10001),
        ({"symbol": BTC, "mode": 1}, 10001),
        ({"symbol": BTC}, 10001),
        ({"symbol": "NOPE", "mode": 0}, 10001),
    ],
)
def test_switch_mode(body: dict[str, Any], code: int) -> None:
    assert post(Bench(), "position/switch-mode", {"category": "linear"}, body)["retCode"] == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"buyLeverage": "5", "sellLeverage": "6"}, 10001),
        ({"buyLeverage": "x", "sellLeverage": "x"}, 10001),
        ({"buyLeverage": "101", "sellLeverage": "101"}, 110013),
        ({"buyLeverage": "10", "sellLeverage": "10"}, 110043),
        ({"buyLeverage": 5, "sellLeverage": 5}, 0),
    ],
)
def test_set_leverage(body: dict[str, Any], code: int) -> None:
    assert post(Bench(), "position/set-leverage", TARGET, body)["retCode"] == code


@pytest.mark.parametrize(
    ("path", "query", "words"),
    [
        ("order/realtime", "category=linear", "symbol or settleCoin or baseCoin"),
        ("position/list", "category=linear", "symbol or settleCoin or baseCoin"),
        ("order/history", "category=linear&startTime=1700000000000&endTime=1700700000000", "7 days"),
        ("execution/list", "category=linear&startTime=1700000000001&endTime=1700000000000", "7 days"),
        ("position/closed-pnl", "category=linear&startTime=x", "startTime"),
        ("account/wallet-balance", "accountType=CONTRACT", "UNIFIED"),
        ("order/history", "category=moon", "category"),
    ],
)
def test_looks_that_cannot_be_answered(path: str, query: str, words: str) -> None:
    answer = Bench().ask("GET", f"/v5/{path}", query)
    assert (answer["retCode"], words in answer["retMsg"]) == (10001, True), answer


def test_unfilled_cancelled_orders_are_remembered_for_a_day_filled_ones_for_longer() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", orderLinkId="filled")
    bench.create("Buy", "0.01", "59000", orderLinkId="gone")
    post(bench, "order/cancel", TARGET, {"orderLinkId": "gone"})

    def seen(query: str = "") -> set[str]:
        return {
            row["orderLinkId"]
            for row in bench.ask("GET", "/v5/order/history", f"category=linear{query}")["result"]["list"]
        }

    assert seen() == {"filled", "gone"}
    bench.play(25 * 3600)
    assert seen() == {"filled"}
    bench.play(7 * 86_400)
    assert seen() == set(), "the window is the last seven days"
    assert seen("&orderLinkId=filled") == {"filled"}, "an id needs no window"
    assert bench.create("Buy", "0.01", orderLinkId="gone")["retCode"] == 110072, "an id is used for ever"
