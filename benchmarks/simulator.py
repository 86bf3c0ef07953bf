"""The simulated exchange on its port: orders a second over REST, messages a second out of its WebSocket.

`python -m benchmarks.simulator SPEED` serves it without rate limits; the clients here are as thin as can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvicorn
import uvloop

from benchmarks.server import ROOT
from sim.app import build, serve
from sim.config import SimConfig

KEY, SECRET = "sim", "sim-secret"
TOPICS = ("orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT", "orderbook.50.ETHUSDT", "publicTrade.ETHUSDT", "tickers.ETHUSDT")  # fmt: skip


class Rate(NamedTuple):
    """How many a second, and the simulator's own CPU time for each: what the clients take of the machine is not its doing."""

    a_second: float
    cpu_us: float


@contextlib.contextmanager
def exchange(speed: int) -> Iterator[tuple[str, int]]:
    """Yields the url and pid of a simulator in a process of its own; speed 0: of a web server that says OK to everything."""
    command = [sys.executable, "-m", "benchmarks.simulator", str(speed)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield str(json.loads(process.stderr.readline())["url"]), process.pid
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def orders_a_second(seconds: float = 4.0, clients: int = 16, bare: bool = False) -> Rate:
    """Limit orders that rest, created and acknowledged, each signed, one after the other on every connection; `bare`: told
    to a web server without an exchange."""
    with exchange(0 if bare else 1) as (url, pid):
        return uvloop.run(_orders(url, pid, seconds, clients))


async def _orders(url: str, pid: int, seconds: float, clients: int) -> Rate:
    await _priced(url)
    until, before_s = time.perf_counter() + seconds, cpu_s(pid)
    count = sum(await asyncio.gather(*(_trader(url, i, until) for i in range(clients))))
    return Rate(count / seconds, (cpu_s(pid) - before_s) / count * 1e6)


async def _priced(url: str) -> None:
    """Wait for the tape's first print: nothing trades before it."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    order = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "qty": "0.001",
        "price": "1",
    }
    until = time.perf_counter() + 20
    while (await _post(reader, writer, "/v5/order/create", json.dumps(order)))["retCode"] == 110066:
        if time.perf_counter() > until:
            raise SystemExit("expected a price within 20 s, was none")
        await asyncio.sleep(0.05)
    writer.close()


async def _trader(url: str, number: int, until: float) -> int:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    done = 0
    while time.perf_counter() < until:
        link = f"b-{number}-{done}"
        order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.001", "price": "50000", "timeInForce": "GTC", "orderLinkId": link}  # fmt: skip
        if done % 2:  # so that the book does not fill up
            order = {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": f"b-{number}-{done - 1}"}
        answer = await _post(reader, writer, "/v5/order/cancel" if done % 2 else "/v5/order/create", json.dumps(order))
        if answer["retCode"] != 0:
            raise SystemExit(f"expected retCode 0, was {answer}")
        done += 1
    writer.close()
    return done


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: str) -> dict[str, Any]:
    stamp = str(time.time_ns() // 1_000_000)
    signature = hmac.new(SECRET.encode(), f"{stamp}{KEY}5000{body}".encode(), hashlib.sha256).hexdigest()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-BAPI-API-KEY: {KEY}\r\nX-BAPI-TIMESTAMP: {stamp}\r\nX-BAPI-RECV-WINDOW: 5000\r\nX-BAPI-SIGN: {signature}\r\n\r\n"
    )
    writer.write(head.encode() + body.encode())
    header = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in header.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    answer: dict[str, Any] = json.loads(await reader.readexactly(length))
    return answer


class _Counter(asyncio.Protocol):
    """A WebSocket client that counts messages and reads none of them."""

    def __init__(self) -> None:
        self.rest, self.messages, self.is_open = b"", 0, False

    def connection_made(self, transport: Any) -> None:
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        transport.write(f"GET /v5/public/linear HTTP/1.1\r\nHost: sim\r\n{upgrade}\r\n".encode())
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.rest += data
        if not self.is_open:
            head, end, rest = self.rest.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                raise SystemExit(f"expected 101, was {head!r}")
            self.is_open, self.rest = True, rest
            text = json.dumps({"op": "subscribe", "args": TOPICS}).encode()
            self.transport.write(b"\x81" + bytes([0x80 | 126]) + len(text).to_bytes(2, "big") + bytes(4) + text)
        self._count()

    def _count(self) -> None:
        data, at, end = self.rest, 0, len(self.rest)
        while at + 2 <= end:
            size, body = data[at + 1] & 127, at + 2
            if size >= 126:
                wide = 2 if size == 126 else 8
                size, body = int.from_bytes(data[body : body + wide], "big"), body + wide
            if body + size > end:
                break
            self.messages += 1
            at = body + size
        self.rest = data[at:]


def messages_a_second(seconds: float = 4.0, clients: int = 100, speed: int = 200) -> Rate:
    """Market data frames received by all clients together, each subscribed to everything, of a tape played fast.

    The feeds push some 450 messages a second to each client, whatever the tape: with few clients that is what is measured.
    """
    with exchange(speed) as (url, pid):
        return uvloop.run(_listen(url, pid, seconds, clients))


async def _listen(url: str, pid: int, seconds: float, clients: int) -> Rate:
    place, loop = urlsplit(url), asyncio.get_running_loop()
    made = [await loop.create_connection(_Counter, place.hostname, place.port) for _ in range(clients)]
    counters = [protocol for _, protocol in made]
    await asyncio.sleep(1.0)  # the snapshots are out
    before, before_s = sum(counter.messages for counter in counters), cpu_s(pid)
    await asyncio.sleep(seconds)
    count = sum(counter.messages for counter in counters) - before
    return Rate(count / seconds, (cpu_s(pid) - before_s) / count * 1e6)


async def _bare(scope: Any, receive: Any, send: Any) -> None:
    """The least a server can do with an order: take it and answer as long as the exchange does."""
    while (await receive()).get("more_body"):
        pass
    body = b'{"retCode":0,"retMsg":"OK","result":{"orderId":"00000000-0000-0000-0000-000000000000"},"retExtInfo":{},"time":1}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve_bare() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stderr.write(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}) + "\n")
    sys.stderr.flush()
    await uvicorn.Server(uvicorn.Config(_bare, interface="asgi3", lifespan="off", access_log=False, log_level="warning")).serve([listener])  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "0":
        uvloop.run(_serve_bare())
        raise SystemExit
    config = SimConfig(rate_factor=1_000_000, latency_in_ms=(0, 1), latency_out_ms=(0, 1))
    exchange_, _ = build(["synthetic:seed=7"], None, None, 7, int(sys.argv[1]), config)
    uvloop.run(serve(exchange_, None, "127.0.0.1", 0))
