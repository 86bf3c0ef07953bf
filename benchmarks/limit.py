"""The limit: the recipe of the bus (fenced commits, journal, cursors, gate) on hand-written RESP, and nothing else.

Four roles, five commits a tick: source, risk (the tick), signal, risk (the intent), execution. One connection a role; a commit
and the next read leave in one write. No envelopes, no JSON, no stepper, no framework: what this machine can do at best.

`python -m benchmarks.limit ROLE URL EVERY RATE TICKS WAVES` runs one role until SIGTERM and prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import collections
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import hiredis
import msgspec
import uvloop

from benchmarks.pacing import mark_ready, paced, result_line

INPUTS = {"source": (), "signal": ("tick",), "risk": ("tick", "signal"), "execution": ("intent",)}
OUTPUTS = {"source": ("raw", "tick"), "signal": ("signal",), "risk": ("intent",), "execution": ("order",)}
READERS = {"clock": 1, "tick": 2, "signal": 1, "intent": 1}
RANK = {role: i for i, role in enumerate(INPUTS)}
ROLES = tuple(INPUTS)
COUNT = 256

CHECKS = """
local held = redis.call('HMGET', KEYS[1], 'epoch', 'instance', 'version')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] or held[3] ~= ARGV[3] then return {'FENCED'} end
if ARGV[4] == '1' and redis.call('GET', KEYS[2]) ~= 'open' then return {'CLOSED'} end
local version = tonumber(ARGV[3]) + 1
"""
RECORD = """
redis.call('XADD', KEYS[3], version .. '-0', 'd', ARGV[6])
redis.call('HSET', KEYS[1], 'version', version, 'position', ARGV[5])
"""
COMMIT = f"""{CHECKS}
for i = 8, #ARGV, 3 do redis.call('XADD', KEYS[tonumber(ARGV[i])], ARGV[i + 1], 'd', ARGV[i + 2]) end
{RECORD}
return {{'OK'}}
"""
RELEASE = """
local READERS = {['{l}:clock'] = 1, ['{l}:tick'] = 2, ['{l}:signal'] = 1, ['{l}:intent'] = 1}
local function release()
  local packed = redis.call('LRANGE', '{l}:stage', 0, -1)
  if #packed == 0 then redis.call('LPUSH', '{l}:quiet', '1'); redis.call('SET', '{l}:out', 0); return end
  redis.call('DEL', '{l}:stage')
  local total, staged = 0, {}
  for i = 1, #packed do staged[i] = cmsgpack.unpack(packed[i]) end
  table.sort(staged, function(a, b) if a[1] ~= b[1] then return a[1] < b[1] end return a[2] < b[2] end)
  for i = 1, #staged do
    local s = staged[i]
    redis.call('XADD', s[3], s[4], 'd', s[5])
    total = total + (READERS[s[3]] or 0)
  end
  redis.call('SET', '{l}:out', total)
  if total == 0 then redis.call('LPUSH', '{l}:quiet', '1') end
end
"""
WAVE = f"""{RELEASE}{CHECKS}
local n = version * 1000
for i = 8, #ARGV, 3 do
  n = n + 1
  local key = KEYS[tonumber(ARGV[i])]
  if READERS[key] then
    redis.call('RPUSH', '{{l}}:stage', cmsgpack.pack({{ARGV[2]:sub(1, 1), n, key, ARGV[i + 1], ARGV[i + 2]}}))
  else
    redis.call('XADD', key, ARGV[i + 1], 'd', ARGV[i + 2])
  end
end
{RECORD}
if redis.call('DECRBY', '{{l}}:out', ARGV[7]) == 0 then release() end
return {{'OK'}}
"""
ADVANCE = f"""{RELEASE}
redis.call('RPUSH', '{{l}}:stage', cmsgpack.pack({{'', 0, '{{l}}:clock', ARGV[1] .. '-0', ARGV[2]}}))
release()
return {{'OK'}}
"""


class Event(msgspec.Struct, array_like=True):
    """About as much as a real event says: some 200 bytes."""

    began: int
    n: int
    kind: str
    cause: str
    symbol: str = "BTCUSDT"
    price: str = "61234.20000000"
    qty: str = "1.23400000"
    side: str = "Buy"
    trace: str = "4bf92f3577b34da6a3ce929d0e0e4736"
    rest: str = "x" * 80


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Event).decode


class Link(asyncio.Protocol):
    """A connection: `send` bytes, get one future for each of the next replies."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.waiting: collections.deque[asyncio.Future[Any]] = collections.deque()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(reply)

    def send(self, data: bytes, replies: int) -> list[asyncio.Future[Any]]:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(replies)]
        self.waiting.extend(futures)
        self.transport.write(data)
        return futures

    async def call(self, *args: Any) -> Any:
        (future,) = self.send(hiredis.pack_command(args), 1)
        reply = await future
        if isinstance(reply, Exception):
            raise reply
        return reply


async def connect(url: str) -> Link:
    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(Link, urlsplit(url).path)
    return link


def entry_of(text: bytes) -> tuple[int, int]:
    head, _, tail = text.partition(b"-")
    return int(head), int(tail)


