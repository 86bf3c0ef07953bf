"""WebSocket sessions: operations, topics, and what each session is sent.

Lockstep clients get nothing but batches: the frames of an instant, then its marker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from sim.chance import identifier
from sim.exchange import PRIVATE_TOPICS, Exchange
from sim.market import NS_PER_MS

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
MARKER = "sim.instant"
MOST_WAITING = 20_000
"""Frames a session may lag behind before it is dropped."""

_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_ENCODE = msgspec.json.Encoder().encode


class Batch(msgspec.Struct, kw_only=True):
    """What an instant has for one lockstep client."""

    number: int
    at: int
    frames: list[str]
    replies: list[str]
    """Request ids."""
    delivered: bool = False

    def marker(self) -> str:
        data = {"n": self.number, "at": self.at, "frames": len(self.frames), "replies": len(self.replies)}
        return _ENCODE({"topic": MARKER, "ts": self.at // NS_PER_MS, "data": data}).decode()


class Client:
    """A lockstep client by name: outlives its connections, so that a killed service finds its last batch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.session: Session | None = None
        self.topics: set[str] = set()
        self.account = ""
        self.batch: Batch | None = None

    def wants(self, topic: str, account: str) -> bool:
        return topic in self.topics and account in ("", self.account)

    def send_batch(self) -> None:
        if self.batch is not None and self.batch.delivered and self.session is not None:
            for frame in self.batch.frames:
                self.session.push(frame)
            self.session.push(self.batch.marker())


class Session:
    """One connection; frames wait in a queue that a task of its own drains, so that nobody slows the exchange."""

    def __init__(self, kind: str, number: int, send: Send) -> None:
        self.kind = kind
        self.conn_id = identifier("connection", kind, number)
        self.account = ""
        self.topics: dict[str, str] = {}
        """Uncategorised topic -> the name it was subscribed by."""
        self.client: Client | None = None
        self._send = send
        self._waiting: deque[str] = deque()
        self._filled = asyncio.Event()
        self.lost = False

    def wants(self, topic: str, account: str) -> bool:
        return topic in self.topics and account in ("", self.account)

    def push(self, text: str) -> None:
        self._waiting.append(text)
        self._filled.set()
        if len(self._waiting) > MOST_WAITING and self.client is None:
            self.lost = True

    def renamed(self, topic: str, text: str) -> str:
        """A private frame under the name it was subscribed by (`order.linear`)."""
        name = self.topics[topic]
        return text if name == topic else text.replace(f'"topic":"{topic}"', f'"topic":"{name}"', 1)

    async def drain(self) -> None:
        """Send what waits, until cancelled or dropped."""
        while not self.lost:
            while self._waiting:
                await self._send({"type": "websocket.send", "text": self._waiting.popleft()})
            self._filled.clear()
            if not self._waiting:
                await self._filled.wait()
        await self._send({"type": "websocket.close", "code": 1013})


