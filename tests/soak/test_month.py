"""Both sides' books after a tape, faults off and on; the month itself is slow and needs the recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.soak.month import FAULTS, MONTH, play

OFF: tuple[dict[str, Any], ...] = ()
HAVE = all(Path(tape.partition("=")[2]).exists() for tape in MONTH)


@pytest.mark.parametrize("faults", [OFF, FAULTS], ids=["faults off", "faults on"])
@pytest.mark.timeout(300)
def test_a_synthetic_day_ends_with_the_same_books(faults: tuple[dict[str, Any], ...]) -> None:
    month = play(("synthetic:seed=7,minutes=600",), faults)
    assert month.ours == month.venue
    assert month.ours.executions > 20
    assert month.ours.funding != 0
    assert bool(month.faults) == bool(faults)
    assert month.compared > 10
    assert faults or not month.differing


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(not HAVE, reason=f"no recordings at {MONTH[0]}; set TIDEGATE_MARKET_DATA")
@pytest.mark.parametrize("faults", [OFF, FAULTS], ids=["faults off", "faults on"])
def test_a_month_of_the_real_market_ends_with_the_same_books(faults: tuple[dict[str, Any], ...]) -> None:
    month = play(MONTH, faults)
    assert month.ours == month.venue
    assert month.ours.executions > 100
