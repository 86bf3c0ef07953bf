"""Exposure arithmetic in plain integers: lots and units, no types of ours, so that it can be proved and searched whole.

The sided rule, per symbol with limit L:  max(pos, 0) + open buys <= L  and  max(-pos, 0) + open sells <= L,
open = approved, not proven dead, not reduce-only. Unlike "position + open orders" it stays true under every event: a fill
moves lots from open to position; a reduce-only fill, a liquidation or an ADL only shrinks a side.
"""

from __future__ import annotations

from bisect import bisect_right


def sided_use(lots: int, open_buys: int, open_sells: int, sign: int) -> int:
    """Lots committed on the side of `sign` (+1 buys, -1 sells): what is held there plus what may still fill."""
    if sign > 0:
        return max(lots, 0) + open_buys
    return max(-lots, 0) + open_sells


def sided_holds(limit: int, lots: int, open_buys: int, open_sells: int) -> bool:
    """The sided rule itself."""
    return sided_use(lots, open_buys, open_sells, 1) <= limit and sided_use(lots, open_buys, open_sells, -1) <= limit


def room(limit: int, used: int) -> int:
    """What is left of a limit, never negative."""
    return max(limit - used, 0)


def closes(lots: int, sign: int) -> bool:
    """Whether an order of `sign` makes a holding of `lots` smaller. A sign of 0 is no order."""
    return lots * sign < 0


def closable(lots: int, open_reduce: int, sign: int) -> int:
    """Lots that a reduce-only order of `sign` may take: what is held against it and not being closed already."""
    if not closes(lots, sign):
        return 0
    return max(abs(lots) - open_reduce, 0)


def against(lots: int) -> int:
    """Sign of an order that closes `lots`: -1 sells what is long, +1 buys what is short."""
    return -1 if lots > 0 else 1


def side_value(lots: int, lot_units: int, open_units: int, sign: int) -> int:
    """Worst value on one side of a symbol: what is held there at mark plus what may still fill there (units)."""
    return max(lots * sign, 0) * lot_units + open_units


def worst_value(lots: int, lot_units: int, open_buy_units: int, open_sell_units: int) -> int:
    """Worst absolute exposure of a symbol: the larger of its two sides (units)."""
    return max(side_value(lots, lot_units, open_buy_units, 1), side_value(lots, lot_units, open_sell_units, -1))


def lots_for(value_units: int, lot_units: int) -> int:
    """Whole lots that a value buys; none when a lot has no value (fail closed)."""
    return value_units // lot_units if value_units > 0 and lot_units > 0 else 0


def reaches(loss_units: int, ratio_e16: int, base_units: int) -> bool:
    """Whether a loss reaches a ratio of its base, by cross-multiplication: a base of 0 divides nothing.

    `ratio_e16`: the ratio times 1e16. A profit or no change reaches nothing, whatever the base.
    """
    return loss_units > 0 and loss_units * 10**16 >= ratio_e16 * max(base_units, 0)


def rescaled(base_units: int, before_units: int, after_units: int) -> int:
    """A base or peak after cash moved equity from `before` to `after`: its ratio to equity stays as it was.

    Scaling, not adding: with base 10,000 and equity 9,850, adding a deposit of a million would shrink a 1.5 % loss to
    nothing, and subtracting a withdrawal of 5,000 would make it 3 %. Floor, so that a withdrawal never halts.
    """
    if before_units <= 0:
        return base_units + after_units - before_units
    return base_units * after_units // before_units


def later(stamps: list[int], since: int) -> list[int]:
    """Those of the rising `stamps` that are later than `since`."""
    return stamps[bisect_right(stamps, since) :]


def recent(stamps: list[int], since: int) -> int:
    """How many of the rising `stamps` are later than `since`."""
    return len(stamps) - bisect_right(stamps, since)


def ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
