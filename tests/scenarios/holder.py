"""Strategies that never get out by themselves: long from the beginning, sized as if they were good. Only risk can save them."""

from __future__ import annotations

from libs.common.events import Bar, Tick
from services.signal.features import Features
from services.signal.strategy import Forecast, Strategy


class Holder(Strategy):
    symbols = ("BTCUSDT",)
    interval = "1h"

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        return self.forecast(1.0, features, p=0.6, payoff=1.5, stop_atr=20)


class Saver(Strategy):
    """Keeps a coin for good, as a part of the collateral: its stop is so far away that it never comes."""

    symbols = ("USDCUSDT-SPOT",)
    interval = "1m"

    @property
    def warmup_bars(self) -> int:
        return 1

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        return None

    def on_tick(self, tick: Tick, features: Features) -> Forecast | None:
        return Forecast(target=1.0, p=0.9, payoff=1.5, stop_distance=float(tick.last) * 0.5, horizon_ms=3_600_000)
