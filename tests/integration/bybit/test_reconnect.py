"""The public stream over connections that end, that hang half open, and that live but bring nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from libs.bybit.client import BybitDriver
from libs.bybit.stream import Patience
from libs.common.decider import Request
from libs.common.outside import OutsideMessage
from tests.integration.bybit.public import PublicVenue
from tests.integration.flaky import FlakyProxy

BOOK, TRADES = "orderbook.50.X", "publicTrade.X"
IMPATIENT = Patience(ping_every_ms=100, answer_within_ms=200)
Open = Callable[..., Any]


class Inbox:
    def __init__(self) -> None:
        self.messages: asyncio.Queue[OutsideMessage] = asyncio.Queue()

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        for message in messages:
            self.messages.put_nowait(message)

    async def until(self, channel: str) -> OutsideMessage:
        while (message := await asyncio.wait_for(self.messages.get(), 10)).channel != channel:
            pass
        return message


@pytest.fixture
async def venue() -> AsyncIterator[PublicVenue]:
    async with PublicVenue() as venue:
        yield venue


@pytest.fixture
async def open_driver() -> AsyncIterator[Open]:
    drivers: list[BybitDriver] = []

    async def opened(url: str, patience: Patience | None = None) -> tuple[BybitDriver, Inbox]:
        # Nobody listens on port 1: the clock cannot be asked, which must not keep the stream from being followed.
        driver = BybitDriver("http://127.0.0.1:1", url, None, "marketdata", False, (BOOK, TRADES), patience=patience)
        drivers.append(driver)
        inbox = Inbox()
        await driver.start(inbox)
        return driver, inbox

    yield opened
    for driver in drivers:
        await driver.stop()


async def test_a_cut_connection_is_opened_again_and_subscribes_everything(
    venue: PublicVenue, open_driver: Open
) -> None:
    async with FlakyProxy("127.0.0.1", venue.port) as proxy:
        _, inbox = await open_driver(f"ws://127.0.0.1:{proxy.port}")
        await inbox.until("connected")
        await proxy.cut()
        await inbox.until("disconnected")
        await inbox.until("connected")
        socket = [await venue.socket() for _ in range(2)][1]
        await socket.send('{"topic":"publicTrade.X","data":[]}')
        assert (await inbox.until("public")).payload == '{"topic":"publicTrade.X","data":[]}'
    assert venue.operations == [("subscribe", [BOOK, TRADES])] * 2


async def test_a_half_open_connection_is_found_out_by_the_missing_pong(venue: PublicVenue, open_driver: Open) -> None:
    async with FlakyProxy("127.0.0.1", venue.port) as proxy:
        _, inbox = await open_driver(f"ws://127.0.0.1:{proxy.port}", IMPATIENT)
        await inbox.until("connected")
        proxy.stall()
        assert "answer to a ping" in (await inbox.until("disconnected")).payload
        await proxy.recover()
        await inbox.until("connected")


async def test_a_venue_that_answers_no_ping_is_left(venue: PublicVenue, open_driver: Open) -> None:
    venue.silent_on = {"ping"}
    _, inbox = await open_driver(venue.url, IMPATIENT)
    await inbox.until("connected")
    await inbox.until("disconnected")


async def test_a_connection_that_lives_but_brings_nothing_is_opened_anew(venue: PublicVenue, open_driver: Open) -> None:
    patience = Patience(ping_every_ms=100, answer_within_ms=5_000, data_within_ms=500)
    _, inbox = await open_driver(venue.url, patience)
    await inbox.until("connected")
    assert "expected data" in (await inbox.until("disconnected")).payload
    assert ("ping", []) in venue.operations
    await inbox.until("connected")


async def test_one_topic_is_asked_for_anew_while_the_others_go_on(venue: PublicVenue, open_driver: Open) -> None:
    driver, inbox = await open_driver(venue.url)
    await inbox.until("connected")
    venue.snapshots[BOOK] = '{"topic":"orderbook.50.X","type":"snapshot","data":{}}'
    await driver.send(Request(41, "WS", f"resubscribe:{BOOK}", private=False))
    reply = await inbox.until("reply")
    assert (reply.request, reply.status) == (41, 200)
    assert (await inbox.until("public")).payload == venue.snapshots[BOOK]
    assert venue.operations[1:] == [("unsubscribe", [BOOK]), ("subscribe", [BOOK])]


async def test_a_renewal_ends_whatever_happens(venue: PublicVenue, open_driver: Open) -> None:
    driver, inbox = await open_driver(venue.url)
    await inbox.until("connected")
    socket = await venue.socket()
    venue.silent_on = {"subscribe", "unsubscribe"}
    await driver.send(Request(7, "WS", f"resubscribe:{BOOK}", private=False))
    while ("unsubscribe", [BOOK]) not in venue.operations:
        await asyncio.sleep(0.01)
    await socket.close()
    assert (await inbox.until("lost")).request == 7
    await driver.send(Request(8, "WS", f"resubscribe:{BOOK}", private=False))
    assert (await inbox.until("lost")).request == 8
