"""T1 to T4 on the shipped core by exhaustion; each guard removed must be found. `make prove` searches far deeper."""

from __future__ import annotations

import pytest

from tests.model.guards import GUARDS, Guard
from tests.model.letters import Letters
from tests.model.search import explore
from tests.model.worlds import worlds

BUDGET = 12_000
WHAT_MUST_COME_UP = ("entries", "fills", "exits", "halts", "situations below NORMAL")


@pytest.mark.parametrize("world", worlds(), ids=lambda world: world.name)
def test_no_sequence_breaks_a_theorem(world: Letters):
    found = explore(world, BUDGET)
    assert not found.broken, f"{found.broken} by {found.path}"
    assert found.transitions >= BUDGET
    for thing in WHAT_MUST_COME_UP:
        assert found.seen.get(thing, 0) > 0, f"the search never met {thing}: {found.seen}"


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_guard_is_missed_when_it_is_gone(guard: Guard, monkeypatch: pytest.MonkeyPatch):
    assert not explore(guard.world(), 3 * BUDGET, most_depth=5).broken
    guard.remove(monkeypatch)
    found = explore(guard.world(), 3 * BUDGET, most_depth=8)
    assert found.broken.startswith(guard.theorem), f"{guard.name} can go without being missed: {found.broken or found}"
