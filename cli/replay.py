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
from cli.recording import AT, SEQ, OutputRow, Recording, body_of, row_of, show
from cli.rundir import config_of
from libs.common import seal
from libs.common.archive import ArchiveReader
from libs.common.decider import Core
from libs.common.errors import UsageError
from libs.common.events import Event, Heartbeat, OrderIntent
from libs.common.record import Record
from libs.common.restore import repeat
from libs.common.settings import load
from libs.common.stepper import Stepper
from libs.common.streams import MARKETDATA, SERVICES, outputs_of

EXAMPLES = 5
"""Differences that are spelled out for each service; all are counted."""

Progress = Callable[[str, int, int], None]
"""(service, events so far, events in all)."""


class Window(msgspec.Struct, frozen=True):
    """Part of a run, by the time (`at`, ns) of events: [start, end). A replay always begins at the beginning; only what lies in
    the window is compared or shown, and nothing after it is run."""

    start: int = 0
    end: int = 2**63 - 1


WHOLE = Window()


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
    delivered: int = 0
    """Events that cores evolved: inputs and what came of them."""


class ServiceReplay:
    """Replays one service and counts what differs."""

    def __init__(self, archive: ArchiveReader, core: Core, seal_keys: dict[str, str], window: Window = WHOLE) -> None:
        self.recording = Recording(archive, core.service)
        self.service, self.seal_keys, self.window = core.service, seal_keys, window
        self.stepper = Stepper(core, self._finish)
        self._beats = self.recording.rows(f"health:{core.service}")
        self.events = self.differences = self.delivered = 0
        self.examples: list[Difference] = []

    def _finish(self, event: Event) -> Event:
        """Stands where the shell adds what a core does not know: the recorded seal when it is valid for exactly this order,
        and the code and settings that a heartbeat was written under."""
        if isinstance(event, Heartbeat):
            beat = body_of(row) if (row := next(self._beats, None)) is not None else None
            return (
                msgspec.structs.replace(event, code=beat.code, config=beat.config)
                if isinstance(beat, Heartbeat)
                else event
            )
        if not isinstance(event, OrderIntent):
            return event
        recorded = self.recording.sealed_intent(event.order_link_id)
        if recorded is None:
            return event
        shell = {name: getattr(recorded, name) for name in ("book", "epoch", "key_id", "seal")}
        sealed = msgspec.structs.replace(event, **shell)
        return sealed if seal.verify(self.seal_keys.get(recorded.key_id, ""), sealed) else event

    def steps(self) -> Iterator[list[Record]]:
        """Run step after step up to the window's end; yields what each one writes."""
        recording, end = self.recording, self.window.end
        for entry in recording.journal():
            inputs = recording.inputs(entry.inputs)
            if inputs and inputs[0].at >= end:
                return
            outputs = repeat(self.stepper, entry, inputs)
            self.delivered += len(inputs) + len(outputs)
            yield outputs

    def run(self, tick: Callable[[int], None] | None) -> None:
        for outputs in self.steps():
            for output in outputs:
                self._compare(output)
            if tick is not None:
                tick(self.events)
        if self.window.end == WHOLE.end:
            for stream in self.recording.outputs:
                while (left := self.recording.next_output(stream)) is not None:
                    self._differ(stream, left[SEQ], left, None)

    def _compare(self, output: Record) -> None:
        recorded = self.recording.next_output(output.stream)
        if output.at < self.window.start:
            return
        self.events += 1
        replayed = row_of(output)
        if recorded != replayed:
            self._differ(output.stream, output.seq, recorded, replayed)

    def _differ(self, stream: str, seq: int, recorded: OutputRow | None, replayed: OutputRow | None) -> None:
        if recorded is not None and recorded[AT] < self.window.start:
            return
        self.differences += 1
        if len(self.examples) < EXAMPLES:
            texts = ("" if row is None else show(row) for row in (recorded, replayed))
            self.examples.append(Difference(self.service, stream, seq, *texts))


def verify(
    run_dir: Path,
    services: tuple[str, ...] = SERVICES,
    progress: Progress | None = None,
    window: Window = WHOLE,
) -> ReplayResult:
    """Replay the services of a run directory and compare. `progress` is called now and then.

    Raises UsageError when there is nothing recorded, DivergedError when the archive itself does not fit together.
    """
    archive = ArchiveReader(run_dir)
    config = config_of(run_dir)
    keys = seal_keys(config)
    result = ReplayResult()
    for service in services:
        if not is_recorded(archive, service):
            result.not_recorded.append(service)
            continue
        total = sum(archive.count(name) for name in outputs_of(service))
        replay = ServiceReplay(archive, core_of(service, config), keys, window)
        replay.run(_every(1000, service, total, progress))
        result.events += replay.events
        result.delivered += replay.delivered
        result.differences += replay.differences
        result.by_service[service] = replay.differences
        result.events_by_service[service] = replay.events
        result.examples += replay.examples
    if not result.delivered:
        raise UsageError(f"expected recorded journals in {run_dir}, was none; name a run directory of `tidegate demo`")
    return result


def is_recorded(archive: ArchiveReader, service: str) -> bool:
    """Whether a service can be replayed: its journal is there and, for marketdata, what it received."""
    return bool(archive.count(f"journal:{service}") and (service != MARKETDATA or archive.count("raw")))


def seal_keys(config: Path) -> dict[str, str]:
    """Public seal keys of a run, by key id."""
    from services.execution.config import ExecutionConfig

    return load({"execution": ExecutionConfig}, config, env={}).section("execution", ExecutionConfig).seal_keys


def _every(step: int, service: str, total: int, progress: Progress | None) -> Callable[[int], None] | None:
    if progress is None:
        return None
    calls = 0

    def tick(events: int) -> None:
        nonlocal calls
        calls += 1
        if calls % step == 0:
            progress(service, events, total)

    return tick
