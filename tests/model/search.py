"""Exhaustive search: every sequence of a world's letters, breadth first, each situation met once.

A world drives shipped code. Its `step` restores a situation, plays one letter, raises `TheoremError` when a theorem is broken,
and returns what came of it with every name and counter made canonical, so that equal situations meet again. What the
search covers is exactly: all sequences of letters up to `depth` (levels finished), from the world's start.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import msgspec

from tests.model.collapse import Row


class TheoremError(AssertionError):
    """A theorem is broken; the text names it."""


class World(Protocol):
    name: str
    letters: tuple[str, ...]
    seen: Counter[str]
    """How often each thing that the theorems speak of came up: a search that never meets it proves nothing."""

    def start(self) -> Row: ...

    def step(self, situation: Row, letter: str) -> Row | None:
        """What follows; None when the letter means nothing here. Raises TheoremError."""
        ...


class Found(msgspec.Struct):
    """What a search covered. `broken` is empty, or the theorem and the shortest path that breaks it."""

    world: str
    transitions: int = 0
    states: int = 0
    depth: int = 0
    """Levels searched whole."""
    whole: bool = False
    """Nothing was left: every sequence of any length is covered."""
    seen: dict[str, int] = {}
    broken: str = ""
    path: tuple[str, ...] = ()


def explore(world: World, most_transitions: int, most_depth: int = 1_000) -> Found:
    """Search until the budget is used up; the level under way is then not counted as covered."""
    found = Found(world.name)
    start = world.start()
    known = {start}
    level: list[tuple[bytes, Row]] = [(b"", start)]
    while level and found.depth < most_depth and not found.broken:
        following: list[tuple[bytes, Row]] = []
        for path, situation in level:
            for index, letter in enumerate(world.letters):
                try:
                    after = world.step(situation, letter)
                except TheoremError as e:
                    found.transitions += 1
                    found.broken, found.path = str(e), tuple(world.letters[i] for i in (*path, index))
                    break
                if after is None:
                    continue
                found.transitions += 1
                if after not in known:
                    known.add(after)
                    following.append((path + bytes((index,)), after))
            if found.broken or found.transitions >= most_transitions:
                break
        else:
            found.depth += 1
            found.whole = not following
            level = following
            continue
        break
    found.states, found.seen = len(known), dict(world.seen)
    return found
