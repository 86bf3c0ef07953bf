"""What each service consumed and wrote, kept as its journal keeps it, and gone through again by a fresh core (T7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from libs.common.codec import FIELDS as NAMES
from libs.common.codec import decode, entry_text, values
from libs.common.decider import Core
from libs.common.events import Event, OrderIntent
from libs.common.mesh import Mesh
from libs.common.record import EntryId, Record
from libs.common.restore import JournalEntry, local_input, repeat
from libs.common.stepper import Commit, Input, JournalInput, Local, Stepper
from libs.common.streams import EXECUTION, MARKETDATA, RISK

OUTSIDE = {MARKETDATA: "raw", EXECUTION: "venue"}


class Journalled(Mesh):
    """A mesh that remembers every commit which went through: (journal entry, outputs), by service."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.journals: dict[str, list[tuple[JournalEntry, list[Record]]]] = {name: [] for name in self.nodes}

    def _apply(self, service: str, commit: Commit) -> bool:
        applied = super()._apply(service, commit)
        if applied:
            entry = JournalEntry(commit.journal, guarded=bool(commit.scopes))
            self.journals[service].append((entry, commit.outputs))
        return applied


class Replay:
    """One service taken again from the beginning: `make` gives its fresh core, `sealed` stands where risk's shell does."""

    def __init__(
        self, mesh: Journalled, log: Iterable[Record], core: Core, sealed: Callable[[OrderIntent, int], Event]
    ) -> None:
        self.journal, self.service, self.sealed = mesh.journals[core.service], core.service, sealed
        self._log = {(record.stream, record.entry): record for record in log}
        self._outside = {
            record.seq: record
            for _, outputs in self.journal
            for record in outputs
            if record.stream == OUTSIDE.get(self.service)
        }
        self._epochs = {
            record.body.order_link_id: record.body.epoch
            for _, outputs in self.journal
            for record in outputs
            if isinstance(record.body, OrderIntent)
        }
        self.stepper = Stepper(core, self._finish if self.service == RISK else None)

    def _finish(self, event: Event) -> Event:
        return self.sealed(event, self._epochs.get(event.order_link_id, 0)) if isinstance(event, OrderIntent) else event

    def differences(self) -> Iterator[str]:
        """Every event that came out differently, and the state when it is not the one that the service had."""
        for entry, recorded in self.journal:
            replayed = repeat(self.stepper, entry, [self._input(item) for item in entry.inputs])
            if [encoded(record) for record in replayed] != [encoded(record) for record in recorded]:
                yield f"{self.service} {entry.inputs[-1]}: was {recorded}, replayed {replayed}"

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
