"""WebSocket sessions: operations, topics, and what each session is sent.

Lockstep clients get nothing but batches: the frames of an instant, then its marker.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from libs.common.values import SPOT_SUFFIX
from sim.chance import identifier
from sim.engine.market import NS_PER_MS
from sim.exchange import PRIVATE_TOPICS, Exchange
from sim.routes.dcp import TOPICS as DCP_TOPICS
from sim.sockets.lines import Line, encoded
from sim.sockets.tradesocket import TradeSocket, auth_args
from sim.wiretypes import Frame, RefusalError, WireReply, WireRequest

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Ask = Callable[[WireRequest], "asyncio.Future[WireReply]"]
MARKER = "sim.instant"
ACK_S = 0.003
"""Acks take so long in real time, for clients that note a request's id only after they sent it."""
SPOT_MARK = "sim.spot."
MOST_SPOT_ARGS = 10
"""Topics of one subscribe request on the spot stream."""
MOST_ARGS_LENGTH = 21_000
"""Characters of all topics of a public connection."""
IDLE_S, LEAST_IDLE_S = 600, 30
CATEGORIES = ("linear", "spot", "inverse", "option")
CATEGORISED = ("order", "execution", "execution.fast", "position")
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode
_ENCODE = msgspec.json.Encoder().encode


class Batch(msgspec.Struct, kw_only=True):
    """What an instant has for one lockstep client."""

    number: int
    at: int
    frames: list[str]
    replies: list[str]
    """Request ids."""
    spot: int = 0
    """How many of the frames, the last ones, come from the spot stream."""
    delivered: bool = False

    def marker(self) -> str:
        data = {"n": self.number, "at": self.at, "frames": len(self.frames), "replies": len(self.replies)}
        if self.spot:
            data["spot"] = self.spot
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
    """One connection."""

    def __init__(self, kind: str, number: int, address: str, line: Line) -> None:
        self.kind, self.address = kind, address
        self.conn_id = identifier("connection", kind, number)
        self.trade: TradeSocket | None = None
        self.account = ""
        self.topics: set[str] = set()
        """As the exchange names them; private ones as they were subscribed."""
        self.client: Client | None = None
        self.line = line

    def push(self, text: str) -> None:
        self.line.write(encoded(text), patient=self.client is not None)


