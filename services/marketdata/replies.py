"""What REST replies of the public side say, as our own values. A reply that makes no sense raises msgspec.DecodeError."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from libs.common.events import InstrumentDefined
from libs.common.values import SPOT, category_of, venue_name
from services.marketdata import frames
from services.marketdata.bars import Candle
from services.marketdata.config import NS_PER_MS
from services.marketdata.market import sound

_PRICE_LIMIT = Decimal("0.01")
"""Where the venue names no price band."""


def candles(result: msgspec.Raw) -> list[Candle]:
    """Rows of /v5/market/kline, in the order of the reply (newest first)."""
    rows = frames.kline_result(result).rows
    try:
        found = [Candle(int(row[0]) * NS_PER_MS, *row[1:6]) for row in rows]
    except ValueError as e:
        raise msgspec.DecodeError("expected a start time in every candle, was not so") from e
    if not all(sound(candle) for candle in found):
        raise msgspec.DecodeError("expected candles with low <= open, close <= high, was not so")
    return found


def instrument(result: msgspec.Raw, symbol: str, now: int) -> InstrumentDefined:
    """The row of one of our symbols in /v5/market/instruments-info of its category."""
    category, name = category_of(symbol), venue_name(symbol)
    row = next((row for row in frames.instrument_result(result).rows if row.symbol == name), None)
    if row is None:
        raise msgspec.DecodeError(f"expected {name} in instruments-info of {category}, was not there")
    lot = row.lot_size_filter
    lot_size = lot.base_precision if category == SPOT else lot.qty_step
    if not all(step.is_finite() and step > 0 for step in (row.price_filter.tick_size, lot_size)):
        raise msgspec.DecodeError(f"expected a positive tick and lot of {symbol}")
    return InstrumentDefined(
        symbol=symbol,
        tick_size=row.price_filter.tick_size,
        lot_size=lot_size,
        min_qty=lot.min_qty,
        max_qty=lot.max_limit_qty or lot.max_qty,
        min_notional=lot.min_amount if category == SPOT else lot.min_notional,
        max_leverage=Decimal(1) if category == SPOT else row.leverage_filter.max_leverage,
        price_limit_ratio=_ratio(row.risk_parameters.price_limit_ratio),
        funding_interval_min=row.funding_interval_min,
        category=category,
        status=row.status,
        effective_from_at=now,
    )


def _ratio(text: str) -> Decimal:
    try:
        return Decimal(text) if text else _PRICE_LIMIT
    except InvalidOperation as e:
        raise msgspec.DecodeError(f"expected a price limit ratio, was {text!r}") from e
