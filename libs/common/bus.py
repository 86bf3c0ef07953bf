"""The bus: the only module that knows Redis and FastStream.

One service reads all its streams with one XREAD from its own cursors and writes with one Lua commit: the checks first (epoch,
instance, version, gate), then the outputs, the journal, the position. Nothing else is ever written, so a crash anywhere loses
nothing and doubles nothing. FastStream owns the subscription and calls the handler one batch at a time; under it our
thin connection answers its XREAD with the snapshot of *all* inputs (a blocked multi-stream XREAD returns only the
stream that woke it, hence the second, plain XREAD in the same write).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, cast

import hiredis
import msgspec

from libs.common import killpoints, streams
from libs.common.codec import decode, entry_of, entry_text, values
from libs.common.errors import FencedError, TidegateError
from libs.common.events import Command, Event
from libs.common.record import EntryId, GapFound, Record
from libs.common.seal import sealed_bytes
from libs.common.stepper import Commit, Position
from libs.common.wire import Wire

READ_COUNT = 256
BLOCK_MS = 500
REPLY_LIMIT_S = 2.5
"""A reply older than this means a dead connection (a blocked read answers within BLOCK_MS)."""

WAVE_KEYS = ("{md}:wave", "{md}:wave:stage", "{md}:wave:quiet", "{md}:wave:readers")
"""Counters, staged outputs, the driver's bell, and how many counted readers each stream has. They exist in tape runs only."""


def _script(name: str) -> str:
    folder = resources.files("libs.common") / "lua"
    helpers = (folder / "wave.lua").read_text() if name != "open" else ""
    return helpers + (folder / f"{name}.lua").read_text()


