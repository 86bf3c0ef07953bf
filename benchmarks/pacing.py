"""What the limit and we must do in the same way: pace the ticks, and say what was measured."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable

import msgspec


class Measured(msgspec.Struct):
    """What one process saw. `cpu_s`: from when it was ready to its end."""

    role: str
    messages: int
    cpu_s: float
    rss_mb: float
    latencies_us: list[float]


_ready_cpu_s = 0.0


def mark_ready() -> None:
    """Start-up is over: CPU time counts from here."""
    global _ready_cpu_s
    _ready_cpu_s = time.process_time()


def result_line(role: str, messages: int, latencies_us: list[float]) -> str:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measured = Measured(role, messages, time.process_time() - _ready_cpu_s, peak_mb, latencies_us)
    return msgspec.json.encode(measured).decode()


async def paced(rate: int, ticks: int, emit: Callable[[list[int]], Awaitable[None]]) -> None:
    """`ticks` moments (ns) at `rate` a second, stamped when they are sent; those that came due meanwhile go together.

    Rate 0: as fast as they are taken, 64 at a time.
    """
    mark_ready()
    began, sent = time.perf_counter(), 0
    while sent < ticks:
        due = ticks if not rate else min(ticks, int((time.perf_counter() - began) * rate) + 1)
        count = min(due - sent, 64)
        if count:
            await emit([time.time_ns()] * count)
            sent += count
        else:
            await asyncio.sleep(max(0.0, began + sent / rate - time.perf_counter()))
