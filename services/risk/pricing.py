"""The price of every order: entries at the touch inside the entry collar, exits at the exit collar."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from libs.common.values import Side
from services.risk.state import Market


def on_tick_size(price: Decimal, tick_size: Decimal, side: Side) -> Decimal:
    """To the tick that is safer for us: down for a buy, up for a sell."""
    rounding = ROUND_FLOOR if side.is_buy else ROUND_CEILING
    return (price / tick_size).to_integral_value(rounding) * tick_size


def touch(market: Market, side: Side) -> Decimal:
    """The price an order of `side` meets at once; 0 when there is none."""
    return market.ask if side.is_buy else market.bid


def entry_price(market: Market, side: Side, rests: bool, slippage: Decimal, collar: Decimal) -> Decimal:
    """Limit price of an entry; 0 when there is no market.

    IOC: the touch plus `slippage`, never beyond the collar around mark and index. One that rests: our own side of the touch.
    """
    meets = touch(market, side)
    if meets <= 0 or market.mark <= 0:
        return Decimal(0)
    if rests:
        return touch(market, side.opposite)
    index = market.index if market.index > 0 else market.mark
    if side.is_buy:
        price = min(meets * (1 + slippage), min(market.mark, index) * (1 + collar))
    else:
        price = max(meets * (1 - slippage), max(market.mark, index) * (1 - collar))
    return on_tick_size(price, market.tick_size, side)


def exit_price(market: Market, side: Side, collar: Decimal, tries: int) -> Decimal:
    """IOC limit of an exit's try number `tries` (0 first): the collar around mark, twice as wide at each retry.

    The venue takes no price beyond its own limit ratio, so that is as far as it widens. 0 when there is no mark at all.
    """
    width = collar * 2 ** min(tries, 10)
    if market.price_limit_ratio > 0:
        width = min(width, market.price_limit_ratio)
    width = min(width, Decimal("0.99"))
    price = market.mark * (1 + width) if side.is_buy else market.mark * (1 - width)
    # Inside the venue's limit on the far side too: rounding goes toward mark.
    return on_tick_size(price, market.tick_size, side)
