from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from libs.common.errors import UsageError
from libs.common.events import Tick
from services.signal.config import StrategyConfig
from services.signal.features import features
from services.signal.strategy import Strategy, load
from tests.market_harness import MINUTE, T0, bar


def targets(kind: str, closes: list[float], spread: float = 0.5, **parameters: Any) -> list[float | None]:
    """Targets after each close, None before the strategy has an opinion."""
    strategy = load(kind, StrategyConfig(parameters=parameters))
    known = features(strategy.windows)
    found: list[float | None] = []
    for n, close in enumerate(closes):
        candle = bar(T0 + n * MINUTE, close, spread=spread)
        known.update(float(candle.high), float(candle.low), close, 1.0)
        forecast = strategy.on_bar(candle, known) if known.count >= strategy.warmup_bars else None
        found.append(None if forecast is None else forecast.target)
    return found


def wave(n: int, size: float = 0.5) -> float:
    return 100 + size * math.sin(n * 1.7)


def quiet(bars: int = 60) -> list[float]:
    return [wave(n) for n in range(bars)]


def tick(middle: float) -> Tick:
    bid, ask = Decimal(str(round(middle - 0.05, 4))), Decimal(str(round(middle + 0.05, 4)))
    return Tick(symbol="BTCUSDT", last=bid, bids=((bid, Decimal(1)),), asks=((ask, Decimal(1)),))


def test_threshold_goes_with_a_move_and_leaves_when_it_fades():
    found = targets("threshold", [*quiet(), 103.0, 104.0, *[100.0] * 3], cooldown_bars=1)
    assert found[-5:-3] == [1, 1]
    assert found[-1] in (0, -1)


def test_threshold_leaves_before_it_turns_round_and_cools_down():
    found = targets(
        "threshold", [*[100.0 + 0.01 * (n % 2) for n in range(60)], 103.0, 90.0, 89.0, 88.0, 60.0], cooldown_bars=3
    )
    assert found[-5:] == [1, 0, 0, 0, -1]


def test_threshold_acts_on_ticks_and_only_speaks_when_its_mind_changes():
    strategy = load("threshold", StrategyConfig())
    known = features(strategy.windows)
    for n in range(60):
        known.update(wave(n) + 1, wave(n) - 1, wave(n), 1.0)
    entry = strategy.on_tick(tick(105), known)
    assert entry is not None
    assert (entry.target, strategy.on_tick(tick(106), known)) == (1, None)
    leave = strategy.on_tick(tick(100), known)
    assert leave is not None
    assert leave.target == 0


def test_trend_follows_a_breakout_and_leaves_at_the_middle():
    rise = [100.0 + n for n in range(1, 15)]
    found = targets("trend", [*quiet(), *rise, 104.0, 103.0])
    assert found[59] == 0
    assert found[60 + 13] == 1
    assert found[-1] == 0


def test_trend_turns_round_when_the_other_side_breaks():
    found = targets("trend", [*quiet(), 110.0, 80.0])
    assert found[-2:] == [1, -1]


def test_mean_reversion_buys_a_fall_and_sells_when_it_is_over():
    closes = [*quiet(), 99.0, 98.0, 97.5, 97.8, 98.9, 100.0]
    found = targets("mean_reversion", closes, entry=1.8, trend_limit=10.0)
    assert 1 in found[60:64]
    assert found[-1] == 0


def test_mean_reversion_gives_up_after_its_time_and_waits_for_normal():
    fall = [100 - 0.8 * n for n in range(12)]
    found = targets("mean_reversion", [*quiet(), *fall], entry=1.8, trend_limit=100.0, max_bars=4)
    first = found.index(1)
    assert found[first : first + 5] == [1, 1, 1, 1, 0]
    assert set(found[first + 4 :]) == {0}


def test_mean_reversion_does_not_stand_in_the_way_of_a_trend():
    fall = [100 - 2.0 * n for n in range(12)]
    assert set(targets("mean_reversion", [*quiet(), *fall], entry=1.5, trend_limit=0.5)[60:]) == {0}


@pytest.mark.parametrize("kind", ["threshold", "trend", "mean_reversion"])
def test_a_dead_market_gives_no_forecast(kind):
    assert set(targets(kind, [100.0] * 80, spread=0.0)) == {None}


@pytest.mark.parametrize("kind", ["threshold", "trend", "mean_reversion"])
def test_priors_have_an_edge_the_kelly_rule_can_use(kind):
    limits = load(kind, StrategyConfig()).parameters
    edge = limits.p * limits.payoff - (1 - limits.p)
    assert 0 < edge / limits.payoff <= 0.15


class NotOne:
    pass


class Nowhere(Strategy):
    pass


@pytest.mark.parametrize(
    ("name", "config", "complaint"),
    [
        ("mine", StrategyConfig(), "expected one of threshold"),
        ("mine", StrategyConfig(kind="nowhere.at:All"), "expected a class All in module nowhere.at"),
        ("mine", StrategyConfig(kind="tests.unit.signal.test_strategies:Missing"), "expected a class Missing"),
        ("mine", StrategyConfig(kind="services.signal.config:SignalConfig"), "expected a subclass"),
        ("mine", StrategyConfig(kind="services.signal.strategy:Strategy"), "symbols: expected at least one"),
        ("trend", StrategyConfig(parameters={"chanel": 5}), r"trend.parameters: .*chanel"),
        ("trend", StrategyConfig(parameters={"channel": "x"}), "trend.parameters"),
        ("threshold", StrategyConfig(parameters={"entry": 0.1}), "leave < entry"),
    ],
)
def test_what_cannot_be_loaded_says_which_key_is_wrong(name, config, complaint):
    with pytest.raises(UsageError, match=complaint):
        load(name, config)
