"""The only driver: carries Requests over HTTP and frames over a WebSocket between Bybit (or the simulator) and an inbox.

Realtime: wall clock plus the measured offset, timeouts, reconnection with jitter, `connected` / `disconnected`.
Lockstep (tape runs against the simulator): tape time, no timeouts, everything in complete batches, calls repeated under the
same id until they are answered, so that neither a killed client nor a killed connection changes what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from libs.bybit import rest
from libs.bybit.lockstep import MARKER_TOPIC, Assembler, Batch, marker_subscription
from libs.bybit.sign import Key, rest_headers
from libs.bybit.stream import Arrival, Patience, Session, SessionError
from libs.common import killpoints
from libs.common.decider import Request
from libs.common.errors import SettingsError
from libs.common.outside import Inbox, OutsideMessage

MS = 1_000_000
SENT_AT_HEADER = "tidegate-sent-at"
REQUEST_ID_HEADER = "cdn-request-id"
_LIMIT_HEADERS = ("x-bapi-limit", "x-bapi-limit-status", "x-bapi-limit-reset-timestamp")
_CONNECTIONS = 64
_RETRY_S = 0.02
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 20.0
_STEADY_S = 10.0
"""A connection that lived shorter does not reset the pause: a venue that hangs up at once is not hammered."""
_CLOSE_S = 1.0
"""How long a dead peer may take to say goodbye."""
_OFFSET_EVERY_S = 60.0
_OK, _GATEWAY_TIMEOUT = 200, 504
_GOING_AWAY, _MOST_REASON = 1001, 120
_CLOCK_CODE = '"retCode":10002'
"""Our time stamp was refused; a new offset is for the next call, the core decides about this one."""


def read_key(path: Path) -> Key:
    """The API key in a JSON file {"key": ..., "secret": ...}. The error never shows what the file holds."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Key)
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f'expected a JSON file {{"key", "secret"}} at {path}, was {type(error).__name__}') from None


