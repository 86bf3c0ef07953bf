"""One table of shapes (shapes.py), held against what the real exchange was recorded to send and against the simulator."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sim.config import SimConfig
from sim.door.auth import Keyring
from sim.engine.account import AccountSpec
from sim.wiretypes import WireRequest
from tests.contract import shapes
from tests.contract.shapes import faults, page
from tests.simbench import BTC, PRICE, Bench

FIXTURES = Path(os.environ.get("TIDEGATE_BYBIT_FIXTURES") or Path(__file__).parents[3] / "shared" / "bybit-fixtures")
recorded_only = pytest.mark.skipif(not FIXTURES.is_dir(), reason="recorded payloads are not on this machine")
LINEAR = f"category=linear&symbol={BTC}"

# path -> (shape of the result, query, how many rows there are at least, recorded examples)
REST: dict[str, tuple[Any, str, int, tuple[str, ...]]] = {
    "/v5/market/time": (shapes.TIME, "", 0, ("market_time.doc",)),
    "/v5/market/tickers": (page(shapes.TICKER), LINEAR, 1, ("market_tickers.linear_2024_11_a.ccxt", "market_tickers.inverse_BTCUSD_2025.doc")),
    "/v5/market/instruments-info": (page(shapes.INSTRUMENT), LINEAR, 1, (
        "market_instruments-info.linear_BTCUSDT_2024-02.dochist", "market_instruments-info.linear_BTCUSDT_2025-09.dochist",
        "market_instruments-info.linear_BTCUSDT_2026.doc")),
    "/v5/market/kline": (page([shapes.NUMBER]), f"{LINEAR}&interval=60", 1, ("market_kline.linear_1h_2024.ccxt", "market_kline.inverse_60.doc")),
    "/v5/market/mark-price-kline": (page([shapes.NUMBER]), f"{LINEAR}&interval=60", 1, ("market_mark-price-kline.linear_15.doc",)),
    "/v5/market/index-price-kline": (page([shapes.NUMBER]), f"{LINEAR}&interval=60", 1, ()),
    "/v5/market/premium-index-price-kline": (page([shapes.NUMBER]), f"{LINEAR}&interval=60", 1, ()),
    "/v5/market/open-interest": (page(shapes.OPEN_INTEREST), f"{LINEAR}&intervalTime=5min", 1, ("market_open-interest.doc",)),
    "/v5/market/orderbook": (shapes.REST_BOOK, LINEAR, 0, ("market_orderbook.linear_2_2024.ccxt", "market_orderbook.spot_1.doc")),
    "/v5/market/recent-trade": (page(shapes.RECENT_TRADE), LINEAR, 1, ("market_recent-trade.spot.doc",)),
    "/v5/market/funding/history": (page(shapes.FUNDING), LINEAR, 1, ("market_funding_history.linear_ETHPERP.doc",)),
    "/v5/market/risk-limit": (page(shapes.RISK_LIMIT), LINEAR, 1, ("market_risk-limit.inverse_BTCUSD.doc",)),
    "/v5/market/price-limit": (shapes.PRICE_LIMIT, f"symbol={BTC}", 0, ("market_price-limit.linear.doc",)),
    "/v5/system/status": (page(shapes.SYSTEM_STATUS), "", 0, ("system_status.doc",)),
    "/v5/order/realtime": (page(shapes.ORDER), LINEAR, 2, ("order_realtime.linear_new_limit_2025.ccxt", "order_realtime.linear_new_hedge_buy.doc")),
    "/v5/order/history": (page(shapes.ORDER), LINEAR, 2, ("order_history.linear_market_filled_2025.ccxt", "order_history.linear_postonly_cancelled.doc")),
    "/v5/execution/list": (page(shapes.EXECUTION), LINEAR, 2, (
        "execution_list.linear_market_buy_taker_2024.ccxt", "execution_list.linear_funding_single_2023.ccxt", "execution_list.linear_taker.doc")),
    "/v5/position/list": (page({**shapes.POSITION, "avgPrice": shapes.MAYBE}), LINEAR, 1, ("position_list.linear_long_open_2023.ccxt",)),
    "/v5/position/closed-pnl": (page(shapes.CLOSED_PNL), LINEAR, 1, ("position_closed-pnl.linear_long_closed_2024.ccxt", "position_closed-pnl.linear.doc")),
    "/v5/account/wallet-balance": (page(shapes.WALLET), "accountType=UNIFIED", 1, ("account_wallet-balance.doc",)),
    "/v5/account/transaction-log": (page(shapes.ENTRY), "accountType=UNIFIED", 3, (
        "account_transaction-log.doc", "account_transaction-log.linear_settlement_2024.ccxt")),
    "/v5/account/fee-rate": (page(shapes.FEE_RATE), LINEAR, 1, ("account_fee-rate.doc",)),
    "/v5/account/info": (shapes.ACCOUNT_INFO, "", 0, ("account_info.doc",)),
    "/v5/account/query-dcp-info": (shapes.DCP_INFO, "", 0, ("account_query-dcp-info.doc",)),
    "/v5/asset/coin/query-info": (shapes.COIN_INFO, "", 0, ("asset_coin_query-info.doc",)),
    "/v5/user/query-api": (shapes.KEY_INFO, "", 0, ("user_query-api.readonly_ipbound.doc",)),
}  # fmt: skip
SPOT = f"category=spot&symbol={BTC}"
SPOT_REST: dict[str, tuple[Any, str, int, tuple[str, ...]]] = {
    "/v5/market/tickers": (page(shapes.SPOT_TICKER), SPOT, 1, ("market_tickers.spot_BTCUSDT.doc",)),
    "/v5/market/instruments-info": (page(shapes.SPOT_INSTRUMENT), SPOT, 1, ("market_instruments-info.spot_BTCUSDT_2026.doc",)),
    "/v5/market/recent-trade": (page(shapes.RECENT_TRADE), SPOT, 1, ("market_recent-trade.spot.doc",)),
    "/v5/market/orderbook": (shapes.REST_BOOK, SPOT, 0, ("market_orderbook.spot_1.doc",)),
    "/v5/order/realtime": (page({**shapes.ORDER, "leavesValue": shapes.MAYBE}), SPOT, 1, ("rows/order_realtime.spot_new_2023.hirokisan",)),
    "/v5/order/history": (page(shapes.ORDER), SPOT, 1, ()),
    "/v5/execution/list": (page(shapes.EXECUTION), SPOT, 1, ()),
}  # fmt: skip
ACTS: list[tuple[str, dict[str, Any], Any, tuple[str, ...]]] = [
    ("/v5/order/create", {"side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000", "orderLinkId": "x"}, shapes.ORDER_ACK,
     ("order_create.ack.doc", "order_create.spot_autolinkid_2024.ccxt")),
    ("/v5/order/amend", {"orderLinkId": "x", "qty": "0.02"}, shapes.ORDER_ACK, ("order_amend.ack.doc",)),
    ("/v5/order/cancel", {"orderLinkId": "x"}, shapes.ORDER_ACK, ("order_cancel.ack.doc",)),
    ("/v5/order/cancel-all", {}, shapes.CANCEL_ALL, ("order_cancel-all.doc", "order_cancel-all.spot_2024.ccxt")),
    ("/v5/order/create-batch", {"request": [{"symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}]},
     shapes.BATCH_ACK, ("order_create-batch.ok.doc",)),
    ("/v5/order/pre-check", {"side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}, shapes.PRE_CHECK, ("order_pre-check.doc",)),
    ("/v5/position/set-leverage", {"buyLeverage": "7", "sellLeverage": "7"}, {}, ("position_set-leverage.doc",)),
    ("/v5/position/trading-stop", {"tpslMode": "Full", "positionIdx": 0, "stopLoss": "50000"}, {}, ("position_trading-stop.doc",)),
    ("/v5/position/switch-mode", {"symbol": "", "coin": "USDT", "mode": 0}, {}, ("position_switch-mode.doc",)),
]  # fmt: skip
# topic -> (shape of the frame, recorded examples)
FRAMES: dict[str, tuple[Any, tuple[str, ...]]] = {
    f"orderbook.50.{BTC}": (shapes.BOOK_FRAME, ("orderbook.50.delta.doc", "orderbook.50.snapshot_truncated.doc", "orderbook.50.delta_2023.dochist")),
    f"orderbook.1.{BTC}": (shapes.BOOK_FRAME, ()),
    f"publicTrade.{BTC}": (shapes.TRADE_FRAME, ("publicTrade.linear.doc",)),
    f"tickers.{BTC}": (shapes.TICKER_SNAPSHOT, ("tickers.linear_perp_snapshot_2025.doc",)),
    f"kline.1.{BTC}": (shapes.KLINE_FRAME, ("kline.5.unconfirmed.doc",)),
    f"priceLimit.{BTC}": (shapes.PRICE_LIMIT_FRAME, ("priceLimit.doc",)),
    f"tickers.{BTC}-SPOT": (shapes.SPOT_TICKER_FRAME, ("tickers.spot_snapshot.doc",)),
    f"orderbook.50.{BTC}-SPOT": (shapes.BOOK_FRAME, ()),
    f"publicTrade.{BTC}-SPOT": (shapes.TRADE_FRAME, ()),
    "order": (shapes.ORDER_FRAME, ("order.option_filled.doc",)),
    "execution": (shapes.EXECUTION_FRAME, ("execution.linear_close_with_extraFees.doc", "execution.linear_close_2025-07.dochist")),
    "execution.fast": (shapes.FAST_FRAME, ("execution.fast.linear_taker.doc",)),
    "position": (shapes.POSITION_FRAME, ("position.linear_hedge_closed.doc", "position.linear_hedge_closed_2025.dochist")),
    "wallet": (shapes.WALLET_FRAME, ("wallet.doc", "wallet.2025-07.dochist")),
}  # fmt: skip
ONLY_RECORDED: list[tuple[str, Any]] = [
    ("ws/allLiquidation.doc", shapes.LIQUIDATION_FRAME),
    ("ws/system.status.doc", shapes.STATUS_FRAME),
    ("rest/rows/execution.spot_maker_partial_2023.ccxtsrc", shapes.EXECUTION),
    ("rest/rows/user_query-api.full_permissions_2023.hirokisan", shapes.KEY_INFO),
    ("ws/auth.response_private.doc", shapes.ACK),
    ("ws/subscribe.ack_private.doc", shapes.ACK),
    ("ws/subscribe.ack_public_linear.doc", shapes.PUBLIC_ACK),
    ("ws/subscribe.ack_public_spot.doc", shapes.PUBLIC_ACK),
    ("ws/pong.public_linear.doc", shapes.PUBLIC_PONG),
    ("ws/pong.public_spot.doc", shapes.PUBLIC_PONG),
    ("ws/pong.private.doc", shapes.PRIVATE_PONG),
    ("ws/pong.private_2025.ccxtsrc", shapes.PRIVATE_PONG),
    ("ws/trade.pong.doc", shapes.TRADE_PONG),
    ("ws/trade.auth_response.doc", shapes.TRADE_AUTH),
    ("ws/trade.order_create_response.doc", shapes.TRADE_ANSWER),
]
"""Shapes that the socket tests hold against the simulator (test_sessions.py), or topics it does not have yet."""


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def result_of(name: str) -> Any:
    body = recorded(f"rest/{name}")
    return body.get("result", body)


@pytest.fixture(scope="module")
def bench() -> Bench:
    """An account with a past: fills both ways, funding, stops, open and cancelled orders, a spot trade."""
    bench = Bench(SimConfig(rate_factor=1000, spot=True, unconfirmed_klines=True))
    bench.exchange.listening |= {"execution.fast"}
    for topic in FRAMES:
        if "." in topic and not topic.startswith("execution"):
            bench.exchange.watch(topic)
    for step in range(3):
        bench.book(middle=PRICE + step)
        bench.print(PRICE + step, 5, 1)
        bench.play(200)
    bench.create("Buy", "0.01", "60010", orderLinkId="tg-1", stopLoss="58000")
    bench.create("Buy", "0.01", "59000", orderLinkId="tg-2")
    bench.create("Buy", "0.01", "59000", orderLinkId="tg-3")
    bench.ask("POST", "/v5/order/cancel", body={"category": "linear", "symbol": BTC, "orderLinkId": "tg-3"})
    bench.create("Sell", "0.005", "59990", timeInForce="IOC")
    bench.create("Sell", "0.01", triggerPrice="58500", triggerDirection=2, reduceOnly=True)
    spot = {"category": "spot", "symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "100"}
    assert bench.ask("POST", "/v5/order/create", body=spot)["retCode"] == 0
    resting = spot | {"orderType": "Limit", "qty": "0.001", "price": "50000"}
    assert bench.ask("POST", "/v5/order/create", body=resting)["retCode"] == 0
    bench.play(2 * 3600)
    return bench


TABLES = [(path, *row) for table in (REST, SPOT_REST) for path, row in table.items()]


@pytest.mark.parametrize(
    ("path", "shape", "query", "least", "names"), TABLES, ids=[f"{row[0]}?{row[2]}" for row in TABLES]
)
def test_rest(bench: Bench, path: str, shape: Any, query: str, least: int, names: tuple[str, ...]) -> None:
    answer = bench.ask("GET", path, query)
    assert answer["retCode"] == 0, answer
    assert faults(shapes.ENVELOPE, answer, recorded=False) == []
    assert faults(shape, answer["result"], recorded=False) == []
    assert len(answer["result"].get("list", [])) >= least, "a test of no rows proves nothing"
    if FIXTURES.is_dir():
        for name in names:
            assert faults(shape, result_of(name), recorded=True) == [], name


@pytest.mark.parametrize(("path", "body", "shape", "names"), ACTS, ids=[row[0] for row in ACTS])
def test_acts(bench: Bench, path: str, body: dict[str, Any], shape: Any, names: tuple[str, ...]) -> None:
    answer = bench.ask("POST", path, body={"category": "linear", "symbol": BTC} | body)
    assert answer["retCode"] == 0, answer
    assert faults(shapes.ENVELOPE, answer, recorded=False) == []
    assert faults(shape, answer["result"], recorded=False) == []
    if FIXTURES.is_dir():
        for name in names:
            assert faults(shape, result_of(name), recorded=True) == [], name


@pytest.mark.parametrize(("topic", "shape", "names"), [(t, *row) for t, row in FRAMES.items()], ids=list(FRAMES))
def test_frames(bench: Bench, topic: str, shape: Any, names: tuple[str, ...]) -> None:
    frames = [json.loads(frame.text) for frame in bench.frames if frame.topic == topic]
    assert frames, "a test of no frames proves nothing"
    for frame in frames:
        partial = frame.get("type") == "delta" and topic.startswith("tickers")
        found = faults(shape, frame, recorded=False)
        assert [fault for fault in found if not (partial and fault.endswith("is missing"))] == []
    if FIXTURES.is_dir():
        for name in names:
            assert faults(shape, recorded(f"ws/{name}"), recorded=True) == [], name


@recorded_only
@pytest.mark.parametrize(("name", "shape"), ONLY_RECORDED, ids=[row[0] for row in ONLY_RECORDED])
def test_other_shapes_fit_what_was_recorded(name: str, shape: Any) -> None:
    assert faults(shape, recorded(name), recorded=True) == []


@recorded_only
def test_no_recorded_name_of_today_is_left_out() -> None:
    """A name that a recording of 2025 or later has must be in the shape: the simulator then has it, too."""
    for shape, name in (
        (shapes.ORDER, "order_realtime.linear_new_limit_2025.ccxt"),
        (shapes.TICKER, "market_tickers.inverse_BTCUSD_2025.doc"),
        (shapes.INSTRUMENT, "market_instruments-info.linear_BTCUSDT_2026.doc"),
        (shapes.SPOT_INSTRUMENT, "market_instruments-info.spot_BTCUSDT_2026.doc"),
        (shapes.EXECUTION, "execution_list.linear_market_buy_taker_2024.ccxt"),
        (shapes.CLOSED_PNL, "position_closed-pnl.linear_long_closed_2024.ccxt"),
        (shapes.ENTRY, "account_transaction-log.doc"),
        (shapes.WALLET, "account_wallet-balance.doc"),
    ):
        row = result_of(name)["list"][0]
        assert set(row) - set(shape) <= {"basisRateYear", "symbolType"}, name


def test_the_rules_can_fail() -> None:
    row = {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": "1672041600000"}
    assert faults(shapes.FUNDING, row, recorded=False) == []
    assert faults(shapes.FUNDING, row | {"fundingRate": 0.0001}, recorded=False) == [".fundingRate: was 0.0001"]
    assert faults(shapes.FUNDING, {"symbol": ""}, recorded=True)[:1] == [".symbol: was ''"]
    assert faults(page(shapes.FUNDING), {"list": [{}]}, recorded=False)[0] == ".list[0].symbol: is missing"
    old = {"a": shapes.Later(shapes.INT)}
    assert (faults(old, {}, recorded=True), faults(old, {}, recorded=False)) == ([], [".a: is missing"])
    assert faults(old, {"a": True}, recorded=False) == [".a: was True"], "a flag is no number"


@recorded_only
def test_recorded_signatures_are_accepted() -> None:
    cases = json.loads((FIXTURES / "signing/rest_hmac.json").read_text())
    rsa = json.loads((FIXTURES / "signing/rest_rsa.json").read_text())
    cases += [case | {"public": rsa["public_key_pem"], "secret": ""} for case in rsa["cases"]]
    for case in cases:
        headers = {name.lower(): str(value) for name, value in case["headers"].items()}
        spec = AccountSpec(key=headers["x-bapi-api-key"], secret=case["secret"], rsa_public_key=case.get("public", ""))
        request = WireRequest(
            method=case["method"], path=case["path"], query=case["query"], body=case["body"] or "", headers=headers
        )
        assert Keyring([spec]).spec_of(request, int(headers["x-bapi-timestamp"])) == spec
