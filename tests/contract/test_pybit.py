"""Bybit's own Python SDK, as it comes from PyPI, against the simulator: only its addresses are changed."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pybit._http_manager as pybit_http
import pybit._websocket_trading as pybit_trading
import pybit.unified_trading as pybit
import pytest
from pybit.exceptions import FailedRequestError, InvalidRequestError

from tests.simprocess import KEY, SECRET, Process, wait_price
from tests.waiting import eventually

BTC = {"category": "linear", "symbol": "BTCUSDT"}
ACCOUNTS = """
[[keys]]
key = "sim"
secret = "sim-secret"
dcp = true
usdt = "100000"

[[keys]]
key = "reader"
secret = "reader-secret"
account = "sim"
read_only = true
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    accounts: Path = tmp_path_factory.mktemp("pybit") / "accounts.toml"
    accounts.write_text(ACCOUNTS)
    process = Process("--accounts", str(accounts))
    wait_price(process)
    yield process
    if process.process.poll() is None:
        process.end(signal.SIGTERM)


@pytest.fixture
def addresses(process: Process, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every address pybit knows is the simulator's."""
    socket = process.url.replace("http", "ws")
    monkeypatch.setattr(pybit_http, "HTTP_URL", process.url)
    monkeypatch.setattr(pybit, "PRIVATE_WSS", f"{socket}/v5/private")
    monkeypatch.setattr(pybit, "PUBLIC_WSS", socket + "/v5/public/{CHANNEL_TYPE}")
    monkeypatch.setattr(pybit_trading, "TRADE_WSS", f"{socket}/v5/trade")
    return process.url


@pytest.fixture
def session(addresses: str) -> pybit.HTTP:
    session = pybit.HTTP(api_key=KEY, api_secret=SECRET)
    assert session.endpoint == addresses
    return session


class Inbox:
    """What a socket of pybit was sent, by topic or operation."""

    def __init__(self) -> None:
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()

    def __call__(self, message: dict[str, Any]) -> None:
        self._messages.put(message)

    def next(self, **wanted: Any) -> dict[str, Any]:
        """The next message; with `wanted`, the next whose first row has these values."""
        while True:
            message = self._messages.get(timeout=60)
            row = message["data"][0] if isinstance(message.get("data"), list) else message
            if all(row.get(name) == value for name, value in wanted.items()):
                return message


def far_price(session: pybit.HTTP, ratio: float = 0.985) -> str:
    (ticker,) = session.get_tickers(**BTC)["result"]["list"]
    return f"{float(ticker['markPrice']) * ratio:.1f}"


def test_the_market_is_looked_at(session: pybit.HTTP) -> None:
    assert session.get_server_time()["retCode"] == 0
    (info,) = session.get_instruments_info(**BTC)["result"]["list"]
    assert (info["symbol"], info["status"]) == ("BTCUSDT", "Trading")
    assert len(session.get_kline(**BTC, interval="60", limit=50)["result"]["list"]) == 50
    assert len(session.get_mark_price_kline(**BTC, interval="60", limit=5)["result"]["list"][0]) == 5
    book = session.get_orderbook(**BTC, limit=50)["result"]
    assert float(book["b"][0][0]) < float(book["a"][0][0])
    assert session.get_public_trade_history(**BTC)["result"]["list"][0]["symbol"] == "BTCUSDT"
    assert len(session.get_funding_rate_history(**BTC, limit=3)["result"]["list"]) == 3
    assert session.get_risk_limit(**BTC)["result"]["list"][0]["symbol"] == "BTCUSDT"
    assert float(session.get_price_limit(**BTC)["result"]["buyLmt"]) > 0


def test_an_order_lives_and_dies(session: pybit.HTTP) -> None:
    placed = session.place_order(**BTC, side="Buy", orderType="Limit", qty="0.01", price=far_price(session))
    order_id = placed["result"]["orderId"]
    (row,) = session.get_open_orders(**BTC, orderId=order_id)["result"]["list"]
    assert (row["orderStatus"], row["cumExecQty"]) == ("New", "0")
    assert session.amend_order(**BTC, orderId=order_id, qty="0.02")["retCode"] == 0
    assert session.cancel_order(**BTC, orderId=order_id)["retCode"] == 0
    (row,) = session.get_order_history(**BTC, orderId=order_id)["result"]["list"]
    assert (row["orderStatus"], row["qty"], row["cancelType"]) == ("Cancelled", "0.02", "CancelByUser")
    with pytest.raises(InvalidRequestError, match="110001"):
        session.cancel_order(**BTC, orderId=order_id)


def test_a_trade_is_found_in_every_book(session: pybit.HTTP) -> None:
    bought = session.place_order(**BTC, side="Buy", orderType="Market", qty="0.01")["result"]["orderId"]
    (order,) = session.get_order_history(**BTC, orderId=bought)["result"]["list"]
    assert (order["orderStatus"], order["cumExecQty"]) == ("Filled", "0.01")
    fills = session.get_executions(category="linear", orderId=bought)["result"]["list"]
    assert sum(float(fill["execQty"]) for fill in fills) == 0.01
    (position,) = session.get_positions(category="linear", settleCoin="USDT")["result"]["list"]
    assert (position["side"], position["size"]) == ("Buy", "0.01")
    assert session.set_trading_stop(**BTC, tpslMode="Full", positionIdx=0, stopLoss=far_price(session))["retCode"] == 0
    stops = session.get_open_orders(**BTC, orderFilter="StopOrder")["result"]["list"]
    assert [row["stopOrderType"] for row in stops] == ["StopLoss"]
    session.place_order(**BTC, side="Sell", orderType="Market", qty="0.01", reduceOnly=True)
    closed = session.get_closed_pnl(**BTC)["result"]["list"][0]
    assert (closed["side"], closed["closedSize"]) == ("Sell", "0.01")
    log = session.get_transaction_log(accountType="UNIFIED", category="linear", type="TRADE")["result"]["list"]
    balance = session.get_wallet_balance(accountType="UNIFIED", coin="USDT")["result"]["list"][0]["coin"][0]
    assert log[0]["cashBalance"] == balance["walletBalance"]
    assert session.get_open_orders(**BTC, orderFilter="StopOrder")["result"]["list"] == []


def test_the_account_is_set_up(session: pybit.HTTP, addresses: str) -> None:
    assert session.set_leverage(**BTC, buyLeverage="3", sellLeverage="3")["retCode"] == 0
    with pytest.raises(InvalidRequestError, match="110043"):
        session.set_leverage(**BTC, buyLeverage="3", sellLeverage="3")
    assert session.get_account_info()["result"]["marginMode"] == "REGULAR_MARGIN"
    assert session.get_fee_rates(**BTC)["result"]["list"][0]["takerFeeRate"] == "0.00055"
    assert session.get_coin_info(coin="USDT")["result"]["rows"][0]["coin"] == "USDT"
    assert session.set_dcp(product="DERIVATIVES", timeWindow=40)["retCode"] == 0
    assert session.query_dcp_info()["result"]["dcpInfos"][0]["timeWindow"] == "40"
    reader = pybit.HTTP(api_key="reader", api_secret="reader-secret")
    assert reader.get_api_key_information()["result"]["readOnly"] == 1
    with pytest.raises(InvalidRequestError, match="10005"):
        reader.cancel_all_orders(category="linear", settleCoin="USDT")
    with pytest.raises((InvalidRequestError, FailedRequestError), match=r"10003|401"):
        pybit.HTTP(api_key="nobody", api_secret="x", max_retries=1).get_account_info()


def test_batches_and_pages(session: pybit.HTTP) -> None:
    price = far_price(session)
    orders = [
        {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.001", "price": price} for _ in range(5)
    ]
    made = session.place_batch_order(category="linear", request=orders)
    assert [row["code"] for row in made["retExtInfo"]["list"]] == [0] * 5
    ids = [row["orderId"] for row in made["result"]["list"]]
    changed = [{"symbol": "BTCUSDT", "orderId": order_id, "qty": "0.002"} for order_id in ids]
    assert session.amend_batch_order(category="linear", request=changed)["retCode"] == 0
    seen: list[str] = []
    cursor = None
    while cursor != "":
        page = session.get_open_orders(**BTC, limit=2, cursor=cursor)["result"]
        seen += [row["orderId"] for row in page["list"]]
        cursor = page["nextPageCursor"]
    assert seen == ids[::-1], "newest first, each once"
    some = [{"symbol": "BTCUSDT", "orderId": order_id} for order_id in ids[:2]]
    assert session.cancel_batch_order(category="linear", request=some)["retCode"] == 0
    assert len(session.cancel_all_orders(category="linear", settleCoin="USDT")["result"]["list"]) == 3


def test_public_streams(addresses: str) -> None:
    socket = pybit.WebSocket(channel_type="linear", testnet=False)
    book, trades, ticker, candle = Inbox(), Inbox(), Inbox(), Inbox()
    socket.orderbook_stream(50, "BTCUSDT", book)
    socket.trade_stream(["BTCUSDT", "ETHUSDT"], trades)
    socket.ticker_stream("BTCUSDT", ticker)
    socket.kline_stream(1, "BTCUSDT", candle)
    first = book.next()
    assert (first["type"], first["data"]["s"]) == ("snapshot", "BTCUSDT")
    before = first["data"]["u"]
    after = [book.next()["data"]["u"] for _ in range(3)]
    assert after == sorted(after)
    assert after[-1] > before
    assert trades.next()["topic"].startswith("publicTrade.")
    assert ticker.next()["data"]["symbol"] == "BTCUSDT"
    assert candle.next()["topic"] == "kline.1.BTCUSDT"
    socket.exit()


def test_private_streams_and_the_trade_socket(session: pybit.HTTP) -> None:
    stream = pybit.WebSocket(channel_type="private", testnet=False, api_key=KEY, api_secret=SECRET)
    order, execution, position, wallet = Inbox(), Inbox(), Inbox(), Inbox()
    stream.order_stream(order)
    stream.execution_stream(execution)
    stream.position_stream(position)
    stream.wallet_stream(wallet)
    trade = pybit.WebSocketTrading(testnet=False, api_key=KEY, api_secret=SECRET)
    eventually(lambda: stream.auth and trade.auth)
    answers, refusals = Inbox(), Inbox()
    trade.place_order(answers, refusals, **BTC, side="Buy", orderType="Market", qty="0.01", orderLinkId="py-1")
    assert answers.next()["data"]["orderLinkId"] == "py-1"
    assert order.next(orderLinkId="py-1", orderStatus="Filled")
    assert execution.next(orderLinkId="py-1")["data"][0]["execFee"]
    assert position.next(size="0.01")["data"][0]["entryPrice"]
    assert wallet.next()["data"][0]["coin"][0]["coin"] == "USDT"
    trade.place_order(answers, refusals, **BTC, side="Buy", orderType="Market", qty="0.01", orderLinkId="py-1")
    assert refusals.next()["retCode"] == 110072
    price = far_price(session)
    trade.place_order(
        answers, refusals, **BTC, side="Buy", orderType="Limit", qty="0.01", price=price, orderLinkId="py-2"
    )
    assert answers.next()["retCode"] == 0
    trade.amend_order(answers, refusals, **BTC, orderLinkId="py-2", qty="0.02")
    assert answers.next()["retCode"] == 0
    assert order.next(orderLinkId="py-2", qty="0.02")
    trade.cancel_order(answers, refusals, **BTC, orderLinkId="py-2")
    assert order.next(orderLinkId="py-2", orderStatus="Cancelled")
    session.place_order(**BTC, side="Sell", orderType="Market", qty="0.01", reduceOnly=True)
    assert position.next(size="0")["data"][0]["side"] == ""
    trade.exit()
    stream.exit()
