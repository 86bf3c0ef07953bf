"""Four toy services for the tests of the runtime: real processes, real streams, no trading sense.

python -m tests.integration.toy <service> <bus url> <lockstep 0|1>
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import uvloop

from libs.common import killpoints
from libs.common.bus import Log
from libs.common.decider import Core, Linked
from libs.common.events import (
    Event,
    Halted,
    Instant,
    Mode,
    OrderIntent,
    OrderRejected,
    OrderSubmitted,
    Purpose,
    Reason,
    Resumed,
    Signal,
    Tick,
    TimeInForce,
)
from libs.common.record import Record, Timer
from libs.common.runtime import Runtime
from libs.common.values import Side

ONE = Decimal(1)


class Counts(msgspec.Struct):
    seen: int = 0
    made: int = 0
    halted: bool = False
    digest: int = 0


class Toy(Core):
    State = Counts

    def __init__(self) -> None:
        self.state = Counts()

    def evolve(self, record: Record) -> None:
        self.state.seen += 1
        self.state.digest = (self.state.digest * 31 + record.seq + record.entry[1]) % 1_000_003


class MarketData(Toy):
    service = "marketdata"

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, Instant | Timer):
            yield Tick(symbol="BTCUSDT", last=Decimal(self.state.digest), bids=(), asks=())


class SignalCore(Toy):
    service = "signal"

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, Tick):
            yield Signal(
                strategy="toy",
                symbol="BTCUSDT",
                target=ONE,
                p=ONE,
                payoff=ONE,
                stop_distance=ONE,
                horizon_ms=1,
                score=record.body.last,
            )


class RiskCore(Toy):
    service = "risk"

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, Signal):
            self.state.made += 1
            yield OrderIntent(
                order_link_id=f"toy-{record.id[:20]}",
                strategy="toy",
                symbol="BTCUSDT",
                side=Side.BUY,
                qty=Decimal(self.state.digest),
                price=record.body.score,
                time_in_force=TimeInForce.IOC,
                reduce_only=False,
                purpose=Purpose.ENTRY,
                expires_at=0,
                limits_version=1,
            )
            if self.state.made % 50 == 7:
                yield Halted(reason=Reason.OPERATOR, measured=ONE, limit=ONE)
            if self.state.made % 50 == 17:
                yield Resumed(halt_id="", scope="book", operator="toy")


class ExecutionCore(Toy):
    service = "execution"

    def evolve(self, record: Record) -> None:
        if isinstance(record.body, OrderIntent):
            return
        super().evolve(record)
        if isinstance(record.body, Halted | Resumed):
            self.state.halted = isinstance(record.body, Halted)

    def guards(self, record: Record) -> tuple[str, ...]:
        return ("book",) if isinstance(record.body, OrderIntent) and not self.state.halted else ()

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        intent = record.body
        if not isinstance(intent, OrderIntent):
            return
        if self.state.halted:
            yield OrderRejected(order_link_id=intent.order_link_id, symbol=intent.symbol, reason="HALTED")
            return
        yield OrderSubmitted(
            order_link_id=intent.order_link_id,
            strategy=intent.strategy,
            symbol=intent.symbol,
            side=intent.side,
            qty=intent.qty,
            price=intent.price,
            time_in_force=intent.time_in_force,
            reduce_only=False,
            purpose=intent.purpose,
            expires_at=0,
        )

    def refused(self, record: Record) -> Iterator[Event | Linked]:
        assert isinstance(record.body, OrderIntent)
        yield OrderRejected(order_link_id=record.body.order_link_id, symbol=record.body.symbol, reason="GATE")


def gate(event: Event) -> dict[str, str]:
    match event:
        case Halted(scope=scope):
            return {scope: Mode.HALTED}
        case Resumed(scope=scope):
            return {scope: "open"}
        case _:
            return {}


CORES: dict[str, type[Toy]] = {c.service: c for c in (MarketData, SignalCore, RiskCore, ExecutionCore)}


def main() -> None:
    service, url, lockstep = sys.argv[1], sys.argv[2], sys.argv[3] == "1"
    killpoints.arm(service)
    log = Log(service, url, "main", lockstep=lockstep)
    timer_ms = 5 if service == "marketdata" else 60_000
    uvloop.run(Runtime(CORES[service](), log, lockstep=lockstep, timer_ms=timer_ms, gate=gate).run())


if __name__ == "__main__":
    main()
