"""The fault menu: what can go wrong between a client and the exchange, as values.

    document = read(b'{"seed": 3, "faults": [{"kind": "drop", "rate": 0.01, "match": {"topic": "order"}}]}')

Every kind is a struct below; its docstring and fields are the user's reference (docs/simulator.md is made from them).
`sim/faults/injector.py` decides what they do.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from libs.common.errors import UsageError

LINES = ("public", "private", "trade")
ANSWERS = {
    10000: (200, "Server Timeout"),
    10002: (200, "invalid request, please check your server timestamp or recv_window param."),
    10006: (200, "Too many visits. Exceeded the API Rate Limit."),
    10016: (200, "Server error"),
    10019: (200, "Service is restarting, please open a new connection"),
    10403: (200, "Exceed IP rate limit."),
    10429: (200, "System level frequency protection"),
    403: (403, "access too frequent"),
    429: (429, "too many requests"),
    500: (500, "internal server error"),
    502: (502, "bad gateway"),
    503: (503, "service unavailable"),
    504: (504, "gateway timeout"),
}
"""What a request can be answered instead: retCode in an envelope, or an HTTP status with a plain text. Gives (status, text)."""
OVER_SOCKET = {403: 10403, 429: 10429, 500: 10016, 502: 10016, 503: 10016, 504: 10016}
"""What the trade socket says where HTTP has a status."""
SILENCE = 0
"""As an answer: none ever comes, the connection stays open."""


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"link_id": "orderLinkId"}):
    """What a fault is for; each is a prefix (of a topic: whole parts of it), empty means everything."""

    path: str = ""
    """Of a request: /v5/order/create. An order sent over the trade socket has the path of its REST twin."""
    topic: str = ""
    """Of a stream: order (and not orderbook), execution, orderbook.50, orderbook.50.BTCUSDT."""
    account: str = ""
    link_id: str = ""
    """orderLinkId of a request, or of the first row of a message."""

    def request(self, path: str, account: str, link_id: str) -> bool:
        return path.startswith(self.path) and account.startswith(self.account) and link_id.startswith(self.link_id)

    def message(self, topic: str, account: str, link_id: str) -> bool:
        ours = not self.topic or topic == self.topic or topic.startswith(f"{self.topic}.")
        return ours and account.startswith(self.account) and link_id.startswith(self.link_id)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind has."""

    TAPE: ClassVar[bool] = True
    """Has it a meaning in a tape run, where no time passes between a client and the exchange but the exchange's own?"""
    EXAMPLE: ClassVar[str] = ""

    rate: float = 1.0
    """Of requests, messages or connections, 0 to 1; which ones follows from the seed and from what they are."""
    match: Match = Match()
    after_ms: int = 0
    """Begins so long after it was switched on."""
    for_ms: int = 0
    """Ends so long after it began; 0: when it is switched off."""
    count: int = 0
    """Ends after so many; 0: never."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"expected rate between 0 and 1, was {self.rate}")
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and value < 0 and name != "ms":
                raise ValueError(f"expected {name} of 0 or more, was {value}")


class Latency(Fault, frozen=True, kw_only=True, tag="latency"):
    """Everything is late: requests on their way in, replies on their way out (fills then come before the ack), or stream
    messages, which stay in order."""

    EXAMPLE = '{"kind": "latency", "where": "reply", "ms": 30000, "match": {"path": "/v5/order/create"}}'

    where: str = "reply"
    """request, reply or stream."""
    ms: int = 0
    jitter_ms: int = 0
    """Up to so much more, drawn for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("where", self.where, ("request", "reply", "stream"))
        _not_negative("ms", self.ms)


class Drop(Fault, frozen=True, kw_only=True, tag="drop"):
    """Stream messages are lost."""

    EXAMPLE = '{"kind": "drop", "rate": 0.05, "match": {"topic": "execution"}}'


class Duplicate(Fault, frozen=True, kw_only=True, tag="duplicate"):
    """Stream messages come again, one to `times` times."""

    EXAMPLE = '{"kind": "duplicate", "rate": 0.1, "times": 3, "match": {"topic": "execution"}}'

    times: int = 1
    gap_ms: int = 0
    """Between two of them."""


class Reorder(Fault, frozen=True, kw_only=True, tag="reorder"):
    """Stream messages are overtaken by those of the next `ms`."""

    EXAMPLE = '{"kind": "reorder", "rate": 0.2, "ms": 500, "match": {"topic": "order"}}'

    ms: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        _not_negative("ms", self.ms)


class Ambiguous(Fault, frozen=True, kw_only=True, tag="ambiguous"):
    """The answer says nothing about what became of the request: it arrived, arrives later, or never does. Without a
    `match.path` it is for creates only."""

    EXAMPLE = '{"kind": "ambiguous", "rate": 0.05, "arrives": "late", "late_ms": 4000, "answer": 10000}'

    arrives: str = "now"
    """now, late or never."""
    late_ms: int = 4000
    answer: int | str = 10000
    """A retCode or HTTP status, or "timeout": nothing comes (in a tape run HTTP 504 after timeout_ms)."""
    timeout_ms: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("arrives", self.arrives, ("now", "late", "never"))
        _one_of("answer", self.answer, ("timeout", *ANSWERS))


class Refuse(Fault, frozen=True, kw_only=True, tag="refuse"):
    """Requests are refused before they reach the engine, with a retCode (10002, 10006, 10016, 10019, 10000, 10429) or a
    status of HTTP (429, 500, 502, 503, 504)."""

    EXAMPLE = '{"kind": "refuse", "code": 10006, "rate": 0.3, "match": {"path": "/v5/order"}}'

    code: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("code", self.code, tuple(ANSWERS))


