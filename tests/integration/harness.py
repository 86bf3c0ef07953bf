"""The toy services as real processes on a real server, with a driver or on the wall clock."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from libs.common.events import Instant
from libs.common.record import Record, event_id
from libs.common.streams import LOCKSTEP_SERVICES
from libs.common.waves import Waves
from libs.common.wire import Wire
from tests.redis_server import server_binary

START_AT = 1_000_000_000_000_000_000
OUTPUTS = ("{md}:tick", "{main}:signal", "{main}:order-intent", "{main}:order", "{main}:halt")


class Bus:
    """A server with an append-only file that can be killed and started again on the same data."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = Path(f"/tmp/tg-{os.getpid()}-{id(self):x}.sock")
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        command = [server_binary(), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Bus:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.socket.unlink(missing_ok=True)


class Services:
    """Toy processes by name; `tend` starts those again that died, without the kill point."""

    def __init__(self, url: str, directory: Path, *, lockstep: bool) -> None:
        self.url, self.lockstep = url, lockstep
        self.errors = directory / "stderr.log"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.died: list[tuple[str, int]] = []

    def start(self, service: str, kill: str = "") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.integration.toy", service, self.url, "1" if self.lockstep else "0"]
        env = {**os.environ, "TIDEGATE_KILL": kill}
        with self.errors.open("ab") as errors:
            self.processes[service] = subprocess.Popen(command, env=env, stderr=errors)
        return self.processes[service]

    def start_all(self, kill: str = "") -> None:
        for service in LOCKSTEP_SERVICES:
            self.start(service, kill if kill.startswith(f"{service}:") else "")

    def tend(self) -> None:
        for service, process in list(self.processes.items()):
            code = process.poll()
            if code is not None:
                self.died.append((service, code))
                self.start(service)

    def stop(self) -> dict[str, int]:
        """Exit codes after SIGTERM, by service."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        return {service: process.wait(20) for service, process in self.processes.items()}

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


class TapeRun:
    """Drives the toy services through `n` instants, with whatever disturbance is asked for."""

    def __init__(self, bus: Bus, services: Services) -> None:
        self.services = services
        self.waves = Waves(bus.url, "main")

    async def run(self, n: int, kill: str = "", disturb: Callable[[int], None] | None = None) -> None:
        await self.waves.wire.ready()
        await self.waves.init(START_AT)
        await self.waves.wire.call("HSET", "{main}:gate", "book", "open")
        self.services.start_all(kill)
        await self._quiet()
        for number in range(1, n + 1):
            if disturb is not None:
                disturb(number)
            await self._advance(number)
            await self._quiet()
        self.waves.close()

    async def _advance(self, number: int) -> None:
        at = START_AT + number * 1_000_000_000
        identity = event_id((), "clock", "Instant", number)
        body = Instant(number=number, window_ms=1000)
        record = Record("clock", (at // 1_000_000, 0), identity, number, at, (), identity, body)
        await self.waves.advance([record], 0)

    async def _quiet(self) -> None:
        quiet = asyncio.ensure_future(self.waves.quiet())
        until = time.monotonic() + 60
        while not quiet.done():
            assert time.monotonic() < until, "the wave never came to rest"
            await asyncio.wait({quiet}, timeout=0.05)
            self.services.tend()
        quiet.result()


async def contents(url: str) -> dict[str, list[Any]]:
    """Every entry of every output stream, byte for byte."""
    wire = Wire(url)
    found = {key: await wire.call("XRANGE", key, "-", "+") for key in OUTPUTS}
    wire.abort()
    return found


def seqs(entries: list[Any]) -> list[int]:
    return [int(fields[7]) for _, fields in entries]
