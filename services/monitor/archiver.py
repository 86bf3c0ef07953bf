"""Copies every stream from Redis to the archive, and drops from Redis what nobody needs any more when told to.

A task inside monitor's process with connections of its own: the core knows nothing of it. Where it stands is what the
archive says, so it can be killed at any moment. When the bus has not what is archived (a server came back older, a stream has
a hole) it asks risk for a halt, as an operator would: the archive is the only one who can know.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis
import msgspec

from libs.common import logs, streams
from libs.common.appender import append_command
from libs.common.archive import ArchiveWriter, manifest_signer
from libs.common.codec import entry_text
from libs.common.errors import TidegateError
from libs.common.events import HaltRequested, Reason
from libs.common.record import EntryId
from libs.common.sections import Bus
from libs.common.segments import order
from libs.common.startup import end
from libs.common.telemetry import Metrics
from libs.common.wire import Wire
from services.monitor.config import MonitorConfig
from services.monitor.forecast import Forecast, memory

MEASURE_S = 60.0
ANSWER_S, LAST_CHANCE_S = 10.0, 0.5
ASKED_BY, ASKED_FOR_NS = "archiver", 600_000_000_000
Clock = Callable[[], float]
"""Seconds that only go forward."""


class Source(msgspec.Struct, frozen=True):
    """One Redis key to archive, under the bare name `name`."""

    name: str
    key: str
    wire: Wire


class Floor(msgspec.Struct):
    """The part of a service's snapshot that says what it would read again."""

    class At(msgspec.Struct):
        version: int = 0
        clock: EntryId = (0, 0)
        cursors: dict[str, EntryId] = {}

    position: At


def archived(book: str) -> Iterator[tuple[str, str]]:
    """Bare name and Redis key of everything that is archived: every stream, every journal."""
    for stream in streams.STREAMS:
        yield stream.name, streams.key(stream.name, book)
    for service in streams.SERVICES:
        yield f"journal:{service}", streams.service_key("journal", service, book)


