"""The driver's side of a tape run: start the count, advance, release what is staged, wait until everything has come to rest.

The driver alone may write for others, and only what they staged themselves. Its release waits in the server behind the bell, in
the same write: when the last delivery is settled, no process has to wake up before the next wave is there to be read.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from libs.common import streams
from libs.common.codec import entry_text, values
from libs.common.errors import TidegateError
from libs.common.record import Record
from libs.common.scripts import Scripts, source
from libs.common.wire import Wire


class Waves:
    """`init`, then in turns `quiet` and `advance`."""

    def __init__(self, url: str, book: str) -> None:
        self.book = book
        self.wire, self._bell = Wire(url), Wire(url)
        self.scripts = Scripts(self.wire)
        self.key = streams.key("clock", book)
        self._keys, self._table = release_keys(book)
        self._sha: bytes = b""
        self._rung: asyncio.Future[Any] | None = None

    async def init(self, start_at: int) -> None:
        """Before any service starts: the tape's first moment; each counted service owes its first commit."""
        owed = len(streams.LOCKSTEP_SERVICES)
        await self.wire.call("HSET", streams.WAVE, "outstanding", owed, "start_at", start_at)

    async def quiet(self) -> None:
        """Wait until every delivery is settled and nothing is staged, releasing wave after wave."""
        while True:
            rung = self._rung or await self._listen()
            self._rung = None
            answer = await rung
            self._rung = await self._listen()
            if answer[0] == b"FOREIGN":
                staged, key = (part.decode() for part in answer[1:])
                raise TidegateError(
                    f"expected {staged} to hold its writer's own streams, was {key}; nothing is released"
                )
            if answer[0] == b"QUIET":
                return

    async def _listen(self) -> asyncio.Future[Any]:
        """Be there for the next ring; the future is what the release behind it answers."""
        if not self._sha:
            self._sha = await self._bell.call("SCRIPT", "LOAD", source("release"))
        release = ("EVALSHA", self._sha, len(self._keys), *self._keys, *self._table)
        replies = await self._bell.send(("BRPOP", streams.BELL, 0), release)
        for reply in replies:
            reply.add_done_callback(_looked_at)
        return replies[1]

    async def advance(self, records: list[Record], batches: int) -> None:
        """The next instant, released when `batches` outside batches were delivered and settled."""
        args: list[Any] = []
        for record in records:
            args += (4, entry_text(record.entry), *values(record))
        keys = (streams.WAVE, streams.BELL, streams.stage_key(streams.DRIVER), self.key)
        answer = await self.scripts.run("advance", keys, batches, time.monotonic(), *args)
        if answer[0] != b"OK":
            raise TidegateError(f"expected a quiet bus before the next instant, was {answer[0].decode()}")

    async def settle(self, n: int) -> None:
        """The simulator holds `n` more of the requests that were on their way."""
        await self.scripts.run("settle", (streams.WAVE, streams.BELL), n)

    def close(self) -> None:
        self.wire.abort()
        self._bell.abort()


def release_keys(book: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """KEYS and ARGV of release.lua."""
    stages = [streams.stage_key(writer) for writer in streams.STAGERS]
    table: list[int] = [len(stages), streams.STAGERS.index(streams.GATE_WRITER) + 1]
    staged: list[str] = []
    for place, writer in enumerate(streams.STAGERS, 1):
        for name, readers in streams.staged_of(writer).items():
            staged.append(streams.key(name, book))
            table += (place, readers)
    return (streams.WAVE, streams.gate_key(book), *stages, *staged), tuple(table)


def _looked_at(reply: asyncio.Future[Any]) -> None:
    """An unanswered bell ends with its connection; nobody waits for it then."""
    if not reply.cancelled():
        reply.exception()
