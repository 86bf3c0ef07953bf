"""When Redis will be full, from how fast it grew lately."""

from __future__ import annotations

from collections import deque

DAY_S = 86_400.0
WINDOW = 60
"""Measurements that are looked back on; one a minute makes an hour."""
UNBOUNDED = -1.0


class Forecast:
    """Feed it memory use now and then; it says the days left."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def days_left(self, now_s: float, used: int, limit: int) -> float:
        """Days until `used` bytes reach `limit` at the growth seen so far; -1 without a limit or without growth."""
        self._seen.append((now_s, used))
        then, before = self._seen[0]
        growth = used - before
        if limit <= 0 or growth <= 0 or now_s <= then:
            return UNBOUNDED
        return max(0, limit - used) / (growth / (now_s - then)) / DAY_S


def memory(info: bytes) -> tuple[int, int]:
    """(bytes used, bytes allowed) of a reply to INFO memory; 0 allowed means no limit."""
    held = dict(line.split(b":", 1) for line in info.split(b"\r\n") if b":" in line)
    return int(held.get(b"used_memory", b"0")), int(held.get(b"maxmemory", b"0"))
