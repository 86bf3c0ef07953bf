"""A Bybit WebSocket session without I/O: what to send, what came, when a ping is due.

The driver owns the socket: it calls `opened` after connecting, `received` for each text, `due` now and then, and sends the
texts they give. A session is ready when its auth (if private) and every subscription were acknowledged by req_id.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from libs.bybit import wire
from libs.bybit.sign import Key, stream_auth_args
from libs.common.errors import TidegateError

PING_EVERY_MS = 20_000
SILENCE_MS = 60_000
"""No message at all, not even a pong, for this long: the connection is dead."""

AUTH_AHEAD_MS = 10_000
MAX_ARGS_CHARS = 20_000
"""Below the venue's 21,000 characters of topics for one connection."""


class SessionError(TidegateError):
    """The venue refused auth or a subscription; the session must be opened anew."""


class Arrival(StrEnum):
    """What a received text was."""

    DATA = "data"
    READY = "ready"
    """The last outstanding ack: everything is subscribed now."""
    CONTROL = "control"


class Session:
    """One connection. `key` given: private, auth comes first. Times are ms on the driver's clock."""

    def __init__(self, topics: tuple[str, ...], key: Key | None = None) -> None:
        if sum(map(len, topics)) > MAX_ARGS_CHARS:
            raise ValueError(f"expected at most {MAX_ARGS_CHARS} characters of topics, split them over connections")
        self._topics = topics
        self._key = key
        self._waiting: dict[str, str] = {}
        self._pinged_ms = 0
        self._heard_ms = 0
        self.ready = False

    def opened(self, now_ms: int, expires_ms: int = 0) -> list[str]:
        """First texts of a fresh connection. `expires_ms`: of the auth; 0 means shortly after now."""
        self._waiting.clear()
        self._pinged_ms = self._heard_ms = now_ms
        self.ready = False
        if self._key is None:
            return self._subscription()
        args = stream_auth_args(self._key, expires_ms or now_ms + AUTH_AHEAD_MS)
        return [self._operation("auth", list(args))]

    def received(self, text: str | bytes, now_ms: int) -> tuple[Arrival, wire.Frame, list[str]]:
        """Classify a text: (what it was, decoded, texts to send in answer).

        Raises SessionError when auth or a subscription was refused.
        """
        self._heard_ms = now_ms
        frame = wire.frame_of(text)
        if frame.topic:
            return Arrival.DATA, frame, []
        if frame.op in ("auth", "subscribe"):
            return self._acknowledged(frame)
        return Arrival.CONTROL, frame, []

    def due(self, now_ms: int) -> list[str]:
        """Texts whose time has come: a ping every 20 s. Raises SessionError when the venue fell silent."""
        if now_ms - self._heard_ms > SILENCE_MS:
            raise SessionError(
                f"expected a message within {SILENCE_MS} ms, was silent for {now_ms - self._heard_ms} ms"
            )
        if now_ms - self._pinged_ms < PING_EVERY_MS:
            return []
        self._pinged_ms = now_ms
        return ['{"op":"ping"}']

    def _acknowledged(self, frame: wire.Frame) -> tuple[Arrival, wire.Frame, list[str]]:
        if frame.success is False:
            raise SessionError(f"expected {frame.op} to succeed, was refused: {frame.ret_msg}; check key and topics")
        # Some answers leave req_id out; there is one operation of a kind under way at a time, so its op names it.
        self._waiting.pop(str(frame.req_id or frame.op), None)
        self._waiting.pop(frame.op, None)
        if frame.op == "auth":
            return Arrival.CONTROL, frame, self._subscription()
        self.ready = not self._waiting
        return (Arrival.READY if self.ready else Arrival.CONTROL), frame, []

    def _subscription(self) -> list[str]:
        return [self._operation("subscribe", list(self._topics))] if self._topics else []

    def _operation(self, op: str, args: list[str | int]) -> str:
        self._waiting[op] = op
        return msgspec.json.encode({"req_id": op, "op": op, "args": args}).decode()
