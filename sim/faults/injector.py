"""Decides what the faults that are switched on do to each request, message, order and connection.

A decision hangs on the seed, the fault and what is decided about (a request's id or content, a message's order and state; the
n-th time that the same comes, n), never on the order of arrival, nor on an account's name, which each run makes anew: a tape run with the same tape, seed and faults gives the
same bytes. Instants are exchange time in ns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from libs.bybit.lockstep import STREAM_PATH
from sim.chance import digest, identifier
from sim.engine.market import NS_PER_MS
from sim.faults.menu import (
    ANSWERS,
    SILENCE,
    Ambiguous,
    Ban,
    Cut,
    Document,
    Drop,
    Duplicate,
    Fault,
    Foreign,
    LateFill,
    Latency,
    Partial,
    Refuse,
    Reorder,
    Restart,
    Silence,
    Skew,
    TwoFilled,
    name_of,
)
from sim.faults.skew import shifted
from sim.wiretypes import Frame, WireReply, WireRequest

CREATE, CANCEL = "/v5/order/create", "/v5/order/cancel"
REMEMBERED = 100_000
"""Identities whose repetitions are counted apart."""
STATE = ("symbol", "orderLinkId", "orderStatus", "cumExecQty", "qty", "price", "execQty", "execPrice", "size", "u")
"""Fields that tell one message about a thing from the next; ids of the exchange hang on the order of arrival."""
ON_REQUESTS = (Latency, Ambiguous, Refuse, Ban, Restart, LateFill)
ON_MESSAGES = (Latency, Drop, Duplicate, Reorder, Silence, TwoFilled)
_WHOLE = 1 << 64
_NEVER = 1 << 63

T = TypeVar("T", bound=Fault)


class _Named(msgspec.Struct):
    orderLinkId: str = ""  # noqa: N815 (the wire's name)


_NAMED = msgspec.json.Decoder(_Named, strict=False).decode
_DECODE = msgspec.json.Decoder().decode
_ENCODE = msgspec.json.Encoder().encode


class Fate(msgspec.Struct):
    """What becomes of a request. Times in ns."""

    held: int = 0
    """On its way to the engine, beyond the usual."""
    arrives: bool = True
    answer: int | None = None
    """Instead of the engine's: a key of ANSWERS, or SILENCE."""
    wait: int = 0
    """Until that answer, or the engine's, leaves, beyond the usual."""
    fills_after: int = -1
    """A cancel: acknowledged, and the order fills so much later instead."""


class Active:
    """A fault that is switched on, and what it did."""

    def __init__(self, fault: Fault, number: int, seed: int, now: int) -> None:
        self.fault, self.number, self.seed = fault, number, seed
        self.name = name_of(fault)
        self.begin = now + fault.after_ms * NS_PER_MS
        self.end = self.begin + fault.for_ms * NS_PER_MS if fault.for_ms else _NEVER
        self.due = self.begin
        self.injected = 0
        self._below = int(fault.rate * _WHOLE)

    def lives(self, at: int) -> bool:
        return self.begin <= at < self.end and not (self.fault.count and self.injected >= self.fault.count)

    def strikes(self, at: int, *identity: object) -> bool:
        """Does it hit this one? Counted when it does."""
        if not self.lives(at) or digest(self.seed, self.name, self.number, *identity) >= self._below:
            return False
        self.injected += 1
        return True

    def draw(self, most: int, *identity: object) -> int:
        """An integer in 0..most."""
        return digest(self.seed, "draw", self.name, self.number, *identity) % (most + 1)


