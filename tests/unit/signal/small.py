"""Small things to train on: seeded candles, and models made of nothing but a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from services.signal.dataset import Candles
from services.signal.drift import Distribution, Reference
from services.signal.features import NAMES, Windows
from services.signal.model import Card, Model, Rules

SMALL = Windows(volatility=2, atr=2, rsi=2, z_score=2, momentum=2, channel=2)
HOUR = 3_600_000


def candles(count: int, seed: int = 1, interval_ms: int = HOUR) -> Candles:
    """A seeded walk with wicks."""
    chance = np.random.default_rng(seed)
    close = 20_000 * np.exp(np.cumsum(chance.normal(0, 0.008, count)))
    opened = np.concatenate([[20_000], close[:-1]]) * np.exp(chance.normal(0, 0.0005, count))
    wick = 1 + np.abs(chance.normal(0, 0.004, (2, count)))
    return Candles(
        symbol="BTCUSDT",
        interval_ms=interval_ms,
        ts=np.arange(count, dtype=np.int64) * interval_ms,
        open=opened,
        high=np.maximum(opened, close) * wick[0],
        low=np.minimum(opened, close) / wick[1],
        close=close,
        volume=np.abs(chance.normal(100, 30, count)) + 1,
    )


def card(**changes: Any) -> Card:
    values: dict[str, Any] = {
        "name": "small",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "windows": SMALL,
        "rules": Rules(horizon_bars=3),
        "payoff_long": 1.0,
        "payoff_short": 1.0,
        "estimator": "forest",
        "trained_from_ms": 0,
        "trained_until_ms": 0,
        "bars": 0,
    }
    return Card(**{**values, **changes})


def model(sha: str, predict: Callable[[Sequence[float]], Sequence[float]], window: int = 20, **changes: Any) -> Model:
    """A model whose reference has two bins a feature, split at 0."""
    halves = Distribution(edges=(0.0,), shares=(0.5, 0.5))
    reference = Reference(bars=1000, window=window, distributions=dict.fromkeys(NAMES, halves))
    return Model(sha, card(**changes), reference, predict)
