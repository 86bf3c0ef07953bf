"""The access list on real servers: every user tries every command on every key, and every script with keys of others.

What is expected is said here once more, from the table of streams alone, and compared with what the server answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import msgspec
import pytest

from libs.common import streams
from libs.common.access import ADMIN, APPENDERS, PROBE, TOOLS, access_list, roles, user_of
from libs.common.appender import append
from libs.common.errors import TidegateError, UnreachableError
from libs.common.events import WatchdogActed
from libs.common.scripts import NAMES, source
from libs.common.sections import with_login
from libs.common.streams import (
    DRIVER,
    EXECUTION,
    LOCKSTEP_SERVICES,
    MONITOR,
    OPERATORS,
    RISK,
    SERVICES,
    SIGNAL,
    STAGERS,
    WATCHDOG,
)
from libs.common.waves import Waves, release_keys
from libs.common.wire import Wire
from tests.redis_server import running_server, server_binaries

BOOK = "main"
STREAMS = {stream.name: streams.key(stream.name, BOOK) for stream in streams.STREAMS}
OWN = {
    (kind, role): streams.service_key(kind, role, BOOK)
    for kind in ("journal", "snapshot", "cursor", "lease")
    for role in (*SERVICES, *APPENDERS)
}
GATE = streams.gate_key(BOOK)
STAGES = {writer: streams.stage_key(writer) for writer in STAGERS}
KEYS = (*STREAMS.values(), *OWN.values(), GATE, streams.WAVE, streams.BELL, *STAGES.values(), "{other}:order-intent")
RISKS = {
    STREAMS["order-intent"],
    STREAMS["halt"],
    GATE,
    STAGES[RISK],
    *(OWN[kind, RISK] for kind in ("cursor", "snapshot")),
}
"""What decides whether an order may be sent."""

Calls = dict[str, tuple[Any, ...]]


def calls_on(key: str) -> Calls:
    return {
        "XADD": ("XADD", key, "*", "id", "1"),
        "XREAD": ("XREAD", "COUNT", "1", "STREAMS", key, "0"),
        "XRANGE": ("XRANGE", key, "-", "+"),
        "XTRIM": ("XTRIM", key, "MAXLEN", "100000"),
        "XDEL": ("XDEL", key, "1-1"),
        "XSETID": ("XSETID", key, "9-9"),
        "DEL": ("DEL", key),
        "UNLINK": ("UNLINK", key),
        "SET": ("SET", key, "x"),
        "GET": ("GET", key),
        "HSET": ("HSET", key, "book", "open"),
        "HDEL": ("HDEL", key, "book"),
        "HGET": ("HGET", key, "book"),
        "HINCRBY": ("HINCRBY", key, "outstanding", "0"),
        "RPUSH": ("RPUSH", key, "x"),
        "LPUSH": ("LPUSH", key, "x"),
        "LRANGE": ("LRANGE", key, "0", "-1"),
        "LTRIM": ("LTRIM", key, "1", "0"),
        "EXPIRE": ("EXPIRE", key, "1"),
        "RENAME": ("RENAME", key, f"{key}:old"),
        "RESTORE": ("RESTORE", key, "0", "x"),
        "SORT": ("SORT", key, "STORE", key),
        "EXISTS": ("EXISTS", key),
    }


READS, APPEND = {"XREAD", "XRANGE"}, {"XADD"}
CURSOR = {"HGET", "HSET", "HINCRBY"}


def expected(role: str, key: str, *, tape: bool) -> set[str]:
    """The commands a role may use on a key, by the table."""
    found = _of_the_table(role, key)
    found |= {
        TOOLS: READS | {"GET", "HGET", "EXISTS"} if not key.startswith("{other}") else set(),
        RISK: {"HGET", "HSET"} if key == GATE else set(),
        EXECUTION: {"HGET"} if key == GATE else set(),
        MONITOR: _of_monitor(key) | _of_the_table(OPERATORS, key),
        WATCHDOG: _of_the_table(OPERATORS, key) | ({"HGET"} if key == OWN["cursor", EXECUTION] else set()),
    }.get(role, set())
    if key == streams.WAVE and role in (OPERATORS, WATCHDOG, MONITOR):
        found.add("EXISTS")
    return found | (_of_the_tape(role, key) if tape else set())


def _of_the_table(role: str, key: str) -> set[str]:
    found: set[str] = set()
    for stream in streams.STREAMS:
        if STREAMS[stream.name] == key:
            found |= READS if role in SERVICES and role in (*stream.readers, stream.writer) else set()
            found |= APPEND if role == stream.writer and role != DRIVER else set()
    own = {"journal": READS | APPEND, "snapshot": {"GET", "SET"}, "cursor": CURSOR}
    for kind, commands in own.items():
        if role in SERVICES and key == OWN[kind, role]:
            found |= commands
    if role in APPENDERS and key == OWN["cursor", role]:
        found |= {"HSET", "HINCRBY"}
    return found


def _of_monitor(key: str) -> set[str]:
    journals = {OWN["journal", service] for service in SERVICES}
    if key in journals or key in STREAMS.values():
        return READS | {"XTRIM"}
    return {"GET"} if key in {OWN["snapshot", service] for service in SERVICES} else set()


def _of_the_tape(role: str, key: str) -> set[str]:
    found = {"HGET"} if key == streams.WAVE and role in (*SERVICES, DRIVER) else set()
    if role in LOCKSTEP_SERVICES:
        found |= {streams.WAVE: {"HINCRBY"}, streams.BELL: {"LPUSH"}, STAGES[role]: {"RPUSH"}}.get(key, set())
    if role in (OPERATORS, WATCHDOG, MONITOR, DRIVER) and key == STAGES[OPERATORS]:
        found |= {"RPUSH"}
    if role != DRIVER:
        return found
    staged = {STREAMS[name] for writer in STAGERS for name in streams.staged_of(writer)}
    found |= {"XRANGE", "XADD"} if key in staged else set()
    found |= {"LRANGE", "DEL"} if key in STAGES.values() else set()
    found |= {
        GATE: {"HSET"},
        streams.WAVE: CURSOR | {"EXISTS"},
        streams.BELL: {"LPUSH"},
        STAGES[DRIVER]: {"RPUSH"},
        OWN["cursor", OPERATORS]: {"HSET", "HINCRBY"},
    }.get(key, set())
    return found


SERVER_WIDE: Calls = {
    " ".join(call[:2]): call
    for call in (
        ("CONFIG", "GET", "*"), ("CONFIG", "SET", "appendonly", "no"), ("CONFIG", "REWRITE"), ("FLUSHALL",), ("FLUSHDB",),
        ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("DEBUG", "SLEEP", "0"), ("SCRIPT", "FLUSH"), ("SCRIPT", "KILL"),
        ("EVAL", "return 1", "0"), ("FUNCTION", "FLUSH"), ("ACL", "LIST"), ("ACL", "SETUSER", "default", "on"), ("CLIENT", "LIST"),
        ("CLIENT", "KILL", "ID", "1"), ("SHUTDOWN", "NOSAVE"), ("SAVE",), ("BGREWRITEAOF",), ("REPLICAOF", "NO", "ONE"), ("MONITOR",),
        ("SWAPDB", "0", "1"), ("MODULE", "LIST"), ("PUBLISH", "a", "b"), ("SUBSCRIBE", "a"), ("SLOWLOG", "GET"), ("DBSIZE",), ("INFO",),
    )
}  # fmt: skip


def got_through(told: dict[str, str]) -> set[str]:
    """The calls that were not refused for want of rights (a DEBUG is off for everybody)."""
    refusals = ("NOPERM", "NOAUTH", "ACL failure", "user executing the script can't", "DEBUG command not allowed")
    return {name for name, answer in told.items() if not any(word in answer for word in refusals)}


class Server:
    """A server with the access list; `as_` connects as a role."""

    def __init__(self, url: str, *, tape: bool) -> None:
        self.url, self.tape = url, tape

    def as_(self, role: str) -> Wire:
        return Wire(self.login(role))

    def login(self, role: str) -> str:
        return with_login(self.url, user_of(role, BOOK), f"{role}-password")

    async def contents(self) -> dict[bytes, bytes]:
        wire = self.as_(ADMIN)
        until = time.monotonic() + 20
        while b"loading:1" in await wire.call("INFO", "persistence"):  # it answers, but has not read its file yet
            assert time.monotonic() < until, "expected a server that has read its file within 20 s"
            await asyncio.sleep(0.01)
        found = {key: await wire.call("DUMP", key) for key in await wire.call("KEYS", "*")}
        wire.abort()
        return found


@pytest.fixture(scope="module", params=server_binaries(), ids=lambda path: Path(path).name + str(len(path)))
def binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["realtime", "tape"])
def server(binary: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    passwords = {role: f"{role}-password" for role in roles(tape=request.param, admin=True)}
    (tmp_path / "users.acl").write_text(access_list(BOOK, passwords, tape=request.param))
    with running_server(tmp_path, "--aclfile", str(tmp_path / "users.acl"), binary=binary) as url:
        yield Server(url, tape=request.param)


async def answers(wire: Wire, calls: Calls) -> dict[str, str]:
    """The server's error to each call, "" for none; all in one write."""
    replies = await wire.send(*calls.values())
    found = {}
    for name, reply in zip(calls, replies, strict=True):
        try:
            await reply
            found[name] = ""
        except hiredis.ReplyError as e:
            found[name] = str(e)
    return found


