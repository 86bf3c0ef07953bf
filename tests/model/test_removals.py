"""The table of removals: every limit is in it, every guard is where it says, every test that is named exists."""

from __future__ import annotations

import ast

import pytest

from services.risk import limits, standing
from tests.model import removals
from tests.model.mutation import ROOT, rewritten

SEARCHED = {"mode", "max_position_size"}
"""Limits that the search itself judges (guards.py)."""
HALTING = {"signal_flood", "fills_per_minute"}
"""Limits that halt the strategy at once; the line that halts is the guard."""


def test_every_limit_has_its_removal():
    named = {name for name, *_ in (*removals.LIMITS, *removals.NOTED)} | SEARCHED | HALTING
    own = {limit.__name__ for limit in limits.ENTRY.values() if limit.__name__ in vars(limits)}
    assert own - named == set()
    assert {name for name, _ in removals.WATCHED} == {limit.__name__ for limit in standing.STANDING.values()}


def test_guards_have_names_of_their_own():
    names = [removal.guard for removal in removals.REMOVALS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", removals.LINES, ids=lambda row: row[0])
def test_a_guard_is_the_line_that_is_named(row: tuple[str, ...]):
    _, _, place, old, new, _ = row
    rewritten(place, old, new)


@pytest.mark.parametrize("test", sorted({removal.test for removal in removals.REMOVALS}))
def test_the_test_that_misses_it_exists(test: str):
    path, _, name = test.partition("::")
    assert name in {
        node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)
    }


def test_a_line_that_is_not_there_is_said():
    with pytest.raises(ValueError, match="where is it now"):
        rewritten("services.risk.reactions:on_gap", "no such line", "")
