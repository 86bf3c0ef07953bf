"""An order book kept from snapshots and deltas, as sorted lists of levels.

Both sides ascend by price, so the best bid is the last bid and the best ask the first ask. A book is `synced` from a
snapshot until a message is missing; an unsynced book accepts snapshots only.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from operator import itemgetter

import msgspec

from libs.common.events import Level, RejectKind
from services.marketdata.frames import BookData

_price = itemgetter(0)
_LARGEST = Decimal("1e15")


class Book(msgspec.Struct):
    """`update` is the venue's number of the last message applied."""

    bids: list[Level] = []
    asks: list[Level] = []
    update: int = 0
    synced: bool = False

    def snapshot(self, data: BookData) -> RejectKind | None:
        """Replace everything. Returns why it was refused: malformed or crossed."""
        if not _valid(data):
            return RejectKind.MALFORMED
        self.bids = sorted((level for level in data.bids if level[1]), key=_price)
        self.asks = sorted((level for level in data.asks if level[1]), key=_price)
        self.update = data.update
        self.synced = not self.crossed
        return None if self.synced else RejectKind.CROSSED

    def delta(self, data: BookData) -> RejectKind | None:
        """Apply changed levels. Returns why not: gap and crossed lose sync, the others leave the book as it was."""
        if data.update != self.update + 1:
            if data.update == self.update:
                return RejectKind.DUPLICATE
            if data.update < self.update:
                return RejectKind.OUT_OF_ORDER
            self.lose()
            return RejectKind.GAP
        if not _valid(data):
            return RejectKind.MALFORMED
        for level in data.bids:
            _apply(self.bids, level)
        for level in data.asks:
            _apply(self.asks, level)
        self.update = data.update
        if self.crossed:
            self.lose()
            return RejectKind.CROSSED
        return None

    def lose(self) -> None:
        """Out of sync: nothing in it can be trusted until the next snapshot."""
        self.bids, self.asks, self.synced = [], [], False

    @property
    def crossed(self) -> bool:
        return bool(self.bids and self.asks) and self.bids[-1][0] >= self.asks[0][0]

    def top(self, levels: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """(bids, asks), best first, at most `levels` each."""
        return tuple(self.bids[: -levels - 1 : -1]), tuple(self.asks[:levels])


def _apply(side: list[Level], level: Level) -> None:
    price, qty = level
    place = bisect_left(side, price, key=_price)
    known = place < len(side) and side[place][0] == price
    if not qty:
        if known:
            del side[place]
    elif known:
        side[place] = level
    else:
        side.insert(place, level)


def _valid(data: BookData) -> bool:
    for levels in (data.bids, data.asks):
        for price, qty in levels:
            # NaN does not compare, so finiteness is asked first
            if not (price.is_finite() and qty.is_finite() and 0 < price < _LARGEST and 0 <= qty < _LARGEST):
                return False
    return True