async def test_the_matrix_of_users_keys_and_commands_is_the_table(server: Server):
    differences, tried = [], 0
    for role in (*(r for r in roles(tape=server.tape, admin=False)), *(() if server.tape else (DRIVER,))):
        if role == DRIVER and not server.tape:
            with pytest.raises(UnreachableError, match="WRONGPASS"):
                await server.as_(DRIVER).connect()
            continue
        wire = server.as_(role)
        for key in KEYS:
            told = await answers(wire, calls_on(key))
            allowed = got_through(told)
            tried += len(told)
            if allowed != (right := expected(role, key, tape=server.tape)):
                differences.append((role, key, sorted(allowed - right), sorted(right - allowed)))
        wire.abort()
    assert not differences, "(role, key, allowed and should not be, refused and should not be)"
    assert tried > 8000


async def test_nobody_but_the_administrator_may_touch_the_server_itself(server: Server):
    for role in roles(tape=server.tape, admin=False):
        wire = server.as_(role)
        told = await answers(wire, SERVER_WIDE)
        allowed = got_through(told)
        assert allowed == ({"INFO"} if role in (MONITOR, TOOLS) else set()), role
        assert await wire.call("PING") == b"PONG"
        wire.abort()


async def test_nobody_comes_in_without_a_password(server: Server):
    stranger, probe = Wire(server.url), Wire(with_login(server.url, PROBE, "any"))
    told = await answers(stranger, {**calls_on(GATE), **SERVER_WIDE, "PING": ("PING",)})
    assert got_through(told) == set()
    assert await probe.call("PING") == b"PONG"
    told = await answers(probe, {**calls_on(GATE), **SERVER_WIDE})
    assert got_through(told) == set()
    for user in (user_of(RISK, BOOK), "default"):
        with pytest.raises(UnreachableError, match="password file"):
            await Wire(with_login(server.url, user, "wrong")).connect()
    stranger.abort()
    probe.abort()