class Injector:
    """The faults of one exchange. `tape`: a tape run; what never comes is there a gateway's timeout, in exchange time."""

    def __init__(self, tape: bool = False) -> None:
        self.tape = tape
        self.seed = 0
        self.active: list[Active] = []
        self.totals: dict[str, int] = {}
        """By kind, of the faults that were switched off again."""
        self._seen: OrderedDict[int, int] = OrderedDict()
        self._last: dict[str, int] = {}
        self._requests: list[Active] = []
        self._messages: list[Active] = []
        self._skews: list[Active] = []

    def __bool__(self) -> bool:
        return bool(self.active)

    def load(self, document: Document, now: int) -> None:
        """Switch on what the document says, and everything else off."""
        self.clear()
        self.seed = document.seed
        self.active = [Active(fault, number, self.seed, now) for number, fault in enumerate(document.faults)]
        self._requests = [active for active in self.active if isinstance(active.fault, ON_REQUESTS)]
        self._messages = [active for active in self.active if isinstance(active.fault, ON_MESSAGES)]
        self._skews = [active for active in self.active if isinstance(active.fault, Skew)]

    def clear(self) -> None:
        self.totals = self.counts()
        for faults in (self.active, self._requests, self._messages, self._skews):
            faults.clear()
        self._last.clear()

    def counts(self) -> dict[str, int]:
        """Injected since the exchange started, by kind."""
        counts = dict(self.totals)
        for active in self.active:
            counts[active.name] = counts.get(active.name, 0) + active.injected
        return counts

    def status(self, now: int) -> dict[str, Any]:
        """What is on, for people."""
        faults = []
        for active in self.active:
            row = msgspec.to_builtins(active.fault) | {"injected": active.injected, "active": active.lives(now)}
            faults.append(row)
        return {"seed": self.seed, "now": now, "faults": faults, "injected": self.counts()}

    def of(self, kind: type[T]) -> Iterator[tuple[Active, T]]:
        for active in self.active:
            if isinstance(active.fault, kind):
                yield active, active.fault

    # --- requests ----------------------------------------------------------------------------------------------------

    def fate(self, request: WireRequest, account: str, at: int) -> Fate:
        """What becomes of a request that arrives `at`. Where several faults strike, latencies add up and the first answer
        counts."""
        fate = Fate()
        if not self._requests:
            return fate
        link = link_of(request)
        identity = self._identity(request.request_id or f"{request.method} {request.path} {link or _content(request)}")
        for active in self._requests:
            fault = active.fault
            if isinstance(fault, Latency) and fault.where == "stream":
                continue
            if fate.answer is not None and not isinstance(fault, Latency):
                continue
            if not _concerns(fault, request) or not fault.match.request(request.path, account, link):
                continue
            if active.strikes(at, *identity):
                self._decide(active, fate, *identity)
        return fate

    def _decide(self, active: Active, fate: Fate, *identity: object) -> None:
        fault = active.fault
        if isinstance(fault, Latency):
            delay = fault.ms + active.draw(fault.jitter_ms, *identity)
            if fault.where == "request":
                fate.held += delay * NS_PER_MS
            else:
                fate.wait += delay * NS_PER_MS
        elif isinstance(fault, Ambiguous):
            fate.arrives = fault.arrives != "never"
            fate.held += fault.late_ms * NS_PER_MS if fault.arrives == "late" else 0
            fate.answer = SILENCE if isinstance(fault.answer, str) else fault.answer
            if fate.answer == SILENCE and self.tape:
                fate.answer, fate.wait = 504, fate.wait + fault.timeout_ms * NS_PER_MS
        elif isinstance(fault, LateFill):
            fate.fills_after = fault.late_ms * NS_PER_MS
        elif isinstance(fault, Refuse):
            fate.arrives, fate.answer = False, fault.code
        else:
            fate.arrives, fate.answer = False, 10019 if isinstance(fault, Restart) else 403

    def _identity(self, key: str) -> tuple[str, int]:
        """The key, and how often it came before."""
        short = digest(0, key)
        count = self._seen.pop(short, 0)
        self._seen[short] = count + 1
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return key, count

    # --- messages ----------------------------------------------------------------------------------------------------

    def messages(self, frame: Frame) -> list[Frame]:
        """What is sent instead of a message, and when."""
        if not self._messages and not self._skews:
            return [frame]
        out = [frame]
        if self._messages:
            data = _DECODE(frame.text)
            rows = data.get("data")
            row = rows[0] if isinstance(rows, list) and rows else rows
            told = row if isinstance(row, dict) else {}
            link = str(told.get("orderLinkId") or "")
            state = "|".join(str(told.get(name, "")) for name in STATE)
            identity = self._identity(f"{frame.topic} {state}")
            for active in self._messages:
                if out and active.fault.match.message(frame.topic, frame.account, link):
                    out = self._disturb(active, frame, data, out, *identity)
        return [self._skewed(item) for item in out]

    def _disturb(
        self, active: Active, frame: Frame, data: dict[str, Any], out: list[Frame], *identity: object
    ) -> list[Frame]:
        fault, at = active.fault, frame.at
        if isinstance(fault, Latency):
            return self._later(active, fault, frame, out, *identity)
        if isinstance(fault, TwoFilled):
            twice = _filled_again(frame, data)
            return [*out, twice] if twice is not None and active.strikes(at, *identity) else out
        if isinstance(fault, Silence) and not (frame.account or fault.match.topic):
            return out
        if not active.strikes(at, *identity):
            return out
        if isinstance(fault, Duplicate):
            copies = 1 + active.draw(max(0, fault.times - 1), *identity)
            last = out[-1]
            return out + [_at(last, last.at + (n + 1) * fault.gap_ms * NS_PER_MS) for n in range(copies)]
        if isinstance(fault, Reorder):
            delay = (1 + active.draw(max(0, fault.ms - 1), *identity)) * NS_PER_MS
            return [_at(item, item.at + delay) for item in out]
        return []

    def _later(self, active: Active, fault: Latency, frame: Frame, out: list[Frame], *identity: object) -> list[Frame]:
        """Late, and in order: nothing overtakes what left before on the same stream."""
        if fault.where != "stream":
            return out
        delay = 0
        if active.strikes(frame.at, *identity):
            delay = (fault.ms + active.draw(fault.jitter_ms, *identity)) * NS_PER_MS
        stream, moved = frame.account or frame.topic, []
        for item in out:
            self._last[stream] = max(item.at + delay, self._last.get(stream, 0))
            moved.append(_at(item, self._last[stream]))
        return moved

    # --- time --------------------------------------------------------------------------------------------------------

    def skew_ns(self, at: int) -> int:
        """How far the exchange's clock is off."""
        return sum(s.fault.ms * NS_PER_MS for s in self._skews if isinstance(s.fault, Skew) and s.lives(at))

    def reply(self, reply: WireReply) -> WireReply:
        """A reply with the stamps of a clock that is off."""
        if not self._skews or not reply.body.startswith("{"):
            return reply
        return msgspec.structs.replace(reply, body=self._moved(reply.body, reply.at))

    def _skewed(self, frame: Frame) -> Frame:
        return msgspec.structs.replace(frame, text=self._moved(frame.text, frame.at)) if self._skews else frame

    def _moved(self, text: str, at: int) -> str:
        if not (skew := self.skew_ns(at)):
            return text
        for active in self._skews:
            active.injected += active.lives(at)
        return _ENCODE(shifted(_DECODE(text), skew)).decode()

    # --- orders, connections -----------------------------------------------------------------------------------------

    def pieces(self, account: str, link_id: str, symbol: str, lots: int, at: int) -> tuple[list[int], int] | None:
        """How much of an order may have filled after each step, in lots, and the ns between two; None: as it comes."""
        for active, fault in self.of(Partial):
            if not fault.match.request(CREATE, account, link_id):
                continue
            key = link_id or f"{symbol} {lots}"
            if active.strikes(at, *self._identity(f"pieces {key}")):
                total, steps = 0.0, []
                for fraction in fault.fractions:
                    total += fraction
                    steps.append(min(lots, round(lots * total)))
                return steps, fault.gap_ms * NS_PER_MS
        return None

    def due(self, at: int) -> list[Active]:
        """Faults that are deeds (Foreign, Cut, HalfOpen, Restart) and due by `at`; each time once."""
        found = []
        for active in self.active:
            if isinstance(active.fault, Foreign | Cut | Restart) and active.due <= at and active.lives(at):
                every = getattr(active.fault, "every_ms", 0) * NS_PER_MS
                active.due = active.due + every if every else _NEVER
                found.append(active)
        return found


