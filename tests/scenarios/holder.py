"""A strategy that never gets out by itself: long from its first candle on, sized as if it were good. Only risk can save it."""

from __future__ import annotations

from libs.common.events import Bar
from services.signal.features import Features
from services.signal.strategy import Forecast, Strategy


class Holder(Strategy):
    symbols = ("BTCUSDT",)
    interval = "1h"

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        return self.forecast(1.0, features, p=0.6, payoff=1.5, stop_atr=20)
