"""Every scenario runs under many seeds: 20 in the suite, more with SEEDS=200 (make scenarios)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.world import World

SEEDS = int(os.environ.get("SEEDS", "20"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(1, SEEDS + 1))


@pytest.fixture
def world(seed: int) -> Callable[..., World]:
    """Makes the world of the seed; keyword arguments as World's."""

    def make(changes: dict[str, Any] | None = None, **more: Any) -> World:
        return World(seed, changes, **more)

    return make
