"""Drift: whether the market a model sees still looks like the one it learnt from, and whether its trades still pay.

PSI (population stability index): sum over bins of (share now - share then) x ln(share now / share then), each share with half a count
added so that an empty bin is no infinity. Bins are the training data's quantiles, the outer two open, so nothing falls outside.

The usual thresholds 0.1 and 0.2 mean something only against what PSI shows without any drift. For independent values it is a
chi-square of bins - 1 degrees times (1/n + 1/m): with 10 bins and n = 500 below 0.05 in 99 of 100 cases, with the least n = 250
below 0.1. Market features are not independent: volatility stays high or low for weeks. So training measures the PSI of each
stretch of `window` candles of its own data against the whole, and `scale` divides a feature's PSI such that 0.1 is passed by at
most 5 % of those stretches and 0.2 by 1 %. (On BTCUSDT hours the scale of volatility is above 40: a window of three weeks cannot
tell a drift of it from a quiet month. That is what the data says, not a weakness of the scale.)
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import msgspec

BINS = 10
WINDOW = 500
"""Candles a measurement looks back on."""
LEAST = 250
"""Candles below which nothing is measured."""
WARN, CRITICAL = 0.1, 0.2
DAY_NS = 86_400_000_000_000
SHARPE_DAYS = 30
LEAST_TRADES = 10
YEAR_DAYS = 365


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One feature in training: inner edges of its quantile bins, share of each bin, and what its PSI is divided by."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    scale: float = 1.0


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What `reference.json` holds. `sample` are feature rows and `chances` the model's answers to them: a loaded model must
    give them again."""

    bars: int
    """Candles the distributions were taken from."""
    window: int = WINDOW
    distributions: dict[str, Distribution]
    sample: tuple[tuple[float, ...], ...] = ()
    chances: tuple[tuple[float, ...], ...] = ()


class Window(msgspec.Struct):
    """The last candles of one strategy and symbol as bin numbers; counts by feature and bin. O(1) a candle."""

    size: int
    rows: list[list[int]] = []
    place: int = 0
    counts: list[list[int]] = []
    seen: int = 0

    def push(self, row: list[int], bins: list[int]) -> None:
        """Take in one candle; `bins`: number of bins of each feature."""
        if not self.counts:
            self.counts = [[0] * count for count in bins]
        if len(self.rows) < self.size:
            self.rows.append(row)
        else:
            for feature, bin_ in enumerate(self.rows[self.place]):
                self.counts[feature][bin_] -= 1
            self.rows[self.place] = row
            self.place = (self.place + 1) % self.size
        for feature, bin_ in enumerate(row):
            self.counts[feature][bin_] += 1
        self.seen += 1


class Trades(msgspec.Struct):
    """What a strategy's trades realised, by UTC day, net of fees; `held` and `cost` of the position under way by symbol."""

    held: dict[str, float] = {}
    cost: dict[str, float] = {}
    fees: dict[str, float] = {}
    days: dict[int, float] = {}
    ends: dict[int, int] = {}
    """Trades closed, by day."""

    def fill(self, symbol: str, signed: float, price: float, fee: float, at: int) -> None:
        """Book a fill: average entry price, profit when it closes. A statistic; the ledger is risk's."""
        held, cost = self.held.get(symbol, 0.0), self.cost.get(symbol, 0.0)
        day = at // DAY_NS
        profit = -fee
        if held * signed < 0:
            closed = min(abs(held), abs(signed))
            released = cost * closed / abs(held)
            profit += (closed * price - released) * (1 if held > 0 else -1)
            cost = cost - released if abs(held) >= abs(signed) else (abs(signed) - closed) * price
            if abs(held) <= abs(signed) * (1 + 1e-9):
                self.ends[day] = self.ends.get(day, 0) + 1
        else:
            cost += abs(signed) * price
        self.held[symbol] = 0.0 if abs(held + signed) < 1e-12 else held + signed
        self.cost[symbol] = cost if self.held[symbol] else 0.0
        self.days[day] = self.days.get(day, 0.0) + profit
        for old in [one for one in self.days if one <= day - SHARPE_DAYS]:
            del self.days[old]
            self.ends.pop(old, None)

    def sharpe(self, at: int, since: int) -> tuple[float, int]:
        """Annualised Sharpe ratio of the last 30 days' realised results and how many trades it rests on; 0 while there
        are too few. `since`: when the strategy began (ns)."""
        today = at // DAY_NS
        first = max(today - SHARPE_DAYS + 1, since // DAY_NS)
        results = [self.days.get(day, 0.0) for day in range(first, today + 1)]
        trades = sum(count for day, count in self.ends.items() if day >= first)
        if trades < LEAST_TRADES or len(results) < 2:
            return 0.0, trades
        mean = sum(results) / len(results)
        variance = sum((result - mean) ** 2 for result in results) / (len(results) - 1)
        return (mean / math.sqrt(variance) * math.sqrt(YEAR_DAYS) if variance > 0 else 0.0), trades


def place_of(distribution: Distribution, value: float) -> int:
    """Number of the bin that a value falls into."""
    return bisect.bisect_right(distribution.edges, value)


def psi(shares: Sequence[float], counts: Sequence[int]) -> float:
    """Population stability index of counts against the shares of the reference."""
    bins = len(shares)
    total = sum(counts) + 0.5 * bins
    found = 0.0
    for share, count in zip(shares, counts, strict=True):
        now = (count + 0.5) / total
        found += (now - share) * math.log(now / share)
    return found


def worst(reference: Reference, counts: Sequence[Sequence[int]]) -> tuple[float, str]:
    """The largest scaled PSI of any feature, and which one it is."""
    found = [
        (psi(one.shares, count) / one.scale, name)
        for (name, one), count in zip(reference.distributions.items(), counts, strict=True)
    ]
    return max(found)


def factor(psi_value: float, sharpe: float, trades: int, block_psi: float) -> float:
    """What position sizes are multiplied by, 1 to 0.

    PSI: 1 up to 0.1, falling to 0.5 at 0.2 and to 0 at `block_psi`, where risk blocks the model. Sharpe, when it rests on enough
    trades: below 0.5 three quarters, below 0 half.
    """
    if psi_value <= WARN:
        shrunk = 1.0
    elif psi_value <= CRITICAL:
        shrunk = 1 - 0.5 * (psi_value - WARN) / (CRITICAL - WARN)
    else:
        shrunk = max(0.0, 0.5 * (block_psi - psi_value) / (block_psi - CRITICAL))
    if trades >= LEAST_TRADES:
        shrunk *= 0.5 if sharpe < 0 else 0.75 if sharpe < 0.5 else 1.0
    return shrunk