class Role:
    def __init__(self, name: str, every: int, *, waves: bool) -> None:
        self.name, self.every, self.waves = name, every, waves
        self.inputs = ("clock",) if waves and name == "source" else INPUTS[name]
        self.cursors = dict.fromkeys(self.inputs, (0, 0))
        self.clock = (0, 0)
        self.version = self.made = self.taken = 0
        self.latencies_us: list[float] = []
        self.keys = [f"{{l}}:of:{name}", "{l}:gate", f"{{l}}:journal:{name}", *(f"{{l}}:{o}" for o in OUTPUTS[name])]
        self.instance = f"{RANK[name]}{secrets.token_hex(8)}"

    async def open(self, url: str) -> None:
        self.link = await connect(url)
        self.sha = await self.link.call("SCRIPT", "LOAD", WAVE if self.waves else COMMIT)
        self.epoch = await self.link.call("HINCRBY", self.keys[0], "epoch", 1)
        await self.link.call("HSET", self.keys[0], "instance", self.instance, "version", 0)

    def decide(self, stream: str, entry: tuple[int, int], event: Event) -> Iterator[tuple[int, Event]]:
        """(index of the output's key, event)."""
        cause = f"{stream} {entry[0]}-{entry[1]}"
        if self.name == "source":
            yield 4, Event(event.began, event.n, "raw", cause)
            yield 5, Event(event.began, event.n, "tick", cause)
        elif self.name == "signal" and event.n % self.every == 0:
            yield 4, Event(event.began, event.n, "signal", cause)
        elif self.name == "risk" and stream == "signal":
            yield 4, Event(event.began, event.n, "intent", cause)
        elif self.name == "execution":
            yield 4, Event(event.began, event.n, "order", cause)

    def step(self, batch: list[tuple[tuple[int, int], str, Event]]) -> tuple[bytes, list[int]]:
        """One commit as RESP, and when the chains of the orders in it began."""
        journal: list[Any] = []
        outputs: list[Any] = []
        began: list[int] = []
        for entry, stream, event in batch:
            self.clock = max(self.clock, entry)
            if stream in self.cursors:
                self.cursors[stream] = entry
            journal.append((stream, entry))
            for key, made in self.decide(stream, entry, event):
                self.clock = (self.clock[0], self.clock[1] + 1)
                outputs += (key, f"{self.clock[0]}-{self.clock[1]}", encode(made))
                self.made += 1
                if made.kind == "order":
                    began.append(made.began)
        self.taken += len(batch)
        position = encode((self.clock, self.made, self.cursors))
        head = ("EVALSHA", self.sha, len(self.keys), *self.keys, self.epoch, self.instance, self.version)
        guard = "1" if self.name == "execution" and outputs else "0"
        return hiredis.pack_command((*head, guard, position, encode(journal), len(batch), *outputs)), began

    def applied(self, reply: Any, began: list[int]) -> None:
        if not isinstance(reply, list) or reply[0] != b"OK":
            raise SystemExit(f"{self.name}: {reply}")
        self.version += 1
        now = time.time_ns()
        self.latencies_us += [(now - at) / 1000 for at in began]

    def reading(self) -> bytes:
        names = [f"{{l}}:{name}" for name in self.inputs]
        tail = ("STREAMS", *names, *(f"{ms}-{n}" for ms, n in self.cursors.values()))
        wake = hiredis.pack_command(("XREAD", "COUNT", 1, "BLOCK", 1000, *tail))
        return wake + hiredis.pack_command(("XREAD", "COUNT", COUNT, *tail))

    def merged(self, reply: Any) -> list[tuple[tuple[int, int], str, Event]]:
        found = [(entry_of(i), key[4:].decode(), decode(f[1])) for key, rows in reply or () for i, f in rows]
        cuts = [entry_of(rows[-1][0]) for _, rows in reply or () if len(rows) >= COUNT]
        found.sort(key=lambda item: item[0])
        return [item for item in found if not cuts or item[0] <= min(cuts)]

    async def serve(self) -> None:
        pending, began = b"", []
        while True:
            replies = self.link.send(pending + self.reading(), 3 if pending else 2)
            if pending:
                self.applied(await replies[0], began)
            batch = self.merged(await replies[-1])
            pending, began = self.step(batch) if batch else (b"", [])

    async def emit(self, moments: list[int]) -> None:
        """Source without waves: these ticks, in one commit."""
        batch = []
        for at in moments:
            self.taken += 1
            batch.append(((at // 1_000_000, 0), "outside", Event(at, self.taken, "frame", "")))
        self.taken -= len(batch)
        pending, began = self.step(batch)
        (reply,) = self.link.send(pending, 1)
        self.applied(await reply, began)


async def main() -> None:
    name, url, every, rate, ticks, waves = sys.argv[1:7]
    role = Role(name, int(every), waves=waves == "1")
    await role.open(url)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    mark_ready()
    work = paced(int(rate), int(ticks), role.emit) if name == "source" and not role.waves else role.serve()
    print("ready", flush=True)
    task = asyncio.ensure_future(work)
    await asyncio.wait({task, asyncio.ensure_future(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    await stopping.wait()
    print(result_line(name, role.taken, role.latencies_us), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
