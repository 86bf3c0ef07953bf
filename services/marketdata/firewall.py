"""The data-quality firewall: what was wrong with the data, counted always and logged at a bounded rate.

Prices are judged in integer parts per million, so the same trades give the same verdicts on every machine.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.common.events import DataRejected, RejectKind

NS_PER_SECOND = 1_000_000_000
_LONGEST_TEXT = 120


class Firewall(msgspec.Struct):
    """`counts` by kind, exact, for the metrics; `pending` waits to be logged in this step."""

    counts: dict[str, int] = {}
    second: int = 0
    logged: dict[str, int] = {}
    """Events logged by kind in `second`."""
    pending: list[DataRejected] = []

    def reject(self, now: int, limit: int, symbol: str, kind: RejectKind, expected: str, got: str) -> None:
        """Count one finding; log it unless `limit` of its kind were logged in this second."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if now // NS_PER_SECOND != self.second:
            self.second, self.logged = now // NS_PER_SECOND, {}
        logged = self.logged.get(kind, 0)
        if logged < limit:
            self.logged[kind] = logged + 1
            self.pending.append(DataRejected(symbol=symbol, kind=kind, expected=expected, got=got[:_LONGEST_TEXT]))


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade of the market; `at` in ns."""

    at: int
    price: Decimal
    qty: Decimal


_SCALE = 1024
_DECAY = 64
"""The variance of trade-to-trade moves is an EWMA over about 64 trades, in ppm² times `_SCALE`."""
_SAMPLES = 20
_MILLION = 1_000_000


class SpikeGuard(msgspec.Struct):
    """Holds back a trade far from the last one until the next trade confirms it (near it) or kills it (not near it)."""

    last: Decimal | None = None
    variance: int = 0
    samples: int = 0
    held: Trade | None = None

    def pass_on(self, trade: Trade, sigmas: int, floor_ppm: int) -> tuple[list[Trade], Trade | None]:
        """(trades to believe now, in order; the held one that turned out a spike)."""
        held, self.held = self.held, None
        if held is not None and not self._jumps(held.price, trade.price, sigmas, floor_ppm):
            self._learn(held.price)
            self._learn(trade.price)
            return [held, trade], None
        if self.last is not None and self._jumps(self.last, trade.price, sigmas, floor_ppm):
            self.held = trade
            return [], held
        self._learn(trade.price)
        return [trade], held

    def _jumps(self, old: Decimal, new: Decimal, sigmas: int, floor_ppm: int) -> bool:
        if self.samples < _SAMPLES or old == new:
            return False
        move = _move_ppm(old, new)
        return abs(move) > floor_ppm and move * move * _SCALE > sigmas * sigmas * self.variance

    def _learn(self, price: Decimal) -> None:
        if self.last is not None:
            move = _move_ppm(self.last, price) if price != self.last else 0
            self.variance += (move * move * _SCALE - self.variance) // _DECAY
            self.samples += 1
        self.last = price


def _move_ppm(old: Decimal, new: Decimal) -> int:
    return int((new - old) * _MILLION / old)
