"""Bring a service back to where its last commit left it: the snapshot, then the journal, through the same stepper.

Nothing is taken from the output streams (in a tape run they may still be staged): every step since the snapshot is decided
again from its recorded inputs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from libs.common.bus import Log
from libs.common.codec import decode, entry_text
from libs.common.decider import Core
from libs.common.errors import StepError
from libs.common.record import EntryId, GapFound, Record, Started, Timer
from libs.common.stepper import Finish, Input, JournalInput, Local, Position, Stepper
from libs.common.streams import EXECUTION, MARKETDATA

PAGE = 1000


class Saved(msgspec.Struct):
    """A snapshot: where the service stood, and its core's state."""

    position: Position
    core: bytes


class JournalEntry(msgspec.Struct, array_like=True):
    """One commit: what was consumed in which order, whether a gate guarded it, and the instant of an outside batch."""

    inputs: list[JournalInput]
    guarded: bool = False
    instant: int | None = None


def encode_snapshot(stepper: Stepper) -> bytes:
    return msgspec.msgpack.encode(Saved(stepper.position, stepper.core.snapshot()))


def repeat(stepper: Stepper, entry: JournalEntry, inputs: list[Input]) -> list[Record]:
    """Take one journaled step again; returns its outputs."""
    if entry.guarded:
        commit = stepper.together([item for item in inputs if isinstance(item, Record)])
    elif entry.inputs and entry.inputs[-1][-1] == "refused":
        (record,) = inputs
        assert isinstance(record, Record)
        commit = stepper.refuse(record)
    else:
        commit = stepper.step(inputs, entry.instant)
    return commit.outputs


def local_input(item: JournalInput) -> Local | None:
    """The local fact that a journal input spells out; None for stream entries and outside messages."""
    match item:
        case ["timer", int(at)]:
            return Local(Timer(), at)
        case ["started", int(at), bool(fresh)]:
            return Local(Started(fresh=fresh), at)
        case ["gap", int(at), str(stream), int(expected), int(got)]:
            return Local(GapFound(stream=stream, expected=expected, got=got), at)
        case _:
            return None


async def restore(core: Core, log: Log, finish: Finish | None) -> Stepper:
    """The stepper of `core` at the committed position. Raises StepError when the log does not lead there."""
    committed, raw = await log.open()
    stepper = Stepper(core, finish)
    if raw:
        saved = msgspec.msgpack.decode(raw, type=Saved)
        core.restore(saved.core)
        stepper.position = saved.position
    if stepper.position.version == committed.version:
        return stepper
    history = History(log, stepper.position, committed)
    async for entry in history.entries():
        repeat(stepper, entry, [await history.input(item) for item in entry.inputs])
    if msgspec.json.encode(stepper.position) != msgspec.json.encode(committed):
        raise StepError(
            f"expected the journal of {core.service} to lead to version {committed.version}, was {stepper.position.version} "
            "with other figures; the log is damaged or this is another code or configuration: run `tidegate replay --verify`"
        )
    return stepper


class History:
    """The recorded inputs between two positions of one service, read page by page."""

    def __init__(self, log: Log, start: Position, end: Position) -> None:
        self.log = log
        self.end = end
        self._after = f"{start.version}-0"
        self._outside = {MARKETDATA: "raw", EXECUTION: "venue"}.get(log.service, "")
        self._pages: dict[str, dict[EntryId, Record]] = {}
        self._next = {name: entry_text(start.cursors.get(name, (0, 0))) for name in log.inputs}
        self._by_seq: dict[int, Record] = {}
        self._seqs = start.seqs

    async def entries(self) -> AsyncIterator[JournalEntry]:
        while page := await self.log.range(self.log.journal_key, self._after, count=PAGE):
            for entry, fields in page:
                self._after = entry.decode()
                yield msgspec.json.decode(fields[1], type=JournalEntry)

    async def input(self, item: JournalInput) -> Input:
        local = local_input(item)
        if local is not None:
            return local
        if item[0] == self._outside:
            record = await self._outside_record(int(item[1]))
            return Local(record.body, record.at)
        name, entry = str(item[0]), (int(item[1]), int(item[2]))
        page = self._pages.setdefault(name, {})
        while entry not in page:
            more = await self.log.range(self.log.keys[name], self._next[name], count=PAGE)
            if not more:
                raise StepError(
                    f"expected {name} {entry_text(entry)} in the log, was trimmed or lost; restore from the archive"
                )
            self._next[name] = more[-1][0].decode()
            page.update({r.entry: r for r in (decode(name, i, fields) for i, fields in more)})
        return page.pop(entry)

    async def _outside_record(self, seq: int) -> Record:
        if seq not in self._by_seq:
            await self._load_outside(seq)
        return self._by_seq.pop(seq)

    async def _load_outside(self, seq: int) -> None:
        """Read backwards from the end until `seq` is there: outside messages have no cursor of their own."""
        key, until = self.log.outputs[self._outside], "+"
        while seq not in self._by_seq:
            page: list[Any] = await self.log.writer.call("XREVRANGE", key, until, "-", "COUNT", PAGE)
            if not page:
                raise StepError(
                    f"expected {self._outside} seq {seq} in the log, was trimmed or lost; restore from the archive"
                )
            for entry, fields in page:
                record = decode(self._outside, entry, fields)
                if record.seq >= seq:
                    self._by_seq[record.seq] = record
            until = f"({page[-1][0].decode()}"
