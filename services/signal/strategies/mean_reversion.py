"""`mean_reversion`: buy what fell too far, sell what rose too far, ETHUSDT on 1h candles by default.

In when the z-score leaves ±`entry` and RSI agrees, unless a trend runs against it (momentum beyond `trend_limit` standard
deviations); out when the z-score is back within `leave`, or after `max_bars` (it did not revert: the idea was wrong). After a
time-out the next entry waits until the z-score has been inside again.

Measured with the stop, before costs: ETHUSDT and BTCUSDT perpetuals 1h, 2020 to 2023: 54 % won, payoff 0.7, a loss with every
choice of windows that was tried. It is shipped as an example of the form; prove an edge before you give it capital.
"""

from __future__ import annotations

import math

import msgspec

from libs.common.events import Bar
from services.signal.features import Features, Windows
from services.signal.strategies.held import Held
from services.signal.strategy import Forecast, Strategy


class MeanReversionParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`p` and `payoff`: an assumption just above break-even (p x payoff = 1 - p), not a measurement: it keeps sizes small."""

    window: int = 20
    entry: float = 2.0
    leave: float = 0.3
    rsi_low: float = 35.0
    """Long below it, short above 100 minus it."""
    trend_limit: float = 2.5
    max_bars: int = 24
    p: float = 0.58
    payoff: float = 0.80
    stop_atr: float = 3.0
    horizon_bars: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.leave < self.entry:
            raise ValueError(f"expected 0 <= leave < entry, was leave {self.leave} and entry {self.entry}")


class Waiting(Held):
    """`blocked`: timed out, and not yet back to normal."""

    blocked: bool = False


class MeanReversionState(msgspec.Struct):
    held: dict[str, Waiting] = {}


class MeanReversion(Strategy):
    symbols = ("ETHUSDT",)
    interval = "1h"
    Parameters = MeanReversionParameters
    State = MeanReversionState

    parameters: MeanReversionParameters
    state: MeanReversionState

    @property
    def windows(self) -> Windows:
        window = self.parameters.window
        return Windows(z_score=window, momentum=window, volatility=window)

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        limits, z = self.parameters, features.z_score
        held = self.state.held.setdefault(bar.symbol, Waiting())
        held.bars += 1
        if math.isnan(z):
            return None
        if held.target:
            self._leave(held, z)
        elif held.blocked:
            held.blocked = abs(z) >= limits.leave
        else:
            held.become(self._enter(z, features))
        return self.forecast(
            held.target,
            features,
            p=limits.p,
            payoff=limits.payoff,
            stop_atr=limits.stop_atr,
            horizon_bars=limits.horizon_bars,
            score=math.tanh(-z / 2),
        )

    def _enter(self, z: float, features: Features) -> int:
        limits = self.parameters
        drift = features.momentum / (features.volatility * math.sqrt(limits.window))
        if not abs(drift) <= limits.trend_limit:  # NaN too
            return 0
        if z < -limits.entry and features.rsi < limits.rsi_low:
            return 1
        if z > limits.entry and features.rsi > 100 - limits.rsi_low:
            return -1
        return 0

    def _leave(self, held: Waiting, z: float) -> None:
        limits = self.parameters
        if -z * held.target < limits.leave:
            held.become(0)
        elif held.bars >= limits.max_bars:
            held.become(0)
            held.blocked = True
