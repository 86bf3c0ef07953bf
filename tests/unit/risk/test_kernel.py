from __future__ import annotations

import pytest

from services.risk import kernel


@pytest.mark.parametrize(
    ("lots", "buys", "sells", "holds"),
    [(5, 5, 10, True), (5, 6, 0, False), (-5, 10, 5, True), (-5, 0, 6, False), (0, 10, 10, True), (-1, 2, 0, True)],
)
def test_sided_rule(lots: int, buys: int, sells: int, holds: bool) -> None:
    assert kernel.sided_holds(10, lots, buys, sells) is holds


def test_room_is_never_negative() -> None:
    assert (kernel.room(10, 4), kernel.room(10, 12)) == (6, 0)


@pytest.mark.parametrize(
    ("lots", "reducing", "sign", "expected"),
    [(5, 0, -1, 5), (5, 2, -1, 3), (5, 7, -1, 0), (5, 0, 1, 0), (-5, 1, 1, 4), (0, 0, 1, 0)],
)
def test_closable(lots: int, reducing: int, sign: int, expected: int) -> None:
    assert kernel.closable(lots, reducing, sign) == expected


def test_worst_value_is_the_larger_side() -> None:
    assert kernel.worst_value(3, 10, 5, 34) == 35
    assert kernel.worst_value(-3, 10, 5, 34) == 64


@pytest.mark.parametrize(("value", "lot", "lots"), [(99, 10, 9), (-5, 10, 0), (5, 0, 0), (100, 10, 10)])
def test_lots_for(value: int, lot: int, lots: int) -> None:
    assert kernel.lots_for(value, lot) == lots


def test_reaches_at_the_limit_and_not_below() -> None:
    two_percent = 2 * 10**14
    assert kernel.reaches(200, two_percent, 10_000)
    assert not kernel.reaches(199, two_percent, 10_000)


@pytest.mark.parametrize("base", [0, -5])
def test_no_base_divides_nothing(base: int) -> None:
    assert not kernel.reaches(0, 10**14, base)
    assert kernel.reaches(1, 10**14, base)


def test_profit_reaches_nothing() -> None:
    assert not kernel.reaches(-10_000, 0, 10_000)


def test_rescaled_keeps_the_ratio() -> None:
    assert kernel.rescaled(10_000, 9_850, 19_700) == 20_000
    assert kernel.rescaled(10_000, 9_850, 4_925) == 5_000
    assert kernel.rescaled(100, 0, 50) == 150


def test_ceil_div() -> None:
    assert (kernel.ceil_div(7, 3), kernel.ceil_div(6, 3)) == (3, 2)
