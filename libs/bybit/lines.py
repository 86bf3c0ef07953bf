"""The lines of the driver (client.py): HTTP, WebSockets that are kept up, the trade socket that orders may take."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from libs.bybit import rest
from libs.bybit.keyring import REFUSED_KEY_CODES
from libs.bybit.rest import SENT_AT_HEADER, UNSENT_NO_SOCKET
from libs.bybit.sign import Key, rest_headers
from libs.bybit.stream import SessionError
from libs.bybit.trade import RESTARTING, AuthRefusedError, TradeArrival, TradeSession, headers_of, order_text
from libs.common import killpoints
from libs.common.clock import now_ns
from libs.common.decider import Request
from libs.common.errors import SettingsError
from libs.common.outside import OutsideMessage

MS = 1_000_000
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 20.0
_STEADY_S = 10.0
"""A connection that lived shorter does not reset the pause: a venue that hangs up at once is not hammered."""
_CLOSE_S = 1.0
"""How long a dead peer may take to say goodbye."""
_CONNECTIONS = 64
REQUEST_ID_HEADER = "cdn-request-id"
GOING_AWAY, MOST_REASON = 1001, 120


async def keep_up(
    url: str, talk: Callable[[ClientConnection], Awaitable[None]], lost: Callable[[str], None], retry_s: float = 0.0
) -> None:
    """Connect, talk, connect again, for ever. `talk` ends by raising; `lost` hears why. The pause doubles up to 20 s, with
    jitter, unless `retry_s` fixes it."""
    pause_s = _FIRST_PAUSE_S
    while True:
        began_s = time.monotonic()
        try:
            # Our own ping and silence watch replace the library's; frames of a busy book can be large.
            async with connect(
                url, ping_interval=None, max_size=2**24, max_queue=4096, proxy=None, close_timeout=_CLOSE_S
            ) as socket:
                await talk(socket)
        except (OSError, WebSocketException, SessionError, TimeoutError, msgspec.DecodeError) as error:
            lost(str(error)[:200])
        steady = time.monotonic() - began_s > _STEADY_S
        pause_s = _FIRST_PAUSE_S if steady else min(pause_s * 2, _LAST_PAUSE_S)
        await asyncio.sleep(retry_s or pause_s * random.uniform(0.5, 1.0))


async def watch_pulse(socket: ClientConnection, due: Callable[[], list[str]], every_s: float) -> None:
    """Send what is due; close the connection when `due` says that the other end is dead."""
    while True:
        await asyncio.sleep(every_s)
        try:
            for text in due():
                await socket.send(text)
        except SessionError as error:
            await socket.close(GOING_AWAY, str(error)[:MOST_REASON])
            return
        except WebSocketException:
            return


def unsent(request: Request, why: str) -> OutsideMessage:
    """It did not leave, for certain."""
    return OutsideMessage("unsent", why, request.number, received_at=now_ns())


def lost(request: Request | int, why: str) -> OutsideMessage:
    """It may have arrived."""
    number = request if isinstance(request, int) else request.number
    return OutsideMessage("lost", why, number, received_at=now_ns())


class HttpLine:
    """Signed calls over kept connections. `timeout_s`: None waits for ever on any number of connections (tape runs)."""

    def __init__(
        self,
        base_url: str,
        name: str,
        window_ms: int,
        now_ms: Callable[[], int],
        timeout_s: float | None,
        local_address: str | None = None,
    ) -> None:
        self._name, self._window_ms, self._now_ms = name, window_ms, now_ms
        most = None if timeout_s is None else _CONNECTIONS
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=120)
        way_out = httpx.AsyncHTTPTransport(limits=limits, local_address=local_address, trust_env=False)
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout_s, transport=way_out, trust_env=False)

    async def call(self, request: Request, key: Key | None) -> httpx.Response:
        """One attempt. Raises httpx.HTTPError when nothing came back."""
        headers = {REQUEST_ID_HEADER: f"{self._name}-{request.number}"}
        if request.private:
            if key is None:
                raise SettingsError(f"expected an API key for {request.target}, was none; set the key file")
            headers |= rest_headers(key, self._now_ms(), self._window_ms, request.method, request.target, request.body)
        content = request.body.encode() if request.body else None
        url = self._client.base_url.copy_with(raw_path=request.target.encode())
        call = self._client.request(request.method, url, content=content, headers=headers)
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

    async def ask(self, call: rest.Call, key: Key | None) -> rest.Reply:
        """A call of nobody's: its answer is read here. Raises httpx.HTTPError when there is none."""
        response = await self.call(call.numbered(0), key)
        return rest.reply_of(response.status_code, response.text)

    async def close(self) -> None:
        await self._client.aclose()


