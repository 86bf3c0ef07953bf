"""A strategy that always wants something: it turns every few seconds of tape, so that a scenario has positions and orders."""

from __future__ import annotations

import msgspec

from libs.common.events import Bar, Tick
from services.signal.features import Features
from services.signal.strategy import Forecast, Strategy

S = 1_000_000_000


class Turns(msgspec.Struct, frozen=True):
    hold_s: float = 20
    """How long it wants the same."""
    long_only: bool = False


class Since(msgspec.Struct):
    turn: int = -1


class Restless(Strategy):
    symbols = ("BTCUSDT", "ETHUSDT")
    interval = "1m"
    Parameters = Turns
    State = Since

    parameters: Turns
    state: Since

    @property
    def warmup_bars(self) -> int:
        return 1

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        return None

    def on_tick(self, tick: Tick, features: Features) -> Forecast | None:
        """Long, flat, short, flat; each turn begins with the first tick of its seconds."""
        turn = tick.exchange_at // int(S * self.parameters.hold_s)
        if tick.symbol != self.symbols[0] or turn == self.state.turn:
            return None
        self.state.turn = turn
        target = 1.0 if self.parameters.long_only else (1.0, 0.0, -1.0, 0.0)[turn % 4]
        return Forecast(
            target=target,
            p=0.6,
            payoff=1.5,
            stop_distance=float(tick.last) * 0.01,
            horizon_ms=int(self.parameters.hold_s * 1000),
        )
