"""The table of the benchmarks, and that the limit and we do the same work."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import BEGIN, END, README, Row, written
from benchmarks.race import LIMIT, OURS, lap, waves_lap


def test_the_table_is_written_between_its_marks_again_and_again():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = written(text, [Row("a", "1", "2", "0.5 x", "≤ 1")], "machine")
    assert "| a | 1 | 2 | 0.5 x | ≤ 1 |" in once
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert written(once, [Row("a", "1", "2", "0.5 x", "≤ 1")], "machine") == once
    with pytest.raises(SystemExit):
        written("no marks", [], "machine")


def test_the_readme_has_the_marks():
    assert BEGIN in README.read_text()
    assert END in README.read_text()


@pytest.mark.parametrize("who", [LIMIT, OURS])
def test_a_lap_measures_every_order(who: str):
    found = lap(who, 200, 100)
    assert found.ticks == 100
    assert 0 < found.p50_us <= found.p99_us
    assert found.cpu_us > 0
    assert found.server_us > 0


@pytest.mark.parametrize("who", [LIMIT, OURS])
def test_waves_come_to_rest(who: str):
    assert waves_lap(who, 50, 10).seconds > 0