class Archiver:
    """`start` and `stop` it beside the runtime. `trouble` says what keeps the archive from being complete, or is empty.

    Do not cancel `run`: a segment is written in a thread, which would go on beside the next writer.
    """

    def __init__(
        self,
        run_dir: Path,
        config: MonitorConfig,
        bus: Bus,
        *,
        metrics: Metrics | None = None,
        private_key: str = "",
        clock: Clock = time.monotonic,
    ) -> None:
        self.config, self.book, self.metrics = config, bus.book, metrics
        sign, key_id = manifest_signer(private_key) if private_key else (None, "")
        self.writer = ArchiveWriter(run_dir, sign=sign, key_id=key_id)
        self.trouble = ""
        self._reported = ""
        """The misfit that risk was told of."""
        self._book_wire = Wire(bus.book_url)
        self._market_wire = self._book_wire if bus.market_url == bus.book_url else Wire(bus.market_url)
        self.sources = [self._source(name, key) for name, key in archived(bus.book)]
        self._clock = clock
        self._flushed_at = dict.fromkeys((source.name for source in self.sources), clock())
        self._forecast, self._measured_at = Forecast(), -MEASURE_S
        self._stopping = asyncio.Event()
        self._was_there = False
        self._task: asyncio.Task[None] | None = None
        self._log = logs.get(part="archiver")

    def _source(self, name: str, key: str) -> Source:
        return Source(name, key, self._market_wire if key.startswith("{md}") else self._book_wire)

    async def run(self) -> None:
        """Copy until `stop`; an unreachable bus or a full disk is waited for."""
        while not self._stopping.is_set():
            written = await self._try(flush=False)
            if written and self.config.trim:
                await self._try_trim()
            if self.metrics:
                self.metrics["archive_age_seconds"].set(self.age)
                await self._measure(self.metrics)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.config.archive_poll_ms / 1000)

    @property
    def age(self) -> float:
        """Seconds since the stream that is worst off was last whole in the archive."""
        return self._clock() - min(self._flushed_at.values())

    async def _measure(self, metrics: Metrics) -> None:
        """Once a minute: how full Redis is."""
        now = self._clock()
        if now - self._measured_at < MEASURE_S or not self._was_there:
            return
        self._measured_at = now
        with contextlib.suppress(ConnectionError, TimeoutError, hiredis.ReplyError):  # `trouble` says it
            used, limit = memory(await _answer(self._book_wire.call("INFO", "memory")))
            metrics["redis_used_bytes"].set(used)
            metrics["redis_days_left"].set(self._forecast.days_left(now, used, limit))

    async def start(self) -> None:
        self._task = asyncio.create_task(self.run(), name="archiver")
        self._task.add_done_callback(self._leave_if_it_failed)

    async def stop(self) -> None:
        """After the round that is under way, copy what is left and close the archive."""
        self._stopping.set()
        if self._task is not None:
            await self._task
        await self.drain()
        self.close()

    def _leave_if_it_failed(self, task: asyncio.Task[None]) -> None:
        """A monitor without its archive must not look well: leave, and be started again."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("the archiver failed", exc_info=error)
            os._exit(75)

    async def _try(self, *, flush: bool) -> int | None:
        """A round; None when it failed, and `trouble` says why."""
        if not await self._met():
            self._set_trouble("the bus does not answer")
            return None
        try:
            return await self.round(flush=flush)
        except (ConnectionError, TimeoutError) as e:
            self._set_trouble(f"the bus does not answer ({e})")
        except hiredis.ReplyError as e:
            self._set_trouble(f"the bus refused: {e}")
        except OSError as e:
            self._set_trouble(f"the archive cannot be written: {e}")
        return None

    async def _met(self) -> bool:
        """Whether the bus was ever there; a stop does not wait for one that never was: there is nothing to copy."""
        wires = {self._book_wire, self._market_wire}
        if not self._was_there:
            meeting = [asyncio.create_task(wire.ready()) for wire in wires]
            stopping: asyncio.Task[Any] = asyncio.create_task(self._stopping.wait())
            all_met = asyncio.create_task(_all(meeting))
            await asyncio.wait({all_met, stopping}, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({all_met}, timeout=LAST_CHANCE_S)
            await end(*meeting, stopping, all_met)
            self._was_there = all(wire.connected for wire in wires)
        return self._was_there

    async def _try_trim(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, hiredis.ReplyError):  # the next round will tell
            await self.trim()

    async def round(self, *, flush: bool = False) -> int:
        """One look at every stream; writes what is due (`flush`: everything). Returns the entries written."""
        started = self._clock()
        lasts = await asyncio.gather(*[self._last(source) for source in self.sources])
        written = 0
        misfit = ""
        for source, last in zip(self.sources, lasts, strict=True):
            number, archived = self.writer.last(source.name)
            if archived and (last is None or last[1] < number or order(last[0]) < order(archived)):
                misfit = f"the archive of {source.name} is ahead of Redis ({archived}); Redis lost entries: restore it"
                continue
            if last is None or last[0] == archived:
                self._flushed_at[source.name] = started
                continue
            if flush or self._is_due(source.name, last[1] - number, started):
                try:
                    written += await self._copy(source, last[0])
                    self._flushed_at[source.name] = started
                except TidegateError as e:
                    misfit = str(e)
        self._set_trouble(misfit)
        if written:
            await asyncio.to_thread(self.writer.write_manifest)
        if misfit and misfit != self._reported:
            await self._ask_for_halt(misfit)
        return written

    async def _ask_for_halt(self, misfit: str) -> None:
        """Once a misfit, and once more by each process that finds it: nobody trades on a log that is not the one archived."""
        nonce, now = f"{ASKED_BY}-{secrets.token_hex(8)}", time.time_ns()
        asked = HaltRequested(
            reason=misfit, cause=Reason.STALE_LOG, operator=ASKED_BY, nonce=nonce, expires_at=now + ASKED_FOR_NS
        )
        await _answer(append_command(self._book_wire, self.book, asked, now))
        self._reported = misfit

    async def drain(self) -> None:
        """Copy what is left and close the archive; call it when every writer has stopped."""
        while await self._try(flush=True):
            pass
        await asyncio.to_thread(self.writer.write_manifest, closed=not self.trouble)

    def close(self) -> None:
        self._book_wire.abort()
        self._market_wire.abort()

    def _is_due(self, name: str, waiting: int, now: float) -> bool:
        waited_ms = (now - self._flushed_at[name]) * 1000
        return waiting >= self.config.archive_rows or waited_ms >= self.config.archive_flush_ms

    async def _last(self, source: Source) -> tuple[str, int] | None:
        """(entry id, number) of a stream's last entry; its number is its seq, or for a journal the commit's."""
        reply: list[Any] = await _answer(source.wire.call("XREVRANGE", source.key, "+", "-", "COUNT", 1))
        if not reply:
            return None
        entry, fields = reply[0]
        held = dict(zip(fields[::2], fields[1::2], strict=True))
        seq = held.get(b"seq")
        return entry.decode(), int(seq) if seq else order(entry.decode())[0]

    async def _copy(self, source: Source, until: str) -> int:
        """Write segments up to `until`. Raises GapError where the stream has a hole."""
        total = 0
        while True:
            after = self.writer.last(source.name)[1]
            start = f"({after}" if after else "-"
            page = await _answer(
                source.wire.call("XRANGE", source.key, start, until, "COUNT", self.config.archive_rows)
            )
            if not page:
                return total
            rows = await asyncio.to_thread(self.writer.append, source.name, page)
            total += rows
            if self.metrics:
                self.metrics["archive_events_total"].inc(rows, source.name)
            await asyncio.to_thread(self.writer.compact, source.name)

    def _set_trouble(self, text: str) -> None:
        if text and text != self.trouble:
            self._log.error("archive incomplete", reason=text)
        self.trouble = text

    # --- trimming -----------------------------------------------------------------------------------------------------

    async def trim(self) -> dict[str, str]:
        """XTRIM each stream to what is not archived yet or would be read again; returns key -> the first id kept.

        A reader without a snapshot would read everything again, so its inputs stay whole.
        """
        floors = {service: await self._floor(service) for service in streams.SERVICES}
        kept: dict[str, str] = {}
        for source in self.sources:
            lowest = self._lowest(source.name, floors)
            if lowest > (0, 0):
                kept[source.key] = entry_text(lowest)
                await _answer(source.wire.call("XTRIM", source.key, "MINID", entry_text(lowest)))
        return kept

    def _lowest(self, name: str, floors: dict[str, Floor.At | None]) -> EntryId:
        """First entry of a stream that somebody may still need; (0, 0) when that is all of them."""
        archived = self.writer.last(name)[1]
        needs: list[EntryId] = [order(archived) if archived else (0, 0)]
        if name.startswith("journal:"):
            floor = floors[name.partition(":")[2]]
            needs.append((floor.version, 0) if floor else (0, 0))
            return min(needs)
        stream = streams.BY_NAME[name]
        for reader in stream.readers:
            floor = floors[reader]
            needs.append(floor.cursors.get(name, (0, 0)) if floor else (0, 0))
        if name in ("raw", "venue"):  # their writer reads them again: they are its recorded inputs
            writer = floors[stream.writer]
            needs.append(writer.clock if writer else (0, 0))
        return min(needs)

    async def _floor(self, service: str) -> Floor.At | None:
        """Where a service's snapshot stands; None when it has none or none that can be read."""
        source = self._source(service, streams.service_key("snapshot", service, self.book))
        raw: bytes | None = await _answer(source.wire.call("GET", source.key))
        if raw is None:
            return None
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.msgpack.decode(raw, type=Floor).position
        return None


async def _answer(call: Any) -> Any:
    return await asyncio.wait_for(call, ANSWER_S)


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)
