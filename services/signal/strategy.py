"""What a strategy is: a small class that turns closed candles, and ticks if it likes, into forecasts.

    class Mine(Strategy):
        symbols = ("BTCUSDT",)
        interval = "1h"

        def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
            return self.forecast(1.0 if features.momentum > 0 else 0.0, features, p=0.45, payoff=1.8)

A strategy sees market values and nothing else: no account, no key, no clock. What it remembers belongs in `State`, a msgspec
Struct, which is saved with the service; the same bars and ticks must give the same forecasts. Position sizes and limits
are the risk service's business.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import msgspec

from libs.common.errors import UsageError
from libs.common.events import Bar, Reference, Tick
from services.signal.config import INTERVALS_MS, StrategyConfig
from services.signal.features import Features, Windows
from services.signal.model import Model

SHIPPED = {
    "threshold": "services.signal.strategies.threshold:Threshold",
    "trend": "services.signal.strategies.trend:Trend",
    "mean_reversion": "services.signal.strategies.mean_reversion:MeanReversion",
    "funding_arb": "services.signal.strategies.funding_arb:FundingArb",
    "ml_momentum": "services.signal.strategies.ml_momentum:MlMomentum",
}


class Forecast(msgspec.Struct, frozen=True, gc=False):
    """What a strategy wants. A value that is not finite anywhere makes it no forecast at all.

    `target`: wanted exposure in [-1, 1], 0 flat. `p`: prior probability that the trade wins; `payoff`: average win over
    average loss; `stop_distance`: price units at which the trade is wrong; the three feed the Kelly sizing of risk.
    `horizon_ms`: how long the forecast is good for. `symbol`: empty for that of the bar or tick. `hedge`: the symbol held
    against it on the other side, same quantity, for an arbitrage; both legs or none.
    """

    target: float
    p: float
    payoff: float
    stop_distance: float
    horizon_ms: int
    score: float = 0.0
    symbol: str = ""
    hedge: str = ""


class Empty(msgspec.Struct):
    """No parameters, or nothing to remember."""


class Strategy:
    """Base class. `symbols` and `interval` are defaults that the settings may change."""

    symbols: tuple[str, ...] = ()
    interval: str = "1h"
    Parameters: ClassVar[type[msgspec.Struct]] = Empty
    State: ClassVar[type[msgspec.Struct]] = Empty

    parameters: Any
    state: Any
    model: Model | None = None
    """The trained model it serves now, for strategies that name one."""

    def __init__(self, config: StrategyConfig) -> None:
        self.symbols = config.symbols or self.symbols
        self.interval = config.interval or self.interval
        self.parameters = msgspec.convert(config.parameters, self.Parameters)
        self.state = self.State()

    @property
    def interval_ms(self) -> int:
        return INTERVALS_MS[self.interval]

    @property
    def wanted_model(self) -> str:
        """`name/sha256` of the model it begins with; "" for a strategy without one."""
        return ""

    def adopt(self, model: Model) -> None:
        """Serve this model from now on. Raises UsageError when it is for something else."""
        self.model = model

    @property
    def windows(self) -> Windows:
        """Window lengths of the features it is given."""
        return Windows()

    @property
    def warmup_bars(self) -> int:
        """Bars of a symbol before the strategy is asked for the first time."""
        return self.windows.longest

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        """A candle of its interval closed; `features` hold it already. None: no opinion, the last forecast stands."""
        return None

    def on_tick(self, tick: Tick, features: Features) -> Forecast | None:
        """The market moved within a candle; `features` are those of the last closed one."""
        return None

    def on_reference(self, reference: Reference, features: Features) -> Forecast | None:
        """Mark price or funding moved; `features` are those of the last closed candle."""
        return None

    def forecast(
        self,
        target: float,
        features: Features,
        *,
        p: float,
        payoff: float,
        stop_atr: float = 3.0,
        horizon_bars: float = 4,
        score: float = 0.0,
    ) -> Forecast:
        """A Forecast whose stop lies `stop_atr` average true ranges away and that is good for so many candles."""
        return Forecast(
            target=target,
            p=p,
            payoff=payoff,
            stop_distance=stop_atr * features.atr,
            horizon_ms=int(horizon_bars * self.interval_ms),
            score=score,
        )


def load(name: str, config: StrategyConfig) -> Strategy:
    """The strategy of one settings table.

    Raises UsageError when the class cannot be found or its parameters are wrong.
    """
    where = f"signal.strategies.{name}"
    kind = config.kind or name
    module, _, attribute = SHIPPED.get(kind, kind).partition(":")
    if not attribute:
        raise UsageError(f"{where}.kind: expected one of {', '.join(SHIPPED)} or module:Class, was {kind!r}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as e:
        raise UsageError(f"{where}.kind: expected a class {attribute} in module {module}, was none: {e}") from e
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise UsageError(f"{where}.kind: expected a subclass of services.signal.strategy.Strategy, was {found!r}")
    try:
        made = found(config)
    except (msgspec.ValidationError, ValueError) as e:
        raise UsageError(f"{where}.parameters: {e}") from e
    if not made.symbols:
        raise UsageError(f"{where}.symbols: expected at least one, was none")
    return made
