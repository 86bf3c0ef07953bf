"""Who may ask for what, and how often: keys, addresses, expiry, permissions, buckets, batches."""

from __future__ import annotations

import base64
import json
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sim.config import SimConfig
from sim.door.rates import Addresses
from sim.engine.account import AccountSpec
from sim.exchange import Exchange
from sim.routes.keys import date_text
from sim.wiretypes import WireRequest
from tests.simbench import BTC, START, Bench, ScriptedTape
from tests.unit.sim.test_wire import NOW_MS, WALLET, answer, signed

ORDER = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}


def exchange_of(*specs: AccountSpec) -> Exchange:
    return Exchange(SimConfig(), ScriptedTape(), 7, specs)


def code(exchange: Exchange, request: WireRequest) -> int:
    return int(answer(exchange, request)[1]["retCode"])


def from_address(request: WireRequest, address: str) -> WireRequest:
    return msgspec.structs.replace(request, address=address)


@pytest.mark.parametrize(
    ("permissions", "read_only", "path", "body", "expected"),
    [
        (("Position",), False, "/v5/order/cancel", {"category": "linear"}, 10005),
        (("Order",), False, "/v5/order/cancel", {"category": "linear"}, 10001),
        (("Order",), False, "/v5/position/switch-mode", {"category": "linear", "mode": 0}, 10005),
        (("Order", "Position"), True, "/v5/order/cancel", {"category": "linear"}, 10005),
        (("Order",), False, "/v5/order/cancel", {"category": "spot"}, 10005),
        (("SpotTrade",), False, "/v5/order/cancel", {"category": "spot"}, 10001),
    ],
)
def test_a_key_writes_what_it_may(
    permissions: tuple[str, ...], read_only: bool, path: str, body: dict[str, Any], expected: int
) -> None:
    exchange = exchange_of(AccountSpec(permissions=permissions, read_only=read_only))
    assert code(exchange, signed("POST", path, json.dumps(body))) == expected
    assert code(exchange, signed("GET", WALLET, "accountType=UNIFIED")) == 0
    told = answer(exchange, signed("GET", "/v5/user/query-api"))[1]["result"]
    assert told["readOnly"] == int(read_only)
    assert told["permissions"]["ContractTrade"] == [p for p in ("Order", "Position") if p in permissions]


def test_a_key_is_bound_to_its_addresses() -> None:
    query = signed("GET", "/v5/user/query-api")
    bound = exchange_of(AccountSpec(ips=("10.0.0.7",)))
    assert code(bound, from_address(query, "10.0.0.7")) == 0
    assert code(bound, from_address(query, "10.0.0.8")) == 10010
    unbound = answer(exchange_of(AccountSpec(ips=("*",))), from_address(query, "10.0.0.8"))[1]["result"]
    assert (unbound["ips"], unbound["deadlineDay"]) == (["*"], 90), "a key without an address lives 90 days"
    relaxed = answer(exchange_of(AccountSpec()), from_address(query, "10.0.0.8"))[1]["result"]
    assert (relaxed["ips"], relaxed["deadlineDay"]) == (["10.0.0.8"], -2)


def test_an_expired_key_is_refused() -> None:
    exchange = exchange_of(AccountSpec(expires_ms=NOW_MS + 10_000))
    told = answer(exchange, signed("GET", "/v5/user/query-api"))[1]["result"]
    assert (told["deadlineDay"], told["expiredAt"]) == (0, "2024-01-01T06:00:10Z")
    assert code(exchange, signed("GET", WALLET)) == 0
    exchange.advance(START + 10_000_000_000)
    late = signed("GET", WALLET, **{"x-bapi-timestamp": str(NOW_MS + 10_000)})
    assert code(exchange, late) == 33004


def test_an_rsa_key_signs_with_its_private_half() -> None:
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    exchange = exchange_of(AccountSpec(secret="", rsa_public_key=public))
    query = "accountType=UNIFIED"
    sign = base64.b64encode(private.sign(f"{NOW_MS}sim5000{query}".encode(), PKCS1v15(), hashes.SHA256())).decode()
    request = signed("GET", WALLET, query)
    good = msgspec.structs.replace(request, headers=request.headers | {"x-bapi-sign": sign})
    assert code(exchange, good) == 0
    for wrong in (
        request,
        msgspec.structs.replace(good, query="accountType=CONTRACT"),
        signed("GET", WALLET, secret=""),
    ):
        assert code(exchange, wrong) == 10004


