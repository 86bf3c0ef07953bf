from __future__ import annotations

import msgspec
import pytest

from services.signal.config import SignalConfig, StrategyConfig


def test_settings_tables_become_strategies():
    toml = b"""
    [strategies.fast_trend]
    kind = "trend"
    symbols = ["ETHUSDT"]
    interval = "5m"
    parameters = { channel = 30, p = 0.41 }
    """
    config = msgspec.toml.decode(toml, type=SignalConfig)
    assert config.strategies == {
        "fast_trend": StrategyConfig(
            kind="trend", symbols=("ETHUSDT",), interval="5m", parameters={"channel": 30, "p": 0.41}
        )
    }


def test_three_strategies_run_by_default():
    assert list(SignalConfig().strategies) == ["threshold", "trend", "mean_reversion"]


@pytest.mark.parametrize("wrong", [{"interval": "7m"}, {"intervall": "1m"}, {"symbols": "BTCUSDT"}])
def test_wrong_tables_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"strategies": {"a": wrong}}, SignalConfig)


@pytest.mark.parametrize("wrong", [{"min_change": 0.0}, {"strategies": {"a|b": StrategyConfig()}}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        SignalConfig(**wrong)
