from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.signal.features import Windows, features

WINDOWS = Windows(volatility=7, atr=5, rsi=6, z_score=9, momentum=4, channel=8)
moves = st.lists(
    st.tuples(st.floats(-0.05, 0.05), st.floats(0, 0.02), st.floats(0, 0.02), st.floats(0, 1000)),
    min_size=30,
    max_size=120,
)


def wilder(values: np.ndarray, n: int) -> float:
    value = values[:n].mean()
    for x in values[n:]:
        value += (x - value) / n
    return float(value)


def ewma(returns: np.ndarray, n: int) -> tuple[float, float]:
    """Weighted mean and variance written out as sums, not as a recursion of the same form."""
    alpha = 2 / (n + 1)
    ages = np.arange(len(returns))[::-1]
    weights = np.where(ages == len(returns) - 1, (1 - alpha) ** ages, alpha * (1 - alpha) ** ages)
    mean = float((weights * returns).sum())
    return mean, float((weights * (returns - mean) ** 2).sum())


def close_to(ours: float, theirs: float, scale: float = 1.0) -> bool:
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9 * scale)


@settings(max_examples=60, deadline=None)
@given(moves, st.floats(0.01, 100_000))
def test_incremental_features_equal_a_batch_recomputation(steps, start):
    made = features(WINDOWS)
    close = start * np.exp(np.cumsum([move for move, *_ in steps]))
    high = close * (1 + np.array([up for _, up, _, _ in steps]))
    low = close * (1 - np.array([down for _, _, down, _ in steps]))
    volume = np.array([traded for *_, traded in steps])
    for row in zip(high, low, close, volume, strict=True):
        made.update(*(float(value) for value in row))
    returns = np.diff(np.log(close))
    changes = np.diff(close)
    ranges = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    gain = wilder(np.maximum(changes, 0), WINDOWS.rsi)
    loss = wilder(np.maximum(-changes, 0), WINDOWS.rsi)
    mean, variance = ewma(returns, WINDOWS.volatility)
    last = close[-WINDOWS.z_score :]
    assert close_to(made.log_return, returns[-1])
    assert close_to(made.ewma_return, mean)
    assert close_to(made.ewma_variance, variance)
    assert close_to(made.atr, wilder(np.concatenate([[high[0] - low[0]], ranges]), WINDOWS.atr), start)
    assert close_to(made.momentum, close[-1] / close[-1 - WINDOWS.momentum] - 1)
    assert close_to(made.channel_high, high[-1 - WINDOWS.channel : -1].max(), start)
    assert close_to(made.channel_low, low[-1 - WINDOWS.channel : -1].min(), start)
    usual = wilder(volume[:-1], WINDOWS.volatility)
    if usual > 1e-6:
        assert close_to(made.volume_ratio, volume[-1] / usual)
    if gain + loss > 1e-9 * start:
        assert math.isclose(made.rsi, 100 * gain / (gain + loss), rel_tol=1e-6, abs_tol=1e-6)
    if last.std() > 1e-4 * last.mean():
        assert close_to(made.z_score, (close[-1] - last.mean()) / last.std())
