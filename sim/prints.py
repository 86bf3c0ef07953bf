"""What a tape consists of: prints, and changes of the book. Integers on the instrument's grid, instants in ns."""

from __future__ import annotations

import msgspec


class Print(msgspec.Struct, frozen=True, gc=False):
    """A trade of the market. `side` is the taker's: 1 buys, -1 sells.

    `lots` of 0 is a quote: the price moved there and the book with it, nobody traded. It is part of the candle.
    """

    at: int
    symbol: str
    ticks: int
    lots: int
    side: int


class BookChange(msgspec.Struct, frozen=True, gc=False):
    """Levels (ticks, lots) of a recorded book; `snapshot` replaces everything, lots of 0 delete a level."""

    at: int
    symbol: str
    snapshot: bool
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


MarketEvent = Print | BookChange
