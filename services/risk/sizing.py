"""Kelly sizing: from a forecast to whole lots. Decimals come in, lots go out, rounded down; integers in between.

f        = kelly_fraction * max(0, (p*b - q) / b),  q = 1 - p
risk_usd = capital * allocation * f * |target| * drift factor
qty      = floor(risk_usd / stop distance)
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

E8 = 10**8
E8_DECIMAL = Decimal(E8)
E32 = E8**4


def scaled(value: Decimal) -> int:
    """A ratio as an integer of 1e-8, toward zero."""
    return int(value * E8_DECIMAL)


scaled_once = lru_cache(maxsize=256)(scaled)
"""`scaled`, remembered: for settings, allocations and drift factors, which seldom change."""


def kelly_e8(p: Decimal, payoff: Decimal, fraction: Decimal) -> int:
    """The fraction of capital to put at risk, as an integer of 1e-8; 0 without an edge. `payoff` > 0."""
    p_e8, b_e8 = scaled(p), scaled(payoff)
    if b_e8 <= 0:
        return 0
    edge = p_e8 * b_e8 - (E8 - p_e8) * E8
    return max(0, edge * scaled_once(fraction) // (b_e8 * E8))


def risk_units(capital_units: int, allocation: Decimal, kelly: int, target: Decimal, drift: Decimal) -> int:
    """Units that the trade may lose at its stop. `kelly` in 1e-8. Never negative."""
    size = max(capital_units, 0) * max(scaled_once(allocation), 0) * kelly
    size = size * abs(scaled(target)) * min(max(scaled_once(drift), 0), E8)
    return size // E32


def lots_at_risk(risk: int, stop_lot_units: int) -> int:
    """Whole lots that lose at most `risk` when the price moves by the stop distance, `stop_lot_units` a lot."""
    if stop_lot_units <= 0:
        return 0
    return risk // stop_lot_units


def floor_step(lots: int, step: int) -> int:
    """Down to a multiple of the venue's lot (a `step` of the ledger's lots)."""
    return lots - lots % step
