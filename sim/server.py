"""The exchange on a port: Bybit's REST and WebSocket over plain http/ws.

Realtime: exchange time is the wall clock, a loop advances it. Lockstep: the driver of a tape run advances it:

    names = server.compute(at_ns, number)   # play the window; who gets a batch
    await server.deliver()                        # send frames and markers, answer the requests
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import uvicorn

from libs.bybit.lockstep import STREAM_PATH
from libs.common.errors import UsageError
from libs.common.values import SPOT_SUFFIX
from sim.control import NO_ROUTE, control
from sim.door.rates import Addresses
from sim.exchange import PRIVATE_TOPICS, Exchange
from sim.sockets.lines import EXTENSION, Line, encoded, strike
from sim.sockets.sessions import ACK_S, Batch, Receive, Send, Sessions, active_s, plain, renamed
from sim.store import Store
from sim.wiretypes import Outbox, WireReply, WireRequest

WS_PATHS = {
    "/v5/public/linear": "public",
    "/v5/public/spot": "spot",
    "/v5/public/misc/status": "public",
    "/v5/private": "private",
    "/v5/trade": "trade",
}
LOCKSTEP_ID = re.compile(r"([a-z][a-z0-9_]*)-(\d+)")
REMEMBERED = 10_000
"""Replies of lockstep requests that can be asked for again."""
TICK_S = 0.01
"""How often a realtime exchange advances."""
LEAST_S = 0.001
"""It takes together what is due within so much."""


class _Uvicorn(uvicorn.Server):
    """Uvicorn inside somebody else's process: signals belong to that one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class SimServer:
    """See the module. `store`: written before anything leaves; `control`: the routes below /sim/ exist, for loopback."""

    def __init__(
        self,
        exchange: Exchange,
        host: str = "127.0.0.1",
        port: int = 0,
        lockstep: bool = False,
        store: Store | None = None,
        control: bool = True,
    ) -> None:
        self.exchange, self.host, self.port, self.lockstep = exchange, host, port, lockstep
        self.on_requests: Callable[[int], Awaitable[None]] | None = None
        """Awaited with the number of lockstep requests just queued; once a request id."""
        self._store, self._control = store, control
        self.sessions = Sessions(exchange, self._ask, 0.0 if lockstep else ACK_S)
        config = exchange.config
        self._addresses = Addresses(0 if lockstep else config.address_limit * config.rate_factor)
        self._waiting: dict[int, asyncio.Future[WireReply]] = {}
        self._asked: OrderedDict[str, asyncio.Future[WireReply]] = OrderedDict()
        self._computed = Outbox([], [])
        self._due = asyncio.Event()
        self._wakes_at = 0.0
        self._uvicorn: _Uvicorn | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; returns when connections are taken. Raises UsageError when the port is in use."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except (OSError, OverflowError) as error:
            listener.close()
            why = error.strerror if isinstance(error, OSError) else "ports end at 65535"
            raise UsageError(
                f"expected port {self.port} of {self.host} to be free, was not: {why}; choose another --port"
            ) from error
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app, interface="asgi3", ws=Line, lifespan="off", log_level="warning", access_log=False, proxy_headers=False,
            ws_ping_interval=None, ws_per_message_deflate=False, timeout_keep_alive=3600, server_header=False,
            timeout_graceful_shutdown=1, backlog=1024,
        )  # fmt: skip
        self._uvicorn = _Uvicorn(config)
        self._tasks.append(asyncio.create_task(self._uvicorn.serve(sockets=[listener])))
        while not self._uvicorn.started:
            await asyncio.sleep(0.005)
        if not self.lockstep:
            self._tasks.append(asyncio.create_task(self._play()))

    async def stop(self) -> None:
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_closed(self) -> None:
        """Until a task of the server ends; raises what ended it."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _play(self) -> None:
        """Realtime: the exchange follows the wall clock; in steps, but a request or reply that is due does not wait for one."""
        loop = asyncio.get_running_loop()
        while True:
            self.exchange.listening = frozenset(map(plain, self.sessions.listeners)).intersection(PRIVATE_TOPICS)
            self.exchange.advance(time.time_ns())
            self._save()
            self._release(self.exchange.collect())
            self._strike()
            self._wakes_at = loop.time() + TICK_S
            timer = loop.call_at(self._wakes_at, self._due.set)
            self._hasten()
            await self._due.wait()
            self._due.clear()
            timer.cancel()

    def _hasten(self) -> None:
        """Wake up in time for what is due next."""
        due_at = self.exchange.due_at
        loop = asyncio.get_running_loop()
        if due_at is not None:
            wakes_at = loop.time() + max(LEAST_S, (due_at - time.time_ns()) / 1e9)
            if wakes_at < self._wakes_at:
                self._wakes_at = wakes_at
                loop.call_at(wakes_at, self._due.set)

    def _strike(self) -> None:
        struck, self.exchange.mishaps.struck = self.exchange.mishaps.struck, []
        for active in struck:
            strike(active, self.sessions.live, self.exchange.venue.now)

    def _save(self) -> None:
        if self._store is not None:
            self._store.save(self.exchange.changes())

    # --- lockstep ----------------------------------------------------------------------------------------------------

    async def wait_clients(self, names: set[str]) -> None:
        """Until each of these clients has subscribed to `sim.instant.<name>.<cursor>` and is connected."""

        def there() -> bool:
            clients = self.sessions.clients
            return all(name in clients and clients[name].session is not None for name in names)

        async with self.sessions.changed:
            await self.sessions.changed.wait_for(there)

    def compute(self, at_ns: int, number: int) -> set[str]:
        """Play the window that ends at `at_ns`; gives the names of the clients with a non-empty batch. Sends nothing."""
        self.exchange.advance(at_ns)
        self._save()
        outbox = self._computed = self.exchange.collect()
        names = set()
        for client in self.sessions.clients.values():
            wanted = [frame for frame in outbox.frames if client.wants(frame.topic, frame.account)]
            spot = [frame.text for frame in wanted if frame.topic.endswith(SPOT_SUFFIX)]
            frames = [frame.text for frame in wanted if not frame.topic.endswith(SPOT_SUFFIX)] + spot
            replies = [reply.request_id for reply in outbox.replies if reply.client == client.name]
            if frames or replies:
                client.batch = Batch(number=number, at=at_ns, frames=frames, replies=replies, spot=len(spot))
                names.add(client.name)
        return names

    async def deliver(self) -> None:
        """Send what the last `compute` made: frames and markers, then the replies."""
        outbox, self._computed = self._computed, Outbox([], [])
        for client in self.sessions.clients.values():
            if client.batch is not None and not client.batch.delivered:
                client.batch.delivered = True
                client.send_batch()
        self._release(outbox)
        await asyncio.sleep(0)

    async def advance(self, at_ns: int, number: int) -> set[str]:
        """`compute` and `deliver` in one."""
        names = self.compute(at_ns, number)
        await self.deliver()
        return names

    def _release(self, outbox: Outbox) -> None:
        """Frames to the sessions that are not lockstep clients, replies to whoever waits for them."""
        listeners = self.sessions.listeners if outbox.frames else {}
        batches: dict[Line, list[bytes]] = {}
        for frame in outbox.frames:
            for topic in (frame.topic, f"{frame.topic}.{frame.category}") if frame.category else (frame.topic,):
                sessions = listeners.get(topic)
                if not sessions:
                    continue
                data = encoded(renamed(frame, topic))
                for session in sessions:
                    if frame.account in ("", session.account):
                        batches.setdefault(session.line, []).append(data)
        for line, batch in batches.items():
            line.write(b"".join(batch))
        for reply in outbox.replies:
            future = self._waiting.pop(reply.token, None)
            if future is not None and not future.done():
                future.set_result(reply)

    # --- HTTP --------------------------------------------------------------------------------------------------------

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            kind = WS_PATHS.get(scope["path"])
            if kind is None:
                await send({"type": "websocket.close", "code": 1008})
                return
            idle_s = active_s(kind, scope["query_string"].decode("latin-1"))
            await self.sessions.serve(kind, _address(scope), receive, send, scope["extensions"][EXTENSION], idle_s)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        method, path = scope["method"], scope["path"]
        if path.startswith("/sim/") and not (self.lockstep and path == STREAM_PATH):
            await self._own(path, method, body, _address(scope), send)
            return
        address = _address(scope)
        if not self._addresses.admits(address, time.time_ns() // 1_000_000):
            await _respond(send, 403, "text/plain", b"access too frequent", {})
            return
        if method == "GET" and body:
            await _respond(send, 403, "text/plain", b"GET must not carry a body", {})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        reply = await self._reply(method, path, query, body.decode("utf-8", "replace"), headers, address)
        if reply.status == 0:  # a fault: silence, until the client has had enough
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await _respond(send, reply.status, "application/json", reply.body.encode(), reply.headers)

    async def _reply(
        self, method: str, path: str, query: str, body: str, headers: dict[str, str], address: str
    ) -> WireReply:
        request_id = headers.get("cdn-request-id", "")
        match = LOCKSTEP_ID.fullmatch(request_id) if self.lockstep else None
        request = WireRequest(
            method=method, path=path, query=query, body=body, headers=headers,
            client=match[1] if match else "", request_id=request_id if match else "", address=address,
        )  # fmt: skip
        if match:
            return await self._lockstep_reply(request)
        return await self._ask(request)

    def _ask(self, request: WireRequest) -> asyncio.Future[WireReply]:
        """Put a request to the exchange; its reply comes when it left there."""
        future: asyncio.Future[WireReply] = asyncio.get_running_loop().create_future()
        if self.lockstep:
            # Somebody outside the tape run: answered as things are now, without moving time.
            future.set_result(self.exchange.answer(request))
            self._save()
        else:
            self._waiting[self.exchange.submit(request, time.time_ns())] = future
            self._hasten()
        return future

    async def _lockstep_reply(self, request: WireRequest) -> WireReply:
        future = self._asked.get(request.request_id)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._asked[request.request_id] = future
            self._waiting[self.exchange.submit(request)] = future
            while len(self._asked) > REMEMBERED:
                self._asked.popitem(last=False)
            if self.on_requests is not None:
                await self.on_requests(1)
        # Shielded: the caller may be killed and ask again.
        return await asyncio.shield(future)

    async def _own(self, path: str, method: str, body: bytes, client: str, send: Send) -> None:
        """The simulator's own routes; nobody but this machine may use them."""
        here = self._control and (not client or ipaddress.ip_address(client).is_loopback)
        status, answer = control(self.exchange, method, path, body, self.lockstep) if here else NO_ROUTE
        self._save()
        await _respond(send, status, "application/json", msgspec.json.encode(answer), {})


def _address(scope: Any) -> str:
    """Where a connection comes from."""
    return str(scope["client"][0]) if scope.get("client") else ""


async def _respond(send: Send, status: int, kind: str, body: bytes, extra: dict[str, str]) -> None:
    kind = extra.get("content-type", kind)
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    headers.extend((name.encode(), value.encode()) for name, value in extra.items() if name != "content-type")
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
