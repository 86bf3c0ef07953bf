"""Candles of one symbol from its prints: the smallest interval is built, the larger ones are folded from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

MINUTE = 60_000
INTERVALS = {
    "1": 1,
    "3": 3,
    "5": 5,
    "15": 15,
    "30": 30,
    "60": 60,
    "120": 120,
    "240": 240,
    "360": 360,
    "720": 720,
    "D": 1440,
}
"""Bybit's names and their minutes."""

KEPT = 1500
LONGEST_FLAT = 2000
"""A silence gets at most this many flat candles; beyond it the chart has a hole."""


class Candle(msgspec.Struct, gc=False):
    """Open time in ms; prices in ticks; volume in lots; turnover in 1e-8 USDT."""

    start: int
    open: int
    high: int
    low: int
    close: int
    lots: int
    turnover: int


class Klines:
    """`closed` is told of each confirmed candle: (interval name, candle), smallest interval first."""

    def __init__(self, units: int, native_ms: int, closed: Callable[[str, Candle], None]) -> None:
        self._units, self.native_ms = units, native_ms
        base = next((name for name, minutes in INTERVALS.items() if minutes * MINUTE >= native_ms), "D")
        self._base_name, self._base_ms = base, INTERVALS[base] * MINUTE
        self._closed = closed
        self._larger = [
            (name, minutes * MINUTE)
            for name, minutes in INTERVALS.items()
            if minutes * MINUTE > self._base_ms and (minutes * MINUTE) % self._base_ms == 0
        ]
        self.open: dict[str, Candle] = {}
        self.history: dict[str, deque[Candle]] = {
            name: deque(maxlen=KEPT) for name in (base, *(n for n, _ in self._larger))
        }
        self._current: Candle | None = None
        self._start = self._ends_ms = self._last_close = 0

    def on_print(self, at_ms: int, ticks: int, lots: int) -> None:
        if at_ms >= self._ends_ms:
            self.roll(at_ms)
        candle = self._current
        if candle is None:
            self._start = at_ms - at_ms % self._base_ms
            self._ends_ms = self._start + self._base_ms
            candle = self._current = self.open[self._base_name] = Candle(self._start, ticks, ticks, ticks, ticks, 0, 0)
        if ticks > candle.high:
            candle.high = ticks
        elif ticks < candle.low:
            candle.low = ticks
        candle.close = ticks
        candle.lots += lots
        candle.turnover += ticks * lots * self._units

    def roll(self, now_ms: int) -> None:
        """Close every interval that ended by `now_ms`; a silent one is a flat candle."""
        while self._ends_ms and now_ms >= self._ends_ms:
            done, price = self._current, self._last_close
            if done is None:
                done = Candle(self._start, price, price, price, price, 0, 0)
            self._current, self._last_close = None, done.close
            self.open.pop(self._base_name, None)
            self._close(self._base_name, done)
            for name, length in self._larger:
                self._fold(name, length, done)
            start = self._ends_ms
            if now_ms - start >= LONGEST_FLAT * self._base_ms:
                start = now_ms - now_ms % self._base_ms
            self._start, self._ends_ms = start, start + self._base_ms

    def _fold(self, name: str, length: int, done: Candle) -> None:
        start = done.start - done.start % length
        candle = self.open.get(name)
        if candle is not None and candle.start != start:
            self._close(name, candle)
            candle = None
        if candle is None:
            candle = Candle(start, done.open, done.high, done.low, done.close, done.lots, done.turnover)
            self.open[name] = candle
        else:
            candle.high, candle.low = max(candle.high, done.high), min(candle.low, done.low)
            candle.close = done.close
            candle.lots += done.lots
            candle.turnover += done.turnover
        if done.start + self._base_ms >= start + length:
            self._close(name, candle)
            del self.open[name]

    def _close(self, name: str, candle: Candle) -> None:
        self.history[name].append(candle)
        self._closed(name, candle)
