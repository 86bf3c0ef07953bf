from __future__ import annotations

import random

import pytest

from libs.common.events import Signal
from services.signal.config import SignalConfig, StrategyConfig
from services.signal.core import SignalCore
from tests.market_harness import MINUTE, T0, Desk, bar, instrument, of

CONFIG = SignalConfig(
    strategies={
        name: StrategyConfig(symbols=("BTCUSDT",), interval="1m") for name in ("threshold", "trend", "mean_reversion")
    }
)


def closes(seed: int, bars: int) -> list[float]:
    chance = random.Random(seed)
    price, out = 100.0, []
    for _ in range(bars):
        price *= 1 + chance.gauss(0, 0.002)
        out.append(price)
    return out


def play(desk: Desk, prices: list[float], first: int) -> list:
    out = []
    for n, price in enumerate(prices, start=first):
        out += desk.send(bar(T0 + n * MINUTE, price, spread=0.1), at=T0 + (n + 1) * MINUTE)
    return out


@pytest.mark.parametrize("seed", range(3))
def test_a_core_restored_at_any_point_goes_on_as_if_nothing_had_happened(seed):
    prices = closes(seed, 400)
    whole = Desk(SignalCore(CONFIG))
    whole.send(instrument())
    signals = 0
    for cut in range(0, len(prices), 23):
        twin = Desk(SignalCore(CONFIG), at=whole.at)
        twin.core.restore(whole.core.snapshot())
        twin.stepper.position = whole.stepper.position.copy()
        segment = prices[cut : cut + 23]
        expected = play(whole, segment, cut)
        assert play(twin, segment, cut) == expected
        assert twin.core.snapshot() == whole.core.snapshot()
        signals += len(of(Signal, expected))
    assert signals > 20
