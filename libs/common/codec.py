"""Records to stream entries and back. Envelope keys are stream fields, the body is JSON in `data`.

So `redis-cli XRANGE` shows a readable log, and any language can decode it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from libs.common.errors import TidegateError
from libs.common.events import EVENTS, Event
from libs.common.record import Cause, EntryId, Record, traceparent
from libs.common.upcast import upcast

FIELDS = ("id", "type", "v", "seq", "at", "cause", "correlation", "traceparent", "data")
"""Stream fields in the order in which they are written."""

_encode = msgspec.json.Encoder().encode
_bodies: dict[bytes, msgspec.json.Decoder[Event]] = {
    name.encode(): msgspec.json.Decoder(kind) for name, kind in EVENTS.items()
}
_versions: dict[bytes, bytes] = {name.encode(): str(kind.VERSION).encode() for name, kind in EVENTS.items()}
_causes = msgspec.json.Decoder(tuple[Cause, ...])


def body_decoder(kind: str, version: int) -> Callable[[str], Event]:
    """What decodes the `data` of this type and version. Raises TidegateError for a type this release does not know."""
    name = kind.encode()
    if b"%d" % version != _versions.get(name):
        return lambda text: _upcast_body(name, version, text)
    return _bodies[name].decode


def _upcast_body(name: bytes, version: int, text: str) -> Event:
    today, data = upcast(name, version, text.encode())
    if today not in _bodies:
        raise TidegateError(f"expected a known event type, was {today.decode()}; upgrade this service")
    return _bodies[today].decode(data)


def entry_text(entry: EntryId) -> str:
    return f"{entry[0]}-{entry[1]}"


def entry_of(text: bytes) -> EntryId:
    head, _, tail = text.partition(b"-")
    return int(head), int(tail)


def values(record: Record) -> tuple[bytes, ...]:
    """The nine field values of a record, in the order of `FIELDS`."""
    body = record.body
    kind = type(body)
    return (
        record.id.encode(),
        kind.__name__.encode(),
        b"%d" % kind.VERSION,
        b"%d" % record.seq,
        b"%d" % record.at,
        _encode(record.cause),
        record.correlation.encode(),
        traceparent(record).encode(),
        _encode(body),
    )


def decode(stream: str, entry: bytes, fields: Sequence[bytes]) -> Record:
    """A stream entry (flat field list as Redis gives it) to its record.

    Raises TidegateError when the entry is not one of ours or of a type this release does not know.
    """
    if len(fields) != 2 * len(FIELDS) or fields[0] != b"id":
        raise TidegateError(
            f"expected the fields {', '.join(FIELDS)} in {stream} {entry.decode()}, was {list(fields[::2])}"
        )
    kind, data = fields[3], fields[17]
    if fields[5] != _versions.get(kind):
        kind, data = upcast(kind, int(fields[5]), data)
    decoder = _bodies.get(kind)
    if decoder is None:
        raise TidegateError(
            f"expected a known event type in {stream} {entry.decode()}, was {kind.decode()}; upgrade this service"
        )
    return Record(
        stream=stream,
        entry=entry_of(entry),
        id=fields[1].decode(),
        seq=int(fields[7]),
        at=int(fields[9]),
        cause=_causes.decode(fields[11]),
        correlation=fields[13].decode(),
        body=decoder.decode(data),
    )
