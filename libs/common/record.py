"""A record is an event in its envelope: where it is written, why, and in what order.

The id is a hash of cause, stream, type and index, so that running a step again gives the same id; `seq` is contiguous
in its stream; `at` is copied from what caused it; entry ids are Lamport stamps (greater than everything their writer
had read). `correlation` is the id of the event the chain began with and doubles as the W3C trace id; the span id is the
first half of the event's own id.
"""

from __future__ import annotations

import hashlib

import msgspec

from libs.common.events import Event

EntryId = tuple[int, int]
Cause = tuple[str, int]
"""(bare stream name, seq). For a timer or a start: ("timer", at)."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of a stream, or one local fact (`Timer`, `Started`) that only a journal keeps."""

    stream: str
    entry: EntryId
    id: str
    seq: int
    at: int
    cause: tuple[Cause, ...]
    correlation: str
    body: Event


class Timer(Event, frozen=True, kw_only=True):
    """Wall-clock time moved on (never in tape runs, where `Instant` does it). `at` is the record's."""


class Started(Event, frozen=True, kw_only=True):
    """This process took over. `fresh`: nothing was ever committed before. Not repeated in tape runs: there a restart
    loses no message and no time, so there is nothing to recover from."""

    fresh: bool


UNREADABLE = -1


class GapFound(Event, frozen=True, kw_only=True):
    """An input stream misses entries: `expected` is the seq that should have come, `got` the one that did, UNREADABLE for an
    entry that is none of ours or of a type that this release does not know. The service commits nothing after it."""

    stream: str
    expected: int
    got: int


LOCAL = "timer"
"""Stream name of the records of `Timer`, `Started` and `GapFound`."""


def event_id(cause: tuple[Cause, ...], stream: str, kind: str, index: int) -> str:
    """32 hex digits from (cause, stream, type, index); the index counts outputs of one step of one cause."""
    text = ";".join(f"{name}:{seq}" for name, seq in cause)
    return hashlib.blake2b(f"{text}|{stream}|{kind}|{index}".encode(), digest_size=16).hexdigest()


def traceparent(record: Record) -> str:
    """W3C trace context of a record: trace id = correlation, span id = first half of the id, sampled."""
    return f"00-{record.correlation}-{record.id[:16]}-01"
