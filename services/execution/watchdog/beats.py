"""The two ways execution is heard: a datagram straight to the watchdog, and its commits on the bus.

The datagram is fire and forget: nothing execution does ever waits for it. It says that the process and its loop live, which
they do while the bus is away; a commit says that it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from libs.common.decider import Request
from libs.common.outside import Driver, Inbox
from libs.common.streams import EXECUTION, service_key
from libs.common.wire import Wire
from services.execution.watchdog.config import address_of

BEAT = b"execution"
ASK_EVERY_S = 0.5
ANSWER_WITHIN_S = 2.0


class Beating:
    """A driver (libs/common/outside.Driver) that beats from its start on, which is when execution has recovered, to its stop."""

    def __init__(self, driver: Driver, beat_url: str, every_ms: int) -> None:
        self._driver = driver
        self._host, self._port = address_of(beat_url)
        self._every_s = every_ms / 1000
        self._task: asyncio.Task[None] | None = None

    @property
    def failed(self) -> asyncio.Future[None] | None:
        return self._driver.failed

    @failed.setter
    def failed(self, value: asyncio.Future[None] | None) -> None:
        self._driver.failed = value

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        self._task = asyncio.create_task(self._beat())
        await self._driver.start(inbox, cursor)

    async def send(self, request: Request) -> None:
        await self._driver.send(request)

    def set_time(self, at: int) -> None:
        self._driver.set_time(at)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self._driver.stop()

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # nobody there, no such name yet: the next beat tries again
                await self._send()
            await asyncio.sleep(self._every_s)

    async def _send(self) -> None:
        """The name is looked up each time: a watchdog that moved has another address."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as out:
            out.setblocking(False)
            out.sendto(BEAT, address)


class Listener(asyncio.DatagramProtocol):
    """The watchdog's end: calls `heard` for every beat, and for nothing else that may come in."""

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data == BEAT:
            self._heard()


class BusPulse:
    """Reads how many commits execution has made, about twice a second, for as long as the bus is there."""

    def __init__(self, url: str, book: str, committed: Callable[[int], None]) -> None:
        self._wire = Wire(url)
        self._key = service_key("cursor", EXECUTION, book)
        self._committed = committed
        self.reachable = False

    async def run(self) -> None:
        while True:
            try:
                version = await asyncio.wait_for(self._read(), ANSWER_WITHIN_S)
                self.reachable = True
                if version is not None:
                    self._committed(version)
            except Exception:  # noqa: BLE001 - whatever is wrong with the bus, it must not end the watchdog
                self.reachable = False
                self._wire.abort()
            await asyncio.sleep(ASK_EVERY_S)

    async def _read(self) -> int | None:
        if not self._wire.connected:
            await self._wire.connect()
        version = await self._wire.call("HGET", self._key, "version")
        return None if version is None else int(version)

    def close(self) -> None:
        self._wire.abort()
