"""The driver over real sockets: signatures, concurrency, loss, reconnection, and complete batches in lockstep."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from libs.bybit.client import BybitDriver
from libs.bybit.keyring import read_key
from libs.bybit.sign import signature
from libs.common.decider import Request
from libs.common.errors import SettingsError
from libs.common.outside import OutsideMessage
from tests.integration.bybit.venue import Venue

MS = 1_000_000
OK = (200, '{"retCode":0,"retMsg":"OK","result":{},"time":1}')
Batch = tuple[list[OutsideMessage], int | None, int | None]


class Inbox:
    def __init__(self) -> None:
        self.batches: asyncio.Queue[Batch] = asyncio.Queue()

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        self.batches.put_nowait((messages, at, number))

    async def one(self) -> OutsideMessage:
        messages, _, _ = await self.batch()
        assert len(messages) == 1
        return messages[0]

    async def batch(self) -> Batch:
        return await asyncio.wait_for(self.batches.get(), 10)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text('{"key": "abc", "secret": "xyz"}')
    return path


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with Venue() as venue:
        venue.http.script = lambda *_: OK
        yield venue


Open = Callable[..., Any]


@pytest.fixture
async def open_driver(venue: Venue, key_file: Path) -> AsyncIterator[Open]:
    drivers: list[BybitDriver] = []

    async def opened(*, ws: bool = True, lockstep: bool = False, cursor: int = 0, timeout_s: float = 5.0) -> Any:
        ws_url = venue.ws_url if ws else ""
        driver = BybitDriver(
            venue.base_url, ws_url, key_file, "execution", lockstep, ("order", "execution"), timeout_s=timeout_s
        )
        drivers.append(driver)
        inbox = Inbox()
        await driver.start(inbox, cursor)
        return driver, inbox

    yield opened
    for driver in drivers:
        await driver.stop()


async def arrived(venue: Venue, count: int) -> None:
    """Until so many more calls reached the venue."""
    for _ in range(count):
        await asyncio.wait_for(venue.http.arrivals.get(), 10)


def query(number: int) -> Request:
    return Request(number, "GET", f"/v5/order/realtime?category=linear&cursor=a%3A{number}")


async def test_a_signed_call_and_its_reply(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(ws=False)
    await driver.send(query(3))
    message = await inbox.one()
    method, target, headers, body = venue.http.seen[-1]
    assert (method, target, body) == ("GET", "/v5/order/realtime?category=linear&cursor=a%3A3", "")
    signed = f"{headers['x-bapi-timestamp']}abc3000category=linear&cursor=a%3A3"
    assert headers["x-bapi-sign"] == signature("xyz", signed)
    assert (message.channel, message.request, message.status, message.payload) == ("reply", 3, *OK)
    assert set(message.headers) == {"x-bapi-limit-status", "tidegate-sent-at"}


async def test_a_body_goes_out_byte_for_byte_under_its_signature(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(ws=False)
    await driver.send(Request(1, "POST", "/v5/order/create", '{"qty":"0.10"}'))
    await inbox.one()
    _, _, headers, body = venue.http.seen[-1]
    assert body == '{"qty":"0.10"}'
    assert headers["x-bapi-sign"] == signature("xyz", f"{headers['x-bapi-timestamp']}abc3000{body}")
    assert headers["cdn-request-id"] == "execution-1"


async def test_calls_run_side_by_side_on_kept_connections(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(ws=False)
    venue.http.hold.clear()
    for number in range(8):
        await driver.send(query(number))
    await arrived(venue, 8)
    venue.http.hold.set()
    assert {(await inbox.one()).request for _ in range(8)} == set(range(8))
    before = venue.http.connections
    for number in range(8):
        await driver.send(query(number))
        await inbox.one()
    assert venue.http.connections == before


async def test_a_cut_connection_and_a_gateway_timeout_leave_the_outcome_unknown(
    venue: Venue, open_driver: Open
) -> None:
    driver, inbox = await open_driver(ws=False)
    venue.http.script = lambda *_: None
    await driver.send(query(1))
    assert (await inbox.one()).channel == "lost"
    venue.http.script = lambda *_: (504, "upstream")
    await driver.send(query(2))
    assert (await inbox.one()).channel == "lost"


async def test_a_timeout_leaves_the_outcome_unknown(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(ws=False, timeout_s=0.05)
    venue.http.hold.clear()
    await driver.send(query(1))
    message = await inbox.one()
    assert (message.channel, message.request, message.payload) == ("lost", 1, "ReadTimeout")


async def test_time_stamps_follow_the_exchanges_clock(venue: Venue, open_driver: Open) -> None:
    ahead = '{"retCode":0,"result":{"timeNano":"4000000000000000000"},"time":4000000000000}'
    venue.http.script = lambda _m, target, *_: (200, ahead) if "market/time" in target else OK
    driver, inbox = await open_driver(ws=False)
    await driver.send(query(1))
    await inbox.one()
    stamp = int(venue.http.seen[-1][2]["x-bapi-timestamp"])
    assert 0 <= stamp - 4_000_000_000_000 < 60_000


async def test_the_stream_is_followed_over_a_broken_connection(venue: Venue, open_driver: Open) -> None:
    _, inbox = await open_driver()
    socket = await asyncio.wait_for(venue.sockets.get(), 10)
    assert (await inbox.one()).channel == "connected"
    assert [text["op"] for text in venue.texts] == ["auth", "subscribe"]
    assert venue.texts[1]["args"] == ["order", "execution"]
    await socket.send('{"topic":"order","data":[]}')
    message = await inbox.one()
    assert (message.channel, message.payload) == ("private", '{"topic":"order","data":[]}')
    await socket.close()
    assert (await inbox.one()).channel == "disconnected"
    socket = await asyncio.wait_for(venue.sockets.get(), 10)
    assert (await inbox.one()).channel == "connected"
    await socket.send("not json")
    assert (await inbox.one()).channel == "disconnected"


async def test_lockstep_delivers_complete_batches_only(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(lockstep=True, cursor=4)
    driver.set_time(77 * MS)
    socket = await asyncio.wait_for(venue.sockets.get(), 10)
    assert venue.texts[-1]["args"] == ["order", "execution", "sim.instant.execution.4"]
    venue.http.hold.clear()
    await driver.send(query(9))
    await socket.send('{"topic":"order","data":[1]}')
    await socket.send('{"topic":"sim.instant","ts":1,"data":{"n":5,"at":123000000,"frames":1,"replies":1}}')
    await driver.send(query(8))
    await arrived(venue, 2)
    assert inbox.batches.empty()
    # Call 8 belongs to the next instant: it gets no answer yet, and the batch does not wait for it.
    venue.http.script = lambda _m, target, *_: OK if "a%3A9" in target else None
    venue.http.hold.set()
    messages, at, number = await inbox.batch()
    assert ([m.channel for m in messages], at, number) == (["reply", "private"], 123_000_000, 5)
    assert messages[0].received_at == 0
    stamps = {headers["x-bapi-timestamp"] for _, target, headers, _ in venue.http.seen if "a%3A9" in target}
    assert stamps == {"77"}


async def test_in_lockstep_any_number_of_calls_waits_for_the_instant_together(venue: Venue, open_driver: Open) -> None:
    driver, _ = await open_driver(lockstep=True)
    venue.http.hold.clear()
    for number in range(150):
        await driver.send(query(number))
    await arrived(venue, 150)


async def test_lockstep_repeats_a_call_under_its_id_and_resumes_at_its_cursor(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(lockstep=True)
    socket = await asyncio.wait_for(venue.sockets.get(), 10)
    cuts = iter([None, None])
    venue.http.script = lambda *_: next(cuts, OK)
    await driver.send(query(1))
    await socket.send('{"topic":"order","data":[]}')
    await socket.send('{"topic":"sim.instant","ts":1,"data":{"n":3,"at":5,"frames":1,"replies":1}}')
    _, _, number = await inbox.batch()
    assert number == 3
    assert [headers["cdn-request-id"] for _, _, headers, _ in venue.http.seen] == ["execution-1"] * 3
    await socket.close()
    socket = await asyncio.wait_for(venue.sockets.get(), 10)
    assert venue.texts[-1]["args"][-1] == "sim.instant.execution.3"
    assert inbox.batches.empty()


async def test_a_driver_that_breaks_says_so(venue: Venue, open_driver: Open) -> None:
    driver, _ = await open_driver(lockstep=True)
    socket = await asyncio.wait_for(venue.sockets.get(), 10)
    await socket.send('{"topic":"sim.instant","ts":1,"data":{"n":1,"at":5,"frames":2,"replies":0}}')
    with pytest.raises(ValueError, match="expected 2 frames"):
        await asyncio.wait_for(driver.failed, 10)


def test_a_key_file_is_read_and_its_errors_show_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"key": "k", "secret": "canary", "note": "x"}))
    assert read_key(path).secret == "canary"
    path.write_text('{"secret": "canary"}')
    with pytest.raises(SettingsError) as caught:
        read_key(path)
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__
