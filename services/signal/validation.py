"""Whether a model would have helped: purged walk-forward splits, the strategy's own rule played over candles, honest scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from libs.common.errors import UsageError
from services.signal.dataset import LONG, NEITHER, SHORT, Dataset
from services.signal.model import QUANTUM, Card, rule
from services.signal.strategies.held import Held

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

YEAR_HOURS = 8766
CLASSES = (SHORT, NEITHER, LONG)
_LEAST_CHANCE = 1e-15
_EULER = 0.5772156649015329


class PurgedWalkForward:
    """Train on what was, test on what came next, fold after fold.

    Row i's label looks at rows i + 1 to i + `horizon`. A training row whose label would reach the test rows, or the `embargo` rows
    before them, is left out: so no outcome that is tested was ever trained on.
    """

    def __init__(self, folds: int, horizon: int, embargo: int) -> None:
        if folds < 1 or horizon < 1 or embargo < 0:
            raise UsageError(
                f"expected folds and horizon above 0 and an embargo of 0 or more, was {folds}, {horizon}, {embargo}"
            )
        self.folds, self.horizon, self.embargo = folds, horizon, embargo

    def split(self, rows: int) -> Iterator[tuple[range, range]]:
        """(training rows, test rows) of each fold; the first part of folds + 1 is only ever trained on."""
        bounds = [rows * part // (self.folds + 1) for part in range(self.folds + 2)]
        for start, stop in pairwise(bounds[1:]):
            yield self.before(start), range(start, stop)

    def before(self, start: int) -> range:
        """Rows that may be trained on when tests begin at row `start`."""
        return range(max(0, start - self.horizon - self.embargo))


class Played(msgspec.Struct, frozen=True):
    """A rule played over candles at constant size: net return of each candle and of each trade, as fractions of the entry."""

    returns: Floats
    trades: Floats
    exposure: float
    """Share of candles with a position."""


class _Book(msgspec.Struct):
    """One position under way."""

    side: int = 0
    entry: float = 0.0
    stop: float = 0.0
    earned: float = 0.0
    ended: int = 0
    """The side that a stop ended and that the rule still wants: not taken again."""


def play(data: Dataset, rows: range, chances: Floats, card: Card) -> Played:
    """The strategy's rule over `rows`; `chances` (rows, 3) are the model's answers in the order of CLASSES.

    Entries and exits at the candle's close less slippage and fee, stops at their price (or the open beyond it), as live.
    """
    candles, side_cost = data.candles, card.costs.side
    opened, high, low, close = (column.tolist() for column in (candles.open, candles.high, candles.low, candles.close))
    atr, funding = data.atr.tolist(), card.costs.holding(candles.hours)
    rounded = (np.round(chances * QUANTUM) / QUANTUM).tolist()
    held, book = Held(), _Book()
    returns, trades, exposed = np.zeros(len(rows)), [], 0
    for index, row in enumerate(rows):
        earned = 0.0
        if book.side:
            exposed += 1
            hit = low[row] <= book.stop if book.side == LONG else high[row] >= book.stop
            price = close[row]
            if hit:
                beyond = (opened[row] - book.stop) * book.side < 0
                price = opened[row] if beyond else book.stop
            earned = book.side * (price - close[row - 1]) / book.entry - funding
            if hit:
                book.ended = book.side
                earned -= side_cost
                trades.append(book.earned + earned)
                book.side = 0
            book.earned += earned
        down, _, up = rounded[index]
        if not (math.isnan(down) or math.isnan(up)):
            rule(held, down, up, card, card.rules.min_edge)
        if held.target != book.ended:
            book.ended = 0
        want = 0 if book.ended else held.target
        if want != book.side:
            earned += _turn(book, want, close[row], atr[row], card, trades)
        returns[index] = earned
    if book.side:
        trades.append(book.earned)
    return Played(returns, np.array(trades), exposed / max(1, len(rows)))


def _turn(book: _Book, want: int, price: float, atr: float, card: Card, trades: list[float]) -> float:
    """Close what is open, open what is wanted; returns what it cost."""
    cost = 0.0
    if book.side:
        cost -= card.costs.side
        trades.append(book.earned - card.costs.side)
    book.side, book.earned = want, 0.0
    if want:
        cost -= card.costs.side
        book.entry, book.stop, book.earned = price, price - want * card.rules.stop_atr * atr, -card.costs.side
    return cost


def scores(labels: Ints, chances: Floats, base: Floats) -> dict[str, float]:
    """Log loss and Brier score of probabilities (rows, 3), and of always saying the training data's shares `base`."""
    hits = labels[:, None] == np.array(CLASSES)
    return {
        "log_loss": float(-np.log(np.maximum(chances[hits], _LEAST_CHANCE)).mean()),
        "log_loss_base": float(-np.log(np.maximum(np.broadcast_to(base, hits.shape)[hits], _LEAST_CHANCE)).mean()),
        "brier": float(((chances - hits) ** 2).sum(axis=1).mean()),
        "brier_base": float(((base - hits) ** 2).sum(axis=1).mean()),
    }


def results(played: Played, hours: float, trials: int) -> dict[str, float]:
    """Money figures of a played rule, net of costs. `hours`: length of a candle; `trials`: how many variants were tried."""
    returns, trades = played.returns, played.trades
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    ratio = float(returns.mean()) / spread if spread > 0 else 0.0
    total = np.cumsum(returns)
    peak = np.maximum.accumulate(np.concatenate([[0.0], total]))[1:] if len(total) else total
    return {
        "net_return": float(returns.sum()),
        "net_sharpe": ratio * math.sqrt(YEAR_HOURS / hours),
        "deflated": deflated(ratio, returns, trials),
        "max_drawdown": float((peak - total).max()) if len(total) else 0.0,
        "trades": len(trades),
        "hit_rate": float((trades > 0).mean()) if len(trades) else 0.0,
        "mean_trade": float(trades.mean()) if len(trades) else 0.0,
        "exposure": played.exposure,
    }


def deflated(ratio: float, returns: Floats, trials: int) -> float:
    """Probability that the true Sharpe ratio is above what the best of `trials` worthless variants would show (Bailey and
    Lopez de Prado 2014); skew and fat tails of the returns count. `ratio`: mean over deviation, per candle."""
    count = len(returns)
    spread = float(returns.std()) if count else 0.0
    if count < 30 or spread == 0:
        return 0.0
    centred = (returns - returns.mean()) / spread
    skew, kurtosis = float((centred**3).mean()), float((centred**4).mean())
    normal = NormalDist()
    luck = 0.0
    if trials > 1:
        best = (1 - _EULER) * normal.inv_cdf(1 - 1 / trials) + _EULER * normal.inv_cdf(1 - 1 / (trials * math.e))
        luck = best / math.sqrt(count - 1)
    variance = max(1e-12, 1 - skew * ratio + (kurtosis - 1) / 4 * ratio * ratio)
    return normal.cdf((ratio - luck) * math.sqrt(count - 1) / math.sqrt(variance))


def held_through(data: Dataset, rows: range) -> dict[str, Any]:
    """What simply holding a long over `rows` would have given, with its own costs left out."""
    close = data.candles.close[rows.start : rows.stop]
    returns = np.diff(close) / close[0]
    spread = float(returns.std(ddof=1))
    yearly = math.sqrt(YEAR_HOURS / data.candles.hours)
    return {
        "net_return": float(returns.sum()),
        "net_sharpe": float(returns.mean()) / spread * yearly if spread else 0.0,
    }