class TradeLine:
    """The trade socket: opened and authenticated once, kept open, answers by number.

    `now_ms`: exchange time; `key`: the one in use; `refuse`: told a key that the venue refused; `put`: where messages go.
    """

    def __init__(
        self,
        url: str,
        name: str,
        window_ms: int,
        timeout_s: float,
        now_ms: Callable[[], int],
        key: Callable[[], Key],
        refuse: Callable[[Key], object],
        put: Callable[[OutsideMessage], None],
    ) -> None:
        self._url, self._name, self._window_ms, self._timeout_s = url, name, window_ms, timeout_s
        self._now_ms, self._key, self._refuse, self._put = now_ms, key, refuse, put
        self._open: ClientConnection | None = None
        self._waiting: dict[str, tuple[int, int]] = {}
        """Request id -> its number and when it was sent (ns)."""

    async def follow(self) -> None:
        await keep_up(self._url, self._talk, lambda _: None)

    async def reopen(self) -> None:
        """Hang up; the next connection is made with the key then in use."""
        if self._open is not None:
            await self._open.close(GOING_AWAY, "another key")

    async def send(self, request: Request) -> None:
        """Send an order write; its answer, or `lost`, comes through `put`."""
        socket = self._open
        if socket is None:
            self._put(unsent(request, UNSENT_NO_SOCKET))
            return
        req_id = f"{self._name}-{request.number}"
        self._waiting[req_id] = (request.number, now_ns())
        asyncio.get_running_loop().call_later(self._timeout_s, self._give_up, req_id, "no answer")
        with contextlib.suppress(WebSocketException):  # the end of the socket answers what it left open
            await socket.send(order_text(request, req_id, self._now_ms(), self._window_ms))

    def _give_up(self, req_id: str, why: str) -> None:
        if req_id in self._waiting:
            self._put(lost(self._waiting.pop(req_id)[0], why))

    async def _talk(self, socket: ClientConnection) -> None:
        key = self._key()
        session = TradeSession(key)
        for text in session.opened(_clock_ms(), self._now_ms() + 10_000):
            await socket.send(text)
        pinger = asyncio.create_task(watch_pulse(socket, lambda: session.due(_clock_ms()), 1.0))
        try:
            while True:
                await self._take(await socket.recv(), session, socket)
        except AuthRefusedError as error:
            if error.code in REFUSED_KEY_CODES:
                self._refuse(key)
            raise
        finally:
            pinger.cancel()
            if self._open is not None:
                self._open = None
                self._put(OutsideMessage("trade-disconnected", received_at=now_ns()))
            for req_id in list(self._waiting):
                self._give_up(req_id, "the trade socket ended")

    async def _take(self, text: str | bytes, session: TradeSession, socket: ClientConnection) -> None:
        kind, frame = session.received(text, _clock_ms())
        if kind is TradeArrival.READY:
            self._open = socket
            self._put(OutsideMessage("trade-connected", received_at=now_ns()))
        if kind is not TradeArrival.ANSWER:
            return
        number, sent_at = self._waiting.pop(str(frame.req_id), (0, 0))
        if number:
            headers = headers_of(frame) | {SENT_AT_HEADER: str(sent_at)}
            payload = text if isinstance(text, str) else text.decode()
            self._put(OutsideMessage("reply", payload, number, 200, headers, now_ns()))
        if frame.ret_code == RESTARTING:
            await socket.close(GOING_AWAY, "the venue restarts")


def _clock_ms() -> int:
    return time.monotonic_ns() // MS
