"""A public stream on a real socket that the test writes: acks like the venue, pongs unless told not to, frames on request."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve


class PublicVenue:
    """`snapshots[topic]` is sent when the topic is subscribed (again); `operations` holds (op, args) as they came."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, list[str]]] = []
        self.snapshots: dict[str, str] = {}
        self.sockets: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.silent_on: set[str] = set()
        """Operations that get no answer."""
        self._server: Server

    async def __aenter__(self) -> Self:
        self._server = await serve(self._session, "127.0.0.1", 0)
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def socket(self) -> ServerConnection:
        """The next connection that subscribed."""
        return await asyncio.wait_for(self.sockets.get(), 10)

    async def _session(self, socket: ServerConnection) -> None:
        with contextlib.suppress(Exception):  # a test cuts sessions at any point
            first = True
            async for text in socket:
                message: dict[str, Any] = json.loads(text)
                op, args = message["op"], message.get("args", [])
                self.operations.append((op, args))
                if op in self.silent_on:
                    continue
                told = "pong" if op == "ping" else ""
                answer = {"success": True, "ret_msg": told, "op": op, "req_id": message.get("req_id", "")}
                await socket.send(json.dumps(answer))
                if op == "subscribe":
                    for topic in args:
                        if topic in self.snapshots:
                            await socket.send(self.snapshots[topic])
                    if first:
                        self.sockets.put_nowait(socket)
                    first = False
