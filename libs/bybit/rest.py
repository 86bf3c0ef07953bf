"""REST calls of Bybit v5 as values: builders give path, query and body exactly as they go on the wire; parsers read replies.

Nothing here signs, sends or knows the time. Prices and quantities are Decimal, instants are ms.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from libs.bybit import market, wire
from libs.bybit.errors import Outcome, classify
from libs.common.decider import Request
from libs.common.values import SPOT, Side, category_of, venue_name

SENT_AT_HEADER = "tidegate-sent-at"
"""Put on every realtime reply by the driver: wall clock (ns) at which the call was sent."""
KEY_CHANGED_HEADER = "tidegate-key-changed"
"""Put on a refusal of the key: the driver uses another one now, the call may go again."""
OPTIONAL = frozenset({"/v5/account/query-dcp-info", "/v5/order/disconnected-cancel-all"})
"""What not every account may call: a refusal there says nothing against the key."""
UNSENT_SILENT = "HTTP is silent after 403"
UNSENT_NO_SOCKET = "the trade socket is not open"
"""Why the driver did not send a call; "" in an unsent message: it had expired."""


class Call(msgspec.Struct, frozen=True):
    """A call without its number. `target` is path plus query as sent, `body` the exact JSON text."""

    method: str
    target: str
    body: str = ""
    private: bool = True
    weight_class: str = "query"

    def numbered(self, number: int) -> Request:
        """The Request a core hands to its shell."""
        return Request(number, self.method, self.target, self.body, self.private, self.weight_class)


class Reply(msgspec.Struct, frozen=True):
    """An answered call: what it means, and the raw result. `code` is None when the body was no envelope."""

    outcome: Outcome
    code: int | None
    message: str
    result: msgspec.Raw
    time_ms: int

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


def reply_of(status: int, body: str) -> Reply:
    """Read any REST body; a page that is no envelope is judged by its HTTP status."""
    try:
        envelope = wire.envelope_of(body)
    except msgspec.DecodeError:
        return Reply(classify(status, None), None, body[:200], msgspec.Raw(b"{}"), 0)
    message = envelope.ret_msg or ""
    outcome = classify(status, envelope.ret_code, message)
    return Reply(outcome, envelope.ret_code, message, envelope.result, envelope.time)


def endpoint_of(target: str) -> str:
    """The path of a target: what the venue counts rates by."""
    return target.partition("?")[0]


def plain(number: Decimal) -> str:
    """A Decimal as the venue reads it: never in exponent form."""
    return format(number, "f")


def _get(path: str, private: bool = True, raw_cursor: str | None = "", /, **query: str | int | None) -> Call:
    """`raw_cursor` comes percent-encoded from the venue and goes back untouched."""
    parts = [f"{name}={quote(str(value), safe=',')}" for name, value in query.items() if value not in (None, "")]
    if raw_cursor:
        parts.append(f"cursor={raw_cursor}")
    return Call("GET", f"{path}?{'&'.join(parts)}" if parts else path, private=private)


def _post(path: str, weight_class: str, **fields: Any) -> Call:
    body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
    return Call("POST", path, body.decode(), weight_class=weight_class)


# --- market ---------------------------------------------------------------------------------------------------------


def market_time() -> Call:
    return _get("/v5/market/time", False)


def system_status() -> Call:
    return _get("/v5/system/status", False)


def instruments(category: str = "linear", symbol: str = "", cursor: str | None = "", limit: int = 1000) -> Call:
    return _get(
        "/v5/market/instruments-info", False, cursor, category=category, symbol=symbol, limit=None if symbol else limit
    )


def kline(
    symbol: str,
    interval: str,
    start_ms: int | None = None,
    end_ms: int | None = None,
    limit: int = 200,
    category: str = "linear",
) -> Call:
    """Candles, newest first; `interval` in Bybit's spelling (`60`, `240`, `D`); limit 1..1000."""
    return _get(
        "/v5/market/kline",
        False,
        category=category,
        symbol=symbol,
        interval=interval,
        start=start_ms,
        end=end_ms,
        limit=limit,
    )


def tickers(category: str = "linear", symbol: str = "") -> Call:
    return _get("/v5/market/tickers", False, category=category, symbol=symbol)


