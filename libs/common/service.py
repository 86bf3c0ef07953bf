"""The composition every service shares: settings in, a running process out.

`services/<x>/app.py` builds its core and calls `run`. Nothing here knows what a service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import uvloop

from libs.common import killpoints, logs
from libs.common.bus import Log
from libs.common.decider import Core
from libs.common.errors import SettingsError
from libs.common.events import Event, OrderAccepted, OrderSubmitted, Purpose
from libs.common.outside import Driver
from libs.common.probes import Probes
from libs.common.provenance import REVISION_VARIABLE, code_hash, settings_hash, stamping
from libs.common.record import Record
from libs.common.runtime import Runtime
from libs.common.sections import Bus, password_in
from libs.common.settings import Settings
from libs.common.stepper import Commit, Finish
from libs.common.telemetry import Latencies, Metrics
from libs.common.tracing import open_tracer

TAPE = "tape"


class Background(Protocol):
    """Work beside the runtime (the archiver): started with it, ended before its connections close."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Observer:
    """Metrics, traces, latencies and probes of one service; takes no part in what it does."""

    def __init__(self, log: Log, settings: Settings, metrics: Metrics) -> None:
        run_dir = run_dir_of(settings)
        self.log, self.lockstep = log, settings.run.mode == TAPE
        self.metrics = metrics
        self.latencies = Latencies(log.service, run_dir)
        self.tracer = open_tracer(log.service, run_dir, settings.telemetry.traces)
        host, port = settings.telemetry.probes_host, settings.telemetry.probes_port
        self.probes = Probes(metrics, run_dir=run_dir, host=host, port=port)
        self.background: list[Background] = []
        self._told = (False, "starting")
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.probes.start()
        for work in self.background:
            await work.start()

    async def stop(self) -> None:
        for work in self.background:
            await work.stop()
        self.latencies.dump()
        self.tracer.close()
        await self.probes.stop()

    def alive(self, *, ready: bool, reason: str) -> None:
        self.probes.beat()
        if self._told != (ready, reason):
            self._told = (ready, reason)
            self.probes.set_ready(ready, reason)

    def consumed(self, records: list[Record]) -> None:
        if records and not self.lockstep:
            self.metrics.lag(records[-1].stream, max(0.0, (time.time_ns() - records[-1].at) / 1e9))
        if self.tracer.enabled:
            for record in records:
                self.tracer.note(record)

    def committed(self, commit: Commit, seconds: float) -> None:
        self.metrics.committed(seconds)
        for record in commit.outputs:
            self.tracer.record(record)
            match record.body:
                case OrderSubmitted(purpose=Purpose.ENTRY):
                    self._submitted(record)
                case OrderAccepted(ack_ms=ack_ms):
                    self.latencies.observe("order_ack", ack_ms / 1000)
                    self.metrics["order_ack_seconds"].observe(ack_ms / 1000)

    def _submitted(self, record: Record) -> None:
        """From the tick's receipt (`at` is copied along the chain) to the order's commit, in wall-clock time."""
        if not self.lockstep:
            self._tick_to_order((time.time_ns() - record.at) / 1e9)
            return
        now = time.monotonic()
        task = asyncio.create_task(self._submitted_on_tape(now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _submitted_on_tape(self, now: float) -> None:
        """Tape time does not tell: take the wall clock at which the driver let the instant begin."""
        with contextlib.suppress(ConnectionError):
            self._tick_to_order(now - await self.log.tape_began())

    def _tick_to_order(self, seconds: float) -> None:
        self.latencies.observe("tick_to_order", seconds)
        self.metrics["tick_to_order_seconds"].observe(seconds)


def run_dir_of(settings: Settings) -> Path | None:
    return settings.path(settings.run.run_dir) if settings.run.run_dir else None


def run(
    core: Core,
    settings: Settings,
    *,
    driver: Callable[[], Driver] | None = None,
    finish: Callable[[Log], Finish] | None = None,
    gate: Callable[[Event], dict[str, str]] | None = None,
    background: Callable[[Metrics], list[Background]] | None = None,
    measure: Callable[[Driver, Metrics], Driver] | None = None,
    secrets: tuple[str, ...] = (),
    timer_ms: int = 1000,
    linger_ms: int = 0,
) -> None:
    """Run one service until SIGTERM. `driver`, `finish`, `background` are made inside the loop; `finish` gets the log because a
    seal names the writer's epoch. `measure` wraps the driver in one that counts calls."""
    service, bus = core.service, settings.bus_as(core.service)
    secrets = (*secrets, *filter(None, {password_in(bus.market_url), password_in(bus.book_url)}))
    logs.configure(service, level=settings.telemetry.log_level, secrets=secrets)
    killpoints.arm(service)
    if bus.market_url != bus.book_url:
        raise SettingsError("expected bus.market_url and bus.book_url to be one server, was two; that is not built yet")
    uvloop.run(_serve(core, settings, bus, driver, finish, gate, background, measure, timer_ms, linger_ms))


async def _serve(
    core: Core,
    settings: Settings,
    bus: Bus,
    driver: Callable[[], Driver] | None,
    finish: Callable[[Log], Finish] | None,
    gate: Callable[[Event], dict[str, str]] | None,
    background: Callable[[Metrics], list[Background]] | None,
    measure: Callable[[Driver, Metrics], Driver] | None,
    timer_ms: int,
    linger_ms: int,
) -> None:
    lockstep = settings.run.mode == TAPE
    log = Log(core.service, bus.book_url, bus.book, lockstep=lockstep)
    metrics = Metrics(core.service, revision=os.environ.get(REVISION_VARIABLE, ""))
    observer = Observer(log, settings, metrics)
    if background is not None:
        observer.background = background(metrics)
    extra: dict[str, Any] = {"timer_ms": timer_ms, "linger_ms": linger_ms, "gate": gate, "watch": observer}
    extra["outside"] = outside = driver() if driver is not None else None
    if outside is not None and measure is not None:
        extra["outside"] = measure(outside, metrics)
    extra["finish"] = stamping(code_hash(), settings_hash(settings), finish(log) if finish is not None else None)
    await Runtime(core, log, lockstep=lockstep, **extra).run()