class Ban(Fault, frozen=True, kw_only=True, tag="ban"):
    """The address is banned: every HTTP request is answered 403 `access too frequent`; sockets live on."""

    EXAMPLE = '{"kind": "ban", "for_ms": 600000}'


class Silence(Fault, frozen=True, kw_only=True, tag="silence"):
    """The private stream answers pings and sends no data; what it would have sent is lost. With a `match.topic` also
    public topics."""

    EXAMPLE = '{"kind": "silence", "for_ms": 10000}'


class Cut(Fault, frozen=True, kw_only=True, tag="cut"):
    """Connections are reset without a word, now and every `every_ms`."""

    TAPE = False
    EXAMPLE = '{"kind": "cut", "line": "private", "rate": 0.5, "every_ms": 5000}'

    line: str = ""
    """public, private or trade; empty: all."""
    every_ms: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("line", self.line, ("", *LINES))


class HalfOpen(Cut, frozen=True, kw_only=True, tag="half_open"):
    """The connections open now stay open and are dead: nothing is read, nothing is sent, no pong either."""

    TAPE = False
    EXAMPLE = '{"kind": "half_open", "line": "private"}'


class Restart(Fault, frozen=True, kw_only=True, tag="restart"):
    """The exchange restarts: every socket is reset, closed orders are gone from order/realtime (history keeps them), and
    for `for_ms` the trade socket answers 10019."""

    TAPE = False
    EXAMPLE = '{"kind": "restart", "for_ms": 2000}'


class Skew(Fault, frozen=True, kw_only=True, tag="skew"):
    """The exchange's clock is off by `ms` (also negative): market/time, the 10002 rule, every stamp it sends."""

    EXAMPLE = '{"kind": "skew", "ms": -6000}'

    ms: int


class Foreign(Fault, frozen=True, kw_only=True, tag="foreign"):
    """Somebody else trades on the account `match.account` (default: the first): a market order, or a limit order when
    there is a price; now and every `every_ms`."""

    EXAMPLE = '{"kind": "foreign", "symbol": "BTCUSDT", "side": "Sell", "qty": "0.01"}'

    symbol: str
    side: str = "Buy"
    qty: str
    price: str = ""
    category: str = "linear"
    every_ms: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("side", self.side, ("Buy", "Sell"))


class Partial(Fault, frozen=True, kw_only=True, tag="partial"):
    """Orders fill in pieces: at once no more than the first fraction of the quantity, `gap_ms` later the next, and so on.
    What is left after the last fraction rests or is cancelled as the order's time in force says."""

    EXAMPLE = '{"kind": "partial", "fractions": [0.3, 0.3, 0.4], "gap_ms": 500}'

    fractions: tuple[float, ...] = (0.5, 0.5)
    gap_ms: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fractions or min(self.fractions) < 0 or sum(self.fractions) > 1.000001:
            raise ValueError(f"expected fractions of 0 or more that sum up to 1 at most, was {list(self.fractions)}")


class TwoFilled(Fault, frozen=True, kw_only=True, tag="two_filled"):
    """A cancel lost the race against a fill: the order topic says Filled twice, the second time with cancelType
    CancelByUser and rejectReason EC_OrigClOrdIDDoesNotExist."""

    EXAMPLE = '{"kind": "two_filled", "rate": 0.5}'


class LateFill(Fault, frozen=True, kw_only=True, tag="late_fill"):
    """A cancel is acknowledged, and `late_ms` later the order fills all the same."""

    EXAMPLE = '{"kind": "late_fill", "late_ms": 300}'

    late_ms: int = 0


KINDS: tuple[type[Fault], ...] = (
    Latency, Drop, Duplicate, Reorder, Ambiguous, Refuse, Ban, Silence, Cut, HalfOpen, Restart, Skew, Foreign, Partial,
    TwoFilled, LateFill,
)  # fmt: skip
MENU: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in KINDS}


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What is switched on, in order: where several strike one request, the first decides."""

    seed: int = 7
    faults: tuple[Fault, ...] = ()


class _Raw(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    seed: int = 7
    faults: list[dict[str, Any]] = []


def read(data: bytes, tape: bool = False) -> Document:
    """A document of faults; `tape`: for a tape run. Raises UsageError with one sentence that lists what exists."""
    try:
        raw = msgspec.json.decode(data, type=_Raw)
    except msgspec.DecodeError as error:
        raise UsageError(f'expected {{"seed": 7, "faults": [{{"kind": ...}}]}}, was not: {error}') from error
    faults = tuple(_fault(number, item) for number, item in enumerate(raw.faults))
    for number, fault in enumerate(faults):
        if tape and not fault.TAPE:
            able = ", ".join(name for name, kind in MENU.items() if kind.TAPE)
            raise UsageError(f"faults[{number}]: expected a kind that tape runs have ({able}), was {name_of(fault)}")
    return Document(seed=raw.seed, faults=faults)


def _fault(number: int, item: dict[str, Any]) -> Fault:
    name = item.get("kind")
    kind = MENU.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(f"faults[{number}].kind: expected one of {', '.join(MENU)}, was {name!r}")
    try:
        return msgspec.convert(item, kind)
    except msgspec.ValidationError as error:
        keys = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise UsageError(f"faults[{number}] ({name}): expected keys out of {keys}, was not: {error}") from error


def name_of(fault: Fault) -> str:
    return str(fault.__struct_config__.tag)


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"expected {name} to be one of {', '.join(map(repr, allowed))}, was {value!r}")


def _not_negative(name: str, value: int) -> None:
    if value < 0:
        raise ValueError(f"expected {name} of 0 or more, was {value}")