# --- orders ---------------------------------------------------------------------------------------------------------


def create_order(
    *,
    link_id: str,
    symbol: str,
    side: Side,
    qty: Decimal,
    price: Decimal,
    time_in_force: str,
    reduce_only: bool,
    stop_loss: Decimal | None = None,
) -> Call:
    """A priced limit order (one-way mode). A stop loss never goes with a reduce-only order: the venue refuses that; spot, where
    there is no position to reduce, knows neither."""
    is_spot = category_of(symbol) == SPOT
    return _post(
        "/v5/order/create",
        "create",
        **_named(symbol),
        side=side.value,
        orderType="Limit",
        qty=plain(qty),
        price=plain(price),
        timeInForce=time_in_force,
        orderLinkId=link_id,
        reduceOnly=None if is_spot else reduce_only,
        positionIdx=None if is_spot else 0,
        stopLoss=plain(stop_loss) if stop_loss else None,
        slTriggerBy="MarkPrice" if stop_loss else None,
    )


def amend_order(link_id: str, symbol: str, qty: Decimal | None = None, price: Decimal | None = None) -> Call:
    """`qty` is the new total, not the rest."""
    return _post(
        "/v5/order/amend",
        "create",
        **_named(symbol),
        orderLinkId=link_id,
        qty=None if qty is None else plain(qty),
        price=None if price is None else plain(price),
    )


def cancel_order(link_id: str, symbol: str, *, order_id: str = "") -> Call:
    """By our id, or by the venue's, which a stranger's order always has."""
    ids = {"orderId": order_id} if order_id else {"orderLinkId": link_id}
    return _post("/v5/order/cancel", "cancel", **_named(symbol), **ids)


def cancel_all(
    settle_coin: str = "USDT", symbol: str = "", category: str = "linear", *, order_filter: str = ""
) -> Call:
    """Everything of a symbol, or of a settle coin, at most 500 at once. `order_filter`: "Order" leaves conditional ones, which
    protective stops are; "" takes them as well. Asynchronous like every order write."""
    scope: dict[str, str] = {"symbol": symbol} if symbol else {"settleCoin": settle_coin}
    if order_filter:
        scope["orderFilter"] = order_filter
    return _post("/v5/order/cancel-all", "cancel", category=category, **scope)


def open_orders(settle_coin: str = "USDT", cursor: str | None = "", category: str = "linear") -> Call:
    """Every open order of a category; one of perpetuals needs a settle coin, spot has none."""
    coin = "" if category == SPOT else settle_coin
    return _get("/v5/order/realtime", True, cursor, category=category, settleCoin=coin, limit=50)


def order_now(link_id: str, symbol: str) -> Call:
    """One order as the engine has it; open or recently closed."""
    return _get("/v5/order/realtime", **_named(symbol), orderLinkId=link_id)


def order_history(link_id: str, symbol: str) -> Call:
    """One closed order; lags the engine, keeps unfilled ones for 24 h."""
    return _get("/v5/order/history", **_named(symbol), orderLinkId=link_id)


def order_executions(link_id: str, symbol: str) -> Call:
    return _get("/v5/execution/list", **_named(symbol), orderLinkId=link_id, limit=100)


def executions(start_ms: int, settle_coin: str = "USDT", cursor: str | None = "", category: str = "linear") -> Call:
    """All executions of a category since an instant, newest first; at most 7 days back."""
    coin = "" if category == SPOT else settle_coin
    return _get("/v5/execution/list", True, cursor, category=category, settleCoin=coin, startTime=start_ms, limit=100)


def _named(symbol: str) -> dict[str, str]:
    """One of our symbols in the venue's words."""
    return {"category": category_of(symbol), "symbol": venue_name(symbol)}


# --- position and account -------------------------------------------------------------------------------------------


def positions(settle_coin: str = "USDT", cursor: str | None = "", category: str = "linear") -> Call:
    """Every position that is not flat."""
    return _get("/v5/position/list", True, cursor, category=category, settleCoin=settle_coin, limit=200)


def set_leverage(symbol: str, leverage: Decimal, category: str = "linear") -> Call:
    text = plain(leverage)
    return _post(
        "/v5/position/set-leverage", "query", category=category, symbol=symbol, buyLeverage=text, sellLeverage=text
    )


