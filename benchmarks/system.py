"""The whole system: a demo in waves, its replay, a backtest; memory of each service; how long recovery takes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.race import ORDERS, OURS, prepared, roles, start
from benchmarks.server import ROOT, running_server
from libs.common.record import Record
from libs.common.streams import SERVICES, STREAMS
from libs.common.wire import Wire


def tidegate(*arguments: str) -> float:
    """Run one verb; wall-clock seconds."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "cli.main", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


class Memory(threading.Thread):
    """Looks at the peak memory of each process of a run until it ends."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(daemon=True)
        self.run_dir, self.peak_mb = run_dir, {}
        self.ended = threading.Event()

    peak_mb: dict[str, float]

    def run(self) -> None:
        while not self.ended.wait(0.2):
            for file in (self.run_dir / "pids").glob("*.pid"):
                try:
                    status = Path(f"/proc/{int(file.read_text())}/status").read_text()
                except (OSError, ValueError):  # it has just ended, or its file is being written
                    continue
                peak = next((line for line in status.splitlines() if line.startswith("VmHWM")), "")
                if peak:
                    self.peak_mb[file.stem] = int(peak.split()[1]) / 1024


def demo(directory: Path, minutes: int) -> dict[str, Any]:
    """Instants/s in waves, events, the replay's events/s in CPU of one core, and each service's peak memory."""
    run_dir = directory / "demo"
    memory = Memory(run_dir)
    memory.start()
    tidegate("demo", "--duration", f"{minutes}m", "--run-dir", str(run_dir))
    memory.ended.set()
    flat = json.loads((run_dir / "flat.json").read_text())
    report = json.loads((run_dir / "report.json").read_text())
    delivered, seconds = replayed(run_dir)
    return {
        "instants": flat["instants"],
        "instants_s": flat["instants"] / flat["seconds"],
        "events": sum(report["events"].values()),
        "latency": report["latency"],
        "replay_s": delivered / seconds,
        "differences": report["replay"]["differences"],
        "memory_mb": {name: memory.peak_mb.get(name, 0.0) for name in (*SERVICES, "driver")},
    }


def replayed(run_dir: Path) -> tuple[int, float]:
    """Events delivered to cores in a replay with verification, and CPU seconds of the one process."""
    from cli.replay import verify

    began = time.process_time()
    result = verify(run_dir)
    if result.differences:
        raise SystemExit(f"expected 0 differences in the replay of the bench, was {result.differences}")
    return result.delivered, time.process_time() - began


def backtest(directory: Path, minutes: int) -> tuple[float, float]:
    """(events delivered to cores, tape seconds) each a CPU second of one process, on the synthetic tape."""
    from cli.backtest import Backtest
    from cli.context import section_types
    from libs.common.settings import load
    from sim.tapes.tape import open_tape

    run_dir = directory / "backtest"
    tidegate("backtest", "--tape", "synthetic:seed=7", "--duration", f"{minutes}m", "--run-dir", str(run_dir))
    config = run_dir / "config.toml"
    settings = load(section_types(), config, env={})
    count: Counter[str] = Counter()

    class Counted(Backtest):
        def _sink(self, record: Record) -> None:
            count[record.stream] += 1
            super()._sink(record)

    bench = Counted(config, settings, open_tape(list(settings.run.tapes), settings.run.seed), lambda _: None)
    began = time.process_time()
    bench.run()
    seconds = time.process_time() - began
    readers = {s.name: 1 + sum(reader in bench.mesh.nodes for reader in s.readers) for s in STREAMS}
    return sum(number * readers[name] for name, number in count.items()) / seconds, minutes * 60 / seconds


def recovery_of_service(ticks: int = 4_000) -> float:
    """Seconds from kill -9 of risk to the next order, at 200 ticks/s, with the journal to repeat."""
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as directory, running_server(Path(directory)) as url:
        return asyncio.run(_recovery_of_service(url, ticks))


async def _recovery_of_service(url: str, ticks: int) -> float:
    async with prepared(url) as wire:
        with roles(OURS, url, 1, 200, ticks, waves=False) as running:
            while await wire.call("XLEN", ORDERS[OURS]) < ticks // 4:
                await asyncio.sleep(0.02)
            running["risk"].send_signal(signal.SIGKILL)
            running["risk"].wait()
            killed = time.perf_counter()
            while await _drained(wire):  # what risk had approved still becomes orders
                await asyncio.sleep(0.005)
            before = await wire.call("XLEN", ORDERS[OURS])
            running["again"] = start(OURS, "risk", url, [1, 200, ticks, 0])
            while await wire.call("XLEN", ORDERS[OURS]) <= before:
                await asyncio.sleep(0.005)
            return time.perf_counter() - killed


async def _drained(wire: Wire) -> bool:
    return bool(await wire.call("XLEN", ORDERS[OURS]) < await wire.call("XLEN", "{main}:order-intent"))


def recovery_of_server(events: int) -> float:
    """Seconds from the start of a server with so many events in its append-only file until it answers."""
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as directory:
        path = Path(directory)
        with running_server(path, "--appendonly", "yes", "--appendfsync", "everysec") as url:
            asyncio.run(_fill(url, events))
        began = time.perf_counter()
        with running_server(path, "--appendonly", "yes", "--appendfsync", "everysec") as url:
            found = asyncio.run(_loaded(url))
            seconds = time.perf_counter() - began
        if found != events:
            raise SystemExit(f"expected {events} events after the restart, was {found}")
        return seconds


async def _fill(url: str, events: int) -> None:
    import hiredis

    from benchmarks.kernels import tick_record
    from benchmarks.limit import connect
    from libs.common.codec import FIELDS, values

    link = await connect(url)
    fields = [part for pair in zip(FIELDS, values(tick_record()), strict=True) for part in pair]
    for first in range(1, events + 1, 2_000):
        numbers = range(first, min(first + 2_000, events + 1))
        packed = b"".join(hiredis.pack_command(("XADD", "{md}:tick", f"{n}-0", *fields)) for n in numbers)
        await link.send(packed, len(numbers))[-1]
    link.transport.close()


async def _loaded(url: str) -> int:
    import hiredis

    wire = Wire(url)
    while True:
        try:
            await wire.ready()
            found = await wire.call("XLEN", "{md}:tick")
            wire.abort()
            return int(found)
        except (OSError, hiredis.ReplyError):  # LOADING
            await asyncio.sleep(0.02)
