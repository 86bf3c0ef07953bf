"""What a limit says: its use, whether that is a breach; and what a limit that raises says."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar

import msgspec

from libs.common.events import LimitUse, Reason
from libs.common.values import from_units, to_units

ZERO, ONE = Decimal(0), Decimal(1)

Result = TypeVar("Result")


class Use(msgspec.Struct, frozen=True, gc=False):
    """One limit, judged."""

    use: LimitUse
    breached: bool
    detail: str = ""


class Verdict(msgspec.Struct, frozen=True):
    lots: int
    uses: tuple[LimitUse, ...]
    binding: Use | None
    """The first breached limit; None approves."""


def guarded(check: Callable[[], Result]) -> Result | Use:
    """Run a check; one that raises counts as breached."""
    try:
        return check()
    # A limit that cannot be computed must refuse and halt, whatever went wrong; it never lets the order or the process go.
    except Exception as error:  # noqa: BLE001
        return Use(LimitUse(Reason.EXCEPTION, ONE, ZERO), True, f"{type(error).__name__}: {error}")


def reached(name: Reason, measured: Decimal, limit: Decimal) -> Use:
    """A measure breaches when it reaches its limit."""
    return Use(LimitUse(name, measured, limit), measured >= limit)


def counted(name: Reason, count: int, limit: Decimal) -> Use:
    """A count breaches when it reaches its limit."""
    if count == 0 and limit:
        return calm(name, limit)
    return Use(LimitUse(name, Decimal(count), limit), count >= limit)


def exceeded(name: Reason, units: int, limit: Decimal) -> Use:
    """A size in units breaches when it is more than its limit."""
    return Use(LimitUse(name, from_units(units), limit), units > units_of(limit))


@lru_cache(maxsize=256)
def flag(name: Reason, is_bad: bool) -> Use:
    """A limit without a measure: one is too many."""
    return Use(LimitUse(name, ONE if is_bad else ZERO, ONE), is_bad)


@lru_cache(maxsize=256)
def calm(name: Reason, limit: Decimal) -> Use:
    """A limit with nothing to measure."""
    return Use(LimitUse(name, ZERO, limit), False)


@lru_cache(maxsize=256)
def units_of(limit: Decimal) -> int:
    """A limit as units, remembered: limits seldom change."""
    return to_units(limit)