def one_way_mode(coin: str = "USDT", category: str = "linear") -> Call:
    return _post("/v5/position/switch-mode", "query", category=category, coin=coin, mode=0)


def wallet_balance(coin: str = "USDT") -> Call:
    """`coin`: several are joined by commas."""
    return _get("/v5/account/wallet-balance", accountType="UNIFIED", coin=coin)


def account_info() -> Call:
    return _get("/v5/account/info")


def set_margin_mode(mode: str) -> Call:
    """`mode`: REGULAR_MARGIN (cross), ISOLATED_MARGIN, PORTFOLIO_MARGIN; of the whole account."""
    return _post("/v5/account/set-margin-mode", "query", setMarginMode=mode)


def dcp_info() -> Call:
    return _get("/v5/account/query-dcp-info")


def arm_dcp(window_s: int, product: str = "DERIVATIVES") -> Call:
    """Disconnection protection: the venue cancels what rests when no private stream was alive for so long."""
    return _post("/v5/order/disconnected-cancel-all", "query", product=product, timeWindow=window_s)


def transaction_log(start_ms: int, currency: str = "USDT", cursor: str | None = "") -> Call:
    """What moved the wallet since an instant, newest first; at most 7 days back."""
    return _get(
        "/v5/account/transaction-log",
        True,
        cursor,
        accountType="UNIFIED",
        currency=currency,
        startTime=start_ms,
        limit=50,
    )


def fee_rate(symbol: str = "", category: str = "linear") -> Call:
    return _get("/v5/account/fee-rate", category=category, symbol=symbol)


def key_info() -> Call:
    return _get("/v5/user/query-api")


# --- parsers: each takes Reply.result of its call --------------------------------------------------------------------


def page_of(result: msgspec.Raw) -> wire.Page:
    return wire.decode(wire.Page, result)


def orders_of(page: wire.Page) -> list[wire.Order]:
    """Newest first."""
    return [wire.order_of(row, page.category) for row in wire.decode(list[wire.OrderRow], page.rows)]


def executions_of(page: wire.Page) -> list[wire.Execution]:
    """Newest first."""
    return [wire.execution_of(row, page.category) for row in wire.decode(list[wire.ExecutionRow], page.rows)]


def positions_of(page: wire.Page) -> list[wire.Position]:
    """Flat rows are left out."""
    found = [wire.position_of(row) for row in wire.decode(list[wire.PositionRow], page.rows)]
    return [position for position in found if position.qty]


def wallet_of(result: msgspec.Raw, coin: str = "USDT") -> wire.Wallet:
    rows = wire.decode(list[wire.WalletRow], page_of(result).rows)
    return wire.wallet_of(rows[0] if rows else wire.WalletRow(), coin)


def instruments_of(result: msgspec.Raw) -> list[market.InstrumentRow]:
    return wire.decode(list[market.InstrumentRow], page_of(result).rows)


def tickers_of(result: msgspec.Raw) -> list[market.TickerRow]:
    return wire.decode(list[market.TickerRow], page_of(result).rows)


def candles_of(result: msgspec.Raw) -> list[market.Candle]:
    """Newest first; the first may be unfinished."""
    return wire.decode(list[market.Candle], page_of(result).rows)


def log_rows_of(page: wire.Page) -> list[wire.LogRow]:
    """Newest first."""
    return wire.decode(list[wire.LogRow], page.rows)


def fee_rates_of(result: msgspec.Raw) -> list[wire.FeeRate]:
    return wire.decode(list[wire.FeeRate], page_of(result).rows)


def account_info_of(result: msgspec.Raw) -> wire.AccountInfo:
    return wire.decode(wire.AccountInfo, result)


def dcp_of(result: msgspec.Raw) -> list[wire.DcpInfo]:
    return wire.decode(wire.DcpInfos, result).dcp_infos


def key_info_of(result: msgspec.Raw) -> wire.KeyInfo:
    return wire.decode(wire.KeyInfo, result)


def server_time_of(result: msgspec.Raw) -> wire.ServerTime:
    return wire.decode(wire.ServerTime, result)


def ack_of(result: msgspec.Raw) -> wire.OrderAck:
    return wire.decode(wire.OrderAck, result)