async def test_what_was_committed_is_there_when_the_server_was_killed_and_reads_its_file(binary: str, tmp_path: Path):
    """A commit is one transaction in the append-only file, and the server reads it with the rights of its default user."""
    passwords = {role: f"{role}-password" for role in roles(tape=False, admin=True)}
    (tmp_path / "users.acl").write_text(access_list(BOOK, passwords, tape=False))
    found = []
    for starts in range(2):
        with running_server(tmp_path, "--aclfile", str(tmp_path / "users.acl"), appendonly=True, binary=binary) as url:
            server = Server(url, tape=False)
            if not starts:
                wire = server.as_(WATCHDOG)
                told = WatchdogActed(state="cancelling", silent_ms=5_000, armed=False)
                assert await append(wire, BOOK, WATCHDOG, told, "once", 0)
                wire.abort()
            found.append(await server.contents())
    assert found[0].keys() == {STREAMS["watchdog"].encode(), OWN["cursor", WATCHDOG].encode()}
    assert found[1] == found[0]


OTHERS = tuple(role for role in (*SERVICES, *APPENDERS, TOOLS) if role != RISK)


async def test_no_script_lends_its_rights(server: Server):
    """Every script, with what risk alone may touch in every place, called by everybody else."""
    admin = server.as_(ADMIN)
    await admin.call("HSET", GATE, "book", "932f")
    before = await server.contents()
    tried = 0
    for role in OTHERS:
        wire = server.as_(role)
        own = OWN["cursor", role] if role != TOOLS else OWN["cursor", SIGNAL]
        for name in NAMES:
            sha = await wire.call("SCRIPT", "LOAD", source(name))
            calls = {
                f"{name} {place} {key}": (
                    "EVALSHA",
                    sha,
                    12,
                    *(key if i == place else own for i in range(12)),
                    *[1] * 40,
                )
                for key in RISKS - ({GATE} if role == EXECUTION else set())
                for place in range(12)
            }
            told = await answers(wire, calls)
            tried += len(told)
            assert got_through(told) == set()
        wire.abort()
    assert await server.contents() == before
    assert tried > 1500
    admin.abort()


