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

AUTH_AHEAD_MS = 10_000
MAX_ARGS_CHARS = 20_000
"""Below the venue's 21,000 characters of topics for one connection."""


class Patience(msgspec.Struct, frozen=True):
    """When to ask whether the other end lives, and when to believe that it does not. Spans in ms."""

    ping_every_ms: int = 20_000
    answer_within_ms: int = 10_000
    """Nothing at all, not even a pong, for so long after a ping: the connection is half open."""
    data_within_ms: int = 0
    """No data for so long, pongs or not: the subscription is lost. 0: silence is normal (private topics)."""


class SessionError(TidegateError):
    """The venue refused auth or a subscription, or fell silent; the session must be opened anew."""


class Arrival(StrEnum):
    """What a received text was."""

    DATA = "data"
    READY = "ready"
    """The last outstanding ack: everything is subscribed now."""
    RENEWED = "renewed"
    """The ack of `resubscribe`; the frame's req_id names which."""
    CONTROL = "control"


class Pulse:
    """Whether the other end of a connection lives: when to ask, when to give it up. Times are ms on the driver's clock."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.begin(0)

    def begin(self, now_ms: int) -> None:
        self._pinged_ms = self._heard_ms = self._data_ms = now_ms
        self._unanswered_ms: int | None = None
        """When the first ping was sent that nothing came after."""

    def heard(self, now_ms: int, *, data: bool = False) -> None:
        self._heard_ms, self._unanswered_ms = now_ms, None
        if data:
            self._data_ms = now_ms

    def due(self, now_ms: int) -> list[str]:
        """Texts whose time has come: a ping now and then. Raises SessionError when the venue fell silent."""
        patience = self._patience
        if self._unanswered_ms is not None and now_ms - self._unanswered_ms > patience.answer_within_ms:
            raise SessionError(
                f"expected an answer to a ping within {patience.answer_within_ms} ms, was silent for {now_ms - self._heard_ms} ms"
            )
        if 0 < patience.data_within_ms < now_ms - self._data_ms:
            raise SessionError(
                f"expected data within {patience.data_within_ms} ms, was none for {now_ms - self._data_ms} ms"
            )
        if now_ms - self._pinged_ms < patience.ping_every_ms:
            return []
        self._pinged_ms = now_ms
        if self._unanswered_ms is None:
            self._unanswered_ms = now_ms
        return ['{"op":"ping"}']


class Session:
    """One connection. `key` given: private, auth comes first. Times are ms on the driver's clock."""

    def __init__(self, topics: tuple[str, ...], key: Key | None = None, patience: Patience | None = None) -> None:
        if sum(map(len, topics)) > MAX_ARGS_CHARS:
            raise ValueError(f"expected at most {MAX_ARGS_CHARS} characters of topics, split them over connections")
        self._topics = topics
        self._key = key
        self._pulse = Pulse(patience or Patience())
        self._waiting: dict[str, str] = {}
        self._renewing: dict[str, str] = {}
        """Topics that were asked for anew, by req_id, oldest first."""
        self._added: set[str] = set()
        """Requests for one topic more that have no answer yet."""
        self.ready = False

    def opened(self, now_ms: int, expires_ms: int = 0) -> list[str]:
        """First texts of a fresh connection. `expires_ms`: of the auth; 0 means shortly after now."""
        self._waiting.clear()
        self._renewing.clear()
        self._added.clear()
        self._pulse.begin(now_ms)
        self.ready = False
        if self._key is None:
            return self._subscription()
        args = stream_auth_args(self._key, expires_ms or now_ms + AUTH_AHEAD_MS)
        return [self._operation("auth", list(args))]

    def received(self, text: str | bytes, now_ms: int) -> tuple[Arrival, wire.Frame, list[str]]:
        """Classify a text: (what it was, decoded, texts to send in answer).

        Raises SessionError when auth or a subscription was refused.
        """
        frame = wire.frame_of(text)
        self._pulse.heard(now_ms, data=bool(frame.topic))
        if frame.topic:
            return Arrival.DATA, frame, []
        if frame.op in ("auth", "subscribe", "unsubscribe"):
            return self._acknowledged(frame)
        return Arrival.CONTROL, frame, []

    def resubscribe(self, topic: str, req_id: str) -> list[str]:
        """Texts that ask for a topic anew: the venue has no other way to a fresh snapshot. Their ack arrives as RENEWED."""
        self._renewing[req_id] = topic
        return [_text(f"un-{req_id}", "unsubscribe", [topic]), _text(req_id, "subscribe", [topic])]

    def subscribe(self, topic: str, req_id: str) -> list[str]:
        """Texts that add a topic. The answer arrives as RENEWED, a refusal too: the session goes on without it."""
        self._added.add(req_id)
        return [_text(req_id, "subscribe", [topic])]

    def due(self, now_ms: int) -> list[str]:
        """Texts whose time has come. Raises SessionError when the venue fell silent."""
        return self._pulse.due(now_ms)

    def _acknowledged(self, frame: wire.Frame) -> tuple[Arrival, wire.Frame, list[str]]:
        if str(frame.req_id) in self._added:
            self._added.discard(str(frame.req_id))
            return Arrival.RENEWED, frame, []
        if frame.success is False:
            raise SessionError(f"expected {frame.op} to succeed, was refused: {frame.ret_msg}; check key and topics")
        if frame.op == "unsubscribe":
            return Arrival.CONTROL, frame, []
        if self._renewing and frame.op not in self._waiting:
            # Where the answer leaves req_id out, the venue answers in the order it was asked.
            frame.req_id = str(frame.req_id or next(iter(self._renewing)))
            self._renewing.pop(frame.req_id, None)
            return Arrival.RENEWED, frame, []
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
        return _text(op, op, args)


def _text(req_id: str, op: str, args: list[str | int] | list[str]) -> str:
    return msgspec.json.encode({"req_id": req_id, "op": op, "args": args}).decode()
