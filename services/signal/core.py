"""The decisions of signal: candles and ticks in, forecasts of the strategies out.

Features and strategies run in `evolve`; what is to be published waits in the state until `decide` has yielded it. A
Signal is published when a strategy's target changed (to another sign, to or from 0, or by `min_change`), and again on every candle
of the strategy while the sign of its position, as its fills tell it, is not the target's (but not after a protective stop
ended that very target). Candles that are known too late
(warm-up, a filled gap) move features and strategies but publish nothing. A strategy that raises is off for good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from libs.common import streams
from libs.common.decider import Core
from libs.common.events import (
    Bar,
    DriftMeasured,
    Event,
    Fill,
    Halted,
    Heartbeat,
    Instant,
    InstrumentDefined,
    ModelPromote,
    ModelPromoted,
    ModelRollback,
    ModelRolledBack,
    Purpose,
    Reference,
    Resumed,
    Signal,
    StrategyFailed,
    Tick,
)
from libs.common.record import Record, Started, Timer
from services.signal.config import SignalConfig
from services.signal.features import Features, features
from services.signal.model import Model
from services.signal.serving import NONCES_KEPT, Served, Serving
from services.signal.strategy import Forecast, Strategy, load

_NS_PER_MS = 1_000_000
_NS_PER_MINUTE = 60_000_000_000
_ZERO = Decimal(0)
_LONGEST_TEXT = 200


class SignalState(msgspec.Struct):
    """Keys that join strategy and symbol read `strategy|symbol`."""

    features: dict[str, Features] = {}
    memory: dict[str, Any] = {}
    """State of each strategy, by name; filled in for snapshots only."""
    standing: dict[str, Signal] = {}
    """Each strategy's last forecast."""
    published: dict[str, Decimal] = {}
    """Target of the last Signal."""
    positions: dict[str, Decimal] = {}
    """Signed, from the strategy's own fills."""
    stopped: dict[str, Decimal] = {}
    """Targets that a protective stop ended: not repeated until the strategy wants something else."""
    tick_sizes: dict[str, Decimal] = {}
    failed: dict[str, str] = {}
    """Strategies that are off, and why."""
    halts: dict[str, str] = {}
    """Scopes that are halted, and why: shown, without effect here."""
    pending: list[Signal] = []
    failures: list[StrategyFailed] = []
    measured: list[DriftMeasured] = []
    serving: dict[str, Served] = {}
    """Strategies that serve a model."""
    nonces: list[str] = []
    """Of model commands."""
    is_repeated: bool = False
    """Whether the model command under way was seen before."""
    beat_at: int = 0


