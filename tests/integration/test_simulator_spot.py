"""Spot on a real socket: its own path, topics named like those of the perpetuals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import websockets

from tests.integration.test_simulator import Process, read, start, wait_price

__all__ = ["start"]


async def test_the_spot_stream_has_its_own_prices_under_the_same_names(start: Callable[..., Process]) -> None:
    process = start()
    await asyncio.to_thread(wait_price, process)
    base = process.url.replace("http", "ws")
    topic = "orderbook.50.BTCUSDT"
    async with (
        websockets.connect(f"{base}/v5/public/spot") as spot,
        websockets.connect(f"{base}/v5/public/linear") as linear,
    ):
        many = [f"kline.{n}.BTCUSDT" for n in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)] + [topic]
        await spot.send(json.dumps({"op": "subscribe", "args": many}))
        assert (await read(spot, lambda m: m.get("op") == "subscribe"))["success"] is False, "ten at most"
        for socket in (spot, linear):
            await socket.send(json.dumps({"op": "subscribe", "args": [topic]}))
        frames = [await read(socket, lambda m: m.get("topic") == topic) for socket in (spot, linear)]
        assert [frame["type"] for frame in frames] == ["snapshot", "snapshot"]
        sizes = [len(frame["data"]["b"][0][1].partition(".")[2]) for frame in frames]
        assert sizes == [6, 3], "quantities on the grid of each"
        bought = await asyncio.to_thread(process.order, category="spot", qty="0.001", marketUnit="baseCoin")
        assert bought["retCode"] == 0
        wallet = await asyncio.to_thread(process.get, "/v5/account/wallet-balance", "accountType=UNIFIED&coin=BTC")
        assert wallet["result"]["list"][0]["coin"][0]["walletBalance"] == "0.000999"
