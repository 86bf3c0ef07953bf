"""Runs the limit and us in turns on a server of their own: latency at a pace, ticks/s in a burst, instants/s in waves."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from benchmarks.limit import ADVANCE, ROLES, Event, connect, encode
from benchmarks.pacing import Measured
from benchmarks.server import ROOT, running_server
from libs.common.waves import Waves
from libs.common.wire import Wire
from sim.instants import instant_record

LIMIT, OURS = "limit", "ours"
START_MS = 1_000_000_000_000
ORDERS = {LIMIT: "{l}:order", OURS: "{main}:order"}


class Lap(msgspec.Struct):
    """One run. `cpu_us`: of all four processes for each tick; `server_us`: of the server."""

    ticks: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_us: float
    server_us: float
    rss_mb: float


@contextlib.contextmanager
def roles(
    who: str, url: str, every: int, rate: int, ticks: int, *, waves: bool
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The four processes, readers first, all ready when this yields."""
    running: dict[str, subprocess.Popen[str]] = {}
    numbers = [every, rate, ticks, int(waves)]
    try:
        names = ROLES if waves else (*ROLES[1:], ROLES[0])
        for role in names:
            running[role] = start(who, role, url, numbers)
            if role == names[-2] and not waves:  # the source starts when its readers wait
                for process in running.values():
                    _ready(process)
        for role in names if waves else ():
            _ready(running[role])
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def start(who: str, role: str, url: str, numbers: list[int]) -> subprocess.Popen[str]:
    """One process; `numbers` are its arguments after role and url."""
    command = [sys.executable, "-m", f"benchmarks.{who}", role, url, *map(str, numbers)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if line.strip() != "ready":
        raise SystemExit(f"expected a process of the bench to get ready, was {line!r}; its error stands above")


def _finish(running: dict[str, subprocess.Popen[str]]) -> dict[str, Measured]:
    found = {}
    for role, process in running.items():
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        found[role] = msgspec.json.decode(out.strip().splitlines()[-1], type=Measured)
    return found


def lap(who: str, rate: int, ticks: int, every: int = 1) -> Lap:
    """Ticks at a pace (0: a burst) until the last order's commit is acknowledged."""
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as directory, running_server(Path(directory)) as url:
        return asyncio.run(_lap(who, url, rate, ticks, every))


async def _lap(who: str, url: str, rate: int, ticks: int, every: int) -> Lap:
    async with prepared(url) as wire:
        with roles(who, url, every, rate, ticks, waves=False) as running:
            cpu_before = await _server_cpu_s(wire)
            began = time.perf_counter()
            await _until(wire, ORDERS[who], ticks // every)
            seconds = time.perf_counter() - began
            cpu = await _server_cpu_s(wire) - cpu_before
            return _lap_of(ticks, seconds, _finish(running), cpu)


def _lap_of(ticks: int, seconds: float, found: dict[str, Measured], server_cpu_s: float) -> Lap:
    """The first twentieth is left out: caches and connections are cold."""
    samples = found["execution"].latencies_us
    late = sorted(samples[len(samples) // 20 :]) or [0.0]
    p50, p99 = late[len(late) // 2], late[min(len(late) - 1, len(late) * 99 // 100)]
    cpu_s = sum(measured.cpu_s for measured in found.values())
    peak = max(measured.rss_mb for measured in found.values())
    return Lap(ticks, seconds, p50, p99, cpu_s / ticks * 1e6, server_cpu_s / ticks * 1e6, peak)


@contextlib.asynccontextmanager
async def prepared(url: str) -> AsyncIterator[Wire]:
    """A connection to a server whose gates are open."""
    wire = Wire(url)
    await wire.ready()
    await wire.call("SET", "{l}:gate", "open")
    await wire.call("HSET", "{main}:gate", "book", "open")
    try:
        yield wire
    finally:
        wire.abort()
        await asyncio.sleep(0)  # the transport closes in its own turn


async def _server_cpu_s(wire: Wire) -> float:
    info = dict(line.split(":") for line in (await wire.call("INFO", "cpu")).decode().splitlines() if ":" in line)
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


async def _until(wire: Wire, key: str, length: int) -> None:
    """Looks rarely, so that looking costs nothing."""
    until = time.monotonic() + 120
    while await wire.call("XLEN", key) < length:
        if time.monotonic() > until:
            raise SystemExit(f"expected {length} entries in {key} within 120 s")
        await asyncio.sleep(0.02)


# --- waves ---------------------------------------------------------------------------------------------------------


def waves_lap(who: str, instants: int, every: int) -> Lap:
    """Instants, one tick each, as fast as they come to rest; every so many ticks trades."""
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as directory, running_server(Path(directory)) as url:
        return asyncio.run(_waves(who, url, instants, every))


async def _waves(who: str, url: str, instants: int, every: int) -> Lap:
    drive = _drive_limit if who == LIMIT else _drive_ours
    async with prepared(url) as wire:
        if who == LIMIT:
            await wire.call("SET", "{l}:out", 0)
        else:
            waves = Waves(url, "main")
            await waves.init(START_MS * 1_000_000)
            waves.close()
        with roles(who, url, every, 0, 0, waves=True) as running:
            cpu_before = await _server_cpu_s(wire)
            seconds = await drive(url, instants)
            cpu = await _server_cpu_s(wire) - cpu_before
            await _until(wire, ORDERS[who], instants // every)
            return _lap_of(instants, seconds, _finish(running), cpu)


async def _drive_limit(url: str, instants: int) -> float:
    link, bell = await connect(url), await connect(url)
    sha = await link.call("SCRIPT", "LOAD", ADVANCE)
    began = time.perf_counter()
    for number in range(1, instants + 1):
        await link.call("EVALSHA", sha, 0, START_MS + number * 1000, encode(Event(time.time_ns(), number, "clock", "")))
        while await bell.call("BRPOP", "{l}:quiet", 1) is None:
            pass
    seconds = time.perf_counter() - began
    for connection in (link, bell):
        connection.transport.close()
    return seconds


async def _drive_ours(url: str, instants: int) -> float:
    waves = Waves(url, "main")
    await waves.wire.ready()
    await waves.quiet()
    began = time.perf_counter()
    for number in range(1, instants + 1):
        at = START_MS * 1_000_000 + number * 1_000_000_000
        await waves.advance([instant_record(number, at, 1000)], 0)
        await waves.quiet()
    seconds = time.perf_counter() - began
    waves.close()
    return seconds


# --- in turns ------------------------------------------------------------------------------------------------------


def race(rounds: int, rate: int, ticks: int, every: int = 1) -> dict[str, list[Lap]]:
    laps: dict[str, list[Lap]] = {LIMIT: [], OURS: []}
    for _ in range(rounds):
        for who, held in laps.items():
            held.append(lap(who, rate, ticks, every))
    return laps


def waves_race(rounds: int, instants: int, every: int) -> dict[str, list[Lap]]:
    laps: dict[str, list[Lap]] = {LIMIT: [], OURS: []}
    for _ in range(rounds):
        for who, held in laps.items():
            held.append(waves_lap(who, instants, every))
    return laps


def median(laps: list[Lap], name: str) -> float:
    return statistics.median(getattr(lap, name) for lap in laps)


def ratio(laps: dict[str, list[Lap]], name: str) -> float:
    """Median over the rounds of ours / limit within the round."""
    return statistics.median(
        getattr(us, name) / getattr(best, name) for best, us in zip(laps[LIMIT], laps[OURS], strict=True)
    )
