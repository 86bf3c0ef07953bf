"""What a tape run shows while it plays: one live line on a terminal, and a line for every halt and resume anywhere."""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING

from cli.bus import LiveBus
from cli.output import decimal_text, utc
from libs.common.events import Halted, Instant, ModeChanged, PortfolioMarked, Resumed
from libs.common.record import Record

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

NS_PER_MS = 1_000_000


class Timeline:
    """`look(bus)` brings both up to date; a context manager that restores the terminal."""

    def __init__(self, span_ms: int) -> None:
        """`span_ms`: tape time that will be played."""
        self._span_ns = span_ms * NS_PER_MS
        self._after = "-"
        self._first_at = 0
        self._began_s = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Timeline:  # noqa: PYI034 - not meant to be subclassed
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("starting", total=None)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def look(self, bus: LiveBus) -> None:
        """Print the halts and resumes since the last look; move the live line."""
        for record in bus.read("halt", self._after):
            self._after = f"{record.entry[0]}-{record.entry[1]}"
            text = headline(record)
            if text:
                self._print(f"  {utc(record.at)}  {text}")
        if self._progress is not None:
            self._move(bus)

    def _print(self, text: str) -> None:
        if self._progress is not None:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def _move(self, bus: LiveBus) -> None:
        assert self._progress is not None
        assert self._task is not None
        newest = next(bus.newest("clock"), None)
        if newest is None or not isinstance(newest.body, Instant):
            return
        number, window_ns = newest.body.number, newest.body.window_ms * NS_PER_MS
        self._first_at = self._first_at or newest.at - number * window_ns
        rate = number / max(time.monotonic() - self._began_s, 0.001)
        mark = next((r.body for r in bus.newest("portfolio") if isinstance(r.body, PortfolioMarked)), None)
        money = f" · equity {mark.equity:,.2f} · {mark.mode}" if mark else ""
        self._progress.update(
            self._task,
            description=f"{utc(newest.at)[:16]} · {rate:,.0f} instants/s{money}",
            completed=newest.at - self._first_at,
            total=self._span_ns,
        )


class Pulse(Timeline):
    """The same for a realtime run: since when it runs, how fresh the market is, and the money."""

    def __init__(self) -> None:
        super().__init__(0)

    def _move(self, bus: LiveBus) -> None:
        assert self._progress is not None
        assert self._task is not None
        elapsed_s = int(time.monotonic() - self._began_s)
        up = f"{elapsed_s // 3600}:{elapsed_s // 60 % 60:02d}:{elapsed_s % 60:02d}"
        ticks = next(bus.newest("tick"), None)
        age = "no market yet" if ticks is None else f"market {max(0, time.time_ns() - ticks.at) / 1e9:.1f} s ago"
        mark = next((r.body for r in bus.newest("portfolio") if isinstance(r.body, PortfolioMarked)), None)
        money = f" · equity {mark.equity:,.2f} · {mark.mode}" if mark else ""
        self._progress.update(self._task, description=f"up {up} · {age}{money} · Ctrl-C stops")


def headline(record: Record) -> str:
    """One line about a halt, a change of mode or a resume; empty for anything else."""
    match record.body:
        case Halted(reason=reason, scope=scope, mode=mode, measured=measured, limit=limit, detail=detail):
            figures = f" {short(measured)} of {short(limit)}" if limit else ""  # what has no limit is no measure
            return f"{mode} {scope}: {reason}{figures}{f' ({detail})' if detail else ''}  {record.id[:12]}"
        case Resumed(scope=scope, operator=operator, halt_id=halt_id):
            return f"resumed {scope} by {operator}, halt {halt_id[:12]}"
        case ModeChanged(scope=scope, old=old, new=new, reason=reason, cleared=cleared):
            cause = f"{reason} is over" if cleared else reason
            return f"{scope}: still {new} ({cause})" if old is new else f"{scope}: {old} → {new} ({cause})"
    return ""


def short(value: Decimal) -> str:
    """At most four places."""
    return decimal_text(round(value, 4))
