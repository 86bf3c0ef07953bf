"""Marketdata and the paper exchange on a public stream: recorded frames of the real exchange, and connections that fail.

The recording is not part of the project: TIDEGATE_MARKET_DATA names the directory that holds it, else `shared/data` beside the
checkout is tried.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.bybit.client import BybitDriver
from libs.bybit.stream import Patience
from libs.common.events import DataRejected, Event, FeedDown, FeedUp, RawFrame, RejectKind, Tick
from libs.common.outside import OutsideMessage
from libs.common.record import Started, Timer
from libs.common.sections import Venue
from libs.common.stepper import Local, Stepper
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore
from sim.config import SimConfig
from sim.engine.instruments import Instrument, rules_of
from sim.exchange import Exchange
from sim.paper import Follower
from sim.server import SimServer
from sim.tapes.public import PublicFeed
from sim.tapes.tape import LiveTape, PushTape, open_tape
from tests.integration.bybit.public import PublicVenue
from tests.integration.flaky import FlakyProxy

DATA = Path(os.environ.get("TIDEGATE_MARKET_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
RECORDING = DATA / "bybit_linear_XRPUSDT_ob500_20241201.jsonl.gz"
recorded = pytest.mark.skipif(
    not RECORDING.is_file(), reason=f"no recording at {RECORDING}; set TIDEGATE_MARKET_DATA to have it played"
)
TOPIC = "orderbook.50.XRPUSDT"
NOBODY = "http://127.0.0.1:1"


class Shell:
    """The core behind a real driver, stepping on whatever comes: the runtime without its bus."""

    def __init__(self, config: MarketdataConfig, rest_url: str, ws_url: str, patience: Patience) -> None:
        self.core = MarketdataCore(config)
        self.driver = BybitDriver(rest_url, ws_url, None, "marketdata", False, config.topics(), patience=patience)
        self.stepper = Stepper(self.core)
        self.outputs: list[Event] = []
        self.sent: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Shell:
        self._step(Local(Started(fresh=True), time.time_ns()))
        await self.driver.start(self)
        self._send()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()
        await self.driver.stop()

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        for m in messages:
            frame = RawFrame(channel=m.channel, payload=m.payload, request=m.request, received_at=m.received_at)
            self._step(Local(frame, m.received_at))
        self._send()

    def _step(self, item: Local) -> None:
        self.outputs += [r.body for r in self.stepper.step([item]).outputs if not isinstance(r.body, RawFrame)]

    def _send(self) -> None:
        for request in self.core.requests():
            if request.number not in self.sent:
                self.sent.add(request.number)
                task = asyncio.create_task(self.driver.send(request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self._step(Local(Timer(), time.time_ns()))
            self._send()

    async def until(self, kind: type[Any], count: int = 1, within_s: float = 20.0) -> Any:
        """The `count`-th event of a kind."""
        deadline_s = time.monotonic() + within_s
        while len(found := [body for body in self.outputs if isinstance(body, kind)]) < count:
            assert time.monotonic() < deadline_s, f"expected {count} {kind.__name__}, was {len(found)}"
            await asyncio.sleep(0.01)
        return found[count - 1]

    def count(self, kind: type[Any]) -> int:
        return sum(isinstance(body, kind) for body in self.outputs)


@pytest.fixture
async def exchange() -> AsyncIterator[SimServer]:
    now = time.time_ns()
    config = SimConfig(unconfirmed_klines=True)
    server = SimServer(Exchange(config, LiveTape(open_tape(["synthetic:seed=7"], 7), now), 7))
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("failure", ["cut", "half open"])
async def test_the_market_comes_back_after_a_connection_failed(exchange: SimServer, failure: str) -> None:
    config = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1m",), warmup_bars=20)
    patience = Patience(ping_every_ms=200, answer_within_ms=600)
    async with FlakyProxy("127.0.0.1", exchange.port) as proxy:
        rest_url, ws_url = f"http://127.0.0.1:{exchange.port}", f"ws://127.0.0.1:{proxy.port}/v5/public/linear"
        async with Shell(config, rest_url, ws_url, patience) as shell:
            await shell.until(Tick, 3)
            if failure == "cut":
                await proxy.cut()
            else:
                proxy.stall()
            down = await shell.until(FeedDown)
            assert down.reason in ("disconnected", "silence")
            ticks = shell.count(Tick)
            if failure == "half open":
                while shell.core.state.markets["BTCUSDT"].book.synced:  # until the driver gave the connection up
                    await asyncio.sleep(0.01)
                await proxy.recover()
            await shell.until(FeedUp)
            await shell.until(Tick, ticks + 3)
            assert shell.count(DataRejected) == 0


def shifted(message: dict[str, Any], by_ms: int, update: int) -> str:
    """A recorded message as it would come now, on a depth that is still served."""
    data = message["data"] | {"u": update}
    stamps = {"ts": message["ts"] + by_ms, "cts": message["cts"] + by_ms}
    return json.dumps(message | stamps | {"topic": TOPIC, "data": data})


class Replay:
    """The recorded book over a real socket; `skip` names messages that are lost on the way."""

    def __init__(self, venue: PublicVenue) -> None:
        with gzip.open(RECORDING, "rt") as file:
            self.messages = [json.loads(line) for line in file]
        self.venue = venue
        self.by_ms = time.time_ns() // 1_000_000 - self.messages[0]["ts"]
        self.sides: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}

    def apply(self, message: dict[str, Any]) -> None:
        for side, known in self.sides.items():
            if message["type"] == "snapshot":
                known.clear()
            known.update({Decimal(price): Decimal(qty) for price, qty in message["data"][side]})

    def snapshot(self, number: int) -> str:
        """The book as it stands, as the venue would send it to a new subscriber."""
        rows = {side: [[str(p), str(q)] for p, q in known.items() if q] for side, known in self.sides.items()}
        message = self.messages[number]
        return shifted(
            message | {"type": "snapshot", "data": {"s": "XRPUSDT", "seq": 1, **rows}}, self.by_ms, number + 2
        )

    async def play(self, skip: int, renewals: int) -> None:
        """Send everything but message `skip`; what comes after the gap waits until a fresh snapshot was asked for."""
        self.apply(self.messages[0])
        self.venue.snapshots[TOPIC] = self.snapshot(0)
        socket = await self.venue.socket()
        for number, message in enumerate(self.messages[1:], 1):
            self.apply(message)
            self.venue.snapshots[TOPIC] = self.snapshot(number)
            if number == skip:
                continue
            await socket.send(shifted(message, self.by_ms, number + 2))
            if number == skip + 1:
                while self.asked < renewals:
                    await asyncio.sleep(0.01)
        price = str(max(p for p, q in self.sides["b"].items() if q))
        trade = {"T": time.time_ns() // 1_000_000, "s": "XRPUSDT", "S": "Buy", "v": "1", "p": price, "i": "t1"}
        await socket.send(
            json.dumps({"topic": "publicTrade.XRPUSDT", "type": "snapshot", "ts": trade["T"], "data": [trade]})
        )

    @property
    def asked(self) -> int:
        return self.venue.operations.count(("unsubscribe", [TOPIC]))

    def levels(self) -> tuple[int, int]:
        return tuple(sum(1 for q in self.sides[side].values() if q) for side in "ba")  # type: ignore[return-value]


@recorded
async def test_a_recorded_book_with_a_lost_message_is_asked_for_anew_and_right_in_the_end() -> None:
    config = MarketdataConfig(symbols=("XRPUSDT",), warmup_bars=0)
    async with PublicVenue() as venue:
        replay = Replay(venue)
        async with Shell(config, NOBODY, f"{venue.url}/v5/public/linear", Patience()) as shell:
            playing = asyncio.create_task(replay.play(skip=20, renewals=1))
            await asyncio.wait_for(playing, 20)
            await shell.until(Tick)
            rejected = [body.kind for body in shell.outputs if isinstance(body, DataRejected) and body.symbol]
            assert rejected.count(RejectKind.GAP) == 1
            book = shell.core.state.markets["XRPUSDT"].book
            bids, asks = ({p: q for p, q in replay.sides[side].items() if q} for side in "ba")
            assert (dict(book.bids), dict(book.asks)) == (bids, asks)
            assert replay.asked == 1


@recorded
async def test_the_paper_exchange_follows_the_recorded_book_across_a_lost_message() -> None:
    instrument = Instrument("XRPUSDT", rules_of("XRPUSDT", Decimal(2)))
    tape = PushTape({"XRPUSDT": instrument}, time.time_ns())
    exchange = Exchange(SimConfig(), tape, 7)
    feed = PublicFeed(tape, exchange.venue.markets)
    async with PublicVenue() as venue:
        replay = Replay(venue)
        places = Venue(public_rest_url=NOBODY, public_ws_url=venue.url)
        follower = Follower(places, feed, (TOPIC, "publicTrade.XRPUSDT"), Patience())
        await follower.start()
        try:
            await asyncio.wait_for(replay.play(skip=20, renewals=1), 20)
            market = exchange.venue.markets["XRPUSDT"]
            while not market.trades:
                await asyncio.sleep(0.01)
                exchange.advance(time.time_ns())
            best = (
                max(p for p, q in replay.sides["b"].items() if q),
                min(p for p, q in replay.sides["a"].items() if q),
            )
            shown = (market.book.bids[0][0], market.book.asks[0][0])
            assert shown == tuple(instrument.grid.ticks(price) for price in best)
            assert (replay.asked, feed.malformed) == (1, 0)
        finally:
            await follower.stop()
