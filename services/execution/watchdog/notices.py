"""What the watchdog did, on the bus as soon as there is one: an event a turn, and a halt once it has begun to close positions."""

from __future__ import annotations

import asyncio
import collections
import secrets
import time

from libs.common.appender import append, append_command
from libs.common.events import HaltRequested, WatchdogActed
from libs.common.streams import WATCHDOG
from libs.common.wire import Wire

KEPT = 100
TTL_NS = 600_000_000_000
WITHIN_S = 5.0


class Notices:
    """A short queue that is emptied in order; while the bus is away it waits, the oldest are dropped beyond 100."""

    def __init__(self, url: str, book: str) -> None:
        self._wire, self._book = Wire(url), book
        self._queue: collections.deque[tuple[str, WatchdogActed | HaltRequested]] = collections.deque(maxlen=KEPT)
        self._news = asyncio.Event()

    def add(self, event: WatchdogActed | HaltRequested) -> None:
        self._queue.append((secrets.token_hex(8), event))
        self._news.set()

    def halt(self, reason: str) -> None:
        """Ask risk to keep the book halted when it is back: a halt needs no key."""
        now = time.time_ns()
        self.add(
            HaltRequested(
                reason=reason, operator=WATCHDOG, nonce=f"{WATCHDOG}-{secrets.token_hex(8)}", expires_at=now + TTL_NS
            )
        )

    async def run(self) -> None:
        while True:
            await self._news.wait()
            try:
                await asyncio.wait_for(self._append_all(), WITHIN_S)
                self._news.clear()
            except Exception:  # noqa: BLE001 - whatever is wrong with the bus, it must not end the watchdog
                self._wire.abort()
                await asyncio.sleep(1.0)

    async def _append_all(self) -> None:
        if not self._wire.connected:
            await self._wire.connect()
        while self._queue:
            nonce, event = self._queue[0]
            if isinstance(event, HaltRequested):
                await append_command(self._wire, self._book, event, time.time_ns())
            else:
                await append(self._wire, self._book, WATCHDOG, event, nonce, time.time_ns())
            self._queue.popleft()

    def close(self) -> None:
        self._wire.abort()
