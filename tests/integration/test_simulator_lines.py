"""Connections of the simulator: nobody slows the exchange down, protocol pings are answered."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import websockets

from sim.config import SimConfig
from sim.exchange import Exchange
from sim.server import SimServer
from sim.tapes.tape import LiveTape, open_tape

UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def exchange(speed: int) -> Exchange:
    return Exchange(SimConfig(), LiveTape(open_tape(["synthetic:seed=7"], 7), time.time_ns(), speed), 7)


async def test_a_client_that_reads_nothing_is_dropped_and_slows_nobody() -> None:
    server = SimServer(exchange(1))
    await server.start()
    url = f"ws://127.0.0.1:{server.port}/v5/public/linear"
    slow = socket.create_connection(("127.0.0.1", server.port))
    try:
        slow.sendall(f"GET /v5/public/linear HTTP/1.1\r\nHost: sim\r\n{UPGRADE}\r\n".encode())
        async with asyncio.timeout(60), websockets.connect(url, ping_interval=None, proxy=None) as quick:
            await quick.send(json.dumps({"op": "subscribe", "args": ["orderbook.1.BTCUSDT"]}))
            while len(server.sessions.live) < 2 or not server.sessions.listeners:
                await asyncio.sleep(0.01)
            lagging = next(session for session in server.sessions.live if not session.topics)
            while lagging in server.sessions.live:
                lagging.push("x" * 1_000_000)
                await asyncio.sleep(0.001)
            for _ in range(3):
                await quick.recv()
            assert len(server.sessions.live) == 1
    finally:
        slow.close()
        await server.stop()


async def test_protocol_pings_are_answered() -> None:
    server = SimServer(exchange(1))
    await server.start()
    try:
        async with websockets.connect(f"ws://127.0.0.1:{server.port}/v5/private", proxy=None) as socket:
            async with asyncio.timeout(10):
                await (await socket.ping())
    finally:
        await server.stop()
