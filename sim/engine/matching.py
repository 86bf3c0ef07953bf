"""Matching: orders against the tape's market. Decides what trades; the desk books it.

A taker walks the visible levels. A maker waits behind what was at its price when it joined (`queue_ahead`): prints at its
price by the other side use up the queue, a print or a book beyond its price fills it.
"""

from __future__ import annotations

from sim.engine.book import Book, depth_within, walk
from sim.engine.orders import Order
from sim.prints import Print


def take(book: Book, order: Order, limit_ticks: int, lots: int) -> list[tuple[int, int]]:
    """What an arriving order trades at once, as (ticks, lots) best first; all or nothing for FOK, nothing for PostOnly."""
    levels = book.side(order.side)
    if order.tif == "FOK" and depth_within(levels, order.side, limit_ticks) < lots:
        return []
    return walk(levels, order.side, limit_ticks, lots)


def affordable(book: Book, order: Order, units: int) -> int:
    """Lots that the order's budget buys within its limit; one more when the book ends before the money does."""
    left, lots = order.budget - order.cum_value, 0
    for ticks, offered in book.side(order.side):
        if (ticks - order.ticks) * order.side > 0:
            break
        wanted = left // (ticks * units)
        if wanted <= offered:
            return lots + wanted
        lots += offered
        left -= offered * ticks * units
    return lots + 1


def crosses(book: Book, side: int, ticks: int) -> bool:
    """Would an order at this price trade at once?"""
    levels = book.side(side)
    return bool(levels) and (levels[0][0] - ticks) * side <= 0


def opponents(resting: list[Order], order: Order) -> list[Order]:
    """Resting orders of the other side that the order would trade with: best price first, then the oldest."""
    found = [o for o in resting if o.side != order.side and o.is_open and (o.ticks - order.ticks) * order.side <= 0]
    return sorted(found, key=lambda o: (o.ticks * order.side, o.number)) if found else found


def join(book: Book, order: Order) -> None:
    """The order rests: everything visible at its price is before it."""
    order.queue_ahead = book.visible(order.side, order.ticks)


def printed(order: Order, event: Print, left: int) -> tuple[int, int]:
    """A print meets a resting order; gives (lots filled, lots of the print left for the orders behind).

    Beyond the price: the whole level traded, the order is filled. At the price, by the other side: the queue first.
    """
    distance = (event.ticks - order.ticks) * order.side
    if distance > 0 or not event.lots:
        return (order.leaves, left) if distance < 0 else (0, left)
    if distance < 0:
        return order.leaves, left
    if event.side == order.side:
        return 0, left
    ahead = min(order.queue_ahead, left)
    order.queue_ahead -= ahead
    filled = min(order.leaves, left - ahead)
    # The queue stays in the print for whoever else waits at this price: each order has its own count of it.
    return filled, left - filled


def swept(book: Book, order: Order) -> int:
    """Lots a recorded book gives a resting order because its other side moved onto or through the price."""
    levels = book.side(order.side)
    available = depth_within(levels, order.side, order.ticks)
    if not available:
        if book.recorded:
            # Nobody can be before us who is not there any more.
            order.queue_ahead = min(order.queue_ahead, book.visible(order.side, order.ticks))
        return 0
    return min(order.leaves, available)


def triggered(order: Order, last: int, mark: int) -> bool:
    """Has the trigger price of a conditional order been reached?"""
    price = mark if order.trigger_by in ("MarkPrice", "IndexPrice") else last
    rising = order.trigger_direction == 1
    return price >= order.trigger_ticks if rising else price <= order.trigger_ticks
