"""The only driver: carries Requests over HTTP and frames over WebSockets between Bybit (or the simulator) and an inbox.

Realtime: the exchange's clock, timeouts, reconnection with jitter, `connected` / `disconnected`, a second way for orders
(lines.TradeLine), silence after HTTP 403, two keys.
Lockstep (tape runs against the simulator): tape time, no timeouts, everything in complete batches, calls repeated under the
same id until they are answered, so that neither a killed client nor a killed connection changes what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from libs.bybit import rest
from libs.bybit.errors import Outcome
from libs.bybit.exchangeclock import ExchangeClock
from libs.bybit.keyring import REFUSED_KEY_CODES, KeyRing
from libs.bybit.limits import IP_SILENCE_MS
from libs.bybit.lines import GOING_AWAY, MS, HttpLine, TradeLine, keep_up, lost, unsent, watch_pulse
from libs.bybit.lockstep import MARKER_TOPIC, Assembler, Batch, as_call, marker_subscription
from libs.bybit.sign import Key
from libs.bybit.stream import Arrival, Patience, Session
from libs.common.clock import now_ns
from libs.common.decider import Request
from libs.common.outside import Inbox, OutsideMessage

_LIMIT_HEADERS = ("x-bapi-limit", "x-bapi-limit-status", "x-bapi-limit-reset-timestamp")
_RETRY_S = 0.02
_OFFSET_EVERY_S = 60.0
_KEYS_EVERY_S = 1.0
_OK, _REFUSED, _UNAUTHORISED, _GATEWAY_TIMEOUT = 200, 400, 401, 504
RECONNECT = "reconnect"


class BybitDriver:
    """See libs/common/outside.Driver.

    `base_url`: http(s)://host[:port]; `ws_url`: ws(s)://host[:port]/path of the one stream it follows, "" for none; `trade_url`: of
    the trade socket, "" for none; `key_file`: of key A, None for public data; `second_key_file`: of key B; `client_name`:
    `marketdata` or `execution`; `topics`: what to subscribe to; `hushed`: asked at the start how long HTTP must stay silent
    still (ms); `vet`: looks at venue and keys before anything begins, and raises what is wrong; `local_address`: where HTTP calls leave from, None for what the system takes.
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
        second_key_file: Path | None = None,
        trade_url: str = "",
        hushed: Callable[[], int] = lambda: 0,
        vet: Callable[[BybitDriver], Awaitable[None]] | None = None,
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
        key_files = tuple(file for file in (key_file, second_key_file) if file is not None)
        self._ring = KeyRing(key_files) if key_files else None
        self._channel = "private" if key_files else "public"
        # In lockstep every call of an instant is open until the instant is computed: a bound would be a deadlock.
        self._http = HttpLine(
            base_url, client_name, recv_window_ms, self._now_ms, None if lockstep else timeout_s, local_address
        )
        self._trade: TradeLine | None = None
        if trade_url and self._ring is not None and not lockstep:
            self._trade = TradeLine(
                trade_url, client_name, recv_window_ms, timeout_s, self._now_ms, self._key, self._refuse, self._put_one
            )
        self._tape_at = 0
        self._clock = ExchangeClock.assumed(now_ns(), time.monotonic_ns())
        self._hushed, self._vet = hushed, vet
        self._silent_until_s = 0.0
        """Monotonic; HTTP says nothing before."""
        self._assembler = Assembler()
        self.failed: asyncio.Future[None] | None = None
        """Set by `start`; carries the error when the driver itself broke, which must end the process."""
        self._calls: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._inbox: Inbox

    @property
    def offset_ms(self) -> int:
        """Exchange time minus our wall clock, as known now; 0 in lockstep."""
        return 0 if self._lockstep else (self._clock.now(time.monotonic_ns()) - now_ns()) // MS

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        """Begin to follow the stream. `cursor`: the last lockstep batch that was committed."""
        self._inbox = inbox
        self.failed = asyncio.get_running_loop().create_future()
        self._assembler = Assembler(cursor)
        if not self._lockstep:
            self._silent_until_s = time.monotonic() + self._hushed() / 1000
            await self._measure_offset()
            if self._vet is not None and not self._silent:
                await self._vet(self)
            self._background.append(self._task(self._keep_offset()))
            if self._ring is not None:
                self._background.append(self._task(self._watch_keys(self._ring)))
        if self._ws_url:
            self._background.append(self._task(self._follow()))
        if self._trade is not None:
            self._background.append(self._task(self._trade.follow()))

    @property
    def keys(self) -> list[tuple[str, Key]]:
        """Every key by its slot (A, B), the one in use first."""
        return [] if self._ring is None else self._ring.keys

    async def ask(self, call: rest.Call, key: Key | None = None) -> rest.Reply:
        """A call beside the core's, answered here: for a look before the start. Raises httpx.HTTPError."""
        return await self._http.ask(call, key)

    def refuse(self, key: Key) -> None:
        """Use the other key, if there is one."""
        if self._ring is not None:
            self._ring.refuse(key)

    async def send(self, request: Request) -> None:
        """Begin a call; calls run side by side. The answer comes through the inbox.

        A request with the method WS is about the stream: a topic anew (`resubscribe:<topic>`) or one more (`subscribe:<topic>`), whose
        reply is the venue's ack, or another connection (`reconnect`).
        On a tape it is a call like any other (lockstep.as_call): the simulator knows topics anew, and turns down the rest.
        """
        if self._lockstep:
            work = self._repeat(as_call(request))
        elif request.transport == "trade":
            work = self._trade_order(request)
        else:
            work = self._renew(request) if request.method == "WS" else self._once(request)
        task = self._task(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def set_time(self, at: int) -> None:
        """Tape time in ns; used in lockstep only, and never moves backwards."""
        self._tape_at = max(self._tape_at, at)

    async def stop(self) -> None:
        tasks = [*self._background, *self._calls]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.close()

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
        if self._silent:
            self._put_one(unsent(request, rest.UNSENT_SILENT))
            return
        key = self._ring.key if self._ring is not None else None
        sent_at, sent = now_ns(), time.monotonic_ns()
        try:
            response = await self._http.call(request, key)
        except httpx.HTTPError as error:
            self._put_one(lost(request, type(error).__name__))
            return
        message = _reply(request, response, now_ns(), {rest.SENT_AT_HEADER: str(sent_at)})
        reply = rest.reply_of(response.status_code, response.text)
        if reply.time_ms:
            self._clock.learn(reply.time_ms * MS, sent, time.monotonic_ns())
        if reply.outcome is Outcome.IP_LIMIT:
            self._silent_until_s = time.monotonic() + IP_SILENCE_MS / 1000
        refused = reply.code in REFUSED_KEY_CODES or response.status_code == _UNAUTHORISED
        if refused and rest.endpoint_of(request.target) not in rest.OPTIONAL and key is not None and self._refuse(key):
            message.headers[rest.KEY_CHANGED_HEADER] = "1"
        self._put_one(message)

    @property
    def _silent(self) -> bool:
        return time.monotonic() < self._silent_until_s

    async def _repeat(self, request: Request) -> None:
        """Lockstep: the same id until there is an answer; the simulator never executes an id twice."""
        while True:
            try:
                response = await self._http.call(request, self._ring.key if self._ring is not None else None)
                break
            except httpx.HTTPError:
                await asyncio.sleep(_RETRY_S)
        self._deliver(self._assembler.reply(_reply(request, response, 0, {})))

    async def _trade_order(self, request: Request) -> None:
        if self._trade is None:
            self._put_one(unsent(request, rest.UNSENT_NO_SOCKET))
        else:
            await self._trade.send(request)

    def _now_ms(self) -> int:
        """Time stamp for the venue: tape time, or the exchange's own as we know it."""
        return (self._tape_at if self._lockstep else self._clock.now(time.monotonic_ns())) // MS

    # --- keys -----------------------------------------------------------------------------------------------------------

    def _key(self) -> Key:
        assert self._ring is not None  # there is no private line without
        return self._ring.key

    def _refuse(self, key: Key) -> bool:
        """The venue does not take this key; True when another is in use now."""
        assert self._ring is not None
        before = self._ring.key
        other = self._ring.refuse(key)
        if self._ring.key != before:
            self._changed_key()
        return other

    async def _watch_keys(self, ring: KeyRing) -> None:
        while True:
            await asyncio.sleep(_KEYS_EVERY_S)
            if ring.refresh():
                self._changed_key()

    def _changed_key(self) -> None:
        """Sockets know the old key: they begin anew. The core hears which slot is in use, to look at the new key."""
        assert self._ring is not None
        self._put("key", self._ring.slot)
        self._calls.add(task := self._task(self._reopen()))
        task.add_done_callback(self._calls.discard)

    async def _reopen(self) -> None:
        if self._line is not None:
            await self._line[0].close(GOING_AWAY, "another key")
        if self._trade is not None:
            await self._trade.reopen()

    # --- exchange time ------------------------------------------------------------------------------------------------

    async def _keep_offset(self) -> None:
        while True:
            await asyncio.sleep(_OFFSET_EVERY_S)
            await self._measure_offset()

    async def _measure_offset(self) -> None:
        """Ask market/time; without an answer, or in silence, the clock stays as it is. Every reply is a measure as well."""
        if self._silent:
            return
        sent = time.monotonic_ns()
        try:
            reply = await self._http.ask(rest.market_time(), None)
        except httpx.HTTPError:
            return
        if reply.ok:
            nano = rest.server_time_of(reply.result).time_nano
            self._clock.learn(int(nano) if nano else reply.time_ms * MS, sent, time.monotonic_ns())

    # --- WebSocket ----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """In lockstep the pause between two connections stays short."""
        await keep_up(self._ws_url, self._converse, lambda _: None, _RETRY_S if self._lockstep else 0.0)

    def _session(self) -> Session:
        topics = self._topics
        if self._lockstep:
            self._assembler.reconnected()
            topics += (marker_subscription(self._client_name, self._assembler.cursor),)
        return Session(topics, self._ring.key if self._ring is not None else None, self._patience)

    async def _converse(self, socket: ClientConnection) -> None:
        session = self._session()
        for text in session.opened(self._clock_ms(), self._auth_expiry_ms()):
            await socket.send(text)
        pinger = None
        if not self._lockstep:
            every_s = min(1.0, self._patience.ping_every_ms / 4_000)
            pinger = asyncio.create_task(watch_pulse(socket, lambda: session.due(self._clock_ms()), every_s))
        self._line = (socket, session)
        try:
            # The end of the socket, orderly or not, ends here as ConnectionClosed: `recv` raises for both.
            while True:
                await self._take(await socket.recv(), socket, session)
        except Exception as error:  # whatever ended it: said, and raised on
            if session.ready and not self._lockstep:
                self._put("disconnected", str(error)[:200])
            raise
        finally:
            self._line = None
            for number in sorted(self._renewals):
                self._renewed(number, lost(number, "the connection ended"))
            if pinger is not None:
                pinger.cancel()

    async def _renew(self, request: Request) -> None:
        """Ask for one topic anew; without a connection there is nothing to ask: the next one subscribes everything."""
        self._renewals.add(request.number)
        if self._line is None or not self._line[1].ready:
            self._renewed(request.number, lost(request, "not connected"))
            return
        socket, session = self._line
        if request.target == RECONNECT:
            self._renewed(request.number, OutsideMessage("reply", "", request.number, _OK, received_at=now_ns()))
            await socket.close(GOING_AWAY, "asked to")
            return
        with contextlib.suppress(WebSocketException):  # the end of the socket answers what it left open
            verb, _, topic = request.target.rpartition(":")
            ask = session.subscribe if verb == "subscribe" else session.resubscribe
            for text in ask(topic, str(request.number)):
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
            status = _REFUSED if frame.success is False else _OK
            self._renewed(number, OutsideMessage("reply", payload, number, status, received_at=now_ns()))
        if kind is not Arrival.DATA:
            return
        if not self._lockstep:
            self._put(self._channel, payload)
        elif frame.topic.startswith(MARKER_TOPIC):
            self._deliver(self._assembler.marker(frame.data))
        else:
            self._assembler.frame(OutsideMessage(self._channel, payload))

    def _auth_expiry_ms(self) -> int:
        """Ahead of both clocks: tape time may lie anywhere, and the simulator only wants a future instant."""
        return max(now_ns() // MS, self._now_ms()) + 10_000

    @staticmethod
    def _clock_ms() -> int:
        """For spans of a connection: a clock that nobody sets."""
        return time.monotonic_ns() // MS

    def _put(self, channel: str, payload: str = "") -> None:
        self._put_one(OutsideMessage(channel, payload, received_at=now_ns(), category=self._category))

    def _put_one(self, message: OutsideMessage) -> None:
        self._inbox.put([message])

    def _deliver(self, batch: Batch | None) -> None:
        if batch is not None:
            self.set_time(batch.at)
            self._inbox.put(batch.messages, at=batch.at, number=batch.number)


def _reply(request: Request, response: httpx.Response, received_at: int, extra: dict[str, str]) -> OutsideMessage:
    """A gateway's timeout is no answer of the venue: the outcome is as unknown as that of a cut connection."""
    if response.status_code == _GATEWAY_TIMEOUT:
        return OutsideMessage("lost", "HTTP 504", request.number, received_at=received_at)
    headers = {name: response.headers[name] for name in _LIMIT_HEADERS if name in response.headers}
    return OutsideMessage("reply", response.text, request.number, response.status_code, headers | extra, received_at)
