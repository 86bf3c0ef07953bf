from __future__ import annotations

import numpy as np
import pytest

from services.signal.drift import (
    CRITICAL,
    DAY_NS,
    LEAST,
    WARN,
    WINDOW,
    Distribution,
    Reference,
    Trades,
    Window,
    factor,
    place_of,
    psi,
    worst,
)

TENTHS = Distribution(edges=tuple(np.arange(1, 10) / 10), shares=(0.1,) * 10)


def null(sample: int, times: int = 2000) -> np.ndarray:
    """PSI of samples that come from the reference itself."""
    counts = np.random.default_rng(1).multinomial(sample, TENTHS.shares, times)
    return np.array([psi(TENTHS.shares, row) for row in counts.tolist()])


def test_the_thresholds_hold_at_the_sample_sizes_in_use():
    assert np.quantile(null(WINDOW), 0.999) < WARN / 1.5
    assert np.quantile(null(LEAST), 0.99) < WARN
    assert np.quantile(null(LEAST), 0.9999) < CRITICAL
    assert np.quantile(null(50), 0.5) > WARN  # why there is a least sample: 50 values cry wolf every other time


def test_a_shift_is_seen_and_values_outside_the_old_range_are_no_infinity():
    chance = np.random.default_rng(2)
    for shift, least in ((0.15, WARN), (0.3, CRITICAL), (100.0, 1.0)):
        places = [place_of(TENTHS, value) for value in chance.uniform(0, 1, WINDOW) + shift]
        found = psi(TENTHS.shares, np.bincount(places, minlength=10).tolist())
        assert least < found < 10


def test_the_worst_feature_counts_after_scaling():
    loud = Distribution(edges=(0.0,), shares=(0.5, 0.5), scale=100.0)
    quiet = Distribution(edges=(0.0,), shares=(0.5, 0.5))
    reference = Reference(bars=10, distributions={"loud": loud, "quiet": quiet})
    assert worst(reference, [[100, 0], [60, 40]])[1] == "quiet"
    assert worst(reference, [[100, 0], [50, 50]])[1] == "loud"


def test_a_window_counts_what_a_naive_count_counts():
    chance = np.random.default_rng(3)
    rows = chance.integers(0, 4, (137, 2)).tolist()
    window = Window(20)
    for index, row in enumerate(rows):
        window.push(row, [4, 4])
        recent = np.array(rows[max(0, index - 19) : index + 1])
        assert window.counts == [np.bincount(recent[:, column], minlength=4).tolist() for column in (0, 1)]


def test_trades_realise_what_was_bought_and_sold():
    trades = Trades()
    trades.fill("X", 2.0, 100.0, 0.5, DAY_NS)
    trades.fill("X", -1.0, 110.0, 0.5, DAY_NS)
    assert trades.days[1] == pytest.approx(9.0)
    trades.fill("X", -2.0, 120.0, 0.0, 2 * DAY_NS)  # closes the rest and goes short one
    assert trades.days[2] == pytest.approx(20.0)
    assert trades.held["X"] == -1.0
    trades.fill("X", 1.0, 125.0, 0.0, 3 * DAY_NS)
    assert trades.days[3] == pytest.approx(-5.0)
    assert trades.ends == {2: 1, 3: 1}
    assert trades.held["X"] == 0.0


def test_the_sharpe_ratio_is_of_thirty_days_and_needs_trades():
    trades = Trades()
    for day in range(50):
        trades.fill("X", 1.0, 100.0, 0.0, day * DAY_NS)
        trades.fill("X", -1.0, 100.0 + (3 if day % 2 else -1), 0.0, day * DAY_NS)
        if day == 8:
            assert trades.sharpe(day * DAY_NS, 0) == (0.0, 9)
    found, count = trades.sharpe(49 * DAY_NS, 0)
    days = np.array([3.0, -1.0] * 15)
    assert count == 30
    assert found == pytest.approx(days.mean() / days.std(ddof=1) * np.sqrt(365))
    assert trades.sharpe(100 * DAY_NS, 0) == (0.0, 0)


def test_drift_only_shrinks_and_more_drift_shrinks_more():
    values = [factor(value, 1.0, 20, 0.5) for value in (0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 9.0)]
    assert values == pytest.approx([1, 1, 0.75, 0.5, 1 / 3, 0, 0])
    assert factor(0.0, -0.1, 20, 0.5) == 0.5
    assert factor(0.0, 0.4, 20, 0.5) == 0.75
    assert factor(0.0, -9.0, 9, 0.5) == 1.0  # too few trades to judge
