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

from libs.common.errors import UnreachableError, UsageError

RECONNECT_S = 0.02
CONNECT_TIMEOUT_S = 2.0


def pack(args: tuple[Any, ...]) -> bytes:
    """One command as RESP."""
    packed: bytes = hiredis.pack_command(args)
    return packed


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.waiting: collections.deque[tuple[asyncio.Future[Any], float]] = collections.deque()
        """Replies to come, oldest first, each with the loop time of its command."""
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            future, _ = self.waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for future, _ in self.waiting:
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
            try:
                await self._send(("AUTH", *user, unquote(self._parts.password)))[0]
            except hiredis.ReplyError as e:
                self.abort()
                raise UnreachableError(
                    f"expected the bus to let {' '.join(user) or 'us'} in, was {e}; are the password file and the server's "
                    "access list of one making?"
                ) from None

    def _send(self, *commands: tuple[Any, ...]) -> list[asyncio.Future[Any]]:
        """Write commands in one go; a future for each reply."""
        protocol = self._protocol
        if protocol is None or protocol.lost or protocol.transport is None:
            raise ConnectionError("not connected to the bus")
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in commands]
        protocol.waiting.extend((future, now_s) for future in futures)
        protocol.transport.write(b"".join(map(pack, commands)))
        return futures

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
        (reply,) = await self.send(args)
        return await reply

    async def send(self, *commands: tuple[Any, ...]) -> list[asyncio.Future[Any]]:
        """Send commands in one write, connecting first when need be; the futures are their replies."""
        if not self.connected:
            await self.ready()
        return self._send(*commands)

    def check(self, limit_s: float) -> None:
        """Drop the connection when a reply is overdue: called now and then, it replaces a timeout on every call."""
        if self.connected and self._protocol is not None and self._protocol.waiting:
            _, since = self._protocol.waiting[0]
            if asyncio.get_running_loop().time() - since > limit_s:
                self.abort()

    def abort(self) -> None:
        """Drop the connection; whatever was awaited raises ConnectionError."""
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.abort()
            self._protocol.connection_lost(None)
