"""Market data payloads of Bybit v5: REST rows and the data of public topics. Same rules as in wire.py."""

from __future__ import annotations

import msgspec

from libs.bybit.wire import Row, Text


class LeverageFilter(Row):
    max_leverage: Text = ""


class PriceFilter(Row):
    tick_size: str


class LotSizeFilter(Row):
    min_order_qty: str
    max_order_qty: str
    qty_step: Text = ""
    min_notional_value: Text = ""
    max_mkt_order_qty: Text = ""


class RiskParameters(Row):
    price_limit_ratio_x: Text = ""
    price_limit_ratio_y: Text = ""


class InstrumentRow(Row):
    symbol: str
    price_filter: PriceFilter
    lot_size_filter: LotSizeFilter
    status: str = "Trading"
    leverage_filter: LeverageFilter = msgspec.field(default_factory=LeverageFilter)
    funding_interval: int = 480
    risk_parameters: RiskParameters | None = None


class InstrumentRows(msgspec.Struct):
    """Result of /v5/market/instruments-info."""

    rows: list[InstrumentRow] = msgspec.field(name="list", default_factory=list)


class TickerRow(Row):
    """Also the data of the `tickers` topic, where a delta leaves unchanged fields out (None here)."""

    symbol: str
    last_price: Text = None
    index_price: Text = None
    mark_price: Text = None
    funding_rate: Text = None
    next_funding_time: Text = None
    bid1_price: Text = None
    bid1_size: Text = None
    ask1_price: Text = None
    ask1_size: Text = None


class Candle(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One row of /v5/market/kline; the venue sends strings, newest first."""

    start_ms: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    turnover: str = "0"


class KlineRow(Row):
    """Data of the `kline` topic; `confirm` says that the candle is closed."""

    start: int
    end: int
    interval: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    confirm: bool
    timestamp: int = 0


class TradeRow(msgspec.Struct, gc=False):
    """Data of the `publicTrade` topic, under the wire's one-letter names."""

    T: int
    s: str
    S: str
    v: str
    p: str
    i: str = ""
    seq: int = 0


class BookRow(msgspec.Struct, gc=False):
    """Data of the `orderbook` topic: [price, size] pairs, size "0" deletes."""

    s: str
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    u: int
    seq: int = 0
