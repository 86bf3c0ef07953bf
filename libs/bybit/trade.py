"""Order entry over Bybit's trade socket, without I/O: the second way for orders, open when HTTP is not.

The session is authenticated once; an order then needs no signature, only a time stamp. An ack means what it means over HTTP: received.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from libs.bybit.sign import Key, stream_auth_args
from libs.bybit.stream import Patience, Pulse, SessionError
from libs.common.decider import Request

OPERATIONS = {
    "/v5/order/create": "order.create",
    "/v5/order/amend": "order.amend",
    "/v5/order/cancel": "order.cancel",
}
"""REST path -> operation of the trade socket that does the same."""

RESTARTING = 10019
"""The server behind the socket restarts: what is under way goes on there, answers come no more."""


class TradeFrame(
    msgspec.Struct, rename={"req_id": "reqId", "ret_code": "retCode", "ret_msg": "retMsg"}, frozen=True, gc=False
):
    """Any message of the trade socket."""

    op: str = ""
    req_id: str | int | None = ""
    ret_code: int = 0
    ret_msg: str | None = ""
    header: dict[str, str | int | None] | None = None


class TradeArrival(StrEnum):
    READY = "ready"
    ANSWER = "answer"
    CONTROL = "control"


class AuthRefusedError(SessionError):
    """The venue refused the key; `code` says why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"expected auth of the trade socket to succeed, was {code} {message}; check the API key")
        self.code = code


class TradeSession:
    """One connection. Times are ms on the driver's clock, stamps ms of the exchange's."""

    def __init__(self, key: Key, patience: Patience | None = None) -> None:
        self._key = key
        self._pulse = Pulse(patience or Patience())
        self.ready = False

    def opened(self, now_ms: int, expires_ms: int) -> list[str]:
        """First texts of a fresh connection."""
        self._pulse.begin(now_ms)
        self.ready = False
        auth = {"req_id": "auth", "op": "auth", "args": stream_auth_args(self._key, expires_ms)}
        return [msgspec.json.encode(auth).decode()]

    def received(self, text: str | bytes, now_ms: int) -> tuple[TradeArrival, TradeFrame]:
        """Classify a text. Raises AuthRefusedError, or msgspec.DecodeError for what is no frame."""
        self._pulse.heard(now_ms)
        frame = _frames.decode(text)
        if frame.op == "auth":
            if frame.ret_code:
                raise AuthRefusedError(frame.ret_code, frame.ret_msg or "")
            self.ready = True
            return TradeArrival.READY, frame
        return (TradeArrival.ANSWER if frame.req_id and frame.op != "pong" else TradeArrival.CONTROL), frame

    def due(self, now_ms: int) -> list[str]:
        """A ping now and then. Raises SessionError when the venue fell silent."""
        return self._pulse.due(now_ms)


def order_text(request: Request, req_id: str, stamp_ms: int, window_ms: int) -> str:
    """One order write as the socket takes it; the body goes in exactly as it would over HTTP."""
    message = {
        "reqId": req_id,
        "header": {"X-BAPI-TIMESTAMP": str(stamp_ms), "X-BAPI-RECV-WINDOW": str(window_ms)},
        "op": OPERATIONS[request.target],
        "args": [msgspec.Raw(request.body.encode())],
    }
    return msgspec.json.encode(message).decode()


def headers_of(frame: TradeFrame) -> dict[str, str]:
    """The frame's header the way HTTP gives it: lower-case names, text values."""
    return {name.lower(): str(value) for name, value in (frame.header or {}).items() if value is not None}


_frames = msgspec.json.Decoder(TradeFrame)
