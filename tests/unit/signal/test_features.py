from __future__ import annotations

import math

import msgspec
import pytest

from services.signal.features import NAMES, Extremes, Features, Ring, RollingMoments, Wilder, Windows, features


def fed(closes: list[float], windows: Windows | None = None) -> Features:
    made = features(windows or Windows(volatility=3, atr=3, rsi=3, z_score=3, momentum=3, channel=3))
    for close in closes:
        made.update(close + 1, close - 1, close, 10.0)
    return made


def test_nothing_is_defined_before_its_window_is_full():
    made = fed([10.0, 11.0])
    assert math.isnan(made.z_score)
    assert math.isnan(made.momentum)
    assert math.isnan(made.atr)
    assert math.isnan(made.breakout)
    assert not made.ready
    assert fed([10.0, 11.0, 12.0, 13.0]).ready


def test_small_figures_by_hand():
    made = fed([10.0, 11.0, 13.0, 12.0])
    assert made.momentum == pytest.approx(12 / 10 - 1)
    assert made.z_score == pytest.approx(0.0)
    assert made.rsi == pytest.approx(100 * 3 / 4)
    assert made.atr == pytest.approx((2 + 2 + 3) / 3 + (2 - 7 / 3) / 3)
    assert (made.channel_high, made.channel_low) == (14.0, 9.0)
    assert made.breakout == pytest.approx(2 * 3 / 5 - 1)


def test_a_market_that_stands_still_has_no_z_score_and_no_volatility():
    made = fed([100.0] * 50)
    assert math.isnan(made.z_score)
    assert math.isnan(made.volatility)
    assert made.rsi == 50.0


def test_rounding_does_not_grow_with_time_nor_with_the_price_level():
    moments = RollingMoments(Ring(20))
    values = [60_000 + math.sin(n) * 1e-3 for n in range(100_000)]
    for value in values:
        moments.push(value)
    last = values[-20:]
    mean = sum(last) / 20
    deviation = math.sqrt(sum((value - mean) ** 2 for value in last) / 20)
    assert moments.score(values[-1]) == pytest.approx((values[-1] - mean) / deviation, rel=1e-6)


def test_the_vector_has_a_value_for_every_name():
    assert len(fed([1.0, 2.0]).vector()) == len(NAMES)


def test_parts():
    ring = Ring(2)
    assert [math.isnan(ring.push(1.0)), math.isnan(ring.push(2.0)), ring.push(3.0), ring.push(4.0)] == [
        True,
        True,
        1.0,
        2.0,
    ]
    extremes = Extremes(2)
    seen = []
    for value in (3.0, 1.0, 2.0, 0.0):
        extremes.push(value)
        seen.append(extremes.largest)
    assert math.isnan(seen[0])
    assert seen[1:] == [3.0, 2.0, 2.0]
    wilder = Wilder(2)
    for value in (1.0, 3.0, 4.0):
        wilder.push(value)
    assert wilder.value == 3.0


def test_features_survive_a_snapshot_with_their_nans():
    made = fed([10.0, 11.0])
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Features)
    again.update(13, 11, 12, 1)
    made.update(13, 11, 12, 1)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(made)
