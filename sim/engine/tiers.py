"""Risk tiers: the larger a position, the more margin it needs and the less leverage it may have.

Twelve steps between the ends of the exchange's own table for BTCUSDT (2 million USDT at 100x to 1.2 billion at 1x); other
symbols have a fifth of each limit. `deduction` makes the maintenance margin continuous from one step to the next.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import msgspec

from libs.common.values import UNITS_PER_COIN

RATE_SCALE = 100_000_000
_STEPS = (
    (2_000_000, 500_000, 10_000), (2_600_000, 560_000, 9_000), (3_200_000, 630_000, 8_000), (3_800_000, 670_000, 7_500),
    (5_000_000, 770_000, 6_500), (8_500_000, 1_000_000, 5_000), (20_000_000, 1_600_000, 3_500),
    (50_000_000, 2_900_000, 2_000), (100_000_000, 6_500_000, 1_000), (200_000_000, 14_000_000, 400),
    (600_000_000, 42_000_000, 143), (1_200_000_000, 60_000_000, 100),
)  # fmt: skip
"""(limit in USDT, maintenance rate 1e-8, highest leverage 1e-2)."""
OTHERS = 5


class Tier(msgspec.Struct, frozen=True):
    """`limit` and `deduction` in 1e-8 USDT."""

    number: int
    limit: int
    rate_e8: int
    leverage_e2: int
    deduction: int


class Tiers:
    """The tiers of one symbol."""

    def __init__(self, symbol: str) -> None:
        share = 1 if symbol == "BTCUSDT" else OTHERS
        rows: list[Tier] = []
        deduction = limit = rate = 0
        for number, (usdt, rate_e8, leverage_e2) in enumerate(_STEPS, 1):
            deduction += limit * (rate_e8 - rate) // RATE_SCALE
            limit, rate = usdt * UNITS_PER_COIN // share, rate_e8
            rows.append(Tier(number, limit, rate_e8, leverage_e2, deduction))
        self.rows = tuple(rows)
        self._limits = [tier.limit for tier in rows]
        self._first = rows[0]

    def of(self, value: int) -> Tier:
        """The tier of a position worth `value` (1e-8 USDT); beyond the last it is the last."""
        if value <= self._first.limit:
            return self._first
        return self.rows[min(bisect_left(self._limits, value), len(self.rows) - 1)]

    def maintenance(self, value: int) -> int:
        """Maintenance margin of a position worth `value`, without the fee of closing it."""
        tier = self.of(value)
        return value * tier.rate_e8 // RATE_SCALE - tier.deduction

    def table(self, symbol: str) -> list[dict[str, Any]]:
        """Rows of /v5/market/risk-limit."""
        return [
            {
                "id": tier.number,
                "symbol": symbol,
                "riskLimitValue": str(tier.limit // UNITS_PER_COIN),
                "maintenanceMargin": _plain(tier.rate_e8),
                "initialMargin": _plain(100 * RATE_SCALE // tier.leverage_e2),
                "isLowestRisk": int(tier is self._first),
                "maxLeverage": f"{tier.leverage_e2 // 100}.{tier.leverage_e2 % 100:02d}",
                "mmDeduction": str(tier.deduction // UNITS_PER_COIN) if tier.deduction else "",
            }
            for tier in self.rows
        ]


def _plain(rate_e8: int) -> str:
    """A rate as a fraction, four decimals at most."""
    text = f"{rate_e8 // RATE_SCALE}.{rate_e8 % RATE_SCALE // 10_000:04d}".rstrip("0")
    return text.removesuffix(".")
