"""WebSocket sessions of the simulator as third parties use them: answers, topics, categories, silence."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets

from sim.sockets.sessions import active_s
from tests.contract import shapes
from tests.contract.shapes import faults
from tests.integration.test_trade_socket import Venue, now_ms, order, request, say

LINEAR, SPOT, PRIVATE = "/v5/public/linear", "/v5/public/spot", "/v5/private"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = Venue(spot=True)
    await venue.server.start()
    await venue.price()
    yield venue
    await venue.server.stop()


async def public(venue: Venue, path: str = LINEAR) -> Any:
    return await websockets.connect(f"ws://127.0.0.1:{venue.server.port}{path}")


async def read(socket: Any, topic: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            message = json.loads(await socket.recv())
            if message.get("topic") == topic:
                return dict(message)


def fits(shape: Any, message: Any) -> None:
    assert faults(shape, message, recorded=False) == []


async def test_answers_look_as_those_of_the_exchange(venue: Venue) -> None:
    linear, spot = await public(venue), await public(venue, SPOT)
    private, trade = await venue.connect(PRIVATE), await venue.connect()
    fits(shapes.PUBLIC_ACK, await say(linear, {"op": "subscribe", "args": ["kline.60.BTCUSDT"]}))
    ack = await say(spot, {"op": "subscribe", "args": ["kline.60.BTCUSDT"], "req_id": "10001"})
    fits(shapes.PUBLIC_ACK, ack)
    assert ack["ret_msg"] == "subscribe"
    fits(shapes.ACK, await say(private, {"op": "subscribe", "args": ["greeks", "order"]}) | {"success": True})
    ping = {"op": "ping", "req_id": "p"}
    fits(shapes.PUBLIC_PONG, await say(linear, ping))
    fits(shapes.PRIVATE_PONG, await say(private, ping))
    fits(shapes.TRADE_PONG, await say(trade, ping))
    pong = await say(spot, {"op": "ping"})
    fits(shapes.PUBLIC_PONG, pong)
    assert "req_id" not in pong
    fits(shapes.TRADE_ANSWER, await say(trade, request("order.create", 1, [await order(venue)])))
    await (await linear.ping())  # the protocol's own
    for socket in (linear, spot, private, trade):
        await socket.close()


@pytest.mark.parametrize("req_id", [7, "seven", "x" * 60, None])
async def test_request_ids_come_back_as_they_were(venue: Venue, req_id: Any) -> None:
    socket = await public(venue)
    asked = {"op": "subscribe", "args": ["tickers.BTCUSDT"], "extra": {"ignored": True}}
    answer = await say(socket, asked if req_id is None else asked | {"req_id": req_id})
    assert (answer["success"], answer["req_id"]) == (True, "" if req_id is None else req_id)
    await socket.close()


async def test_one_bad_topic_refuses_the_whole_request(venue: Venue) -> None:
    socket = await public(venue)
    answer = await say(socket, {"op": "subscribe", "args": ["tickers.BTCUSDT", "tickers.NOPE"]})
    assert (answer["success"], answer["ret_msg"]) == (False, "error:handler not found,topic:tickers.NOPE")
    for gone in ("orderbook.500.BTCUSDT", "liquidation.BTCUSDT"):
        assert not (await say(socket, {"op": "subscribe", "args": [gone]}))["success"]
    assert (await say(socket, {"op": "subscribe", "args": ["kline.60.BTCUSDT"]}))["success"]
    twice = await say(socket, {"op": "subscribe", "args": ["kline.60.BTCUSDT"]})
    assert twice["ret_msg"] == "error:already subscribed,topic:kline.60.BTCUSDT"
    assert (await say(socket, {"op": "unsubscribe", "args": ["kline.60.BTCUSDT"]}))["op"] == "unsubscribe"
    assert (await say(socket, {"op": "subscribe", "args": ["kline.60.BTCUSDT"]}))["success"]
    assert not (await say(socket, {"op": "subscribe", "args": "tickers.BTCUSDT"}))["success"]
    assert not (await say(socket, {"op": "dance"}))["success"]
    await socket.send("no json")
    assert json.loads(await socket.recv())["success"] is False
    await socket.close()


async def test_requests_have_bounds(venue: Venue) -> None:
    spot, linear = await public(venue, SPOT), await public(venue)
    many = [
        f"kline.{interval}.BTCUSDT" for interval in ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D")
    ]
    assert "size >10" in (await say(spot, {"op": "subscribe", "args": many}))["ret_msg"]
    assert (await say(spot, {"op": "subscribe", "args": many[:10]}))["success"]
    long = [f"tickers.{number:0>20}" for number in range(800)]
    assert "length >21000" in (await say(linear, {"op": "subscribe", "args": long}))["ret_msg"]
    await spot.close()
    await linear.close()


async def test_data_comes_after_the_ack(venue: Venue) -> None:
    socket = await public(venue)
    for topic in ("orderbook.50.BTCUSDT", "tickers.BTCUSDT"):
        await socket.send(json.dumps({"op": "subscribe", "args": [topic], "req_id": topic}))
    seen: set[str] = set()
    while len(seen) < 4:
        message = json.loads(await socket.recv())
        if "topic" in message:
            assert f"ack {message['topic']}" in seen
            seen.add(message["topic"])
        else:
            seen.add(f"ack {message['req_id']}")
    await socket.close()


async def test_categories_are_told_apart(venue: Venue) -> None:
    both, linear, spot = [await venue.connect(PRIVATE) for _ in range(3)]
    mixed = await say(both, {"op": "subscribe", "args": ["order", "order.linear"]})
    assert (mixed["success"], mixed["ret_msg"]) == (False, "error:order is in the same request,topic:order.linear")
    assert (await say(both, {"op": "subscribe", "args": ["order"]}))["success"]
    assert (await say(linear, {"op": "subscribe", "args": ["order.linear", "execution.linear"]}))["success"]
    assert (await say(spot, {"op": "subscribe", "args": ["order.spot", "wallet"]}))["success"]
    assert not (await say(spot, {"op": "subscribe", "args": ["wallet.spot"]}))["success"]
    trade = await venue.connect()
    price = f"{await venue.price() * 0.995:.1f}"
    coins = {
        "category": "spot",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "qty": "0.001",
        "price": price,
    }
    assert (await say(trade, request("order.create", 1, [coins])))["retCode"] == 0
    assert (await say(trade, request("order.create", 2, [await order(venue, orderLinkId="perp")])))["retCode"] == 0
    first, second = await read(both, "order"), await read(both, "order")
    assert [frame["data"][0]["category"] for frame in (first, second)] == ["spot", "linear"]
    assert (await read(linear, "order.linear"))["data"][0]["orderLinkId"] == "perp"
    assert (await read(spot, "order.spot"))["data"][0]["category"] == "spot"
    for socket in (both, linear, spot, trade):
        await socket.close()


async def test_accounts_see_their_own(venue: Venue) -> None:
    mine, other = await venue.connect(PRIVATE), await venue.connect(PRIVATE, "second", "second")
    for socket in (mine, other):
        assert (await say(socket, {"op": "subscribe", "args": ["order"]}))["success"]
    for key, secret, link in (("sim", "sim-secret", "one"), ("second", "second", "two")):
        trade = await venue.connect("/v5/trade", key, secret)
        assert (await say(trade, request("order.create", 1, [await order(venue, orderLinkId=link)])))["retCode"] == 0
        await trade.close()
    assert (await read(other, "order"))["data"][0]["orderLinkId"] == "two", "the first it sees is its own"
    assert (await read(mine, "order"))["data"][0]["orderLinkId"] == "one"
    await mine.close()
    await other.close()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["sim"], "Params Error"),
        (["sim", "soon", "x"], "Params Error"),
        (["sim", 1, "x"], "expires"),
        (["nobody", 10**14, "x"], "API key is invalid"),
        (["sim", 10**14, "x"], "sign"),
    ],
)
async def test_wrong_auth_is_told(venue: Venue, args: list[Any], words: str) -> None:
    socket = await public(venue, PRIVATE)
    answer = await say(socket, {"op": "auth", "args": args})
    assert (answer["success"], words in answer["ret_msg"]) == (False, True), answer
    assert (await say(socket, {"op": "subscribe", "args": ["order"]}))["ret_msg"] == "Request not authorized"
    await socket.close()


async def test_a_silent_client_is_disconnected(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.server.active_s", lambda kind, query: 0.5)
    silent, talking = await public(venue), await public(venue)
    began, until = time.monotonic(), asyncio.get_running_loop().time() + 5
    async with asyncio.timeout_at(until):
        while silent.state.name == "OPEN":
            assert (await say(talking, {"op": "ping"}))["op"] == "ping"
            await asyncio.sleep(0.05)
    assert time.monotonic() - began >= 0.4
    assert talking.state.name == "OPEN"
    await talking.close()


@pytest.mark.parametrize(
    ("kind", "query", "seconds"),
    [
        ("private", "", 600),
        ("private", "max_active_time=1m", 60),
        ("trade", "max_active_time=45s", 45),
        ("private", "max_active_time=5s", 30),
        ("private", "max_active_time=99m", 600),
        ("private", "max_active_time=soon", 600),
        ("public", "max_active_time=1m", 600),
    ],
)
def test_how_long_a_client_may_be_silent(kind: str, query: str, seconds: int) -> None:
    assert active_s(kind, query) == seconds


async def test_expires_may_be_hours_ahead_and_a_text(venue: Venue) -> None:
    socket = await public(venue, PRIVATE)
    expires = str(now_ms() + 5 * 3_600_000)
    sign = hmac.new(b"sim-secret", f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
    assert (await say(socket, {"op": "auth", "args": ["sim", expires, sign]}))["success"]
    await socket.close()
