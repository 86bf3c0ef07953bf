"""The simulator's rows have at least the keys of what the real exchange was recorded to send."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.simbench import BTC, PRICE, Bench

FIXTURES = Path(os.environ.get("TIDEGATE_BYBIT_FIXTURES") or Path(__file__).parents[3] / "shared" / "bybit-fixtures")
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="recorded payloads are not on this machine")


@pytest.fixture(scope="module")
def bench() -> Bench:
    bench = Bench()
    bench.exchange.listening |= {"execution.fast"}
    for topic in ("orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT", "kline.5.BTCUSDT"):
        bench.exchange.watch(topic)
    for step in range(3):
        bench.book(middle=PRICE + step)
        bench.print(PRICE + step, 5, 1)
        bench.play(200)
    bench.create("Buy", "0.01", "60010", orderLinkId="tg-1")
    bench.create("Buy", "0.01", "59000", orderLinkId="tg-2")
    bench.create("Sell", "0.005", "59990", timeInForce="IOC")
    bench.play(2 * 3600)
    return bench


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((FIXTURES / name).read_text()))


def missing(ours: Any, theirs: Any) -> set[str]:
    """Keys that the recorded value has and ours does not, and those whose JSON kind differs."""
    gaps = set(theirs) - set(ours)
    for name in set(theirs) & set(ours):
        numbers = [isinstance(value, int) and not isinstance(value, bool) for value in (ours[name], theirs[name])]
        if numbers[0] != numbers[1]:
            gaps.add(f"{name} is {type(ours[name]).__name__}, recorded {type(theirs[name]).__name__}")
    return gaps


REST = [
    ("rest/order_realtime.linear_new_limit_2025.ccxt.json", "/v5/order/realtime", "category=linear&symbol=BTCUSDT"),
    ("rest/order_history.linear_market_filled_2025.ccxt.json", "/v5/order/history", "category=linear"),
    (
        "rest/execution_list.linear_market_buy_taker_2024.ccxt.json",
        "/v5/execution/list",
        "category=linear&orderLinkId=tg-1",
    ),
    (
        "rest/execution_list.linear_funding_single_2023.ccxt.json",
        "/v5/execution/list",
        "category=linear&execType=Funding",
    ),
    ("rest/position_list.linear_long_open_2023.ccxt.json", "/v5/position/list", "category=linear&settleCoin=USDT"),
    ("rest/position_closed-pnl.linear_long_closed_2024.ccxt.json", "/v5/position/closed-pnl", "category=linear"),
    ("rest/account_wallet-balance.doc.json", "/v5/account/wallet-balance", "accountType=UNIFIED"),
    ("rest/account_transaction-log.doc.json", "/v5/account/transaction-log", "accountType=UNIFIED"),
    ("rest/account_fee-rate.doc.json", "/v5/account/fee-rate", "category=linear&symbol=BTCUSDT"),
    ("rest/market_tickers.linear_2024_11_a.ccxt.json", "/v5/market/tickers", "category=linear&symbol=BTCUSDT"),
    ("rest/market_instruments-info.linear_BTCUSDT_2026.doc.json", "/v5/market/instruments-info", "category=linear"),
    ("rest/market_recent-trade.spot.doc.json", "/v5/market/recent-trade", "category=linear&symbol=BTCUSDT"),
    (
        "rest/market_funding_history.linear_ETHPERP.doc.json",
        "/v5/market/funding/history",
        "category=linear&symbol=BTCUSDT",
    ),
]


@pytest.mark.parametrize(("fixture", "path", "query"), REST, ids=[row[0].split("/")[1] for row in REST])
def test_rest_rows(bench: Bench, fixture: str, path: str, query: str) -> None:
    theirs = recorded(fixture)
    ours = bench.ask("GET", path, query)
    assert ours["retCode"] == 0, ours
    assert set(ours) == {"retCode", "retMsg", "result", "retExtInfo", "time"}
    assert missing(ours["result"], theirs["result"]) <= {"nextPageCursor"}
    assert missing(ours["result"]["list"][0], theirs["result"]["list"][0]) == set()


@pytest.mark.parametrize(
    ("fixture", "path", "query"),
    [
        ("rest/user_query-api.readonly_ipbound.doc.json", "/v5/user/query-api", ""),
        ("rest/account_info.doc.json", "/v5/account/info", ""),
        ("rest/market_time.doc.json", "/v5/market/time", ""),
        ("rest/market_orderbook.linear_2_2024.ccxt.json", "/v5/market/orderbook", "category=linear&symbol=BTCUSDT"),
        ("rest/market_price-limit.linear.doc.json", "/v5/market/price-limit", "symbol=BTCUSDT"),
    ],
)
def test_rest_results(bench: Bench, fixture: str, path: str, query: str) -> None:
    assert missing(bench.ask("GET", path, query)["result"], recorded(fixture)["result"]) == set()


@pytest.mark.parametrize(
    ("fixture", "topic", "kind"),
    [
        ("ws/orderbook.50.delta.doc.json", "orderbook.50.BTCUSDT", "delta"),
        ("ws/orderbook.50.snapshot_truncated.doc.json", "orderbook.50.BTCUSDT", "snapshot"),
        ("ws/tickers.linear_perp_snapshot_2025.doc.json", "tickers.BTCUSDT", "snapshot"),
        ("ws/publicTrade.linear.doc.json", "publicTrade.BTCUSDT", "snapshot"),
        ("ws/kline.5.unconfirmed.doc.json", "kline.5.BTCUSDT", "snapshot"),
    ],
)
def test_public_frames(bench: Bench, fixture: str, topic: str, kind: str) -> None:
    theirs = recorded(fixture)
    frames = [json.loads(frame.text) for frame in bench.frames if frame.topic == topic]
    ours = next(frame for frame in frames if frame["type"] == kind)
    assert missing(ours, theirs) == set()
    mine, real = ours["data"], theirs["data"]
    assert missing(mine[0] if isinstance(mine, list) else mine, real[0] if isinstance(real, list) else real) == set()


@pytest.mark.parametrize(
    ("fixture", "topic"),
    [
        ("ws/order.option_filled.doc.json", "order"),
        ("ws/execution.linear_close_with_extraFees.doc.json", "execution"),
        ("ws/execution.fast.linear_taker.doc.json", "execution.fast"),
        ("ws/position.linear_hedge_closed.doc.json", "position"),
        ("ws/wallet.doc.json", "wallet"),
    ],
)
def test_private_frames(bench: Bench, fixture: str, topic: str) -> None:
    theirs = recorded(fixture)
    ours = next(json.loads(frame.text) for frame in bench.frames if frame.topic == topic)
    assert set(ours) == {"id", "topic", "creationTime", "data"}
    assert missing(ours["data"][0], theirs["data"][0]) == set()
    if topic == "wallet":
        assert missing(ours["data"][0]["coin"][0], theirs["data"][0]["coin"][0]) == set()


def test_recorded_signatures_are_accepted() -> None:
    from sim.account import AccountSpec
    from sim.auth import Keyring
    from sim.wiretypes import WireRequest

    for case in json.loads((FIXTURES / "signing/rest_hmac.json").read_text()):
        headers = {name.lower(): str(value) for name, value in case["headers"].items()}
        keys = Keyring([AccountSpec(key=headers["x-bapi-api-key"], secret=case["secret"])])
        request = WireRequest(
            method=case["method"], path=case["path"], query=case["query"], body=case["body"] or "", headers=headers
        )
        assert keys.spec_of(request, int(headers["x-bapi-timestamp"])).key == headers["x-bapi-api-key"]
    assert BTC
