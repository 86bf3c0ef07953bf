"""Where a listing reads from: the live bus, or the archive of a run. Both give records by bare stream name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

from cli.bus import LiveBus, live_bus
from cli.context import Context
from cli.rundir import config_of
from libs.common.archive import ArchiveReader
from libs.common.codec import decode, entry_of
from libs.common.errors import UnreachableError, UsageError
from libs.common.record import EntryId, Record
from libs.common.streams import BY_NAME

_PAGE = 1000


class Source(Protocol):
    def lengths(self) -> dict[str, int]:
        """Number of events by bare stream name, empty streams left out."""
        ...

    def read(self, stream: str, after: str = "-") -> Iterator[Record]:
        """Records in order; `after`: an entry id, exclusive."""
        ...

    def newest(self, stream: str) -> Iterator[Record]:
        """Records, the newest first."""
        ...

    def at(self, stream: str, seq: int, before: EntryId) -> Record | None:
        """The record with this `seq`, which was written before the entry `before`."""
        ...


class Archive:
    """The archive of a run directory as a Source."""

    def __init__(self, run_dir: Path) -> None:
        events = run_dir / "events"
        if not events.is_dir():
            raise UsageError(f"expected a run directory with events in it, was {run_dir}; name one under runs/")
        self._reader = ArchiveReader(events)

    def lengths(self) -> dict[str, int]:
        return {name: self._reader.count(name) for name in self._reader.streams() if name in BY_NAME}

    def read(self, stream: str, after: str = "-") -> Iterator[Record]:
        start = (0, 0) if after == "-" else entry_of(after.encode())
        for record in self._from(stream, 0):
            if record.entry > start:
                yield record

    def newest(self, stream: str) -> Iterator[Record]:
        end = self._reader.count(stream)
        while end > 0:
            start = max(0, end - _PAGE)
            yield from reversed(list(islice(self._from(stream, start), end - start)))
            end = start

    def at(self, stream: str, seq: int, before: EntryId) -> Record | None:
        return next((record for record in self._from(stream, seq - 1) if record.seq == seq), None)

    def _from(self, stream: str, row: int) -> Iterator[Record]:
        for entry, fields in self._reader.entries(stream, after=row or None):
            yield decode(stream, entry, fields)


@contextmanager
def open_source(ctx: Context, run_dir: Path | None) -> Iterator[Source]:
    """The archive of `run_dir`, its bus while the run still runs, or the bus of the settings."""
    if run_dir is None:
        with live_bus(ctx.settings()) as bus:
            yield bus
        return
    live = _running(ctx, run_dir)
    if live is None:
        yield Archive(run_dir)
        return
    with live:
        yield live


def _running(ctx: Context, run_dir: Path) -> LiveBus | None:
    """The bus of a run that has processes; None for a finished one (or one that was killed)."""
    if not run_dir.is_dir():
        raise UsageError(f"expected a run directory at {run_dir}, was nothing there; name one under runs/")
    if not any((run_dir / "pids").glob("*.pid")):
        return None
    try:
        return live_bus(Context(config_of(run_dir), ctx.bus, ctx.debug).settings())
    except UnreachableError:
        return None
