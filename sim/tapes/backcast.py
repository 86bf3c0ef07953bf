"""Candles before a synthetic tape begins, for warm-up: a seeded walk back from its first price.

A recorded tape has no such past: its history begins where the file begins.
"""

from __future__ import annotations

from sim.chance import Chance
from sim.engine.klines import INTERVALS, MINUTE, Candle
from sim.engine.market import NS_PER_MS, Market

LENGTH = 400
"""Candles of each interval that are made up."""


class Backcast:
    """`opening`: symbol -> first ticks, for the symbols that have a made-up past; `start_at` of the tape in ns."""

    def __init__(self, seed: int, start_at: int, opening: dict[str, int]) -> None:
        self._seed, self._start_ms, self._opening = seed, start_at // NS_PER_MS, opening
        self._made: dict[tuple[str, str], list[Candle]] = {}

    def before(self, market: Market, interval: str, candles: list[Candle]) -> list[Candle]:
        """Candles that go before `candles`, oldest first."""
        symbol = market.instrument.symbol
        if symbol not in self._opening:
            return []
        made = self._made.get((symbol, interval))
        if made is None:
            made = self._made[symbol, interval] = self._make(market, interval)
        first = candles[0].start if candles else self._start_ms
        return [candle for candle in made if candle.start < first]

    def _make(self, market: Market, interval: str) -> list[Candle]:
        symbol = market.instrument.symbol
        length = INTERVALS[interval] * MINUTE
        chance = Chance(self._seed, "backcast", symbol, interval)
        # Volatility grows with the square root of the length: 6 bp a minute.
        scale = _root(INTERVALS[interval] * 36)
        close, candles = self._opening[symbol], []
        start = self._start_ms - self._start_ms % length
        lots = max(1, 60_000 * 100_000_000 * INTERVALS[interval] // (close * market.instrument.units))
        for _ in range(LENGTH):
            start -= length
            unit = max(1, close * scale // 10_000)
            opening = max(2, close + chance.bell(unit))
            high = max(opening, close) + abs(chance.bell(unit)) // 2
            low = max(1, min(opening, close) - abs(chance.bell(unit)) // 2)
            volume = lots * (50 + chance.below(100)) // 100
            candles.append(Candle(start, opening, high, low, close, volume, volume * close * market.instrument.units))
            close = opening
        return candles[::-1]


def _root(value: int) -> int:
    """Integer square root, rounded down."""
    low, high = 0, value + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle * middle <= value else (low, middle)
    return low
