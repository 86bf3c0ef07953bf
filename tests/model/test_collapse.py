"""A row of part numbers is the core's own snapshot and the venue's count, whatever was visited before."""

from __future__ import annotations

import random

import msgspec
import pytest

from tests.model.collapse import Row
from tests.model.letters import Letters
from tests.model.worlds import worlds


def _whole(world: Letters) -> bytes:
    return world.core.snapshot() + msgspec.msgpack.encode(world.at)


def _met(world: Letters, most: int) -> dict[Row, bytes]:
    """The first situations of a world, breadth first, with all that core and venue hold in them."""
    start = world.start()
    met = {start: _whole(world)}
    waiting = [start]
    for situation in waiting:
        for letter in world.letters:
            after = world.step(situation, letter)
            if after is not None and len(met) < most and after not in met:
                met[after] = _whole(world)
                waiting.append(after)
    return met


@pytest.mark.parametrize("world", worlds(), ids=lambda world: world.name)
def test_going_back_to_a_row_brings_back_everything(world: Letters):
    met = _met(world, 300)
    assert len(set(met.values())) == len(met)
    rows = list(met)
    random.Random(7).shuffle(rows)
    for row in rows:
        world.parts.unpack(row, world.core.state, world.at)
        assert _whole(world) == met[row]


def test_what_follows_does_not_hang_on_what_was_visited_before():
    world = next(each for each in worlds() if each.name == "modes")
    rows, chance = list(_met(world, 200)), random.Random(11)
    fresh = {(row, letter): world.step(row, letter) for row in rows for letter in world.letters}
    pairs = list(fresh)
    chance.shuffle(pairs)
    assert all(world.step(*pair) == fresh[pair] for pair in pairs)
