"""What each service consumed and wrote, kept as its journal keeps it, and gone through again by a fresh core (T7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from libs.common.bus import gap
from libs.common.codec import FIELDS as NAMES
from libs.common.codec import decode, entry_text, values
from libs.common.decider import Core
from libs.common.events import Event, OrderIntent
from libs.common.mesh import Mesh
from libs.common.outside import OutsideMessage, recorded
from libs.common.record import EntryId, Record, Started
from libs.common.restore import JournalEntry, Saved, encode_snapshot, local_input, repeat
from libs.common.stepper import Commit, Input, JournalInput, Local, Stepper
from libs.common.streams import EXECUTION, LOCKSTEP_SERVICES, MARKETDATA, RISK, inputs_of

OUTSIDE = {MARKETDATA: "raw", EXECUTION: "venue"}


class Kept(msgspec.Struct, frozen=True):
    """A snapshot of one service: how many commits it had made, and what the runtime keeps of them."""

    commits: int
    saved: bytes


class Journalled(Mesh):
    """A mesh that remembers every commit which went through: (journal entry, outputs), by service.

    And one whose streams can have holes: a service that meets one learns what it did not read, and commits nothing more.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.journals: dict[str, list[tuple[JournalEntry, list[Record]]]] = {name: [] for name in self.nodes}
        self.losing: dict[str, str] = {}
        """Services that will not get the next record of a stream."""
        self.holes: dict[str, str] = {}
        """Streams in which a service misses a record, before it has met the hole."""
        self.stuck: set[str] = set()

    def kept(self, service: str) -> Kept:
        return Kept(len(self.journals[service]), encode_snapshot(self.nodes[service].stepper))

    def _apply(self, service: str, commit: Commit) -> bool:
        applied = super()._apply(service, commit)
        if applied:
            entry = JournalEntry(commit.journal, guarded=bool(commit.scopes))
            self.journals[service].append((entry, commit.outputs))
        return applied

    def _work(self, service: str, inputs: list[Input]) -> None:
        if service in self.stuck:
            return
        if service in self.losing:
            inputs = self._without_one(service, inputs)
        if service in self.holes and self._meets_hole(service, inputs):
            return
        super()._work(service, inputs)

    def _without_one(self, service: str, inputs: list[Input]) -> list[Input]:
        lost = next((i for i in inputs if isinstance(i, Record) and i.stream == self.losing[service]), None)
        if lost is None:
            return inputs
        self.holes[service] = self.losing.pop(service)
        return [item for item in inputs if item is not lost]

    def _meets_hole(self, service: str, inputs: list[Input]) -> bool:
        """As the runtime does it: up to the hole, then the news of it, then nothing."""
        after = [item for item in inputs if isinstance(item, Record) and item.stream == self.holes[service]]
        _, hole = gap(after, self.nodes[service].stepper.position)
        if hole is None:
            return False
        at = inputs.index(after[0])
        super()._work(service, inputs[:at])
        super()._work(service, [Local(hole, after[0].at)])
        self.stuck.add(service)
        return True

    def take_up(self, service: str, log: Iterable[Record]) -> None:
        """The stream is whole again and the process was restarted: it reads on from its own cursors."""
        self.stuck.discard(service)
        self.holes.pop(service, None)
        node, inputs = self.nodes[service], inputs_of(service)
        cursors = node.stepper.position.cursors
        node.inbox = [
            record for record in log if record.stream in inputs and record.entry > cursors.get(record.stream, (0, 0))
        ]

    def fall_back(self, kept: dict[str, Kept], gate: dict[str, str]) -> None:
        """What was written after these snapshots never was."""
        self.gate, self._staged = dict(gate), []
        for service, node in self.nodes.items():
            del self.journals[service][kept[service].commits :]
            node.inbox, node.sent = [], set()

    def restart(self, at: int) -> None:
        """Every process starts again, as outside of a tape: calls under way are lost, and all look at the world anew."""
        for service in LOCKSTEP_SERVICES:
            node = self.nodes[service]
            pending = [request.number for request in node.stepper.core.requests()]
            node.sent.update(pending)
            lost = [Local(recorded(OutsideMessage(channel="lost", request=n), service, at), at) for n in pending]
            self._work(service, [*lost, Local(Started(fresh=False), at)])
        self._settle()


class Replay:
    """One service taken again, from the beginning or from a snapshot: `core` is a fresh one, `sealed` stands where risk's shell does."""

    def __init__(
        self,
        mesh: Journalled,
        log: Iterable[Record],
        core: Core,
        sealed: Callable[[OrderIntent, int], Event],
        kept: Kept | None = None,
    ) -> None:
        self.service, self.sealed = core.service, sealed
        self.journal = mesh.journals[core.service][kept.commits if kept else 0 :]
        self._log = {(record.stream, record.entry): record for record in log}
        written = [record for _, outputs in self.journal for record in outputs]
        self._outside = {record.seq: record for record in written if record.stream == OUTSIDE.get(self.service)}
        self._epochs = {r.body.order_link_id: r.body.epoch for r in written if isinstance(r.body, OrderIntent)}
        self.stepper = Stepper(core, self._finish if self.service == RISK else None)
        if kept is not None:
            saved = msgspec.msgpack.decode(kept.saved, type=Saved)
            core.restore(saved.core)
            self.stepper.position = saved.position

    def _finish(self, event: Event) -> Event:
        return self.sealed(event, self._epochs.get(event.order_link_id, 0)) if isinstance(event, OrderIntent) else event

    def differences(self) -> Iterator[str]:
        """Every event that came out differently, and the state when it is not the one that the service had."""
        for entry, written in self.journal:
            replayed = repeat(self.stepper, entry, [self._input(item) for item in entry.inputs])
            if [encoded(record) for record in replayed] != [encoded(record) for record in written]:
                yield f"{self.service} {entry.inputs[-1]}: was {written}, replayed {replayed}"

    def _input(self, item: JournalInput) -> Input:
        local = local_input(item)
        if local is not None:
            return local
        if item[0] == OUTSIDE.get(self.service):
            record = self._outside[int(item[1])]
            return Local(record.body, record.at)
        entry: EntryId = (int(item[1]), int(item[2]))
        return as_read(self._log[str(item[0]), entry])


def encoded(record: Record) -> tuple[bytes, ...]:
    return (record.stream.encode(), entry_text(record.entry).encode(), *values(record))


def as_read(record: Record) -> Record:
    """The record as a reader has it who finds it in the log."""
    fields = [part for name, value in zip(NAMES, values(record), strict=True) for part in (name.encode(), value)]
    return decode(record.stream, entry_text(record.entry).encode(), fields)