def test_an_empty_window_counts_as_five_seconds() -> None:
    exchange = exchange_of(AccountSpec())
    assert code(exchange, signed("GET", WALLET, **{"x-bapi-recv-window": ""})) == 0
    old = {"x-bapi-recv-window": "", "x-bapi-timestamp": str(NOW_MS - 5001)}
    assert code(exchange, signed("GET", WALLET, **old)) == 10002


@pytest.mark.parametrize("days", [0, 59, 10_956, 10_957, 11_016, 11_017, 19_782, 20_000, 47_540, 47_541, 47_542])
def test_dates_are_written_as_the_calendar_has_them(days: int) -> None:
    assert date_text(days) == (date(1970, 1, 1) + timedelta(days)).isoformat()


def test_secrets_are_not_shown() -> None:
    assert "sim-secret" not in repr(AccountSpec())
    assert "sim-secret" not in str([AccountSpec()])


# --- batches ---------------------------------------------------------------------------------------------------------


def batch(bench: Bench, what: str, orders: list[dict[str, Any]], category: str = "linear") -> dict[str, Any]:
    return bench.ask("POST", f"/v5/order/{what}-batch", body={"category": category, "request": orders})


def test_a_batch_answers_for_each_order() -> None:
    bench = Bench()
    orders = [{**ORDER, "orderLinkId": "a"}, {**ORDER, "qty": "0"}, {**ORDER, "orderLinkId": "a"}]
    made = batch(bench, "create", orders)
    assert made["retCode"] == 0
    assert [row["code"] for row in made["retExtInfo"]["list"]] == [0, 10001, 110072]
    first, second, third = made["result"]["list"]
    assert set(first) == {"category", "symbol", "orderId", "orderLinkId", "createAt"}
    assert (second["orderId"], second["createAt"], third["orderLinkId"]) == ("", "", "a")
    changed = batch(bench, "amend", [{"symbol": BTC, "orderLinkId": "a", "price": "58900"}, {"symbol": BTC}])
    assert [row["code"] for row in changed["retExtInfo"]["list"]] == [0, 10001]
    assert bench.account.by_link["a"].ticks == 589_000
    gone = batch(bench, "cancel", [{"symbol": BTC, "orderId": first["orderId"]}] * 2)
    assert [row["code"] for row in gone["retExtInfo"]["list"]] == [0, 110001]
    assert set(gone["result"]["list"][0]) == {"category", "symbol", "orderId", "orderLinkId"}


@pytest.mark.parametrize("orders", [[], [ORDER] * 21, "x", [1]])
def test_a_batch_that_is_none_is_refused_whole(orders: Any) -> None:
    assert batch(Bench(), "create", orders)["retCode"] == 10001


def test_the_part_of_a_batch_over_the_limit_fails_and_the_rest_succeeds() -> None:
    bench = Bench(SimConfig(rate_factor=1))
    made = batch(bench, "create", [{**ORDER, "orderLinkId": f"n{n}"} for n in range(12)])
    assert [row["code"] for row in made["retExtInfo"]["list"]] == [0] * 10 + [10006] * 2
    assert len(bench.account.open_orders) == 10
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 0, "single orders have a bucket of their own"


def test_spot_has_buckets_of_its_own() -> None:
    exchange = exchange_of(AccountSpec())
    for category, limit in (("linear", "10"), ("spot", "20")):
        body = json.dumps({"category": category})
        assert answer(exchange, signed("POST", "/v5/order/cancel", body))[0].headers["X-Bapi-Limit"] == limit


# --- other private routes --------------------------------------------------------------------------------------------


def test_pre_check_says_what_an_order_would_do_and_places_nothing() -> None:
    bench = Bench()
    result = bench.ask("POST", "/v5/order/pre-check", body={**ORDER, "orderLinkId": "p"})["result"]
    assert (result["orderLinkId"], result["preImrE4"], result["postMmrE4"]) == ("p", 0, 0)
    assert result["postImrE4"] == 60, "0.01 BTC at 60000, 10x, of 10000 USDT"
    assert not bench.account.by_id
    for refused in ({"qty": "0"}, {"triggerPrice": "61000", "triggerDirection": 1}):
        assert bench.ask("POST", "/v5/order/pre-check", body=ORDER | refused)["retCode"] == 10001


def test_margin_mode_is_the_accounts() -> None:
    bench = Bench()
    change = {"setMarginMode": "ISOLATED_MARGIN"}
    assert bench.ask("POST", "/v5/account/set-margin-mode", body=change)["retCode"] == 0
    assert bench.ask("POST", "/v5/account/set-margin-mode", body=change)["retCode"] == 110026
    assert bench.ask("GET", "/v5/account/info")["result"]["marginMode"] == "ISOLATED_MARGIN"
    assert bench.ask("POST", "/v5/account/set-margin-mode", body={"setMarginMode": "X"})["retCode"] == 10001


