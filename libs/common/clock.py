"""The process's clock: the wall clock, except that it never goes back and never stands still.

A wall clock that is set forward is followed at once. One that is set back (by a time service that found it wrong) would freeze everything
that waits for an instant: rate budgets, retries, polls. So time then goes on at half its speed until the wall has caught up.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """`wall` and `steady` give ns; `steady` never jumps."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall, self._steady = wall, steady
        self._last, self._seen = wall(), steady()

    def now(self) -> int:
        """Wall-clock ns UTC, rising."""
        wall, steady = self._wall(), self._steady()
        self._last = max(wall, self._last + (steady - self._seen) // 2)
        self._seen = steady
        return self._last


now_ns = Clock().now
"""Of this process."""
