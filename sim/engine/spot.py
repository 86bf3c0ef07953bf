"""Spot markets beside the perpetuals of a tape: the same prints, a seeded basis lower or higher.

The basis moves slowly, on a straight line from one hour's to the next, between -2 and +6 basis points of the perpetual's
price: perpetuals mostly trade a little above spot, which is why funding mostly flows to whoever is short.
"""

from __future__ import annotations

from libs.common.values import SPOT, symbol_of
from sim.chance import digest
from sim.engine.instruments import RATE_SCALE, Instrument, spot_rules
from sim.engine.market import Market
from sim.prints import MarketEvent, Print

HOUR_NS = 3_600_000_000_000
LEAST_E8, SPAN_E8 = -20_000, 80_000
VOLUME_SHARE = 4
"""A spot market trades one part in so many of the perpetual's volume."""


class Basis:
    """How far a perpetual is above its spot market, as a function of time alone."""

    def __init__(self, seed: int, symbol: str) -> None:
        self._seed, self._symbol = seed, symbol
        self._hour, self._from, self._to = -1, 0, 0

    def at_e8(self, at: int) -> int:
        """Fraction of the perpetual's price, 1e-8."""
        hour, passed = divmod(at, HOUR_NS)
        if hour != self._hour:
            self._hour, self._from, self._to = hour, self._knot(hour), self._knot(hour + 1)
        return self._from + (self._to - self._from) * passed // HOUR_NS

    def _knot(self, hour: int) -> int:
        return LEAST_E8 + digest(self._seed, "basis", self._symbol, hour) % (SPAN_E8 + 1)


class Twin:
    """The spot market `spot` that follows the perpetual `linear`; both have the same tick."""

    def __init__(self, linear: Market, spot: Market, seed: int) -> None:
        self.linear, self.spot = linear, spot
        self._basis = Basis(seed, linear.instrument.symbol)
        self._lots = spot.instrument.units, linear.instrument.units

    def event(self, event: MarketEvent) -> Print | None:
        """What the event of the perpetual is here; None when nothing moved. The perpetual's market has seen it already."""
        ticks = self._ticks(self.linear.fair, event.at)
        if isinstance(event, Print):
            fine, coarse = self._lots
            lots = event.lots * coarse // (fine * VOLUME_SHARE) if event.lots else 0
            return Print(event.at, self.spot.instrument.symbol, ticks, lots, event.side)
        if ticks == self.spot.fair or not ticks:
            return None
        return Print(event.at, self.spot.instrument.symbol, ticks, 0, 1 if ticks > self.spot.fair else -1)

    def _ticks(self, linear: int, at: int) -> int:
        return max(1, linear - linear * self._basis.at_e8(at) // RATE_SCALE) if linear else 0


def twins_of(markets: dict[str, Market], seed: int) -> dict[str, Twin]:
    """Give every perpetual of `markets` its spot market, under its own name; by the symbol of the perpetual."""
    twins = {}
    for name, linear in list(markets.items()):
        symbol = symbol_of(name, SPOT)
        instrument = Instrument(symbol, spot_rules(linear.instrument.rules))
        spot = markets[symbol] = Market(instrument, seed, linear.klines.native_ms, linear.book.depth)
        twins[name] = Twin(linear, spot, seed)
    return twins
