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
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import hiredis
import msgspec

from libs.common import killpoints, streams
from libs.common.codec import decode, entry_of, entry_text, values
from libs.common.errors import FencedError, TidegateError
from libs.common.record import UNREADABLE, EntryId, GapFound, Record
from libs.common.scripts import Scripts
from libs.common.stepper import Commit, Position
from libs.common.wire import Wire

READ_COUNT = 256
OVERTAKING = ("command",)
"""Streams that do not queue behind a backlog of the others: what people ask for, a halt above all, hangs on nothing that waits."""
NOT_YET = ("LOADING", "OOM")
"""Errors of a server that is there and cannot take anything yet: it reads its file, or has no room."""
BLOCK_MS = 500
REPLY_LIMIT_S = 2.5
"""A reply older than this means a dead connection (a blocked read answers within BLOCK_MS)."""


class Closed(Exception):  # noqa: N818 - an answer of the gate, not an error
    """The gate refused the commit; `scope` is what is closed."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class Log:
    """One service's view of the bus: open, read, commit."""

    def __init__(self, service: str, url: str, book: str, *, lockstep: bool) -> None:
        self.service, self.book, self.lockstep = service, book, lockstep
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
        counted = lockstep and service in streams.LOCKSTEP_SERVICES
        self._commit_keys, self._gate_index, self._wave_index = self._declared(counted=counted)
        staged = streams.staged_of(service) if counted else {}
        at = self._commit_keys.index
        self._output_index = {n: (at(key) + 1) * (-1 if n in staged else 1) for n, key in self.outputs.items()}

    def _declared(self, *, counted: bool) -> tuple[tuple[str, ...], int, int]:
        """KEYS of commit.lua; the indices (from 1) of the gate's and of the counters' key among them, 0 for none."""
        keys = [self.cursor_key, self.journal_key, self.snapshot_key, *self.outputs.values()]
        gate = wave = 0
        if self.service == streams.GATE_WRITER or self.service in streams.GATE_READERS:
            keys.append(streams.gate_key(self.book))
            gate = len(keys)
        if counted:
            wave = len(keys) + 1
            keys += (streams.WAVE, streams.BELL, streams.stage_key(self.service))
        return tuple(keys), gate, wave

    async def open(self) -> tuple[Position, bytes]:
        """Fence older processes; returns the committed position and the last snapshot (b"" when there is none)."""
        while True:
            try:
                flat = await self.scripts.run("open", (self.cursor_key,), self.instance)
                snapshot = await self.writer.call("GET", self.snapshot_key)
                break
            except (OSError, hiredis.ReplyError) as e:
                if isinstance(e, hiredis.ReplyError) and not str(e).startswith(NOT_YET):
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
        """The entries of a read, merged in entry order; [] when it waited in vain.

        In a tape run commands come in their turn: there the order is part of what every run has to repeat.
        """
        if not reply:
            return []
        return merge({self.names[key]: entries for key, entries in reply}, () if self.lockstep else OVERTAKING)

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
            self._gate_index,
            self._wave_index,
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
        while (start := await self.writer.call("HGET", streams.WAVE, "start_at")) is None:
            await asyncio.sleep(0.05)
        return int(start)

    async def tape_began(self) -> float:
        """`time.monotonic()` of the driver when the present instant began; 0 outside tape runs."""
        return float(await self.writer.call("HGET", streams.WAVE, "began") or 0)

    async def range(self, key: str, after: str, until: str = "+", count: int = 1000) -> list[list[Any]]:
        """A page of raw entries of any stream, exclusive of `after`."""
        reply: list[list[Any]] = await self.writer.call("XRANGE", key, f"({after}", until, "COUNT", count)
        return reply

    def close(self) -> None:
        self.reader.abort()
        self.writer.abort()


def merge(reply: dict[str, list[tuple[bytes, list[bytes]]]], overtaking: Sequence[str] = ()) -> list[Record]:
    """Entries of several streams in entry order; ties in table order. What is beyond the end of a reply that was cut waits for
    the next read, unless its stream is `overtaking`: that comes first."""
    cuts = [entry_of(entries[-1][0]) for entries in reply.values() if len(entries) >= READ_COUNT]
    cut: EntryId | None = min(cuts, default=None)
    records = [_read(name, entry, fields) for name, entries in reply.items() for entry, fields in entries]
    rank = {stream.name: i for i, stream in enumerate(streams.STREAMS)}
    records.sort(key=lambda record: (record.entry, rank[record.stream]))
    if cut is None:
        return records
    ahead = [record for record in records if record.entry > cut and record.stream in overtaking]
    return ahead + [record for record in records if record.entry <= cut]


def _read(name: str, entry: bytes, fields: list[bytes]) -> Record:
    """The record of an entry. One that cannot be read has the seq UNREADABLE, which no reader waits for: to all it is a hole."""
    try:
        return decode(name, entry, fields)
    except (TidegateError, msgspec.MsgspecError, ValueError, LookupError, ArithmeticError):
        hole = GapFound(stream=name, expected=0, got=UNREADABLE)
        return Record(name, entry_of(entry), "", UNREADABLE, 0, (), "", hole)


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