@pytest.mark.parametrize("path", ["/v5/market/instruments-info", "/v5/order/realtime", "/v5/position/list"])
def test_categories_without_markets_list_nothing(path: str) -> None:
    bench = Bench()
    for category in ("inverse", "option"):
        answer = bench.ask("GET", path, f"category={category}")
        assert (answer["retCode"], answer["result"]["category"], answer["result"]["list"]) == (0, category, [])
    assert bench.ask("GET", path, "category=other")["retCode"] == 10001
    assert bench.ask("POST", "/v5/order/create", body=ORDER | {"category": "inverse"})["retCode"] == 10001


def test_coins_are_described() -> None:
    rows = Bench().ask("GET", "/v5/asset/coin/query-info")["result"]["rows"]
    assert [row["coin"] for row in rows] == ["USDT", "BTC"]
    assert [row["coin"] for row in Bench().ask("GET", "/v5/asset/coin/query-info", "coin=BTC")["result"]["rows"]] == [
        "BTC"
    ]


# --- disconnection protection ----------------------------------------------------------------------------------------


def protected_bench() -> Bench:
    bench = Bench()
    bench.account.dcp_offered = True
    armed = bench.ask("POST", "/v5/order/disconnected-cancel-all", body={"product": "DERIVATIVES", "timeWindow": 10})
    assert armed["retCode"] == 0
    return bench


def test_orders_of_a_dead_connection_are_cancelled_after_its_window() -> None:
    bench = protected_bench()
    infos = bench.ask("GET", "/v5/account/query-dcp-info")["result"]["dcpInfos"]
    assert infos == [{"product": "DERIVATIVES", "dcpStatus": "ON", "timeWindow": "10"}]
    deadman = bench.exchange.deadman
    order = bench.order(bench.create("Buy", "0.01", "59000"))
    bench.play(20)
    assert order.is_open, "nobody was ever connected"
    deadman.joined("sim", "DERIVATIVES")
    deadman.joined("sim", "DERIVATIVES")
    deadman.left("sim", "DERIVATIVES", bench.at)
    bench.play(20)
    assert order.is_open, "the other connection lives"
    deadman.left("sim", "DERIVATIVES", bench.at)
    bench.play(9)
    assert order.is_open
    bench.play(1)
    assert (order.status, order.cancel_type) == ("Cancelled", "CancelByDCP")
    again = bench.order(bench.create("Buy", "0.01", "59000"))
    bench.play(20)
    assert again.is_open, "protection acts once a disconnection"


def test_who_comes_back_in_time_keeps_its_orders() -> None:
    bench = protected_bench()
    order = bench.order(bench.create("Buy", "0.01", "59000"))
    bench.exchange.deadman.joined("sim", "DERIVATIVES")
    bench.exchange.deadman.left("sim", "DERIVATIVES", bench.at)
    bench.play(9)
    bench.exchange.deadman.joined("sim", "DERIVATIVES")
    bench.play(20)
    assert order.is_open


def test_protection_is_offered_to_some_and_has_bounds() -> None:
    bench = Bench()
    path = "/v5/order/disconnected-cancel-all"
    assert bench.ask("POST", path, body={"product": "DERIVATIVES", "timeWindow": 10})["retCode"] == 10005
    bench.account.dcp_offered = True
    for body in ({"product": "DERIVATIVES", "timeWindow": 2}, {"product": "X", "timeWindow": 10}, {"timeWindow": 301}):
        assert bench.ask("POST", path, body=body)["retCode"] == 10001
    assert bench.ask("POST", path, body={"timeWindow": 300})["retCode"] == 0
    assert bench.account.dcp_s == {"OPTIONS": 300}, "OPTIONS is the default of the real exchange"


# --- addresses -------------------------------------------------------------------------------------------------------


def test_an_address_that_asks_too_often_is_shut_out_for_ten_minutes() -> None:
    addresses = Addresses()
    assert all(addresses.admits("a", 1000 + n) for n in range(600))
    assert not addresses.admits("a", 2000)
    assert addresses.admits("b", 2000)
    assert not addresses.admits("a", 2000 + 599_999)
    assert addresses.admits("a", 2000 + 600_000)
    assert all(Addresses(0).admits("a", 0) for _ in range(2000)), "0 is no limit"
