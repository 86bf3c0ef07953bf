"""libs.bybit against payloads of the real exchange (recorded, or the examples of its documentation).

The payloads are not part of the project. Point TIDEGATE_BYBIT_FIXTURES at the directory that holds them; without it the
directory `shared/bybit-fixtures` beside the project is tried, and where there is none these tests are skipped.
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.bybit import market, rest, wire
from libs.bybit.errors import Outcome
from libs.bybit.sign import Key, rest_headers, rest_text, signature, stream_auth_args
from libs.bybit.stream import Arrival, Session

FIXTURES = Path(
    os.environ.get("TIDEGATE_BYBIT_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "bybit-fixtures")
)
pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no exchange payloads at {FIXTURES}; set TIDEGATE_BYBIT_FIXTURES to have them tested"
)


def text(name: str) -> str:
    return (FIXTURES / name).read_text()


def result(name: str) -> msgspec.Raw:
    reply = rest.reply_of(200, text(f"rest/{name}.json"))
    assert reply.ok, reply.message
    return reply.result


def page(name: str) -> wire.Page:
    return rest.page_of(result(name))


def row(kind: type[Any], name: str) -> Any:
    return wire.decode(kind, wire.frame_of(text(f"ws/{name}.json")).data)


# --- signing ------------------------------------------------------------------------------------------------------------


def test_rest_signatures_of_two_other_clients() -> None:
    cases = [case for case in msgspec.json.decode(text("signing/rest_hmac.json")) if "HMAC" in case["algorithm"]]
    assert len(cases) >= 8
    for case in cases:
        headers = {name.upper(): value for name, value in case["headers"].items()}
        key = Key(headers["X-BAPI-API-KEY"], case["secret"])
        stamp, window = int(headers["X-BAPI-TIMESTAMP"]), int(headers["X-BAPI-RECV-WINDOW"])
        target = f"{case['path']}?{case['query']}" if case["query"] else case["path"]
        ours = rest_headers(key, stamp, window, case["method"], target, case["body"])
        assert ours["X-BAPI-SIGN"] == headers["X-BAPI-SIGN"], case
        payload = case["query"] if case["method"] == "GET" else case["body"]
        assert rest_text(stamp, key.key, window, payload) == case["prehash"]


def test_stream_auth_of_another_client() -> None:
    for case in msgspec.json.decode(text("signing/ws_auth.json")):
        args = stream_auth_args(Key(case["api_key"], case["secret"]), case["expires"])
        assert args == [case["api_key"], case["expires"], case["signature"]]
        assert signature(case["secret"], case["prehash"]) == case["signature"]


# --- REST -----------------------------------------------------------------------------------------------------------------


def test_every_rest_body_is_an_envelope() -> None:
    names = [path for path in (FIXTURES / "rest").glob("*.json") if not path.name.startswith("error")]
    assert len(names) > 30
    for path in names:
        assert rest.reply_of(200, path.read_text()).outcome in (Outcome.OK, Outcome.BENIGN), path.name


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("10001_min_qty", Outcome.BAD_REQUEST),
        ("10001_position_mode_invalid", Outcome.BAD_REQUEST),
        ("10002_recv_window_ahead_1002ms", Outcome.CLOCK),
        ("110003_price_out_of_range", Outcome.PRICE),
        ("110017_reduce_only_not_satisfied", Outcome.BAD_REQUEST),
    ],
)
def test_recorded_errors(name: str, outcome: Outcome) -> None:
    assert rest.reply_of(200, text(f"rest/errors/{name}.json")).outcome is outcome


def test_orders() -> None:
    (live,) = rest.orders_of(page("order_realtime.linear_new_limit_2025.ccxt"))
    assert (live.status, live.closed, live.cum_qty, live.reason) == ("New", False, Decimal(0), "")
    (filled,) = rest.orders_of(page("order_history.linear_market_filled_2025.ccxt"))
    assert (filled.status, filled.closed) == ("Filled", True)
    assert filled.cum_qty == filled.qty > 0
    (refused,) = rest.orders_of(page("order_history.linear_postonly_cancelled.doc"))
    assert (refused.status, refused.reason) == ("Cancelled", "EC_PostOnlyWillTakeLiquidity")
    ack = rest.ack_of(result("order_create.ack.doc"))
    assert ack.order_id


def test_executions() -> None:
    (taken,) = rest.executions_of(page("execution_list.linear_taker.doc"))
    assert (taken.kind, taken.qty, taken.price, taken.fee) == (
        "Trade", Decimal("0.1"), Decimal("1190.15"), Decimal("0.071409"),
    )  # fmt: skip
    funding = rest.executions_of(page("execution_list.linear_funding_single_2023.ccxt"))
    assert funding[0].kind == "Funding"
    assert funding[0].link_id == ""
    bought = rest.executions_of(page("execution_list.linear_market_buy_taker_2024.ccxt"))
    assert all(done.side == "Buy" and done.exec_ms > 0 for done in bought)


def test_positions_wallet_and_account() -> None:
    (long,) = rest.positions_of(page("position_list.linear_long_open_2023.ccxt"))
    assert long.qty > 0
    assert long.entry_price > 0
    (short,) = rest.positions_of(page("position_list.inverse_short.doc"))
    assert short.qty < 0
    wallet = rest.wallet_of(result("account_wallet-balance.doc"), "BTC")
    assert (wallet.balance, wallet.available) == (Decimal(0), Decimal("3.00326056"))
    assert rest.account_info_of(result("account_info.doc")).margin_mode.endswith("MARGIN")
    (fee,) = rest.fee_rates_of(result("account_fee-rate.doc"))
    assert Decimal(fee.taker_fee_rate or "") > 0
    key = rest.key_info_of(result("user_query-api.readonly_ipbound.doc"))
    assert key.read_only == 1
    assert key.ips


def test_market_data() -> None:
    for name in ("2024-02.dochist", "2025-09.dochist", "2026.doc"):
        (btc,) = rest.instruments_of(result(f"market_instruments-info.linear_BTCUSDT_{name}"))
        assert (btc.symbol, btc.price_filter.tick_size, btc.lot_size_filter.qty_step) == ("BTCUSDT", "0.10", "0.001")
    candles = rest.candles_of(result("market_kline.linear_1h_2024.ccxt"))
    assert int(candles[0].start_ms) >= int(candles[-1].start_ms)
    assert rest.tickers_of(result("market_tickers.linear_2024_11_a.ccxt"))[0].mark_price
    assert rest.server_time_of(result("market_time.doc")).time_nano


# --- streams --------------------------------------------------------------------------------------------------------------


def test_private_topics() -> None:
    (order,) = map(wire.order_of, row(list[wire.OrderRow], "order.option_filled.doc"))
    assert (order.status, order.cum_qty) == ("Filled", Decimal(1))
    for name in ("execution.linear_close_2025-07.dochist", "execution.linear_close_with_extraFees.doc"):
        (done,) = map(wire.execution_of, row(list[wire.ExecutionRow], name))
        assert (done.kind, done.qty, done.fee) == ("Trade", Decimal("0.5"), Decimal("26.3725275"))
    (position,) = map(wire.position_of, row(list[wire.PositionRow], "position.linear_hedge_closed.doc"))
    assert position.qty == 0
    (wallet,) = row(list[wire.WalletRow], "wallet.doc")
    assert wire.wallet_of(wallet, "BTC").balance == Decimal("0.00102964")


def test_public_topics() -> None:
    assert row(list[market.TradeRow], "publicTrade.linear.doc")[0].S in ("Buy", "Sell")
    assert row(market.BookRow, "orderbook.50.delta.doc").u > 0
    assert row(market.TickerRow, "tickers.linear_perp_snapshot_2025.doc").last_price
    assert row(list[market.KlineRow], "kline.5.unconfirmed.doc")[0].confirm is False


@pytest.mark.parametrize(
    ("name", "arrival"),
    [
        ("pong.private.doc", Arrival.CONTROL),
        ("pong.private_2025.ccxtsrc", Arrival.CONTROL),
        ("pong.public_linear.doc", Arrival.CONTROL),
        ("pong.public_spot.doc", Arrival.CONTROL),
        ("subscribe.ack_public_linear.doc", Arrival.READY),
        ("subscribe.ack_private.doc", Arrival.READY),
        ("subscribe.ack_public_spot.doc", Arrival.READY),
        ("wallet.doc", Arrival.DATA),
        ("publicTrade.linear.doc", Arrival.DATA),
    ],
)
def test_messages_are_told_apart(name: str, arrival: Arrival) -> None:
    session = Session(("wallet",))
    session.opened(0)
    assert session.received(text(f"ws/{name}.json"), 0)[0] is arrival


def test_the_private_auth_reply_is_answered_by_the_subscription() -> None:
    session = Session(("order",), Key("k", "s"))
    session.opened(0)
    _, _, texts = session.received(text("ws/auth.response_private.doc.json"), 0)
    assert msgspec.json.decode(texts[0])["op"] == "subscribe"
