"""A thin Redis connection: pipelined RESP over TCP or a unix socket, reconnecting for ever.

It stands where redis-py stands under FastStream on the hot path, because there each await on redis-py costs more than all of
our own work. It retries nothing by itself: a call whose reply is lost raises ConnectionError, and whoever called knows
whether repeating is safe.
"""

from __future__ import annotations

import asyncio
import collections
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import hiredis

from libs.common.errors import UsageError

RECONNECT_S = 0.02
CONNECT_TIMEOUT_S = 2.0


def pack(args: tuple[Any, ...]) -> bytes:
    """One command as RESP."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if type(arg) is bytes else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.waiting: collections.deque[asyncio.Future[Any]] = collections.deque()
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            future = self.waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for future in self.waiting:
            if not future.done():
                future.set_exception(ConnectionError("the bus closed the connection"))
        self.waiting.clear()


class Wire:
    """One connection to one server. `url` is `redis://[user:password@]host:port` or `unix:///path`."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "unix"):
            raise UsageError(f"expected bus url redis://host:port or unix:///path, was {url!r}")
        self._parts = parts
        self._protocol: _Protocol | None = None
        self._connecting = asyncio.Lock()

    @property
    def connected(self) -> bool:
        return self._protocol is not None and not self._protocol.lost

    async def connect(self) -> None:
        """One attempt; raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        if self._parts.scheme == "unix":
            made = loop.create_unix_connection(_Protocol, unquote(self._parts.path))
            _, protocol = await asyncio.wait_for(made, CONNECT_TIMEOUT_S)
        else:
            host, port = self._parts.hostname or "127.0.0.1", self._parts.port or 6379
            _, protocol = await asyncio.wait_for(loop.create_connection(_Protocol, host, port), CONNECT_TIMEOUT_S)
        self._protocol = protocol
        if self._parts.password:
            user = (unquote(self._parts.username),) if self._parts.username else ()
            await self._send(("AUTH", *user, unquote(self._parts.password)))

    def _send(self, args: tuple[Any, ...]) -> asyncio.Future[Any]:
        protocol = self._protocol
        if protocol is None or protocol.lost or protocol.transport is None:
            raise ConnectionError("not connected to the bus")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        protocol.waiting.append(future)
        protocol.transport.write(pack(args))
        return future

    async def ready(self) -> None:
        """Wait until connected, however long it takes."""
        while not self.connected:
            async with self._connecting:
                if self.connected:
                    return
                try:
                    await self.connect()
                except (OSError, TimeoutError):
                    await asyncio.sleep(RECONNECT_S)

    async def call(self, *args: Any) -> Any:
        """One command, one attempt on an open connection. Raises ConnectionError when the reply was lost."""
        if not self.connected:
            await self.ready()
        return await self._send(args)

    async def send(self, *args: Any) -> asyncio.Future[Any]:
        """The same without waiting for the reply: commands sent in a row leave in one write."""
        if not self.connected:
            await self.ready()
        return self._send(args)

    def abort(self) -> None:
        """Drop the connection; whatever was awaited raises ConnectionError."""
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.abort()
            self._protocol.connection_lost(None)
