"""A trained model as the service uses it: what it was trained for (its card) and the probabilities it gives.

The three classes are the two ways a trade can be right: in the coming `horizon_bars` candles a short wins after costs, neither
does, a long does. `rule` turns them into a wanted position, in training and live alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from services.signal.drift import Reference
from services.signal.features import NAMES, Windows
from services.signal.strategies.held import Held

QUANTUM = 1_000_000
"""Probabilities are rounded to 1/this before anything is decided, so engines that agree to 1e-12 decide alike."""
SHORT_ID = 12
"""Digits of a model's hash that stand for it in events."""

Predict = Callable[[Sequence[float]], Sequence[float]]
"""Features of one candle -> probability of (short wins, neither, long wins)."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What trading costs, as fractions of the traded value."""

    fee: float = 0.00055
    """Taker's fee, each side."""
    slippage: float = 0.0001
    """Worse than the candle's close, each side."""
    funding: float = 0.0001
    """Paid each eight hours a position is held, whichever side: the cautious reading of a rate that changes sign."""

    @property
    def side(self) -> float:
        return self.fee + self.slippage

    def holding(self, hours: float) -> float:
        """Funding for holding so many hours."""
        return self.funding * hours / 8


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How probabilities become positions."""

    horizon_bars: int = 12
    """Candles a position is held before it is thought over, and the span labels look ahead."""
    stop_atr: float = 3.0
    """The protective stop's distance in average true ranges."""
    min_edge: float = 0.02
    """Least expectation p x payoff - (1 - p), in average losses, for which a position is taken."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is: kept beside it as `card.json`, under the model's hash."""

    name: str
    symbol: str
    interval: str
    features: tuple[str, ...] = NAMES
    windows: Windows = Windows()
    rules: Rules = Rules()
    costs: Costs = Costs()
    payoff_long: float
    """Average win over average loss of long trades after costs, in training."""
    payoff_short: float
    estimator: str
    parameters: dict[str, Any] = {}
    calibration: str = "sigmoid"
    seed: int = 0
    trained_from_ms: int
    trained_until_ms: int
    """Open time of the first candle of the training span, and of the first after it."""
    bars: int
    labels: dict[str, int] = {}
    hashes: dict[str, str] = {}
    """`data` of the candles trained on, `code` of what computes features, labels and model, `features` of names and windows."""
    versions: dict[str, str] = {}
    metrics: dict[str, Any] = {}


class Model:
    """One loaded model. `sha` is the hash of its files; `predict` must give three finite probabilities."""

    def __init__(self, sha: str, card: Card, reference: Reference, predict: Predict) -> None:
        self.sha, self.card, self.reference, self._predict = sha, card, reference, predict

    @property
    def id(self) -> str:
        """The start of its hash, as events name it."""
        return self.sha[:SHORT_ID]

    def chances(self, vector: Sequence[float]) -> tuple[float, float] | None:
        """Rounded probabilities that (a short, a long) wins; None while a feature is not defined."""
        if not all(math.isfinite(value) for value in vector):
            return None
        down, _, up = self._predict(vector)
        return round(down * QUANTUM) / QUANTUM, round(up * QUANTUM) / QUANTUM


def edge(p: float, payoff: float) -> float:
    """Expectation of a trade in average losses."""
    return p * payoff - (1 - p)


def rule(held: Held, down: float, up: float, card: Card, min_edge: float) -> None:
    """Think over `held` when it is flat or its horizon is over. Counts the candle."""
    held.bars += 1
    if held.target and held.bars < card.rules.horizon_bars:
        return
    long, short = edge(up, card.payoff_long), edge(down, card.payoff_short)
    best = 0
    if max(long, short) > min_edge:
        best = 1 if long >= short else -1
    if best == held.target:
        held.bars = 0
    held.become(best)