class SignalCore(Core):
    service: ClassVar[str] = streams.SIGNAL
    State: ClassVar[Any] = SignalState
    state: SignalState

    def __init__(self, config: SignalConfig, models: Mapping[str, Model] | None = None) -> None:
        """`models`: every model a strategy begins with or may be promoted to, by full hash. Raises UsageError for a strategy
        that cannot be loaded or lacks its model."""
        self.config = config
        self.strategies: dict[str, Strategy] = {
            name: load(name, table) for name, table in sorted(config.strategies.items()) if table.enabled
        }
        self.serving = Serving(config, models or {}, self.strategies)
        self.state = SignalState()
        self._warmup = {name: strategy.warmup_bars for name, strategy in self.strategies.items()}
        self._by_candle: dict[tuple[str, int], list[str]] = {}
        self._within_candle: dict[tuple[type[Event], str], list[str]] = {}
        for name, strategy in self.strategies.items():
            for symbol in strategy.symbols:
                self.state.features[f"{name}|{symbol}"] = features(strategy.windows)
                self._by_candle.setdefault((symbol, strategy.interval_ms), []).append(name)
                if type(strategy).on_tick is not Strategy.on_tick:
                    self._within_candle.setdefault((Tick, symbol), []).append(name)
                if type(strategy).on_reference is not Strategy.on_reference:
                    self._within_candle.setdefault((Reference, symbol), []).append(name)

    def evolve(self, record: Record) -> None:
        state, body = self.state, record.body
        match body:
            case Tick() | Reference():
                for name in self._within_candle.get((type(body), body.symbol), ()):
                    self._moved(name, body)
            case Bar():
                for name in self._by_candle.get((body.symbol, body.interval_ms), ()):
                    self._bar(name, body, record.at)
            case Fill():
                self._fill(body)
            case Signal() | StrategyFailed() | DriftMeasured():
                self._written(body)
            case ModelPromote() | ModelRollback() | ModelPromoted() | ModelRolledBack():
                self._model(body, record.at)
            case InstrumentDefined():
                state.tick_sizes[body.symbol] = body.tick_size
            case Halted():
                state.halts[body.scope] = str(body.reason)
            case Resumed():
                state.halts.pop(body.scope, None)
            case Heartbeat():
                state.beat_at = record.at

    def _written(self, body: Signal | StrategyFailed | DriftMeasured) -> None:
        """What was waiting to be published is in the log."""
        state = self.state
        if isinstance(body, Signal):
            state.pending.pop(0)
            state.published[f"{body.strategy}|{body.symbol}"] = body.target
        elif isinstance(body, StrategyFailed):
            state.failures.pop(0)
        else:
            state.measured.pop(0)

    def _model(self, body: Event, at: int) -> None:
        state = self.state
        match body:
            case ModelPromoted():
                self.serving.on_promoted(state.serving, body, at)
            case ModelRolledBack():
                self.serving.on_rolled_back(state.serving, body)
            case ModelPromote() | ModelRollback():
                state.is_repeated = body.nonce in state.nonces
                state.nonces = [*state.nonces, body.nonce][-NONCES_KEPT:]

    def decide(self, record: Record) -> Iterator[Event]:
        body = record.body
        if isinstance(body, Bar | Tick | Reference):
            yield from [*self.state.failures, *self.state.measured, *self.state.pending]
        elif isinstance(body, ModelPromote | ModelRollback):
            yield from self.serving.answers(self.state.serving, body, record.at, is_repeated=self.state.is_repeated)
        elif isinstance(body, Started):
            yield from self.serving.fresh(self.state.serving)
        elif isinstance(body, Instant | Timer) and record.at // _NS_PER_MINUTE != self.state.beat_at // _NS_PER_MINUTE:
            yield Heartbeat(service=self.service)

    def snapshot(self) -> bytes:
        self.state.memory = {name: strategy.state for name, strategy in self.strategies.items()}
        return super().snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Strategies that are new in the settings begin empty; those that are gone are forgotten."""
        fresh = self.state.features
        super().restore(snapshot)
        state = self.state
        known = state.features
        state.features = {
            key: known[key] if key in known and known[key].windows == empty.windows else empty
            for key, empty in fresh.items()
        }
        for name, strategy in self.strategies.items():
            if name in state.memory:
                strategy.state = msgspec.convert(state.memory[name], strategy.State)
        self.serving.restored(state.serving)

    # --- market --------------------------------------------------------------------------------------------------

    def _bar(self, name: str, bar: Bar, now: int) -> None:
        key = f"{name}|{bar.symbol}"
        known = self.state.features[key]
        known.update(float(bar.high), float(bar.low), float(bar.close), float(bar.volume))
        strategy = self.strategies[name]
        if name in self.state.failed or known.count < self._warmup[name]:
            return
        try:
            self._stand(name, bar.symbol, strategy.on_bar(bar, known))
            if strategy.model is not None:
                drift = self.serving.observe(self.state.serving, name, bar.symbol, known.vector(), now)
                self.state.measured += [drift] if drift is not None else []
        except Exception as e:  # noqa: BLE001  # a user's code may raise anything; it must not stop the other strategies
            self._fail(name, e)
            return
        age_ms = now // _NS_PER_MS - bar.start_at // _NS_PER_MS - bar.interval_ms
        if age_ms <= self.config.fresh_bars * bar.interval_ms:
            for symbol in strategy.symbols:
                self._publish(f"{name}|{symbol}", repeat=symbol == bar.symbol)

    def _moved(self, name: str, market: Tick | Reference) -> None:
        """The market moved within a candle."""
        known = self.state.features[f"{name}|{market.symbol}"]
        strategy = self.strategies[name]
        if name in self.state.failed or known.count < self._warmup[name]:
            return
        try:
            if isinstance(market, Tick):
                forecast = strategy.on_tick(market, known)
            else:
                forecast = strategy.on_reference(market, known)
            if forecast is None:
                return
            self._stand(name, market.symbol, forecast)
        except Exception as e:  # noqa: BLE001  # as in _bar
            self._fail(name, e)
            return
        self._publish(f"{name}|{forecast.symbol or market.symbol}", repeat=False)

    def _fail(self, name: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]
        self.state.failed[name] = text
        self.state.failures.append(StrategyFailed(strategy=name, error=text))

    # --- forecasts -----------------------------------------------------------------------------------------------

    def _stand(self, name: str, symbol: str, forecast: Forecast | None) -> None:
        """Remember a forecast, quantised. One that is not finite, or of an unknown instrument, changes nothing."""
        if forecast is None:
            return
        symbol = forecast.symbol or symbol
        tick_size = self.state.tick_sizes.get(symbol)
        figures = (forecast.target, forecast.p, forecast.payoff, forecast.stop_distance, forecast.score)
        if tick_size is None or not all(math.isfinite(figure) for figure in figures):
            return
        _check(forecast)
        self.state.standing[f"{name}|{symbol}"] = Signal(
            strategy=name,
            symbol=symbol,
            target=quantised(forecast.target),
            p=quantised(forecast.p),
            payoff=quantised(forecast.payoff),
            stop_distance=max(1, math.ceil(forecast.stop_distance / float(tick_size))) * tick_size,
            horizon_ms=forecast.horizon_ms,
            score=quantised(forecast.score),
            hedge=forecast.hedge,
            model=model.id if (model := self.strategies[name].model) is not None else "",
        )

    def _publish(self, key: str, *, repeat: bool) -> None:
        """Queue the standing forecast if it is news or, on `repeat`, if the position does not follow it."""
        signal = self.state.standing.get(key)
        if signal is None:
            return
        old, new = self.state.published.get(key, _ZERO), signal.target
        if key in self.state.stopped:
            if _sign(self.state.stopped[key]) == _sign(new):
                return
            del self.state.stopped[key]
        changed = _sign(old) != _sign(new) or abs(float(new - old)) >= self.config.min_change
        if changed or (repeat and _sign(self.state.positions.get(key, _ZERO)) != _sign(new)):
            self.state.pending.append(signal)

    def _fill(self, fill: Fill) -> None:
        """Book a fill to its strategy. One of nobody (a flatten) closes what strategies hold against it, by name."""
        signed = fill.qty * fill.side.sign
        positions = self.state.positions
        if fill.strategy in self.strategies:
            key = f"{fill.strategy}|{fill.symbol}"
            positions[key] = positions.get(key, _ZERO) + signed
            self._book(fill.strategy, fill, signed)
            if fill.purpose is Purpose.STOP:
                self.state.stopped[key] = self.state.published.get(key, _ZERO)
            return
        for name in self.strategies:
            key = f"{name}|{fill.symbol}"
            held = positions.get(key, _ZERO)
            if signed and held * signed < 0:
                closed = min(abs(held), abs(signed)).copy_sign(signed)
                positions[key] = held + closed
                self._book(name, fill, closed)
                signed -= closed

    def _book(self, name: str, fill: Fill, signed: Decimal) -> None:
        """Count a fill, or a strategy's share of one, in the results of a strategy that serves a model."""
        if (served := self.state.serving.get(name)) is not None:
            fee = float(fill.fee) * float(abs(signed) / fill.qty)
            served.trades.fill(fill.symbol, float(signed), float(fill.price), fee, fill.exec_at)


def quantised(value: float) -> Decimal:
    """A float to the nearest 1e-6, where it enters the log."""
    return Decimal(round(value * 1_000_000)).scaleb(-6)


def _sign(value: Decimal) -> int:
    return (value > 0) - (value < 0)


def _check(forecast: Forecast) -> None:
    if not -1 <= forecast.target <= 1:
        raise ValueError(f"expected a target in [-1, 1], was {forecast.target}")
    if not 0 < forecast.p < 1:
        raise ValueError(f"expected p in (0, 1), was {forecast.p}")
    if not (forecast.payoff > 0 and forecast.stop_distance >= 0 and forecast.horizon_ms > 0):
        raise ValueError(f"expected payoff, stop distance and horizon above 0, was {forecast}")
