"""A draft of an order that adds risk, and the book around it as the size limits see it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.common.values import Side
from services.risk import kernel
from services.risk.state import Market, Repeat, RiskState

PPM = Decimal("0.000001")
NOTHING = (0, 0, 0, 0)
"""Open buys and sells, and what they are worth."""


class Exposure(msgspec.Struct):
    """The book around one symbol, open orders at the worse of mark and order price. Lots and units."""

    lots: int = 0
    mark_units: int = 0
    open_buys: int = 0
    open_sells: int = 0
    buy_units: int = 0
    sell_units: int = 0
    gross_others_units: int = 0
    net_long_units: int = 0
    """Net exposure of the book if every open buy and no open sell fills."""
    net_short_units: int = 0
    capital_units: int = 0
    """The stage's share of equity."""


class Draft(msgspec.Struct):
    """An order that adds risk, before it is judged. `lots` is what it asks for; `assess` may shrink it."""

    strategy: str
    symbol: str
    side: Side
    lots: int
    price: Decimal
    touch: Decimal
    """The price it meets: best ask for a buy, best bid for a sell."""
    lot_units: int
    """Value of one lot at the worse of mark and order price."""
    least_lots: int = 0
    """The least that the venue takes at this value of a lot."""
    age_ms: int = 0
    ttl_ms: int = 1
    is_allowed: bool = False
    rests: bool = False
    """Whether it may stay in the venue's book."""
    repeat: Repeat | None = None
    """The strategy's last words on the symbol."""
    kelly: Decimal = Decimal(0)
    stop_distance: Decimal = Decimal(0)
    cancel_after_ms: int = 0
    exposure: Exposure = msgspec.field(default_factory=Exposure)
    worst_units: int = 0
    """Worst value of the symbol with this order at its present size: `judge` weighs it."""


def reserve(draft: Draft, other: Draft) -> None:
    """Count another draft of the same pair, approved with this one, as open."""
    draft.exposure.gross_others_units += other.lots * other.lot_units
    if other.side.is_buy:
        draft.exposure.net_long_units += other.lots * other.lot_units
    else:
        draft.exposure.net_short_units += other.lots * other.lot_units


def exposure(state: RiskState, symbol: str) -> Exposure:
    """Fold positions and open orders, once per draft."""
    result = Exposure(capital_units=state.capital_units())
    opened: dict[str, list[int]] = {}
    for order in state.orders.values():
        if not order.reduce_only and order.symbol in state.markets:
            side, sums = 0 if order.sign > 0 else 1, opened.setdefault(order.symbol, [0, 0, 0, 0])
            sums[side] += order.open_lots
            sums[2 + side] += order.open_lots * max(order.lot_units, state.markets[order.symbol].mark_units)
    for name, market in state.markets.items():
        lots, (buys, sells, buy_units, sell_units) = state.ledger.lots(name), opened.get(name, NOTHING)
        result.net_long_units += lots * market.mark_units + buy_units
        result.net_short_units += sell_units - lots * market.mark_units
        if name == symbol:
            result.lots, result.mark_units, result.open_buys, result.open_sells = lots, market.mark_units, buys, sells
            result.buy_units, result.sell_units = buy_units, sell_units
        else:
            result.gross_others_units += kernel.worst_value(lots, market.mark_units, buy_units, sell_units)
    return result


def minimum_lots(market: Market, lot_units: int) -> int:
    """Least lots the venue takes at this value of a lot: quantity and notional, on the venue's step."""
    by_value = kernel.ceil_div(market.min_notional_units, lot_units) if lot_units > 0 else 0
    least = max(market.min_lots, by_value, market.step)
    return kernel.ceil_div(least, market.step) * market.step


def ratio(part: int, whole: int, share: Decimal) -> Decimal:
    """`part / (share x whole)` to 1e-6, never negative; 0 when there is nothing to divide by."""
    if part <= 0 or whole <= 0 or share <= 0:
        return Decimal(0)
    return (Decimal(part) / (share * whole)).quantize(PPM)
