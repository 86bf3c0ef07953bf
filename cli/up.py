"""`tidegate up`: paper trading by the wall clock, in the foreground, for as long as you like."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli.context import DEFAULT, Context, Ctx, say
from cli.follow import Pulse
from cli.live import LiveSession
from cli.tapes import BASE, Duration, Seed, Tapes, absolute, duration_ms, survey, with_spot
from libs.common.errors import TidegateError, UsageError
from libs.common.settings import Settings

LIVE_BASE = Path(__file__).parent / "up.toml"
CADENCE_MS, SILENCE_MS = 1_000, 15_000
"""The defaults of marketdata.cadence_ms and risk.feed_silence, which a slow tape stretches."""

Dir = Annotated[Path | None, Parameter(name="--run-dir", help="Where the run is kept; empty or new.")]
Speed = Annotated[
    str, Parameter(help="With --tape: how many times faster the market moves; the clock stays the wall clock.")
]
FlattenOnExit = Annotated[
    bool, Parameter(name="--flatten-on-exit", negative="", help="Close everything before leaving.")
]


def up(
    *,
    tape: Tapes = None,
    seed: Seed = None,
    speed: Speed = "1",
    duration: Duration = None,
    flatten_on_exit: FlattenOnExit = False,
    run_dir: Dir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Paper trading until Ctrl-C: Bybit's live public data (no key needed), or a tape, with simulated fills.

    Nobody resumes a halt but you. What is open when you stop stays open at the simulated exchange, unless --flatten-on-exit.
    """
    if tape:
        overrides, span_ms, base = tape_plan(ctx, seed, speed, duration, tape), 0, BASE
        span_ms = overrides.pop("span_ms")
    else:
        overrides, span_ms, base = (
            live_plan(ctx, seed, speed, duration),
            duration_ms(duration) if duration else 0,
            LIVE_BASE,
        )
    session = _session(ctx, run_dir, overrides, base)
    _banner(session)
    with session:
        try:
            with Pulse() as pulse:
                session.follow(pulse.look, span_ms / 1000 if span_ms else None)
        except KeyboardInterrupt:
            say("stopping")
        closed = _flatten(ctx, session) if flatten_on_exit else True
        session.finish()
    _conclude(session.run_dir)
    return 0 if closed else 1


def tape_plan(ctx: Context, seed: int | None, speed: str, duration: str | None, tape: list[str]) -> dict[str, Any]:
    """Settings by dotted key for a tape by the wall clock, and `span_ms`: how long it will take."""
    times = _whole(speed)
    tapes = [absolute(text) for text in tape]
    wished: dict[str, Any] = {"run.mode": "realtime", "run.name": "up", "run.tapes": tapes, "run.speed": str(times)}
    wished |= {"run.resume_after_ms": 0, "run.flatten_at_end": False}
    if seed is not None:
        wished["run.seed"] = seed
    settings = ctx.settings(wished, BASE)
    seed = settings.run.seed
    span_ms, traded, silence_ms, _ = survey(tapes, seed)
    symbols = with_spot(traded, settings)
    played_ms = min(span_ms, duration_ms(duration) if duration else span_ms)
    cadence_ms = silence_ms // times * 2
    if cadence_ms > CADENCE_MS:  # a candle tape has a print every few seconds, however liquid the market was
        wished |= {"marketdata.cadence_ms": cadence_ms, "risk.feed_silence": max(SILENCE_MS, 3 * cadence_ms)}
    # The simulated exchange is on this machine: its silence is the tape's, not a lost subscription.
    wished |= {"marketdata.reconnect_ms": 0, "marketdata.symbols": symbols, "execution.symbols": symbols}
    return wished | {"run.duration_ms": played_ms, "span_ms": played_ms // times}


def live_plan(ctx: Context, seed: int | None, speed: str, duration: str | None) -> dict[str, Any]:
    """Settings by dotted key for the public data of the network in [venue]. Raises UnreachableError when it does not answer."""
    from cli.probe import check_public_side

    if _whole(speed) != 1:
        raise UsageError("--speed: expected --tape with it, was live data, which comes at its own speed")
    wished: dict[str, Any] = {"run.mode": "realtime", "run.name": "up", "run.tapes": []}
    if seed is not None:
        wished["run.seed"] = seed
    if duration is not None:
        wished["run.duration_ms"] = duration_ms(duration)
    settings = ctx.settings(wished, LIVE_BASE)
    symbols = list(settings.values()["marketdata"]["symbols"])
    wished |= public_places(settings) | {"sim.symbols": symbols, "execution.symbols": symbols}
    check_public_side(str(wished["venue.public_rest_url"]), symbols)
    return wished


def public_places(settings: Settings) -> dict[str, Any]:
    """Where the public side is: as set, else the hosts of the network and region. Raises SettingsError for an unknown region."""
    from libs.bybit.hosts import public_hosts

    venue = settings.venue
    hosts = public_hosts(venue.network, venue.region)
    return {
        "venue.public_rest_url": venue.public_rest_url or hosts.rest,
        "venue.public_ws_url": venue.public_ws_url or hosts.stream,
    }


def _whole(speed: str) -> int:
    if not speed.isdigit() or int(speed) < 1:
        raise UsageError(
            f"--speed: expected a whole number of 1 or more, was {speed!r}; `tidegate demo --speed max` plays as fast as it goes"
        )
    return int(speed)


def _session(ctx: Context, run_dir: Path | None, overrides: dict[str, Any], base: Path) -> LiveSession:
    ctx.settings(overrides, base)  # everything wrong is said before anything is made

    def settings_of(places: dict[str, object]) -> Settings:
        return ctx.settings(overrides | places, base)

    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    return LiveSession(run_dir or Path("runs") / f"{stamp}-up", ctx, settings_of)


def _banner(session: LiveSession) -> None:
    settings = session.settings
    run, venue = settings.run, settings.venue
    if run.tapes:
        market = ", ".join(run.tapes)
        if run.speed != "1":
            market += (
                f" · the market moves {run.speed} times faster than it did; candles and limits keep the wall clock"
            )
    else:
        market = f"{', '.join(settings.values()['marketdata']['symbols'])} live from {venue.public_rest_url}"
    print(f"tidegate up · PAPER, simulated fills · {market}")
    print(f"  run directory {session.run_dir}", flush=True)
    say(f"look: tidegate status --config {session.config}   stop: Ctrl-C")


def _flatten(ctx: Context, session: LiveSession) -> bool:
    """Close everything as an operator would; says so and goes on when it does not work."""
    from cli.act import flatten
    from cli.desk import Plain

    try:
        flatten(reason="exit", by=Plain(run_dir=session.run_dir), ctx=ctx)
    except TidegateError as e:
        say(f"not flat: {e}")
        return False
    return True


def _conclude(run_dir: Path) -> None:
    """Report, and where to look next."""
    from cli.summary import money_lines
    from services.monitor.report import build_report

    flat: dict[str, Any] = {}
    if (run_dir / "flat.json").is_file():
        flat = json.loads((run_dir / "flat.json").read_text())
    report = build_report(run_dir, flat=flat or None)
    for line in money_lines(report):
        print(line)
    if flat.get("orders") or flat.get("positions"):
        print(f"  left open at the simulated exchange: {flat['orders']} orders, {flat['positions']} positions")
    elif flat:
        print("  flat by the exchange's own answer")
    print(f"  report: {run_dir / 'report.html'}")
    print(f"Next: tidegate status --run-dir {run_dir} · tidegate replay {run_dir} --verify")
