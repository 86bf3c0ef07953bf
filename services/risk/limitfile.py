"""How limits move: which way is looser, what one change gives, and what a changed settings file may do to a living book."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.common.events import Rebase
from services.risk.config import Limits

UNLIMITED_AT_ZERO = ("max_order_qty",)
"""Limits whose 0 means none of ours: the venue's own holds."""


def is_looser(name: str, old: Decimal, new: Decimal) -> bool:
    """Whether `new` allows more than `old`."""
    if name in UNLIMITED_AT_ZERO and 0 in (old, new):
        return new < old
    return new > old


def moved(limits: Limits, name: str, value: Decimal) -> tuple[Limits, str | None]:
    """The limits with one of them set, or why not: UNKNOWN_LIMIT, VALUE, NO_CHANGE."""
    if name not in Limits.__struct_fields__:
        return limits, "UNKNOWN_LIMIT"
    try:
        found = Limits(**msgspec.structs.asdict(limits) | {name: value})
    except ValueError:
        return limits, "VALUE"
    return found, None if found != limits else "NO_CHANGE"


def differences(old: Limits, new: Limits) -> tuple[Rebase, ...]:
    before, after = msgspec.structs.asdict(old), msgspec.structs.asdict(new)
    return tuple(Rebase(name, before[name], after[name]) for name in before if before[name] != after[name])


def taken(current: Limits, before: Limits | None, file: Limits) -> tuple[Limits, tuple[Rebase, ...]]:
    """What a book does with its settings file: the limits from here on, and what of the file is looser and ignored.

    Only what the file says anew since the last start (`before`) counts; a limit that operators moved stays where it is
    while the file is left alone.
    """
    values, ignored = msgspec.structs.asdict(current), []
    for name, value in msgspec.structs.asdict(file).items():
        old = values[name]
        if before is not None and value == getattr(before, name):
            continue
        if is_looser(name, old, value):
            ignored.append(Rebase(name, old, value))
        else:
            values[name] = value
    return Limits(**values), tuple(ignored)
