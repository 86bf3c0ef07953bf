"""Candles as training data: the live service's own features a candle, and what a trade taken at its close came to."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from libs.common.errors import UsageError
from services.signal.features import NAMES, Windows, features
from services.signal.model import Costs, Rules

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHORT, NEITHER, LONG = -1, 0, 1
HOUR_MS = 3_600_000


class Candles(msgspec.Struct, frozen=True, kw_only=True):
    """Closed candles of one symbol as columns, oldest first. `ts`: open time in ms UTC; prices and volume as floats."""

    symbol: str
    interval_ms: int
    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def hours(self) -> float:
        """Length of one candle."""
        return self.interval_ms / HOUR_MS

    def digest(self, stop: int) -> str:
        """SHA-256 of the first `stop` candles."""
        found = hashlib.sha256(f"{self.symbol} {self.interval_ms}".encode())
        for column in (self.ts, self.open, self.high, self.low, self.close, self.volume):
            found.update(np.ascontiguousarray(column[:stop]).tobytes())
        return found.hexdigest()


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Row i belongs to the close of candle i. Undefined features and outcomes are NaN."""

    candles: Candles
    vectors: Floats
    """(candles, features)."""
    atr: Floats
    long: Floats
    """Net return of a long taken at the close and held for the horizon, or to its stop."""
    short: Floats

    @property
    def labels(self) -> Ints:
        """Which side won after costs; only meaningful where `usable`."""
        return np.where(self.long > 0, LONG, np.where(self.short > 0, SHORT, NEITHER)).astype(np.int64)

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Rows whose features and outcome are all defined."""
        found: npt.NDArray[np.bool_] = np.isfinite(self.vectors).all(axis=1) & np.isfinite(self.long + self.short)
        return found


def dataset(candles: Candles, windows: Windows, rules: Rules, costs: Costs) -> Dataset:
    """Raises UsageError for too few candles."""
    least = windows.longest + 10 * rules.horizon_bars
    if len(candles) < least:
        raise UsageError(f"expected at least {least} candles to learn from, was {len(candles)}; give a longer file")
    vectors, atr = feature_rows(candles, windows)
    long = outcome(candles, atr, rules, costs, LONG)
    short = outcome(candles, atr, rules, costs, SHORT)
    return Dataset(candles=candles, vectors=vectors, atr=atr, long=long, short=short)


def feature_rows(candles: Candles, windows: Windows) -> tuple[Floats, Floats]:
    """(features of each candle, average true range), computed by the class that runs in the service, candle by candle."""
    known = features(windows)
    vectors, atr = np.full((len(candles), len(NAMES)), np.nan), np.full(len(candles), np.nan)
    columns = (candles.high, candles.low, candles.close, candles.volume)
    for index, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        known.update(*row)
        if known.count >= windows.longest:
            vectors[index], atr[index] = known.vector(), known.atr
    return vectors, atr


def outcome(candles: Candles, atr: Floats, rules: Rules, costs: Costs, side: int) -> Floats:
    """Net return of one side entered at each close: left at its stop, else at the close `horizon_bars` candles later.

    A candle that opens beyond the stop fills at its open. Where the future is not in the data: NaN.
    """
    count, horizon = len(candles), rules.horizon_bars
    entry, stop = candles.close, candles.close - side * rules.stop_atr * atr
    found, hours = np.full(count, np.nan), np.full(count, horizon * candles.hours)
    is_open = np.ones(count, dtype=bool)
    is_open[max(0, count - horizon) :] = False
    extreme = candles.low if side == LONG else candles.high
    for step in range(1, horizon + 1):
        later = np.minimum(np.arange(count) + step, count - 1)
        hit = is_open & ((extreme[later] - stop) * side <= 0)
        first = candles.open[later]
        price = np.where((first - stop) * side < 0, first, stop)
        found[hit] = (side * (price - entry) / entry)[hit]
        hours[hit] = step * candles.hours
        is_open &= ~hit
    end = np.minimum(np.arange(count) + horizon, count - 1)
    found[is_open] = (side * (candles.close[end] - entry) / entry)[is_open]
    net: Floats = found - 2 * costs.side - costs.funding * hours / 8
    return np.where(np.isfinite(atr), net, np.nan)


def merged(rows: list[tuple[int, float, float, float, float, float]], symbol: str, interval_ms: int) -> Candles:
    """Candles of `interval_ms` from shorter ones (ts, open, high, low, close, volume), aligned to the epoch."""
    found: list[list[Any]] = []
    for ts, first, high, low, close, volume in rows:
        start = ts - ts % interval_ms
        if found and found[-1][0] == start:
            last = found[-1]
            last[2], last[3], last[4], last[5] = max(last[2], high), min(last[3], low), close, last[5] + volume
        else:
            found.append([start, first, high, low, close, volume])
    table = list(zip(*found, strict=True)) if found else [()] * 6
    prices = [np.array(column, dtype=np.float64) for column in table[1:]]
    return Candles(
        symbol=symbol,
        interval_ms=interval_ms,
        ts=np.array(table[0], dtype=np.int64),
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=prices[4],
    )
