"""What the shipped strategies remember of one symbol: the target they stand for and for how long."""

from __future__ import annotations

import msgspec


class Held(msgspec.Struct):
    """`target`: -1, 0 or 1; `bars`: candles since it last changed."""

    target: int = 0
    bars: int = 1_000_000

    def become(self, target: int) -> None:
        if target != self.target:
            self.target, self.bars = target, 0


class HeldState(msgspec.Struct):
    """`held` by symbol."""

    held: dict[str, Held] = {}

    def of(self, symbol: str) -> Held:
        return self.held.setdefault(symbol, Held())
