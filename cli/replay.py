"""Run the cores again on what was recorded, and compare every byte they write.

Each service is replayed by itself: its journal says what it consumed in which order and in which batches, the archive holds
those inputs. What it decides now must be what it wrote then: ids, order, causes, bodies. Seals and epochs belong to the shell;
they are taken over from the record and verified with the public key instead of compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from cli.cores import core_of
from cli.rundir import config_of
from libs.common import seal
from libs.common.archive import ArchiveReader
from libs.common.codec import decode, entry_text, values
from libs.common.decider import Core
from libs.common.errors import DivergedError, UsageError
from libs.common.events import Event, OrderIntent
from libs.common.record import Record
from libs.common.restore import JournalEntry, local_input, repeat
from libs.common.segments import to_entry
from libs.common.settings import load
from libs.common.stepper import Input, JournalInput, Local, Stepper
from libs.common.streams import EXECUTION, MARKETDATA, SERVICES, inputs_of, outputs_of

EXAMPLES = 5
"""Differences that are spelled out for each service; all are counted."""


class Difference(msgspec.Struct, frozen=True):
    """One event that came out differently. `recorded` or `replayed` is "" when there is none on that side."""

    service: str
    stream: str
    seq: int
    recorded: str
    replayed: str


class ReplayResult(msgspec.Struct):
    """`events` compared, `differences` found, by service too; `not_recorded` names services that cannot be replayed."""

    events: int = 0
    differences: int = 0
    by_service: dict[str, int] = {}
    events_by_service: dict[str, int] = {}
    not_recorded: list[str] = []
    examples: list[Difference] = []


class Recording:
    """One service's side of an archive: its journal, its inputs and its outputs, each read once, forward."""

    def __init__(self, archive: ArchiveReader, service: str) -> None:
        self.archive, self.service = archive, service
        self.outside = {MARKETDATA: "raw", EXECUTION: "venue"}.get(service, "")
        self.inputs = {name: self._records(name) for name in inputs_of(service)}
        self.outside_records = self._records(self.outside) if self.outside else iter(())
        self.outputs = {name: self._records(name) for name in outputs_of(service)}
        self.ahead: dict[str, list[Record]] = {name: [] for name in self.outputs}

    def _records(self, stream: str) -> Iterator[Record]:
        for row in self.archive.rows(stream):
            entry, fields = to_entry(row)
            yield decode(stream, entry, fields)

    def journal(self) -> Iterator[JournalEntry]:
        for row in self.archive.rows(f"journal:{self.service}"):
            yield msgspec.json.decode(row["data"], type=JournalEntry)

    def input(self, item: JournalInput) -> Input:
        """The recorded input that a journal names. Raises DivergedError when the archive does not have it."""
        local = local_input(item)
        if local is not None:
            return local
        name = str(item[0])
        outside = name == self.outside
        record = next(self.outside_records if outside else self.inputs[name], None)
        found = None if record is None else (record.seq,) if outside else record.entry
        if record is None or found != tuple(item[1:3])[: 1 if outside else 2]:
            raise DivergedError(
                f"expected {name} {item[1:]} next in the archive for {self.service}, was {found}; run `tidegate events verify`"
            )
        return Local(record.body, record.at) if outside else record

    def next_output(self, stream: str) -> Record | None:
        ahead = self.ahead[stream]
        return ahead.pop(0) if ahead else next(self.outputs[stream], None)

    def sealed_intent(self, order_link_id: str) -> OrderIntent | None:
        """The approval on record under this id, looked for ahead of what has been compared so far."""
        stream, ahead = "order-intent", self.ahead["order-intent"]
        for record in ahead:
            if isinstance(record.body, OrderIntent) and record.body.order_link_id == order_link_id:
                return record.body
        for record in self.outputs[stream]:
            ahead.append(record)
            if isinstance(record.body, OrderIntent):
                return record.body if record.body.order_link_id == order_link_id else None
        return None


class ServiceReplay:
    """Replays one service and counts what differs."""

    def __init__(self, archive: ArchiveReader, core: Core, seal_keys: dict[str, str]) -> None:
        self.recording = Recording(archive, core.service)
        self.service, self.seal_keys = core.service, seal_keys
        self.stepper = Stepper(core, self._finish)
        self.events = self.differences = 0
        self.examples: list[Difference] = []

    def _finish(self, event: Event) -> Event:
        """Stands where risk's shell seals: take the recorded seal when it is valid for exactly this order."""
        if not isinstance(event, OrderIntent) or self.service != "risk":
            return event
        recorded = self.recording.sealed_intent(event.order_link_id)
        if recorded is None:
            return event
        sealed = msgspec.structs.replace(event, epoch=recorded.epoch, key_id=recorded.key_id, seal=recorded.seal)
        return sealed if seal.verify(self.seal_keys.get(recorded.key_id, ""), sealed) else event

    def run(self, tick: Callable[[int], None] | None) -> None:
        for entry in self.recording.journal():
            inputs = [self.recording.input(item) for item in entry.inputs]
            for output in repeat(self.stepper, entry, inputs):
                self._compare(output)
            if tick is not None:
                tick(self.events)
        for stream in self.recording.outputs:
            while (left := self.recording.next_output(stream)) is not None:
                self._differ(stream, left.seq, _show(left), "")

    def _compare(self, replayed: Record) -> None:
        self.events += 1
        recorded = self.recording.next_output(replayed.stream)
        if recorded is None:
            self._differ(replayed.stream, replayed.seq, "", _show(replayed))
        elif recorded.entry != replayed.entry or values(recorded) != values(replayed):
            self._differ(replayed.stream, replayed.seq, _show(recorded), _show(replayed))

    def _differ(self, stream: str, seq: int, recorded: str, replayed: str) -> None:
        self.differences += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(Difference(self.service, stream, seq, recorded, replayed))


def _show(record: Record) -> str:
    return f"{entry_text(record.entry)} {type(record.body).__name__} {msgspec.json.encode(record.body).decode()}"


def verify(
    run_dir: Path,
    services: tuple[str, ...] = SERVICES,
    progress: Callable[[str, int, int], None] | None = None,
) -> ReplayResult:
    """Replay the services of a run directory. `progress(service, events so far, events in all)` is called now and then.

    Raises UsageError when there is nothing recorded, DivergedError when the archive itself does not fit together.
    """
    archive = ArchiveReader(run_dir)
    config = config_of(run_dir)
    seal_keys = _seal_keys(config)
    result = ReplayResult()
    for service in services:
        if not archive.count(f"journal:{service}"):
            result.not_recorded.append(service)
            continue
        if service == MARKETDATA and not archive.count("raw"):
            result.not_recorded.append(service)
            continue
        total = sum(archive.count(name) for name in outputs_of(service))
        replay = ServiceReplay(archive, core_of(service, config), seal_keys)
        replay.run(_every(1000, service, total, progress))
        result.events += replay.events
        result.differences += replay.differences
        result.by_service[service] = replay.differences
        result.events_by_service[service] = replay.events
        result.examples += replay.examples
    if not result.events:
        raise UsageError(f"expected recorded journals in {run_dir}, was none; name a run directory of `tidegate demo`")
    return result


def _seal_keys(config: Path) -> dict[str, str]:
    from services.execution.config import ExecutionConfig

    return load({"execution": ExecutionConfig}, config, env={}).section("execution", ExecutionConfig).seal_keys


def _every(
    step: int, service: str, total: int, progress: Callable[[str, int, int], None] | None
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    calls = 0

    def tick(events: int) -> None:
        nonlocal calls
        calls += 1
        if calls % step == 0:
            progress(service, events, total)

    return tick
