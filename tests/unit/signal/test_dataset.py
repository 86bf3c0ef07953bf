from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from libs.common.errors import UsageError
from services.signal.dataset import LONG, SHORT, Candles, dataset, feature_rows, merged, outcome
from services.signal.features import Windows, features
from services.signal.model import Costs, Rules
from tests.unit.signal.small import HOUR, candles

RULES, COSTS = Rules(horizon_bars=5, stop_atr=1.5), Costs(fee=0.0005, slippage=0.0001, funding=0.0003)


def by_hand(data: Candles, atr: float, row: int, side: int) -> float:
    """A trade as one would walk it with a finger on the chart."""
    entry = float(data.close[row])
    stop = entry - side * RULES.stop_atr * atr
    for step in range(1, RULES.horizon_bars + 1):
        later = row + step
        if (side == LONG and data.low[later] <= stop) or (side == SHORT and data.high[later] >= stop):
            price = min(stop, data.open[later]) if side == LONG else max(stop, data.open[later])
            break
    else:
        price = data.close[later]
    return float(side * (price - entry) / entry - 2 * (COSTS.fee + COSTS.slippage) - COSTS.funding * step / 8)


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_an_outcome_is_the_trade_walked_by_hand(side: int):
    data = candles(300)
    _, atr = feature_rows(data, Windows())
    got = outcome(data, atr, RULES, COSTS, side)
    rows = range(40, 300 - RULES.horizon_bars)
    assert [got[row] for row in rows] == pytest.approx([by_hand(data, atr[row], row, side) for row in rows], abs=1e-12)
    stopped = [row for row in rows if abs(got[row] - by_hand(data, 1e9, row, side)) > 1e-9]
    assert 20 < len(stopped) < 240  # both ways out occur
    assert np.isnan(got[-RULES.horizon_bars :]).all()
    assert np.isnan(got[:30]).all()


def test_features_are_those_of_the_live_service_and_never_look_ahead():
    data = candles(120)
    vectors, atr = feature_rows(data, Windows())
    live = features(Windows())
    for row in range(120):
        live.update(
            *(float(Decimal(repr(float(column[row])))) for column in (data.high, data.low, data.close, data.volume))
        )
        if live.ready:
            assert vectors[row].tolist() == live.vector()
            assert atr[row] == live.atr
    half = Candles(**{name: getattr(data, name)[:80] if name in COLUMNS else getattr(data, name) for name in FIELDS})
    assert np.array_equal(feature_rows(half, Windows())[0], vectors[:80], equal_nan=True)


COLUMNS = ("ts", "open", "high", "low", "close", "volume")
FIELDS = ("symbol", "interval_ms", *COLUMNS)


def test_labels_say_who_won_after_costs():
    data = dataset(candles(400), Windows(), RULES, COSTS)
    labels = data.labels[data.usable]
    assert {-1, 0, 1} == set(labels.tolist())
    assert (data.long[data.usable][labels == 1] > 0).all()
    assert (data.short[data.usable][labels == -1] > 0).all()
    assert (np.maximum(data.long, data.short)[data.usable][labels == 0] <= 0).all()


def test_short_candles_are_merged_and_too_few_are_refused():
    rows = [(minute * 60_000, 1.0 + minute, 2.0 + minute, 0.5 + minute, 1.5 + minute, 10.0) for minute in range(120)]
    found = merged(rows, "BTCUSDT", HOUR)
    assert found.ts.tolist() == [0, HOUR]
    assert (found.open[1], found.high[1], found.low[1], found.close[1]) == (61.0, 121.0, 60.5, 120.5)
    assert found.volume[1] == pytest.approx(600)
    with pytest.raises(UsageError, match="at least"):
        dataset(found, Windows(), RULES, COSTS)
    assert math.isclose(found.hours, 1.0)