class BybitDriver:
    """See libs/common/outside.Driver.

    `base_url`: http(s)://host[:port]; `ws_url`: ws(s)://host[:port]/path of the one stream it follows, "" for none;
    `key_file`: None for public data; `client_name`: `marketdata` or `execution`; `topics`: what to subscribe to;
    `local_address`: where HTTP calls leave from, None for what the system takes; `category`: written on what comes over the
    stream, to tell it from another driver's.
    """

    def __init__(
        self,
        base_url: str,
        ws_url: str,
        key_file: Path | None,
        client_name: str,
        lockstep: bool,
        topics: tuple[str, ...] = (),
        recv_window_ms: int = 3_000,
        timeout_s: float = 5.0,
        patience: Patience | None = None,
        local_address: str | None = None,
        category: str = "",
    ) -> None:
        self._category = category
        self._patience = patience or Patience()
        self._line: tuple[ClientConnection, Session] | None = None
        """The connection that is up, if one is."""
        self._renewals: set[int] = set()
        """Requests to resubscribe that have no answer yet."""
        self._ws_url, self._topics, self._client_name = ws_url, topics, client_name
        self._lockstep = lockstep
        self._recv_window_ms = recv_window_ms
        self._key = None if key_file is None else read_key(key_file)
        self._channel = "public" if key_file is None else "private"
        # In lockstep every call of an instant is open until the instant is computed: a bound would be a deadlock.
        most = None if lockstep else _CONNECTIONS
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=120)
        timeout = None if lockstep else timeout_s
        way_out = httpx.AsyncHTTPTransport(limits=limits, local_address=local_address, trust_env=False)
        self._http = httpx.AsyncClient(base_url=base_url, timeout=timeout, transport=way_out, trust_env=False)
        self._tape_at = 0
        self._offset_ns = 0
        self._assembler = Assembler()
        self.failed: asyncio.Future[None] | None = None
        """Set by `start`; carries the error when the driver itself broke, which must end the process."""
        self._calls: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._stopping = False
        self._inbox: Inbox

    @property
    def offset_ms(self) -> int:
        """Exchange time minus ours, as measured last; 0 in lockstep."""
        return self._offset_ns // MS

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        """Begin to follow the stream. `cursor`: the last lockstep batch that was committed."""
        self._inbox = inbox
        self.failed = asyncio.get_running_loop().create_future()
        self._assembler = Assembler(cursor)
        if not self._lockstep:
            await self._measure_offset()
            self._background.append(self._task(self._keep_offset()))
        if self._ws_url:
            self._background.append(self._task(self._follow()))

    async def send(self, request: Request) -> None:
        """Begin a call; calls run side by side. The answer comes through the inbox.

        A request with the method WS asks for a topic of the stream anew (`resubscribe:<topic>`); its reply is the venue's ack.
        On a tape nothing is ever lost: there the simulator turns it down like any call it does not know.
        """
        if self._lockstep:
            work = self._repeat(request)
        else:
            work = self._renew(request) if request.method == "WS" else self._once(request)
        task = self._task(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def set_time(self, at: int) -> None:
        """Tape time in ns; used in lockstep only, and never moves backwards."""
        self._tape_at = max(self._tape_at, at)

    async def stop(self) -> None:
        self._stopping = True
        tasks = [*self._background, *self._calls]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and self.failed is not None and not self.failed.done():
            self.failed.set_exception(error)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _once(self, request: Request) -> None:
        """Realtime: one attempt. Whatever breaks it leaves the outcome unknown."""
        sent_at = time.time_ns()
        try:
            response = await self._call(request)
        except httpx.HTTPError as error:
            self._inbox.put([_lost(request, type(error).__name__, time.time_ns())])
            return
        message = _reply(request, response, time.time_ns(), {SENT_AT_HEADER: str(sent_at)})
        if _CLOCK_CODE in message.payload:
            await self._measure_offset()
        self._inbox.put([message])

    async def _repeat(self, request: Request) -> None:
        """Lockstep: the same id until there is an answer; the simulator never executes an id twice."""
        while True:
            try:
                response = await self._call(request)
                break
            except httpx.HTTPError:
                await asyncio.sleep(_RETRY_S)
        self._deliver(self._assembler.reply(_reply(request, response, 0, {})))

    async def _call(self, request: Request) -> httpx.Response:
        headers = {REQUEST_ID_HEADER: f"{self._client_name}-{request.number}"}
        if request.private:
            if self._key is None:
                raise SettingsError(f"expected an API key for {request.target}, was none; set the key file")
            headers |= rest_headers(
                self._key, self._now_ms(), self._recv_window_ms, request.method, request.target, request.body
            )
        content = request.body.encode() if request.body else None
        url = self._http.base_url.copy_with(raw_path=request.target.encode())
        call = self._http.request(request.method, url, content=content, headers=headers)
        if not killpoints.armed("request-sent"):
            response = await call
        else:
            under_way = asyncio.ensure_future(call)
            await asyncio.sleep(0.05)  # only under test: the bytes must be on the socket
            if request.weight_class == "create":
                killpoints.passing("request-sent")
            response = await under_way
        if request.weight_class == "create":
            killpoints.passing("reply-received")
        return response

    def _now_ms(self) -> int:
        """Time stamp for the venue: tape time, or ours moved by the offset."""
        return (self._tape_at if self._lockstep else time.time_ns() + self._offset_ns) // MS

    # --- exchange time ------------------------------------------------------------------------------------------------

    async def _keep_offset(self) -> None:
        while True:
            await asyncio.sleep(_OFFSET_EVERY_S)
            await self._measure_offset()

    async def _measure_offset(self) -> None:
        """Exchange minus ours at the middle of a call to market/time; kept as it was when the call fails."""
        before = time.time_ns()
        try:
            response = await self._http.get(rest.market_time().target)
        except httpx.HTTPError:
            return
        after = time.time_ns()
        reply = rest.reply_of(response.status_code, response.text)
        if reply.ok:
            nano = rest.server_time_of(reply.result).time_nano
            self._offset_ns = (int(nano) if nano else reply.time_ms * MS) - (before + after) // 2

    # --- WebSocket ----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Connect, follow, reconnect. The pause doubles up to 20 s, with jitter; in lockstep it stays short."""
        pause_s = _FIRST_PAUSE_S
        while not self._stopping:
            session, began_s = self._session(), time.monotonic()
            try:
                # Our own ping and silence watch replace the library's; frames of a busy book can be large.
                async with connect(
                    self._ws_url, ping_interval=None, max_size=2**24, max_queue=4096, proxy=None, close_timeout=_CLOSE_S
                ) as socket:
                    await self._converse(socket, session)
            except (OSError, WebSocketException, SessionError, TimeoutError, msgspec.DecodeError) as error:
                if session.ready and not self._lockstep:
                    self._put("disconnected", str(error)[:200])
            steady = session.ready and time.monotonic() - began_s > _STEADY_S
            pause_s = _FIRST_PAUSE_S if steady else min(pause_s * 2, _LAST_PAUSE_S)
            await asyncio.sleep(_RETRY_S if self._lockstep else pause_s * random.uniform(0.5, 1.0))

    def _session(self) -> Session:
        topics = self._topics
        if self._lockstep:
            self._assembler.reconnected()
            topics += (marker_subscription(self._client_name, self._assembler.cursor),)
        return Session(topics, self._key, self._patience)

    async def _converse(self, socket: ClientConnection, session: Session) -> None:
        for text in session.opened(self._clock_ms(), self._auth_expiry_ms()):
            await socket.send(text)
        pinger = None if self._lockstep else asyncio.create_task(self._ping(socket, session))
        self._line = (socket, session)
        try:
            # The end of the socket, orderly or not, ends here as ConnectionClosed: `recv` raises for both.
            while True:
                await self._take(await socket.recv(), socket, session)
        finally:
            self._line = None
            for number in sorted(self._renewals):
                self._renewed(
                    number, OutsideMessage("lost", "the connection ended", number, received_at=time.time_ns())
                )
            if pinger is not None:
                pinger.cancel()

    async def _renew(self, request: Request) -> None:
        """Ask for one topic anew; without a connection there is nothing to ask: the next one subscribes everything."""
        self._renewals.add(request.number)
        if self._line is None or not self._line[1].ready:
            self._renewed(request.number, _lost(request, "not connected", time.time_ns()))
            return
        socket, session = self._line
        with contextlib.suppress(WebSocketException):  # the end of the socket answers what it left open
            for text in session.resubscribe(request.target.rpartition(":")[2], str(request.number)):
                await socket.send(text)

    def _renewed(self, number: int, answer: OutsideMessage) -> None:
        if number in self._renewals:
            self._renewals.discard(number)
            self._inbox.put([answer])

    async def _take(self, text: str | bytes, socket: ClientConnection, session: Session) -> None:
        kind, frame, answers = session.received(text, self._clock_ms())
        for answer in answers:
            await socket.send(answer)
        if kind is Arrival.READY and not self._lockstep:
            self._put("connected")
        payload = text if isinstance(text, str) else text.decode()
        if kind is Arrival.RENEWED:
            number = int(frame.req_id or 0)
            self._renewed(number, OutsideMessage("reply", payload, number, _OK, received_at=time.time_ns()))
        if kind is not Arrival.DATA:
            return
        if not self._lockstep:
            self._put(self._channel, payload)
        elif frame.topic.startswith(MARKER_TOPIC):
            self._deliver(self._assembler.marker(frame.data))
        else:
            self._assembler.frame(OutsideMessage(self._channel, payload))

    async def _ping(self, socket: ClientConnection, session: Session) -> None:
        pause_s = min(1.0, self._patience.ping_every_ms / 4_000)
        while True:
            await asyncio.sleep(pause_s)
            try:
                for text in session.due(self._clock_ms()):
                    await socket.send(text)
            except SessionError as error:
                await socket.close(_GOING_AWAY, str(error)[:_MOST_REASON])
                return
            except WebSocketException:
                return

    def _auth_expiry_ms(self) -> int:
        """Ahead of both clocks: tape time may lie anywhere, and the simulator only wants a future instant."""
        return max(self._clock_ms(), self._now_ms()) + 10_000

    @staticmethod
    def _clock_ms() -> int:
        return time.time_ns() // MS

    def _put(self, channel: str, payload: str = "") -> None:
        self._inbox.put([OutsideMessage(channel, payload, received_at=time.time_ns(), category=self._category)])

    def _deliver(self, batch: Batch | None) -> None:
        if batch is not None:
            self.set_time(batch.at)
            self._inbox.put(batch.messages, at=batch.at, number=batch.number)


def _reply(request: Request, response: httpx.Response, received_at: int, extra: dict[str, str]) -> OutsideMessage:
    """A gateway's timeout is no answer of the venue: the outcome is as unknown as that of a cut connection."""
    if response.status_code == _GATEWAY_TIMEOUT:
        return _lost(request, "HTTP 504", received_at)
    headers = {name: response.headers[name] for name in _LIMIT_HEADERS if name in response.headers}
    return OutsideMessage("reply", response.text, request.number, response.status_code, headers | extra, received_at)


def _lost(request: Request, why: str, received_at: int) -> OutsideMessage:
    return OutsideMessage("lost", why, request.number, received_at=received_at)
