"""Merging, gaps and the streams table. What needs a server is in tests/integration."""

from __future__ import annotations

import msgspec
import pytest

from libs.common import bus, streams
from libs.common.codec import FIELDS, entry_text, values
from libs.common.events import EVENTS, Heartbeat, Instant
from libs.common.record import UNREADABLE, GapFound, Record
from libs.common.stepper import Position
from libs.common.wire import pack


def record(stream: str, entry: tuple[int, int], seq: int) -> Record:
    return Record(stream, entry, "a" * 32, seq, 0, (), "a" * 32, Instant(number=seq, window_ms=1))


def raw(records: list[Record]) -> list[tuple[bytes, list[bytes]]]:
    return [
        (entry_text(r.entry).encode(), [p for n, v in zip(FIELDS, values(r), strict=True) for p in (n.encode(), v)])
        for r in records
    ]


def test_streams_are_merged_by_entry_then_by_table_order() -> None:
    found = bus.merge(
        {
            "tick": raw([record("tick", (5, 0), 1)]),
            "clock": raw([record("clock", (5, 0), 1), record("clock", (9, 0), 2)]),
        }
    )
    assert [(r.stream, r.entry) for r in found] == [("clock", (5, 0)), ("tick", (5, 0)), ("clock", (9, 0))]


def test_nothing_is_taken_beyond_the_end_of_a_reply_that_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "READ_COUNT", 2)
    cut = raw([record("clock", (1, 0), 1), record("clock", (3, 0), 2)])
    found = bus.merge({"clock": cut, "tick": raw([record("tick", (2, 0), 1), record("tick", (4, 0), 2)])[:1]})
    assert [r.entry for r in found] == [(1, 0), (2, 0), (3, 0)]
    found = bus.merge({"clock": cut, "tick": raw([record("tick", (4, 0), 1)])})
    assert [r.entry for r in found] == [(1, 0), (3, 0)]


def test_a_command_overtakes_a_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "READ_COUNT", 2)
    behind = raw([record("signal", (1, 0), 1), record("signal", (2, 0), 2)])
    reply = {"signal": behind, "command": raw([record("command", (9, 0), 1)]), "tick": raw([record("tick", (8, 0), 1)])}
    assert [r.stream for r in bus.merge(reply, bus.OVERTAKING)] == ["command", "signal", "signal"]
    log = bus.Log("risk", "unix:///nowhere", "main", lockstep=True)
    read = [(log.keys[name].encode(), entries) for name, entries in reply.items()]
    assert [r.stream for r in log.records(read)] == ["signal", "signal"], "on a tape it comes in its turn"
    log = bus.Log("risk", "unix:///nowhere", "main", lockstep=False)
    assert [r.stream for r in log.records(read)] == ["command", "signal", "signal"]


def test_a_hole_in_seq_stops_before_it() -> None:
    records = [record("clock", (1, 0), 5), record("tick", (2, 0), 1), record("clock", (3, 0), 7)]
    good, hole = bus.gap(records, Position(seen={"clock": 4}))
    assert good == records[:2]
    assert hole == GapFound(stream="clock", expected=6, got=7)
    assert bus.gap(records[:2], Position(seen={"clock": 4})) == (records[:2], None)


@pytest.mark.parametrize(("place", "text"), [
    (0, b"x"), (3, b"NoSuchEvent"), (7, b"seven"), (11, b"[["), (17, b"{}"), (17, b'{"number":1e999,"window_ms":1}'), (1, b"\xff"),
])  # fmt: skip
def test_an_entry_that_cannot_be_read_is_a_hole_and_ends_no_process(place: int, text: bytes) -> None:
    """Poison in a stream: its reader halts there instead of dying at every start."""
    entries = raw([record("clock", (1, 0), 1), record("clock", (2, 0), 2), record("clock", (3, 0), 3)])
    entries[1][1][place] = text
    records, hole = bus.gap(bus.merge({"clock": entries}), Position())
    assert [r.seq for r in records] == [1]
    assert hole == GapFound(stream="clock", expected=2, got=UNREADABLE)
    assert bus.gap(bus.merge({"clock": [(b"1-0", [b"a", b"b"])]}), Position())[1] is not None


def test_every_event_has_one_stream_and_one_writer() -> None:
    named = [kind for stream in streams.STREAMS for kind in stream.events if kind is not Heartbeat]
    assert len(named) == len(set(named))
    assert {kind.__name__ for kind in named} | {"Heartbeat", "Command"} == set(EVENTS)
    for stream in streams.STREAMS:
        assert stream.writer not in stream.readers, f"{stream.name} is read by its own writer"
        assert set(stream.readers) <= set(streams.SERVICES)


def test_keys_keep_one_commit_in_one_slot() -> None:
    assert streams.key("tick", "main") == "{md}:tick"
    assert streams.key("order", "alpha") == "{alpha}:order"
    assert streams.service_key("journal", "risk", "alpha") == "{alpha}:journal:risk"
    for service in streams.SERVICES:
        keys = [streams.key(name, "b") for name in streams.outputs_of(service)] + [
            streams.service_key("cursor", service, "b")
        ]
        assert len({key.partition("}")[0] for key in keys}) == 1


def test_resp_is_packed_as_bytes() -> None:
    assert pack(("XADD", b"k\x00", 7)) == b"*3\r\n$4\r\nXADD\r\n$2\r\nk\x00\r\n$1\r\n7\r\n"


def test_positions_survive_the_log() -> None:
    position = Position(3, (5, 1), {"tick": 4}, {"clock": (5, 0)}, {"clock": 9}, 2)
    assert msgspec.json.decode(msgspec.json.encode(position), type=Position) == position
    copy = position.copy()
    copy.cursors["clock"] = (6, 0)
    assert position.cursors["clock"] == (5, 0)
