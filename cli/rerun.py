"""`tidegate replay`: run the cores again on a recorded run; compare, show, or ask what if."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cli.context import RunDir, say
from cli.output import decimal_text, event_row, print_json, print_json_line, utc
from libs.common.errors import DivergedError, UsageError
from libs.common.streams import SERVICES

if TYPE_CHECKING:
    from cli.replay import Progress, ReplayResult, Window
    from cli.whatif import Comparison, Simulation, WhatIf

_QUIET = ("raw", "clock", "venue", "tick", "reference", "bar", "portfolio")
"""Not shown by a plain replay: they say little and come often."""
_MOST_CHANGES = 20
_NS = 1_000_000_000

Time = Annotated[str | None, Parameter(help="Time of the run: 2024-01-01T06:10, 06:10:30 (its first day), or ns.")]


def replay(
    run: Annotated[Path | None, Parameter(name="RUN_DIR", help="Run directory (or --run-dir).")] = None,
    *,
    verify: Annotated[bool, Parameter(negative="", help="Compare every output byte with what was recorded.")] = False,
    changes: Annotated[
        list[str] | None,
        Parameter(
            name="--set",
            consume_multiple=True,
            negative="",
            help="KEY=VALUE: what would have differed, e.g. risk.max_drawdown=0.05.",
        ),
    ] = None,
    service: Annotated[
        list[Literal["marketdata", "signal", "risk", "execution", "monitor"]] | None,
        Parameter(consume_multiple=True, negative="", help="These services only."),
    ] = None,
    start: Annotated[Time, Parameter(name="--from")] = None,
    end: Annotated[Time, Parameter(name="--to")] = None,
    simulate: Annotated[
        bool, Parameter(help="With --set: play the run's tape again too, for the effect on money.")
    ] = True,
    run_dir: RunDir = None,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"], help="How to print.")] = "table",
) -> int:
    """Run the pure cores again on what a run recorded and show what they write; with --verify compare it, exit code 4 when
    anything differs; with --set say what other settings would have changed.
    """
    directory = run or run_dir
    if directory is None:
        raise UsageError("expected a run directory, was none; try tidegate replay runs/... --verify")
    if verify and changes:
        raise UsageError("expected --verify or --set, was both: other settings give other bytes")
    services = tuple(name for name in SERVICES if not service or name in service)
    window = _window(directory, start, end)
    if changes:
        return _what_if(directory, _pairs(changes), services, window, simulate=simulate, output=output)
    if verify:
        return _verify(directory, services, window, output)
    return _show(directory, services, window, output)


# --- what part -----------------------------------------------------------------------------------------------------


def _window(run_dir: Path, start: str | None, end: str | None) -> Window:
    from cli.replay import WHOLE, Window

    if start is None and end is None:
        return WHOLE
    day = _first_day(run_dir)
    window = Window(_at(start, day) if start else WHOLE.start, _at(end, day) if end else WHOLE.end)
    if window.start >= window.end:
        raise UsageError(f"expected --from before --to, was {start} and {end}")
    return window


def _first_day(run_dir: Path) -> str:
    from libs.common.archive import ArchiveReader

    reader = ArchiveReader(run_dir)
    ats = (row["at"] for name in ("clock", "tick", "halt") for row in reader.rows(name, columns=("at",)))
    return utc(next(ats, 0))[:10]


def _at(text: str, day: str) -> int:
    """ns since 1970. Raises UsageError."""
    if text.isdigit():
        return int(text)
    whole = text if "T" in text or " " in text else f"{day}T{text}"
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        raise UsageError(f"expected a time like 2024-01-01T06:10, 06:10:30 or ns, was {text!r}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * _NS + moment.microsecond * 1000


def _pairs(changes: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in changes]
    wrong = [text for text, (key, equals, _) in zip(changes, pairs, strict=True) if not equals or "." not in key]
    if wrong:
        raise UsageError(f"--set: expected section.key=value, was {', '.join(wrong)}")
    return {key: value for key, _, value in pairs}


# --- show and verify ---------------------------------------------------------------------------------------------------


def _show(run_dir: Path, services: tuple[str, ...], window: Window, output: str) -> int:
    from cli.cores import core_of
    from cli.replay import ServiceReplay, is_recorded, seal_keys
    from cli.rundir import config_of
    from cli.words import words
    from libs.common.archive import ArchiveReader

    archive, config = ArchiveReader(run_dir), config_of(run_dir)
    for service in services:
        if not is_recorded(archive, service):
            say(f"{service}: not recorded")
            continue
        for outputs in ServiceReplay(archive, core_of(service, config), seal_keys(config), window).steps():
            for record in outputs:
                if record.at < window.start or record.stream in _QUIET:
                    continue
                if output == "json":
                    print_json_line(event_row(record))
                else:
                    print(f"{utc(record.at)}  {service:<10} {type(record.body).__name__:<17} {words(record)}")
    return 0


def _verify(run_dir: Path, services: tuple[str, ...], window: Window, output: str) -> int:
    result = verify_with_progress(run_dir, services, window)
    if output == "json":
        names = ("events", "delivered", "differences", "by_service", "not_recorded")
        print_json({name: getattr(result, name) for name in names})
    else:
        for service in services:
            count = result.by_service.get(service, 0)
            print(f"{service:<11} {'not recorded' if service in result.not_recorded else f'{count} differences'}")
        print(f"{result.events:,} events re-run: {result.differences} differences")
    if result.differences:
        for example in result.examples:
            say(
                f"{example.service} {example.stream} {example.seq}\n  recorded {example.recorded}\n  replayed {example.replayed}"
            )
        raise DivergedError(f"expected the replay to give the same bytes, {result.differences} events differ")
    return 0


def verify_with_progress(
    run_dir: Path, services: tuple[str, ...] = SERVICES, window: Window | None = None
) -> ReplayResult:
    """Replay every service of a run and compare; a bar with the time left on a terminal."""
    from cli.replay import WHOLE, verify

    with _bar("replay") as progress:
        return verify(run_dir, services, progress, window or WHOLE)


@contextmanager
def _bar(what: str) -> Iterator[Progress | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def move(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(f"{what} {name}", total=None)
            bar.update(tasks[name], completed=done, total=total)

        yield move


# --- what if -----------------------------------------------------------------------------------------------------------


def _what_if(
    run_dir: Path, changes: dict[str, str], services: tuple[str, ...], window: Window, *, simulate: bool, output: str
) -> int:
    from cli.whatif import what_if

    with _bar("play") as progress:
        result = what_if(run_dir, changes, services, window, progress, simulate=simulate)
    if output == "json":
        document: Any = {"settings": result.settings, "on_record": result.on_record, "simulation": result.simulation}
        document["not_simulated"] = result.not_simulated
        document["pnl"] = result.simulation.pnl if result.simulation and result.simulation.repeats else None
        print_json(document)
    else:
        _print_what_if(result, print)
    return 0


def _print_what_if(result: WhatIf, line: Callable[[str], None]) -> None:
    changed = ", ".join(f"{key} = {new} (was {old})" for key, (old, new) in result.settings.items())
    line(f"What if {changed}")
    for service, comparison in result.on_record.items():
        line(
            f"\n{service}, on exactly what it consumed (after the first difference the market and the fills stay as recorded)"
        )
        _print_comparison(comparison, line)
    if result.simulation is None:
        line(f"\nno effect on money can be told: {result.not_simulated}")
        return
    line("\nthe same tape and seed through all cores and the exchange again (fills follow the orders)")
    _print_comparison(result.simulation.comparison, line)
    _print_money(result.simulation, line)


def _print_comparison(comparison: Comparison, line: Callable[[str], None]) -> None:
    if not comparison.changes:
        line("  nothing would differ")
        return
    line(f"  first difference {utc(comparison.first_at)}")
    line("  " + " · ".join(f"{kind} {before} → {after}" for kind, (before, after) in comparison.counts.items()))
    for change in comparison.changes[:_MOST_CHANGES]:
        was = f"   was: {change.was}" if change.was else ""
        line(f"  {utc(change.at)}  {change.how:<5} {change.kind:<12} {change.what}{was}")
    if len(comparison.changes) > _MOST_CHANGES:
        line(f"  and {len(comparison.changes) - _MOST_CHANGES} more; -o json has all of them")


def _print_money(simulation: Simulation, line: Callable[[str], None]) -> None:
    from decimal import Decimal

    before, after = simulation.before, simulation.after
    if not simulation.repeats:
        line(
            f"  unchanged, it made {simulation.repeated_orders} of the {simulation.recorded_orders} recorded orders (somebody gave commands, or the code is "
            "another): its profit and loss would not be that of this run, so it is not told"
        )
        return
    pnl = Decimal(simulation.pnl)
    line(
        f"  equity at the end {decimal_text(Decimal(before.equity))} → {decimal_text(Decimal(after.equity))} ({pnl:+,.2f})"
    )
    line(
        f"  orders {before.orders} → {after.orders} · fills {before.fills} → {after.fills} · fees {before.fees} → {after.fees}"
    )
    line(f"  halts {', '.join(before.halts) or 'none'} → {', '.join(after.halts) or 'none'}")
