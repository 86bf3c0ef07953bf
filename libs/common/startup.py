"""Coming up when what one depends on may not be there yet: wait, say so once, and leave at once when asked to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

PATIENCE_S = 3.0
"""Waiting longer than this is worth a line."""


async def came_up(work: Coroutine[Any, Any, None], stopping: asyncio.Event, waiting: Callable[[], str]) -> bool:
    """Whether `work` ended (its error is raised) before `stopping` was set, which cancels it.

    `waiting` gives the line for people when it takes long, "" for none.
    """
    tasks = [asyncio.create_task(work), asyncio.create_task(_set(stopping))]
    done, _ = await asyncio.wait(tasks, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    if not done and (text := waiting()):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await end(*pending)
    if tasks[0] not in done:
        return False
    tasks[0].result()
    return True


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel until they are over: once may not do, `wait_for` of Python 3.11 loses a cancellation that meets an error."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.05)
    await asyncio.gather(*tasks, return_exceptions=True)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