class Sessions:
    """All sessions and lockstep clients of a server. `ask` puts a request to the exchange; `ack_s` is how long acks take."""

    def __init__(self, exchange: Exchange, ask: Ask, ack_s: float = ACK_S) -> None:
        self._exchange, self._ask, self._ack_s = exchange, ask, ack_s
        self.live: set[Session] = set()
        self.clients: dict[str, Client] = {}
        self.changed = asyncio.Condition()
        self._count = 0
        self._listeners: dict[str, list[Session]] | None = None

    @property
    def listeners(self) -> dict[str, list[Session]]:
        """Who is sent the messages of a topic; lockstep clients, who get batches, apart."""
        if self._listeners is None:
            found = self._listeners = {}
            for session in self.live:
                if session.client is None:
                    for topic in session.topics:
                        found.setdefault(topic, []).append(session)
        return self._listeners

    async def serve(
        self, kind: str, address: str, receive: Receive, send: Send, line: Line, idle_s: float = IDLE_S
    ) -> None:
        """One connection from accept to disconnect; a client that says nothing for `idle_s` is disconnected."""
        await receive()
        await send({"type": "websocket.accept"})
        self._count += 1
        session = Session(kind, self._count, address, line)
        if kind == "trade":
            factor = self._exchange.config.rate_factor
            session.trade = TradeSocket(session.conn_id, address, self._exchange.gateway.keys, factor)
        self.live.add(session)
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(idle_s) as silence:
                while (message := await receive())["type"] == "websocket.receive":
                    await self._operate(
                        session, message.get("text") or (message.get("bytes") or b"").decode("utf-8", "replace")
                    )
                    # A lockstep client has nothing to say while tape time stands still.
                    silence.reschedule(clock() + idle_s if session.client is None else None)
        except TimeoutError:
            await send({"type": "websocket.close", "code": 1001, "reason": "idle"})
        finally:
            self._leave(session)

    def _leave(self, session: Session) -> None:
        self.live.discard(session)
        self._listeners = None
        if session.client is not None:
            if session.client.session is session:
                session.client.session = None
            return
        for topic in session.topics:
            self._drop(session, topic)

    def _drop(self, session: Session, topic: str) -> None:
        """A session no longer listens; when nobody listens to a public topic any more, stop producing it."""
        if topic in DCP_TOPICS:
            if session.client is None:
                self._exchange.deadman.left(session.account, DCP_TOPICS[topic], self._exchange.now)
            return
        if plain(topic) in PRIVATE_TOPICS or any(topic in other.topics for other in self.live):
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
        if op in ("auth", "subscribe", "unsubscribe"):
            await asyncio.sleep(self._ack_s)
        if session.trade is not None:
            self._trade(session, session.trade, request, op)
        elif op == "ping":
            session.push(self._pong(session, request))
        elif op == "auth" and session.kind == "private":
            self._auth(session, request)
        elif op in ("subscribe", "unsubscribe"):
            await self._subscribe(session, request, op)
        elif op != "pong":
            session.push(_answer(session, request, op, False, f"error:unknown op {op}"))

    def _pong(self, session: Session, request: dict[str, Any]) -> str:
        if session.kind == "spot":
            return _answer(session, request, "ping", True, "pong")
        req_id = request.get("req_id", "")
        if session.kind == "private":
            now = str(self._exchange.now // NS_PER_MS)
            return _ENCODE({"req_id": req_id, "op": "pong", "args": [now], "conn_id": session.conn_id}).decode()
        return _answer(session, request | {"req_id": req_id}, "ping", True, "pong")

    def _trade(self, session: Session, trade: TradeSocket, request: dict[str, Any], op: str) -> None:
        now_ms = self._exchange.now // NS_PER_MS
        if op == "ping":
            session.push(trade.pong(request, now_ms))
        elif op == "auth":
            session.push(trade.auth(request, now_ms))
        else:
            try:
                asked = self._ask(trade.request(request, now_ms))
            except RefusalError as refusal:
                session.push(trade.refused(request, refusal))
                return
            asked.add_done_callback(lambda done: _acknowledge(session, trade, request, done))

    def _auth(self, session: Session, request: dict[str, Any]) -> None:
        try:
            key, expires, sign = auth_args(request)
            now_ms = self._exchange.now // NS_PER_MS
            spec = self._exchange.gateway.keys.session_spec(key, expires, sign, session.address, now_ms)
        except RefusalError as refusal:
            session.push(_answer(session, request, "auth", False, refusal.message))
            return
        session.account = spec.name
        session.push(_answer(session, request, "auth", True, ""))

    async def _subscribe(self, session: Session, request: dict[str, Any], op: str) -> None:
        args = request.get("args")
        topics = list(dict.fromkeys(str(topic) for topic in args)) if isinstance(args, list) else []
        if op == "subscribe" and (fault := self._fault(session, topics)):
            session.push(_answer(session, request, op, False, fault))
            return
        if session.kind == "public":
            request.setdefault("req_id", "")
        session.push(_answer(session, request, op, True, op if session.kind == "spot" else ""))
        self._listeners = None
        if op == "unsubscribe":
            for topic in (_inner(session, topic) for topic in topics):
                if topic in session.topics:
                    session.topics.remove(topic)
                    self._drop(session, topic)
            return
        markers = [topic for topic in topics if topic.startswith(MARKER)]
        for topic in topics:
            if topic not in markers:
                self._add(session, _inner(session, topic), quiet=bool(markers) or session.client is not None)
        if markers:
            await self._join(session, markers[0])
        elif session.client is not None:
            session.client.topics.update(map(plain, session.topics))

    def _fault(self, session: Session, topics: list[str]) -> str:
        """Why the whole request is refused; empty when it is fine."""
        if not topics:
            return "error:args must be a list of topics"
        if session.kind == "private" and not session.account:
            return "Request not authorized"
        if session.kind == "spot" and len(topics) > MOST_SPOT_ARGS:
            return f"error:args size >{MOST_SPOT_ARGS}"
        if session.kind != "private" and sum(map(len, topics)) + sum(map(len, session.topics)) > MOST_ARGS_LENGTH:
            return f"error:args length >{MOST_ARGS_LENGTH}"
        return next(filter(None, (self._topic_fault(session, topic, topics) for topic in topics)), "")

    def _topic_fault(self, session: Session, topic: str, topics: list[str]) -> str:
        inner, head = _inner(session, topic), plain(topic)
        if topic.startswith(MARKER + "."):
            whole = len(topic.split(".")) == 4 and topic.rpartition(".")[2].isdigit()
            return "" if whole else f"error:expected sim.instant.<client>.<cursor>,topic:{topic}"
        if inner in session.topics:
            return f"error:already subscribed,topic:{topic}"
        if session.kind != "private":
            return "" if self._exchange.knows(inner) else f"error:handler not found,topic:{topic}"
        if head not in PRIVATE_TOPICS and topic not in DCP_TOPICS:
            return f"error:handler not found,topic:{topic}"
        return f"error:{head} is in the same request,topic:{topic}" if head != topic and head in topics else ""

    def _add(self, session: Session, topic: str, quiet: bool) -> None:
        if session.kind != "private":
            late = self._exchange.snapshot(topic)
            self._exchange.watch(topic)
            if late is not None and not quiet:
                session.push(late)
        elif topic in DCP_TOPICS:
            if not quiet:
                self._exchange.deadman.joined(session.account, DCP_TOPICS[topic])
        else:
            self._exchange.listening |= {plain(topic)}
        session.topics.add(topic)

    async def _join(self, session: Session, marker: str) -> None:
        """`sim.instant.<client>.<cursor>`: from here on the session gets batches; a batch it has not committed, again."""
        _, _, name, cursor = marker.split(".")
        client = self.clients.setdefault(name, Client(name))
        client.session, session.client = session, client
        self._listeners = None
        client.topics.update(map(plain, session.topics))
        client.account = session.account or client.account
        if client.batch is not None and int(cursor) < client.batch.number:
            client.send_batch()
        async with self.changed:
            self.changed.notify_all()


def _acknowledge(
    session: Session, trade: TradeSocket, request: dict[str, Any], done: asyncio.Future[WireReply]
) -> None:
    if not done.cancelled() and done.result().status:  # status 0 is a fault's silence
        session.push(trade.answer(request, done.result()))


def _inner(session: Session, topic: str) -> str:
    """The exchange's own name of a topic: those of spot markets end in the name of the market.

    `sim.spot.<topic>` is a spot topic on the one connection of a lockstep client.
    """
    if session.kind == "spot":
        return topic + SPOT_SUFFIX
    return topic.removeprefix(SPOT_MARK) + SPOT_SUFFIX if topic.startswith(SPOT_MARK) else topic


def plain(topic: str) -> str:
    """`order.linear` -> `order`; public topics stay."""
    head, _, category = topic.rpartition(".")
    return head if category in CATEGORIES and head in CATEGORISED else topic


def renamed(frame: Frame, topic: str) -> str:
    """A private message under the name it was subscribed by."""
    return (
        frame.text if topic == frame.topic else frame.text.replace(f'"topic":"{frame.topic}"', f'"topic":"{topic}"', 1)
    )


def active_s(kind: str, query: str) -> float:
    """How long a client may be silent: `max_active_time` of the address (30s..600s, 1m..10m), else ten minutes."""
    asked = re.fullmatch(r"(\d+)(s|m)", parse_qs(query).get("max_active_time", [""])[-1])
    if asked is None or kind not in ("private", "trade"):
        return IDLE_S
    return min(max(int(asked[1]) * (60 if asked[2] == "m" else 1), LEAST_IDLE_S), IDLE_S)


def _answer(session: Session, request: dict[str, Any], op: str, success: bool, message: str) -> str:
    answer: dict[str, Any] = {"success": success, "ret_msg": message, "conn_id": session.conn_id}
    if "req_id" in request:
        answer["req_id"] = request["req_id"]
    return _ENCODE(answer | {"op": op}).decode()
