"""Bybit v5 public messages as structs: only the fields that we use, unknown ones are skipped.

Numbers that are prices or quantities come as decimal strings and become Decimal while parsing. Malformed text raises
msgspec.DecodeError (ValidationError is one).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.common.events import Level


class Frame(msgspec.Struct, gc=False):
    """Any public frame. `topic` is empty for acks and pongs; `ts` is the gateway's, `cts` the engine's time, ms."""

    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")
    success: bool = True
    ret_msg: str = ""


class BookData(msgspec.Struct, gc=False):
    """Data of `orderbook.<depth>.<symbol>`: changed levels, `u` rises by one a message, u = 1 is a restart."""

    update: int = msgspec.field(name="u")
    bids: list[Level] = msgspec.field(name="b", default_factory=list)
    asks: list[Level] = msgspec.field(name="a", default_factory=list)


class TradeData(msgspec.Struct, gc=False):
    """One row of `publicTrade.<symbol>`; `time` in ms."""

    time: int = msgspec.field(name="T")
    price: Decimal = msgspec.field(name="p")
    qty: Decimal = msgspec.field(name="v")
    id: str = msgspec.field(name="i")


class TickerData(msgspec.Struct, gc=False):
    """Data of `tickers.<symbol>`; a field absent from a delta is unchanged, an empty string means none."""

    last: str = msgspec.field(name="lastPrice", default="")
    mark: str = msgspec.field(name="markPrice", default="")
    index: str = msgspec.field(name="indexPrice", default="")
    coin_index: str = msgspec.field(name="usdIndexPrice", default="")
    """Of spot."""
    funding_rate: str = msgspec.field(name="fundingRate", default="")
    next_funding: str = msgspec.field(name="nextFundingTime", default="")


class KlineData(msgspec.Struct, gc=False):
    """One row of `kline.<interval>.<symbol>`; `start` in ms, `confirm` when the candle is closed."""

    start: int
    interval: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    confirm: bool = False


class Reply(msgspec.Struct, gc=False):
    """The frame of every REST reply; `code` 0 is success."""

    code: int = msgspec.field(name="retCode")
    message: str = msgspec.field(name="retMsg", default="")
    result: msgspec.Raw = msgspec.Raw(b"null")


class KlineResult(msgspec.Struct, gc=False):
    """Result of /v5/market/kline: rows [start ms, open, high, low, close, volume, turnover], newest first."""

    rows: list[tuple[str, Decimal, Decimal, Decimal, Decimal, Decimal, str]] = msgspec.field(
        name="list", default_factory=list
    )


class LeverageFilter(msgspec.Struct, gc=False):
    max_leverage: Decimal = msgspec.field(name="maxLeverage", default=Decimal(100))


class PriceFilter(msgspec.Struct, gc=False):
    tick_size: Decimal = msgspec.field(name="tickSize")


class LotSizeFilter(msgspec.Struct, gc=False, kw_only=True):
    """`qtyStep` and `minNotionalValue` of perpetuals are called `basePrecision` and `minOrderAmt` on spot."""

    qty_step: Decimal = msgspec.field(name="qtyStep", default=Decimal(0))
    base_precision: Decimal = msgspec.field(name="basePrecision", default=Decimal(0))
    min_qty: Decimal = msgspec.field(name="minOrderQty")
    max_qty: Decimal = msgspec.field(name="maxOrderQty", default=Decimal(0))
    max_limit_qty: Decimal = msgspec.field(name="maxLimitOrderQty", default=Decimal(0))
    min_notional: Decimal = msgspec.field(name="minNotionalValue", default=Decimal(0))
    min_amount: Decimal = msgspec.field(name="minOrderAmt", default=Decimal(0))


class RiskParameters(msgspec.Struct, gc=False):
    price_limit_ratio: str = msgspec.field(name="priceLimitRatioX", default="")


class InstrumentRow(msgspec.Struct, gc=False):
    """One row of /v5/market/instruments-info."""

    symbol: str
    status: str
    price_filter: PriceFilter = msgspec.field(name="priceFilter")
    lot_size_filter: LotSizeFilter = msgspec.field(name="lotSizeFilter")
    leverage_filter: LeverageFilter = msgspec.field(name="leverageFilter", default_factory=LeverageFilter)
    risk_parameters: RiskParameters = msgspec.field(name="riskParameters", default_factory=RiskParameters)
    funding_interval_min: int = msgspec.field(name="fundingInterval", default=480)


class InstrumentResult(msgspec.Struct, gc=False):
    rows: list[InstrumentRow] = msgspec.field(name="list", default_factory=list)


class StatusRow(msgspec.Struct, gc=False):
    """One row of /v5/system/status: a maintenance. `begin`, `end` in ms."""

    id: str
    state: str
    begin: int
    end: int
    title: str = ""
    products: list[int] = msgspec.field(name="product", default_factory=list)


class StatusResult(msgspec.Struct, gc=False):
    rows: list[StatusRow] = msgspec.field(name="list", default_factory=list)


frame = msgspec.json.Decoder(Frame).decode
book = msgspec.json.Decoder(BookData).decode
trades = msgspec.json.Decoder(list[TradeData]).decode
ticker = msgspec.json.Decoder(TickerData).decode
klines = msgspec.json.Decoder(list[KlineData]).decode
reply = msgspec.json.Decoder(Reply).decode
kline_result = msgspec.json.Decoder(KlineResult).decode
instrument_result = msgspec.json.Decoder(InstrumentResult).decode
status_result = msgspec.json.Decoder(StatusResult, strict=False).decode


def result(payload: str) -> msgspec.Raw:
    """The result of a REST reply that succeeded. Raises msgspec.DecodeError for any other."""
    told = reply(payload)
    if told.code != 0:
        raise msgspec.DecodeError(f"expected retCode 0, was {told.code} {told.message}")
    return told.result
