"""Every event type survives the stream and back; what is not ours is refused by name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import upcast
from libs.common.codec import FIELDS, decode, entry_text, values
from libs.common.errors import TidegateError
from libs.common.events import EVENTS, Event, Heartbeat, Tick
from libs.common.record import Record, event_id, traceparent
from tests.unit.common.examples import example


def fields_of(record: Record) -> list[bytes]:
    return [part for name, value in zip(FIELDS, values(record), strict=True) for part in (name.encode(), value)]


def record_of(body: Event) -> Record:
    identity = event_id((("tick", 4),), "signal", type(body).__name__, 2)
    return Record(
        "signal", (1700000000000, 3), identity, 9, 1700000000000000001, (("tick", 4), ("fill", 2)), "c" * 32, body
    )


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_comes_back_as_it_went(name: str) -> None:
    record = record_of(example(EVENTS[name]))
    found = decode("signal", entry_text(record.entry).encode(), fields_of(record))
    assert found == record
    assert values(found) == values(record)


def test_an_entry_is_readable_without_us() -> None:
    record = record_of(Tick(symbol="BTCUSDT", last=Decimal("61234.20"), bids=(), asks=()))
    shown = dict(zip(*[iter(fields_of(record))] * 2, strict=True))
    assert shown[b"type"] == b"Tick"
    assert shown[b"cause"] == b'[["tick",4],["fill",2]]'
    assert msgspec.json.decode(shown[b"data"])["last"] == "61234.20"
    assert shown[b"traceparent"].decode() == traceparent(record) == f"00-{'c' * 32}-{record.id[:16]}-01"


def test_a_newer_additive_version_is_read() -> None:
    record = record_of(Heartbeat(service="risk", commits=3))
    fields = fields_of(record)
    fields[5] = b"7"
    fields[17] = b'{"service":"risk","commits":3,"added_later":true}'
    assert decode("signal", b"1-0", fields).body == record.body


def test_an_older_version_is_upcast(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "Heartbeat", {"service": body["name"], "commits": body["steps"]}

    monkeypatch.setitem(upcast.UPCASTS, ("Heartbeat", 0), rename)
    fields = fields_of(record_of(Heartbeat(service="risk")))
    fields[5], fields[17] = b"0", b'{"name":"risk","steps":12}'
    assert decode("signal", b"1-0", fields).body == Heartbeat(service="risk", commits=12)


def test_an_old_version_without_upcast_is_refused() -> None:
    fields = fields_of(record_of(Heartbeat(service="risk")))
    fields[5] = b"0"
    with pytest.raises(TidegateError, match="expected an upcast for Heartbeat version 0"):
        decode("signal", b"1-0", fields)


def test_foreign_entries_and_unknown_types_are_named() -> None:
    with pytest.raises(TidegateError, match="expected the fields id, type"):
        decode("tick", b"1-0", [b"price", b"1"])
    fields = fields_of(record_of(Heartbeat(service="risk")))
    fields[3] = b"Nonsense"
    with pytest.raises(TidegateError, match="expected a known event type in tick 1-0, was Nonsense"):
        decode("tick", b"1-0", fields)


@given(st.integers(0, 2**62), st.integers(0, 2**31), st.text(max_size=8))
def test_ids_differ_when_anything_differs(seq: int, index: int, kind: str) -> None:
    base = event_id((("tick", seq),), "signal", kind, index)
    assert len(base) == 32
    assert base != event_id((("tick", seq + 1),), "signal", kind, index)
    assert base != event_id((("tick", seq),), "order", kind, index)
    assert base != event_id((("tick", seq),), "signal", kind, index + 1)
    assert base == event_id((("tick", seq),), "signal", kind, index)
