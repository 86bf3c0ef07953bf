"""A candle played as a plausible path inside its bar.

The path goes open, one extreme, the other extreme, close; which extreme comes first is seeded. Between these points it
wanders inside [low, high]. It touches open, high, low and close exactly and trades exactly the bar's volume.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sim.chance import Chance
from sim.prints import Print

NS_PER_MS = 1_000_000


class Candle(msgspec.Struct, frozen=True, gc=False):
    """One bar on the grid: instants in ms UTC (open time), prices in ticks, volume in lots."""

    start_ms: int
    open: int
    high: int
    low: int
    close: int
    lots: int


def default_steps(interval_ms: int) -> int:
    """Prints a bar: one in five seconds, at least 4 (the four corners), at most 24."""
    return min(24, max(4, interval_ms // 5_000))


def path(symbol: str, candle: Candle, interval_ms: int, steps: int, seed: int) -> Iterator[Print]:
    """The prints of one bar in time order; a step without volume is a quote (lots 0)."""
    chance = Chance(seed, symbol, candle.start_ms)
    prices = _prices(candle, max(4, steps), chance)
    lots = _volumes(candle.lots, len(prices), chance)
    slot = interval_ms * NS_PER_MS // len(prices)
    start = candle.start_ms * NS_PER_MS
    before = candle.open
    for index, (ticks, size) in enumerate(zip(prices, lots, strict=True)):
        bits = chance.bits()
        side = (1 if bits & 1 else -1) if ticks == before else (1 if ticks > before else -1)
        # Inside its own slot and on whole milliseconds, so the order of the path is the order in time.
        at = start + (index * slot + (bits >> 1) % slot) // NS_PER_MS * NS_PER_MS
        yield Print(at, symbol, ticks, size, side)
        before = ticks


def _prices(candle: Candle, steps: int, chance: Chance) -> list[int]:
    """`steps` prices: the four corners at seeded places, bridges between them."""
    bits = chance.bits()
    rising = candle.close >= candle.open
    # A bar that closes up more often makes its low first.
    low_first = (bits % 10 < 7) if rising else (bits % 10 < 3)
    corners = [candle.open, *((candle.low, candle.high) if low_first else (candle.high, candle.low)), candle.close]
    spare = steps - 4
    first = chance.below(spare + 1)
    second = chance.below(spare - first + 1)
    prices = [corners[0]]
    for target, between in ((corners[1], first), (corners[2], second), (corners[3], spare - first - second)):
        prices.extend(_bridge(prices[-1], target, between, candle, chance))
        prices.append(target)
    return prices


def _bridge(start: int, end: int, count: int, candle: Candle, chance: Chance) -> list[int]:
    """`count` prices between two points, wandering by a sixth of the bar's range."""
    wander = (candle.high - candle.low) // 6
    points = []
    for index in range(1, count + 1):
        straight = start + (end - start) * index // (count + 1)
        points.append(min(candle.high, max(candle.low, straight + chance.bell(wander) if wander else straight)))
    return points


def _volumes(total: int, count: int, chance: Chance) -> list[int]:
    """`count` sizes that add up to exactly `total`."""
    weights = [1 + (chance.bits() & 63) for _ in range(count)]
    whole = sum(weights)
    sizes = [total * weight // whole for weight in weights]
    sizes[-1] += total - sum(sizes)
    return sizes
