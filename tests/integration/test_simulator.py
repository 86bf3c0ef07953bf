"""The simulator on a real socket: Bybit's clients, lockstep, kill -9."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from libs.common.errors import UsageError
from sim.config import SimConfig
from sim.exchange import Exchange
from sim.server import SimServer
from sim.tapes.tape import open_tape
from tests.simprocess import KEY, Process, sign, signed, wait_price

SECOND = 1_000_000_000


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def launch(*arguments: str) -> Process:
        running.append(Process(*arguments))
        return running[-1]

    yield launch
    for process in running:
        if process.process.poll() is None:
            process.end()


async def read(socket: Any, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The next message that is wanted."""
    async with asyncio.timeout(10):
        while True:
            message = json.loads(await socket.recv())
            if wanted(message):
                return dict(message)


async def test_order_ack_and_frames_on_a_real_socket(start: Callable[..., Process]) -> None:
    process = start()
    await asyncio.to_thread(wait_price, process)
    base = process.url.replace("http", "ws")
    async with (
        websockets.connect(f"{base}/v5/private") as private,
        websockets.connect(f"{base}/v5/public/linear") as public,
    ):
        await private.send(json.dumps({"op": "subscribe", "args": ["order"]}))
        assert (await read(private, lambda m: m["op"] == "subscribe"))["success"] is False, "not before auth"
        expires = time.time_ns() // 1_000_000 + 5000
        await private.send(json.dumps({"op": "auth", "args": [KEY, expires, sign(f"GET/realtime{expires}")]}))
        assert (await read(private, lambda m: m["op"] == "auth"))["success"] is True
        topics = ["order.linear", "execution", "position", "wallet"]
        await private.send(json.dumps({"op": "subscribe", "args": topics, "req_id": 5}))
        assert (await read(private, lambda m: m["op"] == "subscribe"))["req_id"] == 5
        await private.send(json.dumps({"op": "ping", "req_id": "p"}))
        assert (await read(private, lambda m: m["op"] == "pong"))["req_id"] == "p"

        await public.send(json.dumps({"op": "subscribe", "args": ["orderbook.50.BTCUSDT", "nothing.BTCUSDT"]}))
        refused = await read(public, lambda m: m["op"] == "subscribe")
        assert refused["ret_msg"] == "error:handler not found,topic:nothing.BTCUSDT"
        await public.send(json.dumps({"op": "subscribe", "args": ["orderbook.50.BTCUSDT", "tickers.BTCUSDT"]}))
        assert (await read(public, lambda m: m["op"] == "subscribe"))["success"] is True
        book = await read(public, lambda m: m["topic"] == "orderbook.50.BTCUSDT")
        assert (book["type"], len(book["data"]["b"]) >= 5) == ("snapshot", True)
        async with websockets.connect(f"{base}/v5/public/linear") as late:
            await late.send(json.dumps({"op": "subscribe", "args": ["orderbook.50.BTCUSDT"]}))
            assert (await read(late, lambda m: "topic" in m))["type"] == "snapshot"
        await public.send(json.dumps({"op": "ping"}))
        assert (await read(public, lambda m: m.get("op") == "ping"))["ret_msg"] == "pong"

        ack = await asyncio.to_thread(process.order, orderLinkId="tg-socket")
        assert ack["retCode"] == 0
        seen = {}
        for topic in ("order.linear", "execution", "position", "wallet"):
            seen[topic] = await read(private, lambda m, t=topic: m["topic"] == t)
        assert seen["order.linear"]["data"][0]["orderStatus"] == "Filled"
        assert seen["execution"]["data"][0]["orderLinkId"] == "tg-socket"
        assert seen["position"]["data"][0]["size"] == "0.01"


