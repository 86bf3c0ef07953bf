"""WebSockets that are kept up: the stream a service follows, and the trade socket orders may take. Part of the driver (client.py)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from libs.bybit.keyring import REFUSED_KEY_CODES
from libs.bybit.rest import SENT_AT_HEADER, UNSENT_NO_SOCKET
from libs.bybit.sign import Key
from libs.bybit.stream import SessionError
from libs.bybit.trade import RESTARTING, AuthRefusedError, TradeArrival, TradeSession, headers_of, order_text
from libs.common.decider import Request
from libs.common.outside import OutsideMessage

MS = 1_000_000
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 20.0
_STEADY_S = 10.0
"""A connection that lived shorter does not reset the pause: a venue that hangs up at once is not hammered."""
_CLOSE_S = 1.0
"""How long a dead peer may take to say goodbye."""
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
    return OutsideMessage("unsent", why, request.number, received_at=time.time_ns())


def lost(request: Request | int, why: str) -> OutsideMessage:
    """It may have arrived."""
    number = request if isinstance(request, int) else request.number
    return OutsideMessage("lost", why, number, received_at=time.time_ns())


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
        self._waiting[req_id] = (request.number, time.time_ns())
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
                self._put(OutsideMessage("trade-disconnected", received_at=time.time_ns()))
            for req_id in list(self._waiting):
                self._give_up(req_id, "the trade socket ended")

    async def _take(self, text: str | bytes, session: TradeSession, socket: ClientConnection) -> None:
        kind, frame = session.received(text, _clock_ms())
        if kind is TradeArrival.READY:
            self._open = socket
            self._put(OutsideMessage("trade-connected", received_at=time.time_ns()))
        if kind is not TradeArrival.ANSWER:
            return
        number, sent_at = self._waiting.pop(str(frame.req_id), (0, 0))
        if number:
            headers = headers_of(frame) | {SENT_AT_HEADER: str(sent_at)}
            payload = text if isinstance(text, str) else text.decode()
            self._put(OutsideMessage("reply", payload, number, 200, headers, time.time_ns()))
        if frame.ret_code == RESTARTING:
            await socket.close(GOING_AWAY, "the venue restarts")


def _clock_ms() -> int:
    return time.monotonic_ns() // MS
