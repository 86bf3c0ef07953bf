"""The circuit breaker that is copied from text to text, with the five faults it is copied with. A counter-example: nothing runs it.

1. `abs` of the day's result: a profit halts. 2. Its answer is computed anew at each call: a later good tick ends the halt.
3. The drawdown divides by the peak, which is 0 in the beginning. 4. The day's loss lives in the process: a restart forgets it.
5. The last result is added to the day's at each call: the same loss counts again.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

FAULTS = (
    "profit halts", "a good tick ends the halt", "a peak of zero divides", "a restart forgets the loss", "a loss counts again",
)  # fmt: skip


class Breaker(msgspec.Struct):
    """`faults`: those of FAULTS that it has; without any it is what it should have been. Amounts in coin."""

    faults: frozenset[str]
    max_daily_loss: Decimal
    """Fraction of the day's base."""
    max_drawdown: Decimal
    base: Decimal = Decimal(0)
    peak: Decimal = Decimal(0)
    is_halted: bool = False
    counted: Decimal = Decimal(0)

    def see(self, equity: Decimal) -> bool:
        """One valuation of the book; whether trading is halted now."""
        if self.base == 0:
            self.base = equity
        result = equity - self.base + self.counted
        if "a loss counts again" in self.faults:
            self.counted = min(result, Decimal(0))
        loss = abs(result) if "profit halts" in self.faults else -result
        bad = loss > 0 and loss >= self.max_daily_loss * self.base
        self.peak = self.peak if "a peak of zero divides" in self.faults and self.peak == 0 else max(self.peak, equity)
        if self.peak > 0 or "a peak of zero divides" in self.faults:
            bad = bad or (self.peak - equity) / self.peak >= self.max_drawdown
        self.peak = max(self.peak, equity)
        self.is_halted = bad if "a good tick ends the halt" in self.faults else self.is_halted or bad
        return self.is_halted

    def restart(self) -> None:
        """The process dies and comes back."""
        if "a restart forgets the loss" in self.faults:
            self.base, self.is_halted = Decimal(0), False
