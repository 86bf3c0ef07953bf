"""Our side of the comparison: the runtime, codec and bus of the services, with cores that decide next to nothing.

`python -m benchmarks.ours ROLE URL EVERY RATE TICKS WAVES`: the same roles and the same arguments as the limit.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import uvloop

from benchmarks.limit import ROLES
from benchmarks.pacing import mark_ready, paced, result_line
from libs.common.bus import Log
from libs.common.decider import Core, Linked, Request
from libs.common.events import (
    Event,
    Instant,
    OrderIntent,
    OrderSubmitted,
    Purpose,
    RawFrame,
    Signal,
    Tick,
    TimeInForce,
)
from libs.common.outside import Inbox, OutsideMessage
from libs.common.record import Record
from libs.common.runtime import Runtime
from libs.common.stepper import Commit
from libs.common.values import Side

SERVICE = dict(zip(ROLES, ("marketdata", "signal", "risk", "execution"), strict=True))
PAYLOAD = '{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"lastPrice":"61234.20","bid1Price":"61234.10","ask1Price":"61234.30"}}'
ONE, PRICE = Decimal(1), Decimal("61234.20")
LEVELS = ((PRICE, ONE),)


class Counts(msgspec.Struct):
    taken: int = 0


class BenchCore(Core):
    State = Counts

    def __init__(self, every: int) -> None:
        self.state, self.every = Counts(), every

    def evolve(self, record: Record) -> None:
        self.state.taken += 1


class Source(BenchCore):
    service = "marketdata"

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, RawFrame | Instant):
            yield Tick(symbol="BTCUSDT", last=PRICE, bids=LEVELS, asks=LEVELS, exchange_at=record.at)


class Signals(BenchCore):
    service = "signal"

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, Tick) and record.seq % self.every == 0:
            terms = {"target": ONE, "p": ONE, "payoff": ONE, "stop_distance": ONE, "horizon_ms": 1}
            yield Signal(strategy="bench", symbol="BTCUSDT", **terms)


class Risk(BenchCore):
    service = "risk"

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, Signal):
            yield OrderIntent(order_link_id=record.id, limits_version=1, **_terms(record))


class Execution(BenchCore):
    service = "execution"

    def evolve(self, record: Record) -> None:
        if not isinstance(record.body, OrderIntent):
            super().evolve(record)

    def guards(self, record: Record) -> tuple[str, ...]:
        return ("book", "symbol:BTCUSDT", "strategy:bench") if isinstance(record.body, OrderIntent) else ()

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, OrderIntent):
            yield OrderSubmitted(order_link_id=record.body.order_link_id, **_terms(record))


def _terms(record: Record) -> dict[str, Any]:
    terms = {"strategy": "bench", "symbol": "BTCUSDT", "side": Side.BUY, "qty": ONE, "price": PRICE}
    more = {"time_in_force": TimeInForce.IOC, "reduce_only": False, "purpose": Purpose.ENTRY}
    return {**terms, **more, "expires_at": record.at + 1}


CORES: dict[str, type[BenchCore]] = {core.service: core for core in (Source, Signals, Risk, Execution)}


class Frames:
    """Stands where the exchange's driver stands: frames at a pace."""

    failed: asyncio.Future[None] | None = None

    def __init__(self, rate: int, ticks: int, ready: asyncio.Event) -> None:
        self.rate, self.ticks, self.ready = rate, ticks, ready

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        async def emit(moments: list[int]) -> None:
            inbox.put([OutsideMessage(channel="public", payload=PAYLOAD, received_at=at) for at in moments])
            if not self.rate:
                await asyncio.sleep(0)

        async def begin() -> None:
            await self.ready.wait()  # the runtime reads: what came before would only measure its start
            await paced(self.rate, self.ticks, emit)

        self._task = asyncio.ensure_future(begin())

    async def send(self, request: Request) -> None: ...

    def set_time(self, at: int) -> None: ...

    async def stop(self) -> None:
        self._task.cancel()


class Clock:
    """Notes when orders were acknowledged, by the wall clock."""

    def __init__(self) -> None:
        self.latencies_us: list[float] = []
        self.messages = 0
        self.ready = asyncio.Event()

    def consumed(self, records: list[Record]) -> None:
        self.messages += len(records)

    def committed(self, commit: Commit, seconds: float) -> None:
        now = time.time_ns()
        for record in commit.outputs:
            if isinstance(record.body, OrderSubmitted):
                self.latencies_us.append((now - record.at) / 1000)
            elif isinstance(record.body, RawFrame):
                self.messages += 1

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def alive(self, *, ready: bool, reason: str) -> None:
        if not self.ready.is_set():
            self.ready.set()
            mark_ready()
            print("ready", flush=True)


async def main() -> None:
    role, url, every, rate, ticks, waves = sys.argv[1:7]
    service, clock = SERVICE[role], Clock()
    log = Log(service, url, "main", lockstep=waves == "1")
    outside = Frames(int(rate), int(ticks), clock.ready) if role == "source" and waves != "1" else None
    runtime = Runtime(
        CORES[service](int(every)), log, lockstep=waves == "1", timer_ms=60_000, outside=outside, watch=clock
    )
    await runtime.run()
    print(result_line(role, clock.messages, clock.latencies_us), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