class Scripts:
    """The Lua scripts of one server, by name, loaded again when the server forgot them."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._sha: dict[str, bytes] = {}

    async def begin(self, name: str, keys: tuple[str, ...], *args: Any) -> asyncio.Future[Any]:
        """Send one call; the future is its reply. After a NOSCRIPT `forget` it and begin again."""
        if name not in self._sha:
            self._sha[name] = await self.wire.call("SCRIPT", "LOAD", _script(name))
        (reply,) = await self.wire.send(("EVALSHA", self._sha[name], len(keys), *keys, *args))
        return reply

    async def run(self, name: str, keys: tuple[str, ...], *args: Any) -> Any:
        try:
            return await (await self.begin(name, keys, *args))
        except hiredis.ReplyError as e:
            if "NOSCRIPT" not in str(e):
                raise
            self.forget(name)
            return await self.run(name, keys, *args)

    def forget(self, name: str) -> None:
        """The server lost its scripts (it was restarted or flushed)."""
        self._sha.pop(name, None)


class Closed(Exception):  # noqa: N818 - an answer of the gate, not an error
    """The gate refused the commit; `scope` is what is closed."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class Log:
    """One service's view of the bus: open, read, commit."""

    def __init__(self, service: str, url: str, book: str, *, lockstep: bool) -> None:
        self.service, self.book = service, book
        self.reader, self.writer = Wire(url), Wire(url)
        self.scripts = Scripts(self.writer)
        self.instance = secrets.token_hex(8)
        self.epoch = 0
        self.inputs = streams.inputs_of(service)
        self.keys = {name: streams.key(name, book) for name in self.inputs}
        self.names = {key.encode(): name for name, key in self.keys.items()}
        self.outputs = {name: streams.key(name, book) for name in streams.outputs_of(service)}
        own = {kind: streams.service_key(kind, service, book) for kind in ("cursor", "journal", "snapshot")}
        self.cursor_key, self.journal_key, self.snapshot_key = own["cursor"], own["journal"], own["snapshot"]
        head = (*WAVE_KEYS, self.cursor_key, streams.gate_key(book), self.journal_key, self.snapshot_key)
        self._commit_keys = (*head, *self.outputs.values())
        self._output_index = {name: len(head) + 1 + i for i, name in enumerate(self.outputs)}
        counted = lockstep and service in streams.LOCKSTEP_SERVICES
        self._rank = str(streams.SERVICES.index(service)) if counted else ""

    async def open(self) -> tuple[Position, bytes]:
        """Fence older processes; returns the committed position and the last snapshot (b"" when there is none)."""
        while True:
            try:
                flat = await self.scripts.run("open", (self.cursor_key,), self.instance)
                snapshot = await self.writer.call("GET", self.snapshot_key)
                break
            except (OSError, hiredis.ReplyError) as e:
                if isinstance(e, hiredis.ReplyError) and "LOADING" not in str(e):
                    raise
                await asyncio.sleep(0.05)
        held = dict(zip(flat[::2], flat[1::2], strict=True))
        self.epoch = int(held[b"epoch"])
        position = msgspec.json.decode(held[b"position"], type=Position) if b"position" in held else Position()
        return position, snapshot or b""

    async def begin_read(self, position: Position, block_ms: int) -> asyncio.Future[Any]:
        """Ask for everything committed beyond the cursors; `records` makes sense of the reply.

        The blocking read only wakes: it answers with one stream. The plain one behind it, in the same write, is the snapshot
        of all of them.
        """
        cursors = (entry_text(position.cursors.get(name, (0, 0))) for name in self.inputs)
        tail = ("STREAMS", *self.keys.values(), *cursors)
        blocking = ("XREAD", "COUNT", 1, "BLOCK", block_ms, *tail)
        wake, snapshot = await self.reader.send(blocking, ("XREAD", "COUNT", READ_COUNT, *tail))
        for reply in (wake, snapshot):
            reply.add_done_callback(_looked_at)
        return snapshot

    def records(self, reply: Any) -> list[Record]:
        """The entries of a read, merged in entry order; [] when it waited in vain."""
        return merge({self.names[key]: entries for key, entries in reply}) if reply else []

    def check(self) -> None:
        """Drop connections whose replies are overdue."""
        self.reader.check(REPLY_LIMIT_S)
        self.writer.check(REPLY_LIMIT_S)

    async def commit(
        self,
        commit: Commit,
        position: Position,
        journal: bytes,
        snapshot: bytes,
        gate: dict[str, str],
        calls: int,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Write one step. Retried with the same arguments until the server answers; raises Closed or FencedError.

        `meanwhile` is awaited while the reply is under way.
        """
        args = self._arguments(commit, position, journal, snapshot, gate, calls)
        while True:
            try:
                reply = await self.scripts.begin("commit", self._commit_keys, *args)
                if killpoints.armed("commit-sent"):
                    await asyncio.sleep(0.01)  # only under test: the bytes must be on the socket
                    killpoints.passing("commit-sent")
                if meanwhile is not None:
                    await meanwhile()
                    meanwhile = None
                answer = await reply
                break
            except OSError:
                await asyncio.sleep(0.02)
            except hiredis.ReplyError as e:
                if "NOSCRIPT" in str(e):
                    self.scripts.forget("commit")
                elif "LOADING" not in str(e):
                    raise
                await asyncio.sleep(0.05)
        if answer[0] == b"CLOSED":
            raise Closed(answer[1].decode())
        applied = answer[0] == b"VERSION" and answer[1] == b"%d" % (commit.version + 1)
        if answer[0] != b"OK" and not applied:
            told = " ".join(part.decode() for part in answer)
            raise FencedError(
                f"expected to commit {self.service} {commit.version} in epoch {self.epoch}, was told {told}; leaving"
            )

    def _arguments(
        self, commit: Commit, position: Position, journal: bytes, snapshot: bytes, gate: dict[str, str], calls: int
    ) -> list[Any]:
        """ARGV of commit.lua, in its order."""
        args: list[Any] = [
            self.epoch,
            self.instance,
            commit.version,
            self._rank,
            msgspec.json.encode(position),
            journal,
            snapshot,
        ]
        args += [commit.consumed, calls, len(commit.scopes), len(gate), len(commit.outputs), *commit.scopes]
        for scope, value in gate.items():
            args += (scope, value)
        for record in commit.outputs:
            args += (self._output_index[record.stream], entry_text(record.entry), *values(record))
        for name in {str(item[0]) for item in commit.journal} & self.keys.keys():
            args += (self.keys[name], entry_text(position.cursors[name]))
        return args

    async def tape_start(self) -> int:
        """Tape time (ns) at which the run begins, as its driver says; waits for the driver."""
        while (start := await self.writer.call("HGET", WAVE_KEYS[0], "start_at")) is None:
            await asyncio.sleep(0.05)
        return int(start)

    async def tape_began(self) -> float:
        """`time.monotonic()` of the driver when the present instant began; 0 outside tape runs."""
        return float(await self.writer.call("HGET", WAVE_KEYS[0], "began") or 0)

    async def range(self, key: str, after: str, until: str = "+", count: int = 1000) -> list[list[Any]]:
        """A page of raw entries of any stream, exclusive of `after`."""
        reply: list[list[Any]] = await self.writer.call("XRANGE", key, f"({after}", until, "COUNT", count)
        return reply

    def close(self) -> None:
        self.reader.abort()
        self.writer.abort()


def merge(reply: dict[str, list[tuple[bytes, list[bytes]]]]) -> list[Record]:
    """Entries of several streams in entry order; ties in table order."""
    cuts = [entry_of(entries[-1][0]) for entries in reply.values() if len(entries) >= READ_COUNT]
    cut: EntryId | None = min(cuts, default=None)
    records = [decode(name, entry, fields) for name, entries in reply.items() for entry, fields in entries]
    rank = {stream.name: i for i, stream in enumerate(streams.STREAMS)}
    records.sort(key=lambda record: (record.entry, rank[record.stream]))
    return records if cut is None else [record for record in records if record.entry <= cut]


def gap(records: list[Record], position: Position) -> tuple[list[Record], GapFound | None]:
    """The records up to the first hole in a stream's `seq`, and the hole."""
    seen = dict(position.seen)
    for i, record in enumerate(records):
        expected = seen.get(record.stream, 0) + 1
        if record.seq != expected:
            return records[:i], GapFound(stream=record.stream, expected=expected, got=record.seq)
        seen[record.stream] = record.seq
    return records, None


async def subscribe(
    log: Log, read: Callable[[], Awaitable[bool]], handle: Callable[[], Awaitable[None]]
) -> Callable[[], Awaitable[None]]:
    """Let FastStream drive `handle`: one subscriber, no group, over our connection. Returns its stop.

    FastStream calls XREAD in a loop; ours waits in `read` until there is work (its own last_id is ignored: the cursors are the
    service's). `handle` must not raise: FastStream would swallow it and go on.
    """
    from faststream import AckPolicy
    from faststream.redis import RedisBroker, StreamSub
    from faststream.redis.configs.state import RedisConnectionState
    from faststream.redis.message import RedisBatchStreamMessage

    class Connection:
        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        async def xread(self, *_: Any, **__: Any) -> list[Any]:
            return [(b"all", [(b"0-0", {})])] if await read() else []

    class State(RedisConnectionState):
        async def connect(self) -> Any:
            self._client = cast(Any, Connection(await super().connect()))
            return self._client

    class Broker(RedisBroker):
        def _make_connection_state(self, options: Any, *_: Any) -> Any:
            return State(options)

    class Whole(StreamSub):
        def add_prefix(self, prefix: str) -> Whole:  # saves a deepcopy a read
            return self

    async def parser(message: Any) -> Any:
        plain: Any = {
            "raw_message": message,
            "body": message,
            "correlation_id": "-",
            "message_id": "-",
            "consumer": None,
            "group": None,
        }
        return RedisBatchStreamMessage(**plain)

    async def decoder(message: Any) -> Any:
        return message.body

    quiet: Any = None
    broker = Broker(log.writer.url, logger=quiet, apply_types=False)
    whole = Whole("all", last_id="0-0", batch=True, polling_interval=BLOCK_MS, max_records=READ_COUNT)

    subscriber = broker.subscriber(
        stream=whole, parser=parser, decoder=decoder, ack_policy=AckPolicy.MANUAL, no_reply=True
    )

    async def step(_: Any) -> None:
        await handle()

    subscriber(step)

    await broker.start()
    stop: Callable[[], Awaitable[None]] = broker.stop
    return stop


def _looked_at(reply: asyncio.Future[Any]) -> None:
    """Whoever waits for it sees its error; asyncio need not complain when nobody does any more."""
    if not reply.cancelled():
        reply.exception()


class Waves:
    """The driver's side of a tape run: start the count, advance, wait until everything has come to rest."""

    def __init__(self, url: str, book: str) -> None:
        self.book = book
        self.wire, self._quiet = Wire(url), Wire(url)
        self.scripts = Scripts(self.wire)
        self.key = streams.key("clock", book)
        self._version = 0

    async def init(self, start_at: int) -> None:
        """Before any service starts: the tape's first moment; each counted service owes its first commit."""
        counts = [(s, sum(reader in streams.LOCKSTEP_SERVICES for reader in s.readers)) for s in streams.STREAMS]
        readers = [part for s, n in counts if n for part in (streams.key(s.name, self.book), n)]
        await self.wire.call("HSET", WAVE_KEYS[3], *readers)
        await self.wire.call("HSET", WAVE_KEYS[0], "outstanding", len(streams.LOCKSTEP_SERVICES), "start_at", start_at)

    async def quiet(self) -> None:
        """Wait until every delivery is settled and nothing is staged."""
        while await self._quiet.call("BRPOP", WAVE_KEYS[2], 1) is None:
            pass

    async def advance(self, records: list[Record], batches: int) -> None:
        self._version += 1
        args: list[Any] = []
        for record in records:
            args += (5, entry_text(record.entry), *values(record))
        answer = await self.scripts.run(
            "advance", (*WAVE_KEYS, self.key), batches, self._version, time.monotonic(), *args
        )
        if answer[0] != b"OK":
            raise TidegateError(f"expected a quiet bus before the next instant, was {answer[0].decode()}")

    async def settle(self, n: int) -> None:
        """The simulator holds `n` more of the requests that were on their way."""
        await self.scripts.run("settle", WAVE_KEYS, n)

    def close(self) -> None:
        self.wire.abort()
        self._quiet.abort()


async def append_command(wire: Wire, book: str, command: Command, at: int) -> str | None:
    """Append an operator's command; returns its entry id, or None when its nonce was seen before.

    `at`: ns, tape time in a tape run. The id is derived from the command itself.
    """
    return await _append(wire, book, "command", streams.OPERATORS, command, command.nonce, sealed_bytes(command), at)


async def append(wire: Wire, book: str, writer: str, event: Event, nonce: str, at: int) -> str | None:
    """Append an event of a writer that is no service and has one stream; a repeated nonce changes nothing and gives None."""
    identified = nonce.encode() + msgspec.json.encode(event)
    return await _append(wire, book, streams.stream_of(type(event), writer), writer, event, nonce, identified, at)


async def _append(
    wire: Wire, book: str, stream: str, writer: str, event: Event, nonce: str, identified: bytes, at: int
) -> str | None:
    import hashlib

    identity = hashlib.blake2b(identified, digest_size=16).hexdigest()
    parent = f"00-{identity}-{identity[:16]}-01"
    kind = type(event)
    keys = (*WAVE_KEYS, streams.key(stream, book), streams.service_key("cursor", writer, book))
    body = msgspec.json.encode(event)
    answer = await Scripts(wire).run(
        "command", keys, nonce, at // 1_000_000, kind.__name__, kind.VERSION, at, body, identity, parent
    )
    return answer[1].decode() if answer[0] == b"OK" else None
