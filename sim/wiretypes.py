"""What goes into the exchange and what comes out of it, before any socket."""

from __future__ import annotations

import msgspec


class WireRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request. `query` is raw (no "?"), `body` the exact text that was signed, header names in lower case.

    `request_id` (`<client>-<number>`, the cdn-request-id header) decides the seeded latency; without one the content does.
    `account` names an account that needs no signature: the in-process user of a backtest. Empty on the wire.
    `session_key` is the API key a trade socket is authenticated with; `address` is where the request came from.
    """

    method: str
    path: str
    query: str = ""
    body: str = ""
    headers: dict[str, str] = {}
    client: str = ""
    request_id: str = ""
    account: str = ""
    session_key: str = ""
    address: str = ""


class WireReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `token` is what `submit` gave for the request; status 0: none will come, the connection stays open."""

    token: int
    client: str
    request_id: str
    status: int
    body: str
    headers: dict[str, str]
    at: int


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One WebSocket message. `account` is empty for public topics; `topic` is the uncategorised name, `category` that of
    the rows of a private one."""

    topic: str
    account: str
    text: str
    at: int
    category: str = ""


class Outbox(msgspec.Struct, frozen=True):
    """What was produced since the last collect, each in order of its time. Public frames come after the window's end."""

    frames: list[Frame]
    replies: list[WireReply]

    def __bool__(self) -> bool:
        return bool(self.frames or self.replies)


class RefusalError(Exception):
    """A request that is answered with a retCode. Only inside the simulator."""

    def __init__(self, code: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