UNDECLARED = {
    "put": "return redis.call('XADD', ARGV[1], '*', 'id', '1')",
    "open": "return redis.call('HSET', ARGV[1], 'book', 'open')",
    "forget": "return redis.call('DEL', ARGV[1])",
    "stage": "return redis.call('RPUSH', ARGV[1], 'x')",
    "quietly": "return redis.pcall('HSET', ARGV[1], 'book', 'open')",
}


@pytest.mark.parametrize("role", OTHERS)
async def test_a_script_of_ones_own_reaches_no_key_of_risks(server: Server, role: str):
    admin, wire = server.as_(ADMIN), server.as_(role)
    await admin.call("HSET", GATE, "book", "932f")
    before = await server.contents()
    for script in UNDECLARED.values():
        sha = await wire.call("SCRIPT", "LOAD", script)
        told = await answers(wire, {key: ("EVALSHA", sha, 0, key) for key in RISKS})
        assert got_through(told) == set()
    assert await server.contents() == before
    wire.abort()
    admin.abort()


async def test_execution_reads_the_gate_in_its_commit_and_cannot_open_it(server: Server):
    admin, wire = server.as_(ADMIN), server.as_(EXECUTION)
    await admin.call("HSET", GATE, "book", "932f")
    sha = await wire.call("SCRIPT", "LOAD", source("open"))
    held = await wire.call("EVALSHA", sha, 1, OWN["cursor", EXECUTION], "i")
    assert b"epoch" in held
    keys = (OWN["cursor", EXECUTION], OWN["journal", EXECUTION], OWN["snapshot", EXECUTION], STREAMS["order"], GATE)
    sha = await wire.call("SCRIPT", "LOAD", source("commit"))
    guarded = (1, "i", 0, 5, 0, "{}", "[]", "", 0, 0, 1, 0, 0, "book")
    assert await wire.call("EVALSHA", sha, 5, *keys, *guarded) == [b"CLOSED", b"book"]
    opening = (1, "i", 0, 5, 0, "{}", "[]", "", 0, 0, 0, 1, 0, "book", "open")
    with pytest.raises(hiredis.ReplyError, match=r"user executing the script|ACL failure"):
        await wire.call("EVALSHA", sha, 5, *keys, *opening)
    assert await admin.call("HGET", GATE, "book") == b"932f"
    wire.abort()
    admin.abort()


@pytest.mark.parametrize("what", ["intent", "gate"])
async def test_what_is_staged_for_another_is_refused_by_the_release(binary: str, tmp_path: Path, what: str):
    passwords = {role: f"{role}-password" for role in roles(tape=True, admin=True)}
    (tmp_path / "users.acl").write_text(access_list(BOOK, passwords, tape=True))
    with running_server(tmp_path, "--aclfile", str(tmp_path / "users.acl"), binary=binary) as url:
        server = Server(url, tape=True)
        waves, thief = Waves(server.login(DRIVER), BOOK), server.as_(SIGNAL)
        await waves.init(1)
        forged = [[], [STREAMS["order-intent"], "1-0", *"123456789"]] if what == "intent" else [["book", "open"], []]
        await thief.call("RPUSH", STAGES[SIGNAL], msgspec.msgpack.encode(forged))
        await thief.call("HINCRBY", streams.WAVE, "outstanding", -4)
        await thief.call("LPUSH", streams.BELL, "1")
        with pytest.raises(TidegateError, match="own streams"):
            await waves.quiet()
        assert not {STREAMS["order-intent"].encode(), GATE.encode()} & set(await server.contents())
        waves.close()
        thief.abort()


def test_the_release_knows_every_staged_stream_by_its_writer():
    keys, table = release_keys(BOOK)
    pairs = dict(zip(keys[2 + len(STAGERS) :], zip(table[2::2], table[3::2], strict=True), strict=True))
    for stream in streams.STREAMS:
        readers = sum(reader in LOCKSTEP_SERVICES for reader in stream.readers)
        if readers and stream.writer in STAGERS:
            assert pairs[STREAMS[stream.name]] == (STAGERS.index(stream.writer) + 1, readers)
    assert STAGERS[table[1] - 1] == RISK
