"""What a limit says: what it measured, what is allowed, whether that is a breach; and what a limit that raises says."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar, TypeVarTuple

import msgspec

from libs.common.events import LimitUse, Reason
from libs.common.values import from_units, to_units

ZERO, ONE = Decimal(0), Decimal(1)

Given = TypeVarTuple("Given")
Result = TypeVar("Result")

Measured = tuple[Decimal, Decimal, bool]
"""What one limit measured, what it allows, and whether that is a breach. Plain, as every order asks all of them."""


class Use(msgspec.Struct, frozen=True, gc=False):
    """One limit, judged and named."""

    use: LimitUse
    breached: bool
    detail: str = ""


class Verdict(msgspec.Struct, frozen=True):
    lots: int
    uses: tuple[LimitUse, ...]
    binding: Use | None
    """The first breached limit; None approves."""


def named(name: Reason, said: Measured) -> Use:
    """What a limit says, under its name."""
    measured, limit, is_breached = said
    return Use(LimitUse(name, measured, limit), is_breached)


def guarded(check: Callable[[*Given], Result], *given: *Given) -> Result | Use:
    """Run a check; one that raises counts as breached."""
    try:
        return check(*given)
    # A limit that cannot be computed must refuse and halt, whatever went wrong; it never lets the order or the process go.
    except Exception as error:  # noqa: BLE001
        return Use(LimitUse(Reason.EXCEPTION, ONE, ZERO), True, f"{type(error).__name__}: {error}")


def reached(measured: Decimal, limit: Decimal) -> Measured:
    """A measure breaches when it reaches its limit."""
    return measured, limit, measured >= limit


def counted(count: int, limit: Decimal) -> Measured:
    """A count breaches when it reaches its limit."""
    measured = Decimal(count)
    return measured, limit, measured >= limit


def exceeded(units: int, limit: Decimal) -> Measured:
    """A size in units breaches when it is more than its limit."""
    return from_units(units), limit, units > units_of(limit)


def flag(is_bad: bool) -> Measured:
    """A limit without a measure: one is too many."""
    return (ONE, ONE, True) if is_bad else (ZERO, ONE, False)


@lru_cache(maxsize=256)
def units_of(limit: Decimal) -> int:
    """A limit as units, remembered: limits seldom change."""
    return to_units(limit)
