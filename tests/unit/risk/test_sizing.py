from __future__ import annotations

from decimal import Decimal as D

import pytest

from services.risk import sizing


def test_kelly_by_hand() -> None:
    # (0.6 * 1.5 - 0.4) / 1.5 = 1/3, a quarter of it
    assert sizing.kelly_e8(D("0.6"), D("1.5"), D("0.25")) == 8_333_333


@pytest.mark.parametrize(("p", "b"), [("0.4", "1.5"), ("0.5", "1"), ("0.1", "1"), ("0.9", "0"), ("0.9", "-1")])
def test_no_edge_no_size(p: str, b: str) -> None:
    assert sizing.kelly_e8(D(p), D(b), D("0.25")) == 0


def test_risk_by_hand() -> None:
    # 10000 USDT x 0.5 x 0.08333333 x |-0.5| x 1
    assert sizing.risk_units(10**12, D("0.5"), 8_333_333, D("-0.5"), D(1)) == 20_833_332_500


@pytest.mark.parametrize(
    ("capital", "share", "drift"), [(-1, "0.5", "1"), (10**12, "-0.5", "1"), (10**12, "0.5", "-1")]
)
def test_nothing_negative(capital: int, share: str, drift: str) -> None:
    assert sizing.risk_units(capital, D(share), 8_333_333, D(1), D(drift)) == 0


def test_drift_only_shrinks() -> None:
    full = sizing.risk_units(10**12, D("0.5"), 10**7, D(1), D(1))
    assert sizing.risk_units(10**12, D("0.5"), 10**7, D(1), D("0.5")) * 2 == full
    assert sizing.risk_units(10**12, D("0.5"), 10**7, D(1), D(3)) == full


def test_floor() -> None:
    assert sizing.lots_at_risk(999, 100) == 9
    assert sizing.lots_at_risk(999, 0) == 0
    assert sizing.floor_step(19, 5) == 15
