"""Which model each strategy serves, and whether it still fits: promoted and rolled back by signed commands, measured for drift.

A model is live from its ModelPromoted or ModelRolledBack on, in the log's order, so a replay switches at the same place. Only
models that the settings name are there to switch to; they are loaded before the service starts, never here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal

import msgspec

from libs.common import seal
from libs.common.errors import UsageError
from libs.common.events import (
    DriftMeasured,
    Event,
    ModelPromote,
    ModelPromoted,
    ModelRefused,
    ModelRollback,
    ModelRolledBack,
)
from services.signal.config import SignalConfig
from services.signal.drift import LEAST, Trades, Window, factor, place_of, worst
from services.signal.model import SHORT_ID, Model
from services.signal.strategy import Strategy

NONCES_KEPT = 1000


class Served(msgspec.Struct):
    """One strategy's models and how they fare."""

    history: list[str] = []
    """Ids of the models it served, the live one last."""
    windows: dict[str, Window] = {}
    """What its features did lately, by symbol."""
    trades: Trades = msgspec.field(default_factory=Trades)
    bars: int = 0
    """Candles since the last measurement."""
    since_at: int = 0


class Serving:
    """The models of one core. `state`: by strategy, kept in the core's state."""

    def __init__(self, config: SignalConfig, models: Mapping[str, Model], strategies: Mapping[str, Strategy]) -> None:
        """`models` by full hash. Raises UsageError for a strategy whose model is not there or does not fit it."""
        self.config, self.strategies = config, strategies
        self.models = {model.id: model for model in models.values()}
        self.first: dict[str, str] = {}
        for name, strategy in strategies.items():
            if strategy.wanted_model:
                self.first[name] = identity(strategy.wanted_model)
                self._adopt(name, self.first[name])

    def _adopt(self, name: str, model: str) -> None:
        found = self.models.get(model)
        if found is None:
            raise UsageError(
                f"expected model {model} of strategy {name} to be loaded, was not; name it in signal.models or "
                f"signal.strategies.{name}.parameters.model"
            )
        try:
            self.strategies[name].adopt(found)
        except UsageError as e:
            raise UsageError(f"signal.strategies.{name}: {e}") from e

    def restored(self, state: Mapping[str, Served]) -> None:
        """After a restart: the log says which model is live, not the file. Raises UsageError when it is not loaded."""
        for name in self.first:
            if name in state and state[name].history:
                self._adopt(name, state[name].history[-1])

    # --- switching -----------------------------------------------------------------------------------------------

    def fresh(self, state: Mapping[str, Served]) -> list[Event]:
        """The first model of each strategy that has none yet."""
        return [
            ModelPromoted(strategy=name, model=model)
            for name, model in self.first.items()
            if name not in state or not state[name].history
        ]

    def on_promoted(self, state: dict[str, Served], body: ModelPromoted, at: int) -> None:
        served = state.setdefault(body.strategy, Served())
        served.history.append(body.model)
        served.since_at = served.since_at or at
        self._switch(served, body.strategy)

    def on_rolled_back(self, state: dict[str, Served], body: ModelRolledBack) -> None:
        served = state[body.strategy]
        served.history.pop()
        self._switch(served, body.strategy)

    def _switch(self, served: Served, name: str) -> None:
        served.windows, served.bars = {}, 0
        self._adopt(name, served.history[-1])

    def answers(
        self, state: Mapping[str, Served], command: ModelPromote | ModelRollback, at: int, *, is_repeated: bool
    ) -> Iterator[Event]:
        """Obey, or say why not."""
        reason = "DUPLICATE" if is_repeated else self._unsigned(command, at)
        name = command.strategy or (next(iter(self.first)) if len(self.first) == 1 else "")
        if not reason and (name not in self.first or name not in state):
            reason = "UNKNOWN_STRATEGY"
        if not reason:
            history = state[name].history
            if isinstance(command, ModelRollback):
                reason = "" if len(history) > 1 else "NOTHING_BEFORE"
            else:
                reason = self._unfit(name, identity(command.model), history[-1])
        if reason:
            yield ModelRefused(nonce=command.nonce, operator=command.operator, reason=reason)
        elif isinstance(command, ModelRollback):
            yield ModelRolledBack(strategy=name, model=state[name].history[-2])
        else:
            yield ModelPromoted(strategy=name, model=identity(command.model))

    def _unsigned(self, command: ModelPromote | ModelRollback, at: int) -> str:
        if command.expires_at <= at:
            return "EXPIRED"
        key = self.config.operator_keys.get(command.operator, "")
        if not key or not seal.verify(key, command):
            return seal.BAD_SEAL
        return "" if command.place == self.config.place else seal.OTHER_BOOK

    def _unfit(self, name: str, model: str, live: str) -> str:
        """Why this model cannot follow the live one; "" when it can."""
        if model not in self.models:
            return "UNKNOWN_MODEL"
        if model == live:
            return "LIVE_ALREADY"
        new, old = self.models[model].card, self.models[live].card
        same = (new.windows, new.interval, new.symbol) == (old.windows, old.interval, old.symbol)
        return "" if same else "OTHER_INPUTS"

    # --- drift ---------------------------------------------------------------------------------------------------

    def observe(
        self, state: Mapping[str, Served], name: str, symbol: str, vector: list[float], at: int
    ) -> DriftMeasured | None:
        """Take in one candle's features; every `drift_bars` candles a measurement."""
        model = self.strategies[name].model
        served = state.get(name)
        if model is None or served is None or not all(map(math.isfinite, vector)):
            return None
        reference = model.reference
        window = served.windows.setdefault(symbol, Window(reference.window))
        distributions = list(reference.distributions.values())
        row = [place_of(one, value) for one, value in zip(distributions, vector, strict=True)]
        window.push(row, [len(one.shares) for one in distributions])
        served.bars += 1
        if served.bars < self.config.drift_bars or len(window.rows) < min(LEAST, reference.window):
            return None
        served.bars = 0
        return self._measured(name, model, served, at)

    def _measured(self, name: str, model: Model, served: Served, at: int) -> DriftMeasured:
        ready = [one for one in served.windows.values() if len(one.rows) >= min(LEAST, model.reference.window)]
        value, feature = max(worst(model.reference, one.counts) for one in ready)
        sharpe, trades = served.trades.sharpe(at, served.since_at)
        return DriftMeasured(
            strategy=name,
            model=model.id,
            psi=_quantised(value),
            rolling_sharpe=_quantised(sharpe),
            factor=_quantised(factor(value, sharpe, trades, self.config.block_psi)),
            feature=feature,
            bars=max(len(one.rows) for one in ready),
            trades=trades,
        )


def identity(model: str) -> str:
    """`name/sha256`, or a hash -> what events call the model."""
    return (model.partition("/")[2] or model)[:SHORT_ID]


def _quantised(value: float) -> Decimal:
    return Decimal(round(value * 1_000_000)).scaleb(-6)
