"""Order entry over WebSocket, disconnection protection, and the address limit, on real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import websockets

from sim.config import SimConfig
from sim.engine.account import AccountSpec
from sim.exchange import Exchange
from sim.server import SimServer
from sim.tapes.tape import LiveTape, open_tape

SPECS = [AccountSpec(dcp=True), AccountSpec(key="look", secret="look", read_only=True, account="sim"),
         AccountSpec(key="second", secret="second")]  # fmt: skip


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Venue:
    """A realtime simulator in this process."""

    def __init__(self, config: SimConfig | None = None, spot: bool = False) -> None:
        tape = LiveTape(open_tape(["synthetic:seed=7,symbols=BTCUSDT"], 7), time.time_ns(), 1)
        self.exchange = Exchange(config or SimConfig(spot=spot), tape, 7, SPECS)
        self.server = SimServer(self.exchange)

    async def connect(self, path: str = "/v5/trade", key: str = "sim", secret: str = "sim-secret") -> Any:
        """An authenticated socket; without a key one that is not."""
        socket = await websockets.connect(f"ws://127.0.0.1:{self.server.port}{path}")
        if key:
            expires = now_ms() + 5000
            sign = hmac.new(secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
            answer = await say(socket, {"reqId": "auth", "op": "auth", "args": [key, expires, sign]})
            assert answer.get("retCode", 0) == 0
            assert answer.get("success", True), answer
        return socket

    async def price(self) -> float:
        market = self.exchange.venue.markets["BTCUSDT"]
        while not market.mark:
            await asyncio.sleep(0.01)
        return float(market.instrument.price_text(market.mark))


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = Venue()
    await venue.server.start()
    await venue.price()
    yield venue
    await venue.server.stop()


async def say(socket: Any, message: dict[str, Any]) -> dict[str, Any]:
    await socket.send(json.dumps(message))
    async with asyncio.timeout(10):
        return dict(json.loads(await socket.recv()))


def request(op: str, number: int, args: Any, **header: Any) -> dict[str, Any]:
    return {"reqId": f"r{number}", "op": op, "args": args, "header": {"X-BAPI-TIMESTAMP": now_ms(), **header}}


async def order(venue: Venue, **more: Any) -> dict[str, Any]:
    price = await venue.price() * 0.985
    return {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01",
            "price": f"{price:.1f}", **more}  # fmt: skip


async def test_orders_are_made_changed_and_cancelled(venue: Venue) -> None:
    socket = await venue.connect()
    made = await say(socket, request("order.create", 1, [await order(venue, orderLinkId="tg-1")]))
    assert list(made) == ["reqId", "retCode", "retMsg", "op", "data", "retExtInfo", "header", "connId"]
    assert (made["reqId"], made["retCode"], made["data"]["orderLinkId"]) == ("r1", 0, "tg-1")
    assert (made["header"]["X-Bapi-Limit"], made["header"]["X-Bapi-Limit-Status"]) == ("10", "9")
    assert abs(int(made["header"]["Timenow"]) - now_ms()) < 5000
    target = {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "tg-1"}
    assert (await say(socket, request("order.amend", 2, [target | {"qty": "0.02"}])))["retCode"] == 0
    gone = await say(socket, request("order.cancel", 3, [target]))
    assert (gone["retCode"], gone["data"]["orderId"]) == (0, made["data"]["orderId"])
    batch = {"category": "linear", "request": [await order(venue), {"symbol": "BTCUSDT"}]}
    many = await say(socket, request("order.create-batch", 4, [batch]))
    assert [row["code"] for row in many["retExtInfo"]["list"]] == [0, 10001]
    assert (await say(socket, {"op": "ping"}))["op"] == "pong"
    await socket.close()


async def test_what_is_wrong_has_its_code(venue: Venue) -> None:
    early = await venue.connect(key="")
    assert (await say(early, request("order.create", 1, [await order(venue)])))["retCode"] == 10003
    forged = {"op": "auth", "args": ["sim", now_ms() + 1000, "0" * 64]}
    assert (await say(early, forged))["retCode"] == 10004
    assert (await say(early, {"op": "auth", "args": ["sim"]}))["retCode"] == 10001
    await early.close()

    socket = await venue.connect()
    assert (await say(socket, {"op": "auth", "args": ["sim", now_ms() + 1000, "x"]}))["retCode"] == 20001
    assert (await say(socket, request("order.nothing", 1, [{}])))["retCode"] == 10404
    good = await order(venue)
    assert (await say(socket, request("order.create", 2, [good])))["retCode"] == 0
    twice = await say(socket, request("order.create", 2, [good]))
    assert (twice["retCode"], twice["reqId"]) == (20006, "r2")
    assert (await say(socket, request("order.create", 3, [good], **{"X-BAPI-TIMESTAMP": 1})))["retCode"] == 10002
    for number, args in ((4, []), (5, [good, good]), (6, "x"), (7, [1])):
        assert (await say(socket, request("order.create", number, args)))["retCode"] == 10001
    assert (await say(socket, {"op": "order.create", "args": [good]}))["retCode"] == 10001, "no header"
    assert (await say(socket, request("order.create", 8, [good]) | {"reqId": "x" * 37}))["retCode"] == 10001
    assert len(venue.exchange.desk.accounts["sim"].open_orders) == 1
    await socket.close()

    reader = await venue.connect(key="look", secret="look")
    assert (await say(reader, request("order.create", 1, [good])))["retCode"] == 10005
    await reader.close()


async def test_the_bucket_is_shared_with_rest(venue: Venue) -> None:
    socket = await venue.connect()
    target = {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "none"}
    for number in range(11):
        await socket.send(json.dumps(request("order.cancel", number, [target])))
    async with asyncio.timeout(10):
        codes = [json.loads(await socket.recv())["retCode"] for _ in range(11)]
    assert (codes.count(110001), codes.count(10006)) == (10, 1)
    await socket.close()


async def test_orders_of_a_lost_connection_are_cancelled(venue: Venue) -> None:
    private, trade = await venue.connect("/v5/private"), await venue.connect()
    assert (await say(private, {"op": "subscribe", "args": ["dcp.future"]}))["success"]
    account = venue.exchange.desk.accounts["sim"]
    account.dcp_s["DERIVATIVES"] = 1
    made = await say(trade, request("order.create", 1, [await order(venue)]))
    resting = account.by_id[made["data"]["orderId"]]
    assert resting.is_open
    private.transport.abort()
    async with asyncio.timeout(10):
        while resting.is_open:
            await asyncio.sleep(0.02)
    assert resting.cancel_type == "CancelByDCP"
    await trade.close()


async def test_an_address_that_floods_is_answered_403() -> None:
    venue = Venue(SimConfig(address_limit=5))
    await venue.server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{venue.server.port}") as client:
        answers = [await client.get("/v5/market/time") for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [403] * 2
        assert answers[-1].text == "access too frequent"
        assert (await client.get("/sim/state")).status_code == 200, "the operator is let in"
        socket = await venue.connect()
        assert (await say(socket, {"op": "ping"}))["retCode"] == 0, "open sockets live on"
        await socket.close()
    await venue.server.stop()
