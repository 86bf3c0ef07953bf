"""`ml_momentum`: a trained model decides, BTCUSDT on 1h candles unless the model says otherwise.

The model gives the probability that a long and that a short wins after costs within its horizon; `services.signal.model.rule` turns
them into a position, the very function that training judged the model with. The model is named by `parameters.model`
(`name/sha256` in `signal.models_dir`), loaded and checked before the service starts; operators change it with `tidegate model
promote` among those that `signal.models` names.

What the forest trained on BTCUSDT hours of 2020 to 2022 did in 2023 is told in docs/tutorials/first-model.md: it lost.
"""

from __future__ import annotations

import msgspec

from libs.common.errors import UsageError
from libs.common.events import Bar
from services.signal.config import StrategyConfig
from services.signal.features import Features, Windows
from services.signal.model import Model, rule
from services.signal.strategies.held import HeldState
from services.signal.strategy import Forecast, Strategy

_LEAST_P = 1e-6


class MlMomentumParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    """`name/sha256`."""
    min_edge: float | None = None
    """Least expectation in average losses; None: the model's own."""
    fresh_bars: float = 1.0
    """How many candles a forecast is good for."""


class MlMomentum(Strategy):
    symbols = ("BTCUSDT",)
    interval = "1h"
    Parameters = MlMomentumParameters
    State = HeldState

    parameters: MlMomentumParameters
    state: HeldState

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        if "/" not in self.parameters.model:
            raise ValueError(f"model: expected name/sha256, was {self.parameters.model!r}")

    @property
    def wanted_model(self) -> str:
        return self.parameters.model

    def adopt(self, model: Model) -> None:
        card = model.card
        if card.interval != self.interval or any(symbol != card.symbol for symbol in self.symbols):
            raise UsageError(
                f"expected a model for {', '.join(self.symbols)} on {self.interval}, {model.id} is for {card.symbol} on {card.interval}"
            )
        super().adopt(model)

    @property
    def windows(self) -> Windows:
        return self.model.card.windows if self.model is not None else Windows()

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        model = self.model
        chances = model.chances(features.vector()) if model is not None else None
        if model is None or chances is None:
            return None
        (down, up), card, held = chances, model.card, self.state.of(bar.symbol)
        least = self.parameters.min_edge
        rule(held, down, up, card, card.rules.min_edge if least is None else least)
        is_long = held.target > 0 or (held.target == 0 and up >= down)
        return self.forecast(
            held.target,
            features,
            p=min(max(up if is_long else down, _LEAST_P), 1 - _LEAST_P),
            payoff=card.payoff_long if is_long else card.payoff_short,
            stop_atr=card.rules.stop_atr,
            horizon_bars=self.parameters.fresh_bars,
            score=up - down,
        )