def test_state_survives_kill_nine(start: Callable[..., Process], tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    process = start("--state-dir", state)
    wait_price(process)
    assert process.order(orderLinkId="filled")["retCode"] == 0
    price = float(process.get("/sim/state")["markets"]["BTCUSDT"]["mark"]) * 0.985
    resting = process.order(orderType="Limit", price=f"{price:.1f}", orderLinkId="resting")
    assert resting["retCode"] == 0
    before = {path: process.get(path, query)["result"] for path, query in LOOKS.items()}
    assert process.end(signal.SIGKILL) == -signal.SIGKILL

    again = start("--state-dir", state)
    after = {path: again.get(path, query)["result"] for path, query in LOOKS.items()}
    assert after["/v5/execution/list"] == before["/v5/execution/list"]
    assert after["/v5/order/realtime"]["list"] == before["/v5/order/realtime"]["list"]
    assert [row["orderLinkId"] for row in after["/v5/order/realtime"]["list"]] == ["resting"]
    for name in ("size", "avgPrice", "side", "cumRealisedPnl"):
        assert after["/v5/position/list"]["list"][0][name] == before["/v5/position/list"]["list"][0][name]
    for name in ("walletBalance",):
        wallets = [x["/v5/account/wallet-balance"]["list"][0]["coin"][0][name] for x in (before, after)]
        assert wallets[0] == wallets[1]
    assert again.order(orderLinkId="filled")["retCode"] == 110072, "a used id stays used"
    body = {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "resting"}
    assert again.post("/v5/order/cancel", body)["retCode"] == 0
    assert again.end() == 0


LOOKS = {
    "/v5/execution/list": "category=linear",
    "/v5/order/realtime": "category=linear&settleCoin=USDT",
    "/v5/position/list": "category=linear&symbol=BTCUSDT",
    "/v5/account/wallet-balance": "accountType=UNIFIED",
}


def test_a_wiped_state_is_a_new_incarnation(start: Callable[..., Process], tmp_path: Path) -> None:
    state = tmp_path / "state"
    names = []
    for wipe in (False, False, True):
        if wipe:
            for file in state.iterdir():
                file.unlink()
        process = start("--state-dir", str(state))
        names.append(process.get("/v5/market/time")["result"]["incarnation"])
        process.end()
    assert names[0] == names[1] != names[2]


def test_a_state_directory_has_one_owner_and_a_port_one_listener(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start("--state-dir", str(tmp_path))
    port = process.url.rpartition(":")[2]
    for arguments, words in (
        (["--state-dir", str(tmp_path), "--port", "0"], "state directory"),
        (["--port", port], f"port {port}"),
        (["--port", "99999"], "ports end at 65535"),
        (["--state-dir", "/proc/state", "--port", "0"], "a directory that can be made"),
        (["--speed", "0", "--port", "0"], "--speed of 1 or more"),
    ):
        command = [sys.executable, "-m", "sim", "--tape", "synthetic:", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert (ended.returncode, words in ended.stderr, len(ended.stderr.splitlines())) == (2, True, 1), ended.stderr


# --- lockstep --------------------------------------------------------------------------------------------------------


class Run:
    """A lockstep server with both clients' sockets at hand."""

    def __init__(self) -> None:
        tape = open_tape(["synthetic:seed=7,minutes=5,symbols=BTCUSDT"], 7)
        self.server = SimServer(Exchange(SimConfig(), tape, 7), lockstep=True)
        self.at, self.number, self.asked = tape.start_at, 0, 0
        self.server.on_requests = self._count

    async def _count(self, count: int) -> None:
        self.asked += count

    async def connect(self, name: str, cursor: int = 0) -> Any:
        path = "/v5/public/linear" if name == "marketdata" else "/v5/private"
        topics = (
            ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT"]
            if name == "marketdata"
            else ["order", "execution", "wallet"]
        )
        socket = await websockets.connect(f"ws://127.0.0.1:{self.server.port}{path}")
        if name == "execution":
            expires = self.server.exchange.now // 1_000_000 + 5000
            await socket.send(json.dumps({"op": "auth", "args": [KEY, expires, sign(f"GET/realtime{expires}")]}))
            assert (await read(socket, lambda m: m.get("op") == "auth"))["success"]
        await socket.send(json.dumps({"op": "subscribe", "args": [*topics, f"sim.instant.{name}.{cursor}"]}))
        assert (await read(socket, lambda m: m.get("op") == "subscribe"))["success"]
        return socket

    async def instant(self) -> set[str]:
        self.number, self.at = self.number + 1, self.at + SECOND
        return await self.server.advance(self.at, self.number)

    async def create(self, number: int) -> dict[str, Any]:
        """A create request of the execution client; waits, as it must, for its instant."""
        text = json.dumps({"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.01",
                           "orderLinkId": f"tg-{number}"})  # fmt: skip
        headers = signed(text, self.server.exchange.now // 1_000_000, **{"cdn-request-id": f"execution-{number}"})
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.post(
                f"http://127.0.0.1:{self.server.port}/v5/order/create", content=text, headers=headers
            )
        return dict(answer.json())

    async def queued(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.asked < count:
                await asyncio.sleep(0.005)


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    run = Run()
    await run.server.start()
    yield run
    await run.server.stop()


async def batch(socket: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Frames up to the next marker, and the marker's data."""
    frames: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while True:
            message = json.loads(await socket.recv())
            if message["topic"] == "sim.instant":
                assert message["data"]["frames"] == len(frames)
                return frames, message["data"]
            frames.append(message)


async def test_lockstep_gives_batches_and_nothing_else(run: Run) -> None:
    market = await run.connect("marketdata")
    private = await run.connect("execution")
    await run.server.wait_clients({"marketdata", "execution"})
    assert await run.instant() == {"marketdata"}
    frames, marker = await batch(market)
    assert marker == {"n": 1, "at": run.at, "frames": len(frames), "replies": 0}
    assert [frame["topic"] for frame in frames] == ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT"]
    assert frames[0]["type"] == "snapshot"

    reply = asyncio.create_task(run.create(1))
    await run.queued(1)
    assert not reply.done(), "answered only when its instant is computed"
    assert "execution" in await run.instant()
    frames, marker = await batch(private)
    assert (marker["n"], marker["replies"]) == (2, 1)
    assert {frame["topic"] for frame in frames} == {"order", "execution", "wallet"}
    assert (await reply)["retCode"] == 0
    assert frames[0]["data"][0]["createdTime"] <= str(run.at // 1_000_000)
    await market.close()
    await private.close()


async def test_a_killed_client_gets_its_batch_and_its_reply_again(run: Run) -> None:
    private = await run.connect("execution")
    assert await run.instant() == set(), "no batch without subscribers of public topics, orders or requests"
    request = asyncio.create_task(run.create(1))
    await run.queued(1)
    request.cancel()
    await private.close()
    assert await run.instant() == {"execution"}
    again = await run.connect("execution", cursor=0)
    frames, marker = await batch(again)
    assert (marker["n"], marker["replies"]) == (2, 1)
    first = await run.create(1)
    assert first["retCode"] == 0
    assert await run.create(1) == first, "the same request id, the same answer"
    assert run.asked == 1
    assert len(run.server.exchange.desk.accounts["sim"].closed) == 1, "executed once"
    await again.close()
    third = await run.connect("execution", cursor=2)
    await run.instant()
    request = asyncio.create_task(run.create(2))
    await run.queued(2)
    await run.instant()
    assert (await batch(third))[1]["n"] == 4, "what was committed is not sent again"
    assert (await request)["retCode"] == 0
    assert frames
    await third.close()


async def test_others_are_answered_at_once_without_moving_time(run: Run) -> None:
    await run.instant()
    now = run.server.exchange.now
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{run.server.port}/v5/market/time")
    assert int(answer.json()["result"]["timeNano"]) == now == run.server.exchange.now


async def test_a_port_in_use_is_one_sentence(run: Run) -> None:
    other = SimServer(run.server.exchange, port=run.server.port, lockstep=True)
    with pytest.raises(UsageError, match=f"port {run.server.port}"):
        await other.start()
