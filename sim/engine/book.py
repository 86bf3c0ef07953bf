"""The book one can trade against: the tape's own when it has one, else a seeded depth around the last print.

Levels are [ticks, lots], best first. What a taker takes is gone until the market moves next.
"""

from __future__ import annotations

from sim.chance import Chance
from sim.prints import BookChange, Print

DEPTH = 8
"""Levels a side of a synthetic book."""

SHOWN = 50
"""Levels a side of a recorded book that can be traded against."""

LEVEL_VALUE = 6_000 * 100_000_000
"""Average value of the first synthetic level, in 1e-8 USDT; deeper levels hold more."""

Levels = list[list[int]]


class Book:
    def __init__(self, symbol: str, units: int, seed: int, depth: int = DEPTH) -> None:
        chance = Chance(seed, "book", symbol)
        self._sizes = [32 + chance.below(224) for _ in range(256)]
        self._units, self.depth = units, depth
        self._bids: Levels = []
        self._asks: Levels = []
        self._stale = False
        self._bid_map: dict[int, int] = {}
        self._ask_map: dict[int, int] = {}
        self.recorded = False
        """The tape brings its own book."""
        self._last = 0
        self._side = 1
        self._agitation = 0
        """How far prints jump, smoothed, in 1e-6 of the price: widens the spread and thins the depth."""
        self._spread_percent = self._depth_percent = 100
        self._step, self._shift_e8 = 1, 0

    @property
    def ready(self) -> bool:
        return bool(self._last) or self.recorded

    @property
    def bids(self) -> Levels:
        if self._stale:
            self._shape()
        return self._bids

    @property
    def asks(self) -> Levels:
        if self._stale:
            self._shape()
        return self._asks

    def side(self, taker: int) -> Levels:
        """The levels a taker of this side meets."""
        return self.asks if taker > 0 else self.bids

    def scale(self, spread_percent: int, depth_percent: int, step: int, shift_e8: int) -> None:
        """Spread and depth against what they would be; `step` ticks are one published tick; `shift_e8` moves a recorded book."""
        self._spread_percent, self._depth_percent, self._step, self._shift_e8 = (
            spread_percent,
            depth_percent,
            step,
            shift_e8,
        )
        self._stale = self.ready

    def on_print(self, event: Print) -> None:
        if self.recorded:
            return
        if self._last:
            jump = abs(event.ticks - self._last) * 1_000_000 // self._last
            self._agitation = (self._agitation * 7 + jump) // 8
        self._last, self._side, self._stale = event.ticks, event.side, True

    def on_change(self, change: BookChange) -> None:
        if change.snapshot or not self.recorded:
            self.recorded = True
            self._bid_map, self._ask_map = {}, {}
        for levels, rows in ((self._bid_map, change.bids), (self._ask_map, change.asks)):
            for ticks, lots in rows:
                if lots:
                    levels[ticks] = lots
                else:
                    levels.pop(ticks, None)
        self._stale = True

    def visible(self, side: int, ticks: int) -> int:
        """Lots resting at a price on a side (1: bids)."""
        levels = self.bids if side > 0 else self.asks
        return next((lots for level, lots in levels if level == ticks), 0)

    def _shape(self) -> None:
        self._stale = False
        if self.recorded:
            self._bids = [[ticks, self._bid_map[ticks]] for ticks in sorted(self._bid_map, reverse=True)[:SHOWN]]
            self._asks = [[ticks, self._ask_map[ticks]] for ticks in sorted(self._ask_map)[:SHOWN]]
            if self._scaled:
                self._rescale()
            return
        last = self._last
        # Calm: one tick. A market that jumps 100e-6 a print shows 25e-6 of spread.
        spread = 1 + last * (self._agitation // 4) // 1_000_000
        bid = last - spread if self._side > 0 else last
        bid = max(bid, 1)
        self._bids = self._ladder(bid, -1)
        self._asks = self._ladder(bid + spread, 1)
        if self._scaled:
            self._rescale()

    @property
    def _scaled(self) -> bool:
        return self._step > 1 or self._shift_e8 != 0 or self._spread_percent != 100 or self._depth_percent != 100

    def _rescale(self) -> None:
        """Wider or thinner, as an operator asked, and on the published tick: bids rounded down, asks up."""
        if not self._bids or not self._asks:
            return
        wider = (self._asks[0][0] - self._bids[0][0]) * (self._spread_percent - 100) // 200
        self._bids = self._coarse(self._bids, -wider, 0)
        self._asks = self._coarse(self._asks, wider, self._step - 1)

    def _coarse(self, levels: Levels, shift: int, up: int) -> Levels:
        merged: dict[int, int] = {}
        for ticks, lots in levels:
            moved = ticks * self._shift_e8 // 100_000_000 if self.recorded else 0
            place = (ticks + moved + shift + up) // self._step * self._step
            if place > 0:
                merged[place] = merged.get(place, 0) + max(1, lots * self._depth_percent // 100)
        return [[ticks, lots] for ticks, lots in merged.items()]

    def _ladder(self, best: int, direction: int) -> Levels:
        """Levels away from the best; sizes hang on the price, so an unmoved level keeps its size."""
        step = max(1, best // 40_000)
        base = max(1, LEVEL_VALUE // (best * self._units))
        thin = 128 * (2 + self._agitation // 50) // 2
        sizes = self._sizes
        levels = [[best, max(1, base * sizes[best & 255] // thin)]]
        grid = best // step * step
        if direction > 0 or grid == best:
            grid += direction * step
        for index in range(1, self.depth):
            if grid < 1:
                break
            levels.append([grid, max(1, base * (2 + index) * sizes[(grid // step * 37) & 255] // (2 * thin))])
            grid += direction * step
        return levels


def walk(levels: Levels, taker: int, limit_ticks: int, lots: int) -> list[tuple[int, int]]:
    """Take up to `lots` from levels no worse than the limit, best first; the levels shrink. Gives (ticks, lots) taken."""
    taken: list[tuple[int, int]] = []
    while lots and levels and (levels[0][0] - limit_ticks) * taker <= 0:
        level = levels[0]
        size = min(lots, level[1])
        taken.append((level[0], size))
        lots -= size
        level[1] -= size
        if not level[1]:
            levels.pop(0)
    return taken


def depth_within(levels: Levels, taker: int, limit_ticks: int) -> int:
    """Lots on offer no worse than the limit."""
    return sum(lots for ticks, lots in levels if (ticks - limit_ticks) * taker <= 0)
