"""Reading a live bus, and appending a command to it: the command line's only contact with Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import redis

from libs.common.access import TOOLS
from libs.common.codec import decode
from libs.common.errors import UnreachableError
from libs.common.events import Command
from libs.common.record import EntryId, Record
from libs.common.sections import Bus as BusSection
from libs.common.sections import mask_url
from libs.common.settings import Settings
from libs.common.streams import BY_NAME, MARKETDATA, MD, OPERATORS, SERVICES, STREAMS, gate_key, key, service_key

_PAGE = 1000
_TIMEOUT_S = 10.0


def _reachable(url: str) -> redis.Redis:
    try:
        client = redis.Redis.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
        client.ping()
    except (redis.RedisError, OSError, ValueError) as e:
        raise UnreachableError(
            f"expected a bus at {mask_url(url)}, could not reach it ({_reason(e)}); start one (tidegate demo, tidegate up), "
            "name another with --bus URL, or read a finished run with --run-dir DIR"
        ) from e
    return client


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


class LiveBus:
    """The streams of one running system, by bare name. A context manager.

    `acting`: the bus as whoever appends commands there; asked for when there is one, since who only looks may have no such login.
    """

    def __init__(self, section: BusSection, acting: Callable[[], BusSection] | None = None) -> None:
        self.section = section
        self._acting = acting or (lambda: section)
        self._book = _reachable(section.book_url)
        self._market = self._book if section.market_url == section.book_url else _reachable(section.market_url)

    def _of(self, stream: str) -> tuple[redis.Redis, str]:
        client = self._market if BY_NAME[stream].shard == MD else self._book
        return client, key(stream, self.section.book)

    def lengths(self, *, journals: bool = False) -> dict[str, int]:
        """Number of events by bare stream name, empty streams left out; with `journals`, those of the services too."""
        places = {stream.name: self._of(stream.name) for stream in STREAMS}
        for service in SERVICES if journals else ():
            client = self._market if service == MARKETDATA else self._book
            places[f"journal:{service}"] = (client, service_key("journal", service, self.section.book))
        counts = {name: int(self._call(client.xlen, stream)) for name, (client, stream) in places.items()}
        return {name: count for name, count in counts.items() if count}

    def is_counting(self) -> bool:
        """Whether the driver of a tape run has set up its count of deliveries: services may start."""
        return bool(self._call(self._market.exists, "{md}:wave"))

    def read(self, stream: str, after: str = "-") -> Iterator[Record]:
        """Every record of a stream in order; `after`: an entry id, exclusive."""
        client, name = self._of(stream)
        start = after if after == "-" else f"({after}"
        while page := self._call(client.xrange, name, start, "+", _PAGE):
            for entry, fields in page:
                yield _record(stream, entry, fields)
            start = f"({page[-1][0].decode()}"

    def at(self, stream: str, seq: int, before: EntryId) -> Record | None:
        """The record with this `seq`, which was written before the entry `before`: found going back from there."""
        for record in self.newest(stream, f"({before[0]}-{before[1]}"):
            if record.seq <= seq:
                return record if record.seq == seq else None
        return None

    def newest(self, stream: str, end: str = "+") -> Iterator[Record]:
        """Every record of a stream, the newest first; `end`: where to begin, as XREVRANGE takes it."""
        client, name = self._of(stream)
        count = 16
        while page := self._call(client.xrevrange, name, end, "-", count):
            for entry, fields in page:
                yield _record(stream, entry, fields)
            end, count = f"({page[-1][0].decode()}", _PAGE

    def follow(
        self, streams: tuple[str, ...], block_ms: int = 1000, after: str | None = None
    ) -> Iterator[Record | None]:
        """Records as they come, from now on or beyond the entry `after`; None whenever `block_ms` passed without any."""
        cursors = {name: after or next((_entry(record) for record in self.newest(name)), "0-0") for name in streams}
        while True:
            found = [record for name in streams for record in self.read(name, cursors[name])]
            for record in sorted(found, key=lambda r: r.entry):
                cursors[record.stream] = _entry(record)
                yield record
            if not found:
                self._await_news(cursors, block_ms)
                yield None

    def _await_news(self, cursors: dict[str, str], block_ms: int) -> None:
        """Wait on the first stream's server; the other one is looked at when this wait ends."""
        client = self._of(next(iter(cursors)))[0]
        keys = {self._of(name)[1]: cursor for name, cursor in cursors.items() if self._of(name)[0] is client}
        self._call(client.xread, keys, 1, block_ms)

    def gate(self) -> dict[str, str]:
        """The halt flag by scope: `open` or the id of the halt that closed it."""
        flat: dict[bytes, bytes] = self._call(self._book.hgetall, gate_key(self.section.book))
        return {scope.decode(): value.decode() for scope, value in flat.items()}

    def append(self, command: Command, at: int) -> str | None:
        """Append a sealed command; its entry id, or None when its nonce was used before."""
        return asyncio.run(_append(self._acting(), command, at))

    def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (redis.RedisError, OSError) as e:
            raise UnreachableError(f"lost the bus at {mask_url(self.section.book_url)}: {_reason(e)}; try again") from e

    def close(self) -> None:
        self._book.close()
        self._market.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def live_bus(settings: Settings) -> LiveBus:
    """The bus of the settings, as who may read everything; commands are appended as the operators' user."""
    return LiveBus(settings.bus_as(TOOLS), lambda: settings.bus_as(OPERATORS))


async def _append(section: BusSection, command: Command, at: int) -> str | None:
    from libs.common.appender import append_command
    from libs.common.wire import Wire

    wire = Wire(section.book_url)
    try:
        return await append_command(wire, section.book, command, at)
    finally:
        wire.abort()


def _entry(record: Record) -> str:
    return f"{record.entry[0]}-{record.entry[1]}"


def _record(stream: str, entry: bytes, fields: dict[bytes, bytes]) -> Record:
    flat = [part for pair in fields.items() for part in pair]
    return decode(stream, entry, flat)
