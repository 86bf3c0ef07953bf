"""The driver's second way for orders, its silence after 403, and its change of keys, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.bybit import rest
from libs.bybit.client import BybitDriver
from libs.common.decider import Request
from tests.integration.bybit.test_client import OK, Inbox
from tests.integration.bybit.venue import Venue

Open = Callable[..., Any]


def write(path: Path, key: str) -> Path:
    path.write_text(json.dumps({"key": key, "secret": f"{key}-secret"}))
    return path


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with Venue() as venue:
        venue.http.script = lambda *_: OK
        yield venue


@pytest.fixture
async def open_driver(venue: Venue, tmp_path: Path) -> AsyncIterator[Open]:
    drivers: list[BybitDriver] = []

    async def opened(*, ws: bool = False, trade: bool = False, hushed_ms: int = 0, timeout_s: float = 5.0) -> Any:
        driver = BybitDriver(
            venue.base_url,
            venue.ws_url if ws else "",
            write(tmp_path / "a.json", "ka"),
            "execution",
            lockstep=False,
            topics=("order",),
            timeout_s=timeout_s,
            second_key_file=write(tmp_path / "b.json", "kb"),
            trade_url=venue.trade_url if trade else "",
            hushed=lambda: hushed_ms,
        )
        drivers.append(driver)
        inbox = Inbox()
        await driver.start(inbox)
        if trade and not venue.trade_auth:
            assert (await inbox.one()).channel == "trade-connected"
        return driver, inbox

    yield opened
    for driver in drivers:
        await driver.stop()


def create(number: int, transport: str = "http") -> Request:
    request = Request(number, "POST", "/v5/order/create", f'{{"orderLinkId":"tg-{number}"}}', weight_class="create")
    return msgspec.structs.replace(request, transport=transport)


async def test_an_order_over_the_trade_socket_is_answered_by_its_number(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(trade=True)
    await driver.send(create(4, "trade"))
    order = await asyncio.wait_for(venue.orders.get(), 10)
    assert (order["op"], order["args"]) == ("order.create", [{"orderLinkId": "tg-4"}])
    message = await inbox.one()
    assert (message.channel, message.request, message.status) == ("reply", 4, 200)
    assert message.headers["x-bapi-limit-status"] == "9"
    assert message.headers[rest.SENT_AT_HEADER].isdigit()


async def test_what_is_open_when_the_socket_ends_is_lost_and_the_next_socket_comes(
    venue: Venue, open_driver: Open
) -> None:
    driver, inbox = await open_driver(trade=True)
    venue.answers = False
    socket = await asyncio.wait_for(venue.trades.get(), 10)
    await driver.send(create(1, "trade"))
    await asyncio.wait_for(venue.orders.get(), 10)
    await socket.close()
    assert [(await inbox.one()).channel for _ in range(3)] == ["trade-disconnected", "lost", "trade-connected"]
    await asyncio.wait_for(venue.trades.get(), 10)


async def test_an_order_that_is_not_answered_in_time_is_lost(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(trade=True, timeout_s=0.05)
    venue.answers = False
    await driver.send(create(1, "trade"))
    message = await inbox.one()
    assert (message.channel, message.request) == ("lost", 1)


async def test_a_restarting_server_is_left_for_another_connection(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(trade=True)
    venue.answers = False
    socket = await asyncio.wait_for(venue.trades.get(), 10)
    for number in (1, 2):
        await driver.send(create(number, "trade"))
        await asyncio.wait_for(venue.orders.get(), 10)
    await socket.send('{"reqId":"execution-1","retCode":10019,"retMsg":"restart","op":"order.create"}')
    got = [await inbox.one() for _ in range(4)]
    assert [(m.channel, m.request) for m in got] == [
        ("reply", 1),
        ("trade-disconnected", 0),
        ("lost", 2),
        ("trade-connected", 0),
    ]


async def test_without_the_socket_nothing_is_sent_and_that_is_said(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver()
    await driver.send(create(1, "trade"))
    message = await inbox.one()
    assert (message.channel, message.payload) == ("unsent", rest.UNSENT_NO_SOCKET)


async def test_after_403_http_says_nothing_and_the_trade_socket_still_works(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(trade=True)
    venue.http.script = lambda *_: (403, "access too frequent")
    await driver.send(create(1))
    assert (await inbox.one()).status == 403
    said = len(venue.http.seen)
    for number in range(2, 30):
        await driver.send(create(number))
        message = await inbox.one()
        assert (message.channel, message.request, message.payload) == ("unsent", number, rest.UNSENT_SILENT)
    await driver.send(create(30, "trade"))
    assert (await inbox.one()).channel == "reply"
    assert len(venue.http.seen) == said


async def test_a_process_that_starts_in_the_silence_keeps_it(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver(trade=True, hushed_ms=60_000)
    await driver.send(create(1))
    assert (await inbox.one()).channel == "unsent"
    assert venue.http.seen == [], "not even the time was asked for"


def refuses(code: int, key: str) -> Callable[..., tuple[int, str]]:
    answer = (200, f'{{"retCode":{code},"retMsg":"no","result":{{}},"time":1}}')
    return lambda _m, _t, headers, _b: answer if headers.get("x-bapi-api-key") == key else OK


@pytest.mark.parametrize("code", [10003, 10005, 10010, 33004])
async def test_a_refused_key_gives_way_to_the_other_everywhere(venue: Venue, open_driver: Open, code: int) -> None:
    driver, inbox = await open_driver(ws=True, trade=True)
    assert (await inbox.one()).channel == "connected"
    venue.http.script = refuses(code, "ka")
    await driver.send(create(1))
    first, second = await inbox.one(), await inbox.one()
    assert (first.channel, first.payload) == ("key", "B")
    assert second.headers[rest.KEY_CHANGED_HEADER] == "1"
    await driver.send(create(2))
    seen = [await inbox.one() for _ in range(5)]
    assert {m.channel for m in seen} == {"disconnected", "connected", "trade-disconnected", "trade-connected", "reply"}
    assert venue.http.seen[-1][2]["x-bapi-api-key"] == "kb"
    used = [text["args"][0] for text in venue.texts if text["op"] == "auth"]
    assert sorted(used) == ["ka", "ka", "kb", "kb"]


async def test_what_not_every_account_may_call_says_nothing_against_the_key(venue: Venue, open_driver: Open) -> None:
    driver, inbox = await open_driver()
    venue.http.script = refuses(10005, "ka")
    await driver.send(Request(1, "GET", "/v5/account/query-dcp-info"))
    message = await inbox.one()
    assert (message.channel, rest.KEY_CHANGED_HEADER in message.headers) == ("reply", False)


async def test_when_both_are_refused_that_is_all(venue: Venue, open_driver: Open, tmp_path: Path) -> None:
    driver, inbox = await open_driver()
    venue.http.script = lambda *_: (200, '{"retCode":33004,"retMsg":"expired","result":{},"time":1}')
    await driver.send(create(1))
    assert [(await inbox.one()).channel for _ in range(2)] == ["key", "reply"]
    await driver.send(create(2))
    message = await inbox.one()
    assert rest.KEY_CHANGED_HEADER not in message.headers
    venue.http.script = lambda *_: OK
    write(tmp_path / "a.json", "renewed")
    message = await inbox.one()
    assert (message.channel, message.payload) == ("key", "A")


async def test_the_trade_socket_finds_a_bad_key_by_itself(venue: Venue, open_driver: Open) -> None:
    venue.trade_auth = 33004
    _, inbox = await open_driver(trade=True)
    message = await inbox.one()
    assert (message.channel, message.payload) == ("key", "B")
    venue.trade_auth = 0
    assert (await inbox.one()).channel == "trade-connected"
    assert [text["args"][0] for text in venue.texts] == ["ka", "kb"]
