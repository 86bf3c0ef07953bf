"""The bus of one service in memory: the same entries, journal and snapshot as on Redis, so that the real `restore` reads it.

What a snapshot makes superfluous is dropped, so a run of any length takes the same memory.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

import msgspec

from libs.common import streams
from libs.common.codec import entry_of, entry_text, values
from libs.common.record import EntryId, Record
from libs.common.restore import JournalEntry
from libs.common.stepper import Commit, Position

FIELDS = (b"id", b"type", b"v", b"seq", b"at", b"cause", b"correlation", b"traceparent", b"data")


class MemoryStream:
    """Entries in order of their ids."""

    def __init__(self) -> None:
        self.ids: list[EntryId] = []
        self.entries: list[tuple[bytes, list[bytes]]] = []

    def add(self, entry: EntryId, fields: list[bytes]) -> None:
        self.ids.append(entry)
        self.entries.append((entry_text(entry).encode(), fields))

    def after(self, entry: EntryId, count: int) -> list[tuple[bytes, list[bytes]]]:
        start = bisect_right(self.ids, entry)
        return self.entries[start : start + count]

    def before(self, entry: EntryId | None, count: int) -> list[tuple[bytes, list[bytes]]]:
        end = len(self.ids) if entry is None else bisect_left(self.ids, entry)
        return self.entries[max(0, end - count) : end][::-1]

    def trim(self, last_needless: EntryId) -> None:
        cut = bisect_right(self.ids, last_needless)
        del self.ids[:cut]
        del self.entries[:cut]


class _Reader:
    """The one command `restore` sends by itself."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def call(self, command: str, key: str, until: str, *_: Any) -> list[tuple[bytes, list[bytes]]]:
        assert command == "XREVRANGE"
        entry = None if until == "+" else entry_of(until.removeprefix("(").encode())
        return self._log.stream(key).before(entry, 1000)


class MemoryLog:
    """As libs/common/bus.Log, as far as one writer at a time needs it."""

    def __init__(self, service: str) -> None:
        self.service, self.book = service, "main"
        self.inputs = streams.inputs_of(service)
        self.keys = {name: streams.key(name, self.book) for name in self.inputs}
        self.outputs = {name: streams.key(name, self.book) for name in streams.outputs_of(service)}
        self.journal_key = streams.service_key("journal", service, self.book)
        self.writer = _Reader(self)
        self.position, self.snapshot = b"", b""
        self.snapshots = 0
        self._streams: dict[str, MemoryStream] = {}

    def stream(self, key: str) -> MemoryStream:
        return self._streams.setdefault(key, MemoryStream())

    def write(self, record: Record) -> None:
        """What another service wrote."""
        self._put(self.keys[record.stream], record)

    def commit(self, commit: Commit, position: Position, guarded: bool, snapshot: bytes) -> None:
        """One step, whole."""
        journal = msgspec.json.encode(JournalEntry(commit.journal, guarded, None))
        self.stream(self.journal_key).add((position.version, 0), [b"data", journal])
        for record in commit.outputs:
            if record.stream == "venue":  # the only output of its own that a restart reads
                self._put(self.outputs["venue"], record)
        self.position = msgspec.json.encode(position)
        if snapshot:
            self.snapshot = snapshot
            self.snapshots += 1
            self._forget(position)

    def _put(self, key: str, record: Record) -> None:
        fields = [part for pair in zip(FIELDS, values(record), strict=True) for part in pair]
        self.stream(key).add(record.entry, fields)

    def _forget(self, position: Position) -> None:
        self.stream(self.journal_key).trim((position.version, 0))
        self.stream(self.outputs["venue"]).trim(position.clock)
        for name, cursor in position.cursors.items():
            if name in self.keys:
                self.stream(self.keys[name]).trim(cursor)

    # --- what `restore` asks for --------------------------------------------------------------------------------------

    async def open(self) -> tuple[Position, bytes]:
        position = msgspec.json.decode(self.position, type=Position) if self.position else Position()
        return position, self.snapshot

    async def range(self, key: str, after: str, until: str = "+", count: int = 1000) -> list[tuple[bytes, list[bytes]]]:
        return self.stream(key).after(entry_of(after.encode()), count)
