"""The driver at the simulator's sockets, in lockstep and in realtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.bybit import rest, wire
from libs.bybit.client import BybitDriver
from libs.common.outside import OutsideMessage
from libs.common.values import Side
from sim.config import SimConfig
from sim.exchange import Exchange
from sim.server import SimServer
from sim.tapes.tape import LiveTape, open_tape
from tests.integration.bybit.test_client import Inbox

S = 1_000_000_000
TOPICS = ("order", "execution", "position", "wallet")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text('{"key": "sim", "secret": "sim-secret"}')
    return path


@pytest.fixture
async def server() -> AsyncIterator[SimServer]:
    server = SimServer(Exchange(SimConfig(), open_tape(["synthetic:seed=7"], 7), 7), lockstep=True)
    await server.start()
    yield server
    await server.stop()


def drive(server: SimServer, key_file: Path, *, lockstep: bool) -> BybitDriver:
    at = f"127.0.0.1:{server.port}"
    return BybitDriver(f"http://{at}", f"ws://{at}/v5/private", key_file, "execution", lockstep, TOPICS)


def buy(exchange: Exchange, link_id: str) -> rest.Call:
    market = exchange.desk.markets["BTCUSDT"]
    return rest.create_order(
        link_id=link_id,
        symbol="BTCUSDT",
        side=Side.BUY,
        qty=Decimal("0.01"),
        price=market.instrument.grid.price(market.last + 200),
        time_in_force="IOC",
        reduce_only=False,
    )


def queued(server: SimServer) -> Callable[[int], Any]:
    """Counts lockstep requests as they arrive; await the event for all that are expected."""

    async def on_requests(count: int) -> None:
        arrived.release()

    arrived = asyncio.Semaphore(0)
    server.on_requests = on_requests

    async def wait(count: int) -> None:
        for _ in range(count):
            await asyncio.wait_for(arrived.acquire(), 10)

    return wait


def seen(messages: list[OutsideMessage]) -> list[str]:
    return [wire.frame_of(m.payload).topic if m.channel == "private" else f"{m.channel} {m.request}" for m in messages]


async def test_an_instant_comes_as_one_batch_and_again_to_a_client_that_was_killed(
    server: SimServer, key_file: Path
) -> None:
    driver, inbox, wait = drive(server, key_file, lockstep=True), Inbox(), queued(server)
    await driver.start(inbox)
    await server.wait_clients({"execution"})
    start = server.exchange.now
    driver.set_time(start)
    await server.advance(start + S, 1)
    driver.set_time(start + S)
    requests = [rest.wallet_balance().numbered(1), buy(server.exchange, "tg-1").numbered(2)]
    for request in requests:
        await driver.send(request)
    await wait(2)
    assert await server.advance(start + 2 * S, 2) == {"execution"}
    messages, at, number = await inbox.batch()
    assert (at, number) == (start + 2 * S, 2)
    assert seen(messages)[:2] == ["reply 1", "reply 2"]
    assert {"order", "execution", "position", "wallet"} <= set(seen(messages))
    await driver.stop()

    again, second = drive(server, key_file, lockstep=True), Inbox()
    await again.start(second, cursor=0)
    again.set_time(start + S)
    for request in requests:
        await again.send(request)
    assert (await second.batch()) == (messages, at, number), "nothing of it was committed: the same batch again"
    assert len(server.exchange.desk.accounts["sim"].closed) == 1, "and the order was not sent twice"
    await again.stop()


@pytest.fixture
async def live() -> AsyncIterator[SimServer]:
    server = SimServer(Exchange(SimConfig(), LiveTape(open_tape(["synthetic:seed=7"], 7), time.time_ns()), 7))
    await server.start()
    while not server.exchange.desk.markets["BTCUSDT"].last:
        await asyncio.sleep(0.01)
    yield server
    await server.stop()


async def test_in_realtime_an_order_is_answered_and_shown(live: SimServer, key_file: Path) -> None:
    driver, inbox = drive(live, key_file, lockstep=False), Inbox()
    await driver.start(inbox)
    try:
        assert (await inbox.one()).channel == "connected"
        assert abs(driver.offset_ms) < 1_000
        await driver.send(buy(live.exchange, "tg-1").numbered(1))
        got: list[str] = []
        while not {"reply 1", "order"} <= set(got):
            got += seen([await inbox.one()])
    finally:
        await driver.stop()
