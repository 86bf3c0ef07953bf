"""What closes an account: which orders are entries, and the next reduce-only slice of each position. Pure.

Nothing is remembered between two looks but how often a symbol was tried in vain. Each slice is sized by what the exchange
says is held *now*, is reduce-only and does not rest: however many of them are lost, late or doubled on the way, the position
only ever shrinks to nothing.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

import msgspec

from libs.bybit import rest, wire
from libs.bybit.market import InstrumentRow, TickerRow
from libs.common.values import Side

PREFIX = "tgw-"
"""Of the watchdog's order link ids: execution and risk know such orders as none of theirs, and none of a stranger."""
MOST_DOUBLINGS = 10
WIDEST = Decimal("0.99")


class Terms(msgspec.Struct, frozen=True):
    """See WatchdogConfig."""

    slice_usd: Decimal
    collar: Decimal


class Rules(msgspec.Struct, frozen=True):
    """What the exchange allows in a symbol, and its mark price. `limit_ratio`: how far from mark a price may lie, 0 unknown."""

    tick: Decimal
    step: Decimal
    least: Decimal
    most: Decimal
    mark: Decimal
    limit_ratio: Decimal = Decimal(0)


def rules_of(instrument: InstrumentRow, ticker: TickerRow) -> Rules:
    """From the rows of instruments-info and tickers; the last trade stands in for a mark that is not told."""
    lots = instrument.lot_size_filter
    risk = instrument.risk_parameters
    return Rules(
        tick=wire.amount(instrument.price_filter.tick_size),
        step=wire.amount(lots.qty_step or lots.min_order_qty),
        least=wire.amount(lots.min_order_qty),
        most=wire.amount(lots.max_order_qty),
        mark=wire.amount(ticker.mark_price or ticker.last_price),
        limit_ratio=wire.amount(risk.price_limit_ratio_x) if risk else Decimal(0),
    )


class Orders(msgspec.Struct):
    """Active orders of an account. `stops` wait for a trigger and protect; `exits` reduce; everything else may add risk."""

    entries: list[wire.OrderRow] = []
    exits: list[wire.OrderRow] = []
    stops: list[wire.OrderRow] = []

    @property
    def empty(self) -> bool:
        return not (self.entries or self.exits or self.stops)


def sorted_orders(rows: list[wire.OrderRow]) -> Orders:
    """A conditional order is an entry unless it only reduces: a stop that opens a position protects nothing."""
    found = Orders()
    for row in rows:
        if row.order_status not in wire.OPEN_STATUSES:
            continue
        stop = bool(row.stop_order_type) and row.stop_order_type != "UNKNOWN"
        reduces = row.reduce_only or (row.stop_order_type or "") in wire.STOP_TYPES
        (found.stops if stop and reduces else found.exits if reduces else found.entries).append(row)
    return found


class Slice(msgspec.Struct, frozen=True):
    """One reduce-only order that does not rest."""

    symbol: str
    side: Side
    qty: Decimal
    price: Decimal

    def call(self, link_id: str) -> rest.Call:
        return rest.create_order(
            link_id=link_id,
            symbol=self.symbol,
            side=self.side,
            qty=self.qty,
            price=self.price,
            time_in_force="IOC",
            reduce_only=True,
        )


def next_slice(held: wire.Position, rules: Rules, terms: Terms, tries: int) -> Slice | None:
    """The next piece of a position; None when there is no price to name, or nothing to close.

    Sized down to whole steps, but never so that less than the venue's minimum would stay behind.
    """
    if rules.mark <= 0 or rules.step <= 0 or not held.qty:
        return None
    whole = abs(held.qty)
    qty = min(whole, max(_steps(terms.slice_usd / rules.mark, rules.step), rules.least, rules.step))
    if whole - qty < rules.least:
        qty = whole
    if rules.most > 0:
        qty = min(qty, _steps(rules.most, rules.step))
    side = Side.SELL if held.qty > 0 else Side.BUY
    return Slice(held.symbol, side, qty, collar_price(side, rules, terms.collar, tries))


def is_dust(held: wire.Position, rules: Rules) -> bool:
    """Less than the venue's minimum: it may refuse any order that would close it."""
    return 0 < abs(held.qty) < rules.least


def collar_price(side: Side, rules: Rules, collar: Decimal, tries: int) -> Decimal:
    """Limit of try number `tries` (0 first): the collar around mark, twice as wide each time, inside the venue's own limit.

    Rounded toward mark, so that the limit holds on the grid too.
    """
    width = collar * Decimal(2) ** min(tries, MOST_DOUBLINGS)
    if rules.limit_ratio > 0:
        width = min(width, rules.limit_ratio)
    width = min(width, WIDEST)
    price = rules.mark * (1 + width) if side.is_buy else rules.mark * (1 - width)
    rounding = ROUND_FLOOR if side.is_buy else ROUND_CEILING
    return (price / rules.tick).to_integral_value(rounding) * rules.tick


def _steps(qty: Decimal, step: Decimal) -> Decimal:
    return (qty / step).to_integral_value(ROUND_DOWN) * step
