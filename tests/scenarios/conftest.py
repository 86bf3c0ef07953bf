"""Every scenario runs under many seeds: 20 in the suite, more with SEEDS=200 (make scenarios), or those of SEEDS=101-120."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.world import World

FIRST, _, LAST = os.environ.get("SEEDS", "20").rpartition("-")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(int(FIRST or 1), int(LAST) + 1))


@pytest.fixture
def world(seed: int) -> Callable[..., World]:
    """Makes the world of the seed; keyword arguments as World's."""

    def make(changes: dict[str, Any] | None = None, **more: Any) -> World:
        return World(seed, changes, **more)

    return make