def link_of(request: WireRequest) -> str:
    """The orderLinkId that a request names, or nothing."""
    if request.method == "GET":
        return parse_qs(request.query).get("orderLinkId", [""])[0] if "orderLinkId" in request.query else ""
    try:
        return _NAMED(request.body).orderLinkId
    except msgspec.DecodeError:
        return ""


def answer_of(code: int, at: int) -> tuple[int, str, dict[str, str]]:
    """(status, body, headers) of an answer of ANSWERS that leaves `at`; status 0: none."""
    if code == SILENCE:
        return 0, "", {}
    status, text = ANSWERS[code]
    if status != 200:
        return status, text, {"content-type": "text/plain"}
    ms = at // NS_PER_MS
    headers = {}
    if code == 10006:
        headers = {
            "X-Bapi-Limit": "10",
            "X-Bapi-Limit-Status": "0",
            "X-Bapi-Limit-Reset-Timestamp": str(ms + 1000),
        }
    body = {"retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}, "time": ms}
    return 200, _ENCODE(body).decode(), headers


def _concerns(fault: Fault, request: WireRequest) -> bool:
    """Is the fault for this kind of request at all?"""
    if request.path == STREAM_PATH:  # part of a stream, whose messages have faults of their own
        return False
    over_socket = bool(request.session_key)
    if isinstance(fault, Ban):
        return not over_socket
    if isinstance(fault, Restart):
        return over_socket
    if isinstance(fault, LateFill):
        return request.path == CANCEL
    if isinstance(fault, Ambiguous):
        return bool(fault.match.path) or request.path == CREATE
    return True


def _content(request: WireRequest) -> str:
    return f"{digest(0, request.query, request.body):016x}"


def _at(frame: Frame, at: int) -> Frame:
    return msgspec.structs.replace(frame, at=at)


def _filled_again(frame: Frame, data: dict[str, Any]) -> Frame | None:
    """The second `Filled` of the orders that a message says are filled."""
    if frame.topic != "order":
        return None
    lost = {"cancelType": "CancelByUser", "rejectReason": "EC_OrigClOrdIDDoesNotExist"}
    rows = [row | lost for row in data["data"] if row["orderStatus"] == "Filled"]
    if not rows:
        return None
    text = _ENCODE(data | {"id": identifier(data["id"], "again"), "data": rows}).decode()
    return msgspec.structs.replace(frame, text=text)
