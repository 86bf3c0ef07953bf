"""`tidegate demo`: the whole system on a tape, on this machine, from nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli.context import DEFAULT, Context, Ctx, say
from cli.follow import Timeline
from cli.rundir import default_run_dir
from cli.session import Session
from cli.summary import lines
from cli.tapes import Duration, Seed, Speed, Tapes, plan
from libs.common.errors import DivergedError, TidegateError
from libs.common.settings import Settings

Dir = Annotated[Path | None, Parameter(name="--run-dir", help="Where the run is kept; empty or new.")]


def demo(
    *,
    seed: Seed = None,
    speed: Speed = None,
    duration: Duration = None,
    tape: Tapes = None,
    run_dir: Dir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Trade a tape with five services and a simulated exchange; halt, resume, end flat, replay, report.

    Needs nothing: an embedded server, a seeded synthetic market by default. Everything is kept in the run directory.
    """
    overrides, span_ms, base = plan(ctx, seed, speed, duration, tape)
    session = _session(ctx, run_dir, overrides, base)
    _banner(session)
    began_s = time.monotonic()
    with session:
        with Timeline(span_ms) as timeline:
            session.watch(timeline.look)
        restarts = session.restarts()
        session.finish()
    say(f"{time.monotonic() - began_s:.0f} s; replaying every service")
    return _conclude(session.run_dir, restarts)


def _session(ctx: Context, run_dir: Path | None, overrides: dict[str, Any], base: Path) -> Session:
    ctx.settings(overrides, base)  # everything wrong is said before anything is made

    def settings_of(places: dict[str, object]) -> Settings:
        return ctx.settings(overrides | places, base)

    return Session(run_dir or default_run_dir(overrides["run.seed"]), ctx, settings_of)


def _banner(session: Session) -> None:
    run = session.settings.run
    print(f"tidegate {run.name} · PAPER · seed {run.seed} · {', '.join(run.tapes)} · speed {run.speed}")
    print(f"  run directory {session.run_dir}")


def _conclude(run_dir: Path, restarts: Mapping[str, int]) -> int:
    """Replay, report, summary. Returns the exit code; DivergedError says where a replay differed."""
    from cli.rerun import verify_with_progress
    from services.monitor.report import build_report

    flat = _flat(run_dir)
    result = verify_with_progress(run_dir)
    replayed = {"events": result.events, "differences": result.differences}
    report = build_report(run_dir, replay=replayed, flat=flat)
    for line in lines(report, run_dir, restarts):
        print(line)
    if result.differences:
        for example in result.examples:
            say(
                f"  {example.service} {example.stream} {example.seq}\n    recorded {example.recorded}\n    replayed {example.replayed}"
            )
        where = ", ".join(f"{service} {count}" for service, count in result.by_service.items() if count)
        raise DivergedError(f"expected the replay to give the same bytes, {result.differences} events differ ({where})")
    if not flat or flat.get("orders") or flat.get("positions"):
        raise TidegateError(f"expected the exchange to be flat at the end, was {flat or 'not asked'}")
    return 0


def _flat(run_dir: Path) -> dict[str, Any]:
    """The exchange's own last answer, as the driver wrote it down."""
    try:
        found: dict[str, Any] = json.loads((run_dir / "flat.json").read_text())
    except FileNotFoundError:
        return {}
    return found
