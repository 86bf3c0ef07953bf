"""A proxy before the bus that now and then delivers a request, drops the reply and cuts the connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path


class DroppingProxy:
    """Counts requests that carry a script call; the reply to every `drop_every`-th is never delivered."""

    def __init__(self, target: Path, drop_every: int) -> None:
        self.target, self.drop_every = target, drop_every
        self.socket = Path(f"/tmp/tg-proxy-{os.getpid()}.sock")
        self.url = f"unix://{self.socket}"
        self.dropped = self._scripts = 0
        self._server: asyncio.Server

    async def __aenter__(self) -> DroppingProxy:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.socket.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self.target)
        cut = asyncio.Event()

        async def upstream() -> None:
            while data := await reader.read(1 << 20):
                if b"EVALSHA" in data:
                    self._scripts += 1
                    if self._scripts % self.drop_every == 0:
                        cut.set()
                up_writer.write(data)
                await up_writer.drain()

        async def downstream() -> None:
            while data := await up_reader.read(1 << 20):
                if cut.is_set():
                    self.dropped += 1
                    return
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(upstream()), asyncio.create_task(downstream())]
        with contextlib.suppress(ConnectionError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        writer.close()
        up_writer.close()
