"""Contracts of the integer kernel for CrossHair, which runs the shipped functions on symbolic Python integers.

`crosshair check` either confirms a contract over all paths or shows arguments that break it. Another engine than
`induction.py`, with Python's own semantics of `//`, `max` and `and`; the same functions.
"""

from __future__ import annotations

from services.risk import kernel, sizing


def approval_keeps_the_rule(limit: int, lots: int, buys: int, sells: int, size: int) -> bool:
    """
    pre: limit >= 0 and buys >= 0 and sells >= 0
    pre: kernel.sided_holds(limit, lots, buys, sells)
    pre: 0 < size <= kernel.room(limit, kernel.sided_use(lots, buys, sells, 1))
    post: _
    """
    return kernel.sided_holds(limit, lots, buys + size, sells)


def fill_keeps_the_rule(limit: int, lots: int, buys: int, sells: int, size: int) -> bool:
    """
    pre: limit >= 0 and sells >= 0 and 0 < size <= buys
    pre: kernel.sided_holds(limit, lots, buys, sells)
    post: _
    """
    return kernel.sided_holds(limit, lots + size, buys - size, sells)


def venue_takes_and_the_rule_holds(limit: int, lots: int, buys: int, sells: int, size: int) -> bool:
    """
    pre: limit >= 0 and buys >= 0 and sells >= 0 and 0 < size <= lots
    pre: kernel.sided_holds(limit, lots, buys, sells)
    post: _
    """
    return kernel.sided_holds(limit, lots - size, buys, sells)


def rule_bounds_the_position(limit: int, lots: int, buys: int, sells: int) -> bool:
    """
    pre: buys >= 0 and sells >= 0
    pre: kernel.sided_holds(limit, lots, buys, sells)
    post: _
    """
    return abs(lots) <= limit


def reduce_only_reduces(lots: int, closing: int, size: int) -> bool:
    """
    pre: closing >= 0
    pre: 0 < size <= kernel.closable(lots, closing, -1)
    post: _
    """
    return abs(lots - size) < abs(lots) and size + closing <= abs(lots)


def all_that_is_held_can_be_closed(lots: int, closing: int) -> int:
    """
    pre: 0 <= closing <= lots
    post: _ == lots - closing
    """
    return kernel.closable(lots, closing, -1)


def profit_reaches_nothing(loss: int, ratio: int, base: int) -> bool:
    """
    pre: loss <= 0
    post: not _
    """
    return kernel.reaches(loss, ratio, base)


def step_is_never_up(lots: int, step: int) -> int:
    """
    pre: lots >= 0 and step == 7
    post: 0 <= _ <= lots and _ % step == 0
    """
    return sizing.floor_step(lots, step)


def net_rule_is_broken_by_adl(limit: int, lots: int, buys: int, size: int) -> bool:
    """A mutant: CrossHair must find arguments that break it.

    pre: limit >= 0 and buys >= 0 and 0 < size <= -lots
    pre: lots + buys <= limit
    post: _
    """
    return lots + size + buys <= limit
