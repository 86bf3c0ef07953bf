"""A scripted venue on real sockets: HTTP answers by path, WebSocket sessions that the test talks through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve

Answer = tuple[int, str]


class Http:
    """Keep-alive HTTP/1.1, just enough for a client library. `script(method, target, headers, body)` gives the answer,
    or None to cut the connection."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], str]] = []
        self.script: Callable[[str, str, dict[str, str], str], Answer | None] = lambda *_: (200, "{}")
        self.hold = asyncio.Event()
        self.hold.set()
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self.arrivals: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        await self._close(writer)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def close(self) -> None:
        for writer in list(self._writers):
            await self._close(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
        self.seen.append((method, target, headers, body))
        self.arrivals.put_nowait(target)
        await self.hold.wait()
        answer = self.script(method, target, headers, body)
        if answer is None:
            return False
        status, text = answer
        extra = "X-Bapi-Limit-Status: 7\r\nX-Secret-Thing: 1\r\n"
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(text.encode())}\r\n{extra}\r\n{text}".encode())
        await writer.drain()
        return True


class Venue:
    """`async with Venue() as venue`: `base_url`, `ws_url`, `http`, and the sockets of each connection in turn."""

    def __init__(self) -> None:
        self.http = Http()
        self.sockets: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.texts: list[dict[str, Any]] = []
        self.trades: asyncio.Queue[ServerConnection] = asyncio.Queue()
        """Trade sockets that are authenticated."""
        self.orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        """Order writes that came over a trade socket."""
        self.trade_auth = 0
        """retCode of the trade socket's auth."""
        self.answers = True
        """Whether order writes of the trade socket are answered."""

    async def __aenter__(self) -> Self:
        self._http_server = await asyncio.start_server(self.http.serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._http_server.sockets[0].getsockname()[1]}"
        self._ws_server: Server = await serve(self._session, "127.0.0.1", 0)
        sockets = f"ws://127.0.0.1:{next(iter(self._ws_server.sockets)).getsockname()[1]}"
        self.ws_url, self.trade_url = f"{sockets}/v5/private", f"{sockets}/v5/trade"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.hold.set()
        self._ws_server.close()
        self._http_server.close()
        await self.http.close()
        await self._http_server.wait_closed()
        await self._ws_server.wait_closed()

    async def _session(self, socket: ServerConnection) -> None:
        """Acknowledge auth and subscriptions; hand the socket to the test once it is subscribed."""
        if socket.request is not None and socket.request.path == "/v5/trade":
            await self._trade_session(socket)
            return
        with contextlib.suppress(Exception):  # a test that ends cuts sessions at any point
            async for text in socket:
                message = msgspec.json.decode(text)
                self.texts.append(message)
                if message["op"] in ("auth", "subscribe"):
                    await socket.send(
                        msgspec.json.encode({"success": True, "ret_msg": "", "op": message["op"]}).decode()
                    )
                if message["op"] == "subscribe":
                    self.sockets.put_nowait(socket)

    async def _trade_session(self, socket: ServerConnection) -> None:
        with contextlib.suppress(Exception):  # as above
            async for text in socket:
                message = msgspec.json.decode(text)
                answer = {"retCode": 0, "retMsg": "OK", "op": message["op"], "connId": "c"}
                if message["op"] == "auth":
                    self.texts.append(message)
                    await socket.send(msgspec.json.encode(answer | {"retCode": self.trade_auth}))
                    self.trades.put_nowait(socket)
                    continue
                self.orders.put_nowait(message)
                header = {"X-Bapi-Limit-Status": "9", "Timenow": "1711001595209"}
                if self.answers:
                    await socket.send(
                        msgspec.json.encode(answer | {"reqId": message["reqId"], "data": {}, "header": header}).decode()
                    )