class Sessions:
    """All sessions and lockstep clients of a server."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.live: set[Session] = set()
        self.clients: dict[str, Client] = {}
        self.changed = asyncio.Condition()
        self._count = 0

    async def serve(self, kind: str, receive: Receive, send: Send) -> None:
        """One connection from accept to disconnect."""
        await receive()
        await send({"type": "websocket.accept"})
        self._count += 1
        session = Session(kind, self._count, send)
        self.live.add(session)
        writer = asyncio.create_task(session.drain())
        try:
            while (message := await receive())["type"] == "websocket.receive":
                await self._operate(session, message.get("text") or (message.get("bytes") or b"").decode())
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._leave(session)

    def _leave(self, session: Session) -> None:
        self.live.discard(session)
        if session.client is not None:
            if session.client.session is session:
                session.client.session = None
            return
        for topic in session.topics:
            self._drop(topic)

    def _drop(self, topic: str) -> None:
        """Nobody listens to a public topic any more: stop producing it."""
        if topic in PRIVATE_TOPICS or any(topic in other.topics for other in self.live):
            return
        if not any(topic in client.topics for client in self.clients.values()):
            self._exchange.unwatch(topic)

    async def _operate(self, session: Session, text: str) -> None:
        try:
            request = _DECODE(text)
        except msgspec.DecodeError:
            session.push(_answer(session, {}, "", False, "error:invalid json"))
            return
        op = str(request.get("op", ""))
        if op == "ping":
            session.push(self._pong(session, request))
        elif op == "auth" and session.kind == "private":
            self._auth(session, request)
        elif op in ("subscribe", "unsubscribe"):
            await self._subscribe(session, request, op)
        elif op != "pong":
            session.push(_answer(session, request, op, False, f"error:unknown op {op}"))

    def _pong(self, session: Session, request: dict[str, Any]) -> str:
        req_id = request.get("req_id", "")
        if session.kind == "private":
            now = str(self._exchange.now // NS_PER_MS)
            return _ENCODE({"req_id": req_id, "op": "pong", "args": [now], "conn_id": session.conn_id}).decode()
        return _answer(session, request | {"req_id": req_id}, "ping", True, "pong")

    def _auth(self, session: Session, request: dict[str, Any]) -> None:
        args = request.get("args")
        if not isinstance(args, list) or len(args) < 3:
            session.push(_answer(session, request, "auth", False, "Params Error"))
            return
        now = self._exchange.now // NS_PER_MS
        account = self._exchange.keys.session_account(str(args[0]), str(args[1]), str(args[2]), now)
        if account is None:
            session.push(_answer(session, request, "auth", False, "Params Error"))
            return
        session.account = account
        session.push(_answer(session, request, "auth", True, ""))

    async def _subscribe(self, session: Session, request: dict[str, Any], op: str) -> None:
        topics = [str(topic) for topic in request.get("args") or []]
        if fault := self._fault(session, topics, op):
            session.push(_answer(session, request, op, False, fault))
            return
        session.push(_answer(session, request, op, True, ""))
        if op == "unsubscribe":
            for topic in topics:
                session.topics.pop(_plain(topic), None)
                self._drop(_plain(topic))
            return
        markers = [topic for topic in topics if topic.startswith(MARKER)]
        for topic in topics:
            if topic not in markers:
                self._add(session, topic, quiet=bool(markers) or session.client is not None)
        if markers:
            await self._join(session, markers[0])
        elif session.client is not None:
            session.client.topics.update(session.topics)

    def _fault(self, session: Session, topics: list[str], op: str) -> str:
        """Why the whole request is refused; empty when it is fine."""
        for topic in topics:
            plain = _plain(topic)
            private = plain in PRIVATE_TOPICS or topic.startswith("dcp.")
            if topic.startswith(MARKER + "."):
                if len(topic.split(".")) != 4 or not topic.rpartition(".")[2].isdigit():
                    return f"error:expected sim.instant.<client>.<cursor>,topic:{topic}"
            elif session.kind == "private":
                if not session.account:
                    return "Request not authorized"
                if not private:
                    return f"error:handler not found,topic:{topic}"
            elif not self._exchange.knows(topic):
                return f"error:handler not found,topic:{topic}"
            if op == "subscribe" and plain in session.topics:
                return f"error:already subscribed,topic:{topic}"
        return ""

    def _add(self, session: Session, topic: str, quiet: bool) -> None:
        plain = _plain(topic)
        if session.kind == "public":
            late = self._exchange.snapshot(topic)
            self._exchange.watch(topic)
            if late is not None and not quiet:
                session.push(late)
        else:
            self._exchange.listening |= {plain}
        session.topics[plain] = topic

    async def _join(self, session: Session, marker: str) -> None:
        """`sim.instant.<client>.<cursor>`: from here on the session gets batches; a batch it has not committed, again."""
        _, _, name, cursor = marker.split(".")
        client = self.clients.setdefault(name, Client(name))
        client.session, session.client = session, client
        client.topics.update(session.topics)
        client.account = session.account or client.account
        if client.batch is not None and int(cursor) < client.batch.number:
            client.send_batch()
        async with self.changed:
            self.changed.notify_all()


def _plain(topic: str) -> str:
    """`order.linear` -> `order`; public topics stay."""
    head = topic.removesuffix(".linear")
    return head if head in PRIVATE_TOPICS else topic


def _answer(session: Session, request: dict[str, Any], op: str, success: bool, message: str) -> str:
    answer: dict[str, Any] = {"success": success, "ret_msg": message, "conn_id": session.conn_id}
    if "req_id" in request:
        answer["req_id"] = request["req_id"]
    return _ENCODE(answer | {"op": op}).decode()
