"""The REST side: signatures, time, limits, refusals, pages."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from sim.config import SimConfig
from sim.engine.account import AccountSpec
from sim.exchange import Exchange
from sim.wiretypes import WireReply, WireRequest
from tests.simbench import BTC, START, Bench, ScriptedTape

NOW_MS = START // 1_000_000


def signed(method: str, path: str, content: str = "", secret: str = "sim-secret", **changes: str) -> WireRequest:
    headers = {"x-bapi-api-key": "sim", "x-bapi-timestamp": str(NOW_MS), "x-bapi-recv-window": "5000"} | changes
    origin = headers["x-bapi-timestamp"] + headers["x-bapi-api-key"] + headers["x-bapi-recv-window"] + content
    headers["x-bapi-sign"] = hmac.new(secret.encode(), origin.encode(), hashlib.sha256).hexdigest()
    place = {"query": content} if method == "GET" else {"body": content}
    return WireRequest(method=method, path=path, headers=headers, **place)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(SimConfig(), ScriptedTape(), 7)


def answer(exchange: Exchange, request: WireRequest) -> tuple[WireReply, dict[str, Any]]:
    reply = exchange.answer(request)
    return reply, json.loads(reply.body)


WALLET = "/v5/account/wallet-balance"


def test_a_signed_get_is_answered_with_its_limits(exchange: Exchange) -> None:
    reply, body = answer(exchange, signed("GET", WALLET, "accountType=UNIFIED&coin=USDT"))
    assert body["retCode"] == 0
    assert body["result"]["list"][0]["coin"][0]["walletBalance"] == "10000"
    assert reply.headers["X-Bapi-Limit"] == "50"
    assert reply.headers["X-Bapi-Limit-Status"] == "49"
    assert reply.headers["X-Bapi-Limit-Reset-Timestamp"] == str(NOW_MS)


def test_the_signature_covers_the_raw_bytes(exchange: Exchange) -> None:
    good = signed("POST", "/v5/order/create", '{"a": 1, "b":2}')
    assert answer(exchange, good)[1]["retCode"] == 10001
    changed = WireRequest(method="POST", path=good.path, headers=good.headers, body='{"a":1,"b":2}')
    assert answer(exchange, changed)[1]["retCode"] == 10004


def test_wrong_keys_and_missing_headers(exchange: Exchange) -> None:
    assert answer(exchange, signed("GET", WALLET, secret="other"))[1]["retCode"] == 10004
    assert answer(exchange, signed("GET", WALLET, **{"x-bapi-api-key": "nobody"}))[1]["retCode"] == 10003
    assert answer(exchange, WireRequest(method="GET", path=WALLET))[0].status == 401
    assert answer(exchange, WireRequest(method="GET", path="/v5/nothing"))[0].status == 404


@pytest.mark.parametrize(("ahead", "code"), [(999, 0), (1000, 10002), (-5000, 0), (-5001, 10002)])
def test_the_time_rule(exchange: Exchange, ahead: int, code: int) -> None:
    request = signed("GET", WALLET, "accountType=UNIFIED", **{"x-bapi-timestamp": str(NOW_MS + ahead)})
    body = answer(exchange, request)[1]
    assert body["retCode"] == code
    if code:
        assert f"req_timestamp[{NOW_MS + ahead}],server_timestamp[{NOW_MS}],recv_window[5000]" in body["retMsg"]


def test_the_eleventh_order_of_a_second_is_too_many(exchange: Exchange) -> None:
    codes = []
    for _ in range(11):
        reply, body = answer(exchange, signed("POST", "/v5/order/cancel", '{"category":"linear"}'))
        codes.append(body["retCode"])
    assert codes == [10001] * 10 + [10006]
    assert reply.headers["X-Bapi-Limit-Status"] == "0"
    assert int(reply.headers["X-Bapi-Limit-Reset-Timestamp"]) == NOW_MS + 1000
    exchange.advance(START + 1_001_000_000)
    request = signed("POST", "/v5/order/cancel", '{"category":"linear"}')
    assert answer(exchange, request)[1]["retCode"] == 10001


def test_two_keys_open_one_account() -> None:
    exchange = Exchange(
        SimConfig(), ScriptedTape(), 7, [AccountSpec(account="main"), AccountSpec(key="b", account="main")]
    )
    assert list(exchange.desk.accounts) == ["main"]
    body = answer(exchange, signed("GET", WALLET, **{"x-bapi-api-key": "b"}))[1]
    assert body["result"]["list"][0]["totalEquity"] == "10000"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"qty": "0.0001"}, 10001),
        ({"qty": "0"}, 10001),
        ({"qty": "-1"}, 10001),
        ({"qty": None}, 10001),
        ({"qty": "1190.001"}, 10001),
        ({"price": "60000.05"}, 10001),
        ({"price": "61300"}, 110003),
        ({"price": "200", "qty": "0.001"}, 110094),
        ({"side": "buy"}, 10001),
        ({"symbol": "NOPEUSDT"}, 10001),
        ({"category": "option"}, 10001),
        ({"category": "spot"}, 170121),
        ({"positionIdx": 1}, 10001),
        ({"orderLinkId": "x" * 46}, 10001),
        ({"orderLinkId": "a b"}, 10001),
        ({"timeInForce": "RPI"}, 10001),
    ],
)
def test_refusals_of_create(change: dict[str, Any], code: int) -> None:
    bench = Bench()
    body = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000",
            "unknownKey": 1} | change  # fmt: skip
    result = bench.ask("POST", "/v5/order/create", body=body)
    assert result["retCode"] == code, result
    assert not bench.account.by_id


def test_a_link_id_is_used_once() -> None:
    bench = Bench()
    assert bench.create("Buy", "0.01", "59000", orderLinkId="tg-1")["retCode"] == 0
    again = bench.create("Buy", "0.01", "59000", orderLinkId="tg-1")
    assert (again["retCode"], again["retMsg"]) == (110072, "OrderLinkedID is duplicate")
    found = bench.ask("GET", "/v5/order/realtime", "category=linear&orderLinkId=tg-1")["result"]["list"]
    assert [row["orderLinkId"] for row in found] == ["tg-1"]


def test_gone_orders_cannot_be_cancelled_or_amended() -> None:
    bench = Bench()
    for path, message in (("cancel", "too late to cancel"), ("amend", "too late to replace")):
        body = {"category": "linear", "symbol": BTC, "orderLinkId": "never", "price": "59000"}
        result = bench.ask("POST", f"/v5/order/{path}", body=body)
        assert (result["retCode"], message in result["retMsg"]) == (110001, True)


def test_pages_go_newest_first_and_meet_every_order_once() -> None:
    bench = Bench()
    made = [bench.order(bench.create("Buy", "0.001", f"{59000 + i}")).order_id for i in range(7)]
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        query = "category=linear&settleCoin=USDT&limit=3" + (f"&cursor={cursor}" if cursor else "")
        result = bench.ask("GET", "/v5/order/realtime", query)["result"]
        seen.extend(row["orderId"] for row in result["list"])
        cursor = result["nextPageCursor"]
        if not cursor:
            break
        assert "%3A" in cursor
    assert seen == made[::-1]


def test_history_executions_and_logs_agree() -> None:
    bench = Bench()
    bench.create("Buy", "0.02", "60010", orderLinkId="a")
    bench.create("Sell", "0.02", "59990", orderLinkId="b")
    history = bench.ask("GET", "/v5/order/history", "category=linear")["result"]["list"]
    assert [row["orderLinkId"] for row in history] == ["b", "a"]
    executions = bench.ask("GET", "/v5/execution/list", "category=linear&orderLinkId=b")["result"]["list"]
    assert {row["closedSize"] for row in executions} == {"0.01"}
    (closed,) = bench.ask("GET", "/v5/position/closed-pnl", "category=linear")["result"]["list"]
    assert (closed["side"], closed["closedSize"], closed["avgEntryPrice"]) == ("Sell", "0.02", "60001.5")
    log = bench.ask("GET", "/v5/account/transaction-log", "accountType=UNIFIED")["result"]["list"]
    assert len(log) == 4
    wallet = bench.ask("GET", WALLET, "accountType=UNIFIED")["result"]["list"][0]["totalWalletBalance"]
    assert log[0]["cashBalance"] == wallet


def test_leverage_and_modes() -> None:
    bench = Bench()
    body = {"category": "linear", "symbol": BTC, "buyLeverage": "5", "sellLeverage": "5"}
    assert bench.ask("POST", "/v5/position/set-leverage", body=body)["retCode"] == 0
    assert bench.ask("POST", "/v5/position/set-leverage", body=body)["retCode"] == 110043
    (row,) = bench.ask("GET", "/v5/position/list", f"category=linear&symbol={BTC}")["result"]["list"]
    assert (row["leverage"], row["size"], row["side"]) == ("5", "0", "")
    mode = {"category": "linear", "symbol": BTC, "mode": 0}
    assert bench.ask("POST", "/v5/position/switch-mode", body=mode)["retCode"] == 110025
    assert bench.ask("GET", "/v5/position/list", "category=linear")["retCode"] == 10001


def test_public_routes_answer() -> None:
    bench = Bench()
    bench.print(600_000, 5, 1)
    bench.play()
    time = bench.ask("GET", "/v5/market/time")["result"]
    assert time["incarnation"] == bench.exchange.incarnation
    assert abs(int(time["timeNano"]) - bench.at) < 1_000_000_000
    book = bench.ask("GET", "/v5/market/orderbook", f"category=linear&symbol={BTC}&limit=2")["result"]
    assert book["b"] == [["59999.00", "0.010"], ["59998.00", "0.010"]]
    (trade,) = bench.ask("GET", "/v5/market/recent-trade", f"category=linear&symbol={BTC}")["result"]["list"]
    assert (trade["price"], trade["size"], trade["side"]) == ("60000.00", "0.005", "Buy")
    (info,) = bench.ask("GET", "/v5/market/instruments-info", "category=linear")["result"]["list"]
    assert (info["priceFilter"]["tickSize"], info["lotSizeFilter"]["qtyStep"]) == ("0.10", "0.001")
    assert (
        bench.ask("GET", "/v5/market/funding/history", f"category=linear&symbol={BTC}&startTime=1")["retCode"] == 10001
    )
    rates = bench.ask("GET", "/v5/market/funding/history", f"category=linear&symbol={BTC}&limit=3")["result"]["list"]
    assert len({row["fundingRateTimestamp"] for row in rates}) == 3


def test_a_tape_run_may_send_an_old_stamp_but_none_ahead(exchange: Exchange) -> None:
    from msgspec.structs import replace

    old = replace(signed("GET", WALLET, "accountType=UNIFIED", **{"x-bapi-timestamp": "1"}), request_id="execution-1")
    assert answer(exchange, old)[1]["retCode"] == 0
    ahead = signed("GET", WALLET, "accountType=UNIFIED", **{"x-bapi-timestamp": str(NOW_MS + 1000)})
    assert answer(exchange, replace(ahead, request_id="execution-2"))[1]["retCode"] == 10002
