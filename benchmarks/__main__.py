"""`make bench`: what Tidegate reaches on this machine, beside the limit where there is one. Printed, not judged.

`--write` puts the table into benchmarks/README.md; `--quick` takes a minute and says so; `--only race,waves` picks parts.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- measured: written by python -m benchmarks --write -->", "<!-- end of measured -->"


class Row(msgspec.Struct, frozen=True):
    """A line of the table. `limit` and `ratio` are "" where nothing was measured beside it."""

    what: str
    ours: str
    limit: str = ""
    ratio: str = ""
    goal: str = ""


class Scale(msgspec.Struct, frozen=True):
    rounds: int = 5
    seconds: int = 5
    """Of each lap at a pace."""
    instants: int = 3_000
    burst: int = 50_000
    minutes: int = 20
    """Tape time of demo and backtest."""
    server_events: int = 1_000_000


QUICK = Scale(rounds=1, seconds=2, instants=500, burst=5_000, minutes=2, server_events=50_000)


def race(scale: Scale) -> Iterator[Row]:
    from benchmarks.race import LIMIT, OURS, median, ratio
    from benchmarks.race import race as run

    for rate in (200, 1_000):
        laps = run(scale.rounds, rate, rate * scale.seconds)
        for name, goal in (("p50_us", "≤ 2 x"), ("p99_us", "≤ 3 x")):
            ours, best = median(laps[OURS], name), median(laps[LIMIT], name)
            what = f"tick → order submitted, {rate:,} ticks/s, {name[:3]}"
            yield Row(
                what,
                f"{ours / 1000:.2f} ms",
                f"{best / 1000:.2f} ms",
                f"{ratio(laps, name):.2f} x",
                goal if rate == 1_000 else "",
            )
        for name, who in (("cpu_us", "services"), ("server_us", "server")):
            ours, best = median(laps[OURS], name), median(laps[LIMIT], name)
            yield Row(
                f"CPU of the {who} a tick, {rate:,} ticks/s",
                f"{ours:,.0f} µs",
                f"{best:,.0f} µs",
                f"{ratio(laps, name):.2f} x",
            )
    laps = run(scale.rounds, 0, scale.burst, 50)
    rates = {who: sorted(lap.ticks / lap.seconds for lap in held)[len(held) // 2] for who, held in laps.items()}
    yield Row(
        "ticks/s in a burst, one in fifty trades",
        f"{rates[OURS]:,.0f}",
        f"{rates[LIMIT]:,.0f}",
        f"{rates[LIMIT] / rates[OURS]:.2f} x",
        "≥ 6,000",
    )


def waves(scale: Scale) -> Iterator[Row]:
    from benchmarks.race import LIMIT, OURS, waves_race

    for every, what, goal in ((1, "every tick trades", "≥ 900"), (50, "one in fifty trades", "≥ 2,000")):
        laps = waves_race(scale.rounds, scale.instants, every)
        rates = {who: sorted(lap.ticks / lap.seconds for lap in held)[len(held) // 2] for who, held in laps.items()}
        yield Row(
            f"instants/s in waves, {what}",
            f"{rates[OURS]:,.0f}",
            f"{rates[LIMIT]:,.0f}",
            f"{rates[LIMIT] / rates[OURS]:.2f} x",
            goal,
        )


def kernels(scale: Scale) -> Iterator[Row]:
    from benchmarks import kernels as k

    encode_us, decode_us = k.codec()
    yield Row("codec, a Tick of ten levels with its envelope", f"{encode_us:.1f} µs out, {decode_us:.1f} µs in")
    yield Row("stepper, one input with one output", f"{k.step():.1f} µs")
    runs = [k.decide() for _ in range(scale.rounds)]
    signals, entries, fixed = (list(found) for found in zip(*runs, strict=True))
    yield Row("risk's decision on a signal, every second an exit", k.told(signals), goal="p99 ≤ 100 µs")
    yield Row(
        "risk's decision on an entry that it approves; beside it, fixed work about as long",
        k.told(entries),
        k.told(fixed),
    )
    fast_us, slow_us, worst = k.inference()
    yield Row(
        "inference, forest of 200 trees, 20 features, p50",
        f"{fast_us:.0f} µs (|Δp| {worst:.0e})",
        f"{slow_us:,.0f} µs (scikit-learn)",
        f"{fast_us / slow_us:.3f} x",
        "≤ 100 µs, ≤ 1e-12",
    )


def system(scale: Scale) -> Iterator[Row]:
    from benchmarks import system as s

    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory:
        found = s.demo(Path(directory), scale.minutes)
        yield Row(
            "demo: instants/s, five services, simulator, archive",
            f"{found['instants_s']:,.0f} over {found['instants']:,} instants",
        )
        yield Row(
            "replay with verification: events delivered to cores a CPU second",
            f"{found['replay_s']:,.0f}, {found['differences']} differences",
            goal="≥ 50,000",
        )
        delivered_s, tape_s = s.backtest(Path(directory), scale.minutes)
        yield Row(
            "backtest: events delivered to cores a CPU second",
            f"{delivered_s:,.0f} ({tape_s:,.0f} tape seconds)",
            goal="≥ 100,000",
        )
        memory = ", ".join(f"{name} {mb:.0f}" for name, mb in found["memory_mb"].items())
        yield Row(
            "peak memory in the demo, MB", memory, goal="marketdata, risk, execution ≤ 120, monitor ≤ 250, signal ≤ 350"
        )


def recovery(scale: Scale) -> Iterator[Row]:
    from benchmarks import system as s

    yield Row(
        "kill -9 of risk at 200 ticks/s → next order, start-up included",
        f"{s.recovery_of_service():.2f} s",
        goal="≤ 5 s",
    )
    seconds = s.recovery_of_server(scale.server_events)
    yield Row(
        f"server restart with {scale.server_events:,} events (append-only file) → answers",
        f"{seconds:.2f} s",
        goal="≤ 30 s with 1,000,000",
    )


def simulator(scale: Scale) -> Iterator[Row]:
    from benchmarks import simulator as s

    laps = [(s.orders_a_second(), s.orders_a_second(bare=True)) for _ in range(scale.rounds)]
    ours, best = sorted(laps, key=lambda lap: lap[1].a_second / lap[0].a_second)[len(laps) // 2]
    yield Row(
        "simulator: orders/s created or cancelled over REST, 16 connections; limit: a web server that says OK",
        f"{ours.a_second:,.0f} ({ours.cpu_us:.0f} µs of CPU each)",
        f"{best.a_second:,.0f} ({best.cpu_us:.0f} µs)",
        f"{best.a_second / ours.a_second:.2f} x",
        "≥ 3,000",
    )
    sent = s.messages_a_second()
    yield Row(
        "simulator: WebSocket messages/s out, 100 clients",
        f"{sent.a_second:,.0f} ({sent.cpu_us:.0f} µs of CPU each)",
        goal="≥ 20,000",
    )


def desk(scale: Scale) -> Iterator[Row]:
    from benchmarks import desk as d

    found = d.flood(10_000, scale.seconds)
    yield Row(
        f"flood of {found.a_second:,.0f} signals/s for {scale.seconds} s: decided once, lost, twice; last one decided after",
        f"{found.decided:,}, {found.lost}, {found.doubled}; {found.behind_ms / 1000:.1f} s",
        goal="none lost",
    )
    cancel = f", {found.cancel_ms:.0f} ms" if found.cancel_ms >= 0 else ""
    yield Row(
        "halt asked for in the midst of the flood → gate closed, first cancel at the exchange",
        f"{found.halt_ms:.0f} ms{cancel}",
    )
    kills = [d.kill_switch() for _ in range(scale.rounds)]
    sent = sorted((kill.first_ms, kill.last_ms) for kill in kills if kill.entries)
    if sent:
        first_ms, last_ms = sent[len(sent) // 2]
        entries = sum(kill.entries for kill in kills)
        yield Row(
            f"halt asked for → first and last cancel at the exchange, {entries} entries in {len(sent)} rounds",
            f"{first_ms:.0f} and {last_ms:.0f} ms",
            goal="≤ 50 ms",
        )
    yield Row("entries approved after the halt", str(sum(kill.approved_after for kill in kills)), goal="0")
    flat_ms = sorted(kill.flat_ms for kill in kills)[len(kills) // 2]
    yield Row("halt asked for → flat by the exchange's word", f"{flat_ms / 1000:.2f} s", goal="≤ 5 s")


PARTS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "race": race, "waves": waves, "kernels": kernels, "system": system, "recovery": recovery, "simulator": simulator, "desk": desk,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    given = parser.parse_args()
    chosen = [name for name in given.only.split(",") if name]
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"--only: expected some of {', '.join(PARTS)}, was {', '.join(unknown)}")
    began = time.monotonic()
    print(machine(), flush=True)
    rows = []
    for name in chosen:
        for row in PARTS[name](QUICK if given.quick else Scale()):
            rows.append(row)
            print("  ".join(part for part in msgspec.structs.astuple(row) if part), flush=True)
    command = "python -m benchmarks" + "".join(f" {word}" for word in sys.argv[1:] if word != "--write")
    about = f"{machine()}; {datetime.now(UTC):%Y-%m-%d}, `{command}`, {time.monotonic() - began:.0f} s"
    if given.write:
        README.write_text(written(README.read_text(), rows, about))


def machine() -> str:
    """Cores, CPU, load, Python, server, commit: without these no number means anything."""
    from cli.embedded import find_server, version_of

    server = ".".join(map(str, version_of(find_server()) or ()))
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=README.parent
    )
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {model}, load {load:.1f}, Python {platform.python_version()}, server {server}, commit {git.stdout.strip() or 'none'}"


def written(text: str, rows: list[Row], about: str) -> str:
    """`text` with the table between its marks."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"expected the marks of the table in {README}, was none; put back {BEGIN} and {END}")
    lines = ["| what | ours | limit | ratio | goal |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(msgspec.structs.astuple(row))} |" for row in rows]
    table = "\n".join(lines)
    return f"{head}{BEGIN}\n\n{about}\n\n{table}\n\n{END}{tail}"


if __name__ == "__main__":
    main()
