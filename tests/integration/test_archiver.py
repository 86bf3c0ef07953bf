"""The archiver against a real server: everything once, in order, also when it is killed; trims only what nobody needs."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from libs.common.archive import ArchiveReader
from libs.common.events import HaltRequested, Reason
from libs.common.restore import Saved
from libs.common.sections import Bus
from libs.common.stepper import Position
from libs.common.telemetry import Metrics
from services.monitor.archiver import Archiver
from services.monitor.config import MonitorConfig
from tests.redis_server import running_server

QUICK = MonitorConfig(archive_poll_ms=1, archive_flush_ms=1, archive_rows=50)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    data = tmp_path / "redis"
    data.mkdir()
    with running_server(data) as address:
        yield address


@pytest.fixture
def bus(url: str) -> Iterator[Any]:
    with redis.Redis.from_url(url) as client:
        yield client


def add(bus: Any, key: str, seqs: range, **more: str) -> None:
    pipe = bus.pipeline()
    for seq in seqs:
        body = {"id": f"{seq:032x}", "type": "FeedUp", "v": "1", "seq": str(seq), "at": "5", "data": "{}", **more}
        pipe.xadd(key, body, id=f"{100 + seq}-{seq % 3}")
    pipe.execute()


def archiver(run_dir: Path, url: str, config: MonitorConfig = QUICK) -> Archiver:
    return Archiver(run_dir, config, Bus(market_url=url, book_url=url), metrics=Metrics("monitor"))


def in_redis(bus: Any, key: str) -> list[tuple[bytes, list[bytes]]]:
    reply = bus.xrange(key)
    return [(entry, [part for pair in fields.items() for part in pair]) for entry, fields in reply]


async def test_every_stream_and_journal_is_copied(tmp_path: Path, url: str, bus: Any) -> None:
    add(bus, "{md}:tick", range(1, 181))
    add(bus, "{main}:alert", range(1, 3))
    add(bus, "{md}:health:marketdata", range(1, 4))
    for version in range(1, 8):
        bus.xadd("{main}:journal:risk", {"data": f"[{version}]"}, id=f"{version}-0")
    copier = archiver(tmp_path, url)
    await copier.drain()
    add(bus, "{md}:tick", range(181, 190))
    await copier.drain()
    copier.close()
    reader = ArchiveReader(tmp_path)
    assert reader.streams() == ["alert", "health:marketdata", "journal:risk", "tick"]
    for name, key in {"tick": "{md}:tick", "alert": "{main}:alert", "journal:risk": "{main}:journal:risk"}.items():
        assert [(i, sorted(f)) for i, f in reader.entries(name)] == [(i, sorted(f)) for i, f in in_redis(bus, key)]
    assert reader.verify_chain() == 189 + 2 + 3 + 7
    manifest = reader.manifest()
    assert manifest is not None
    assert manifest.closed
    assert b'trading_archive_events_total{stream="tick"} 189.0' in copier.metrics.render()  # type: ignore[union-attr]


async def test_little_waits_until_it_is_old_and_much_does_not(tmp_path: Path, url: str, bus: Any) -> None:
    now = [0.0]
    config = MonitorConfig(archive_flush_ms=5000, archive_rows=10)
    copier = Archiver(tmp_path, config, Bus(market_url=url, book_url=url), clock=lambda: now[0])
    add(bus, "{md}:tick", range(1, 5))
    assert await copier.round() == 0
    now[0] = 4.9
    assert await copier.round() == 0
    add(bus, "{md}:bar", range(1, 11))
    assert await copier.round() == 10
    assert copier.age == pytest.approx(4.9)
    now[0] = 5.0
    assert await copier.round() == 4
    assert copier.age == 0
    copier.close()


async def test_an_archive_ahead_of_redis_is_trouble_not_a_new_beginning(tmp_path: Path, url: str, bus: Any) -> None:
    add(bus, "{md}:tick", range(1, 5))
    copier = archiver(tmp_path, url)
    await copier.drain()
    bus.flushall()
    add(bus, "{md}:tick", range(1, 3))
    await copier.drain()
    copier.close()
    assert "ahead of Redis" in copier.trouble
    (asked,) = halts_asked_for(bus)
    assert (asked.cause, asked.operator, asked.scope) == (Reason.STALE_LOG, "archiver", "book")
    assert "tick" in asked.reason
    assert ArchiveReader(tmp_path).count("tick") == 4
    assert not ArchiveReader(tmp_path).manifest().closed  # type: ignore[union-attr]


async def test_a_log_that_came_back_older_halts_although_it_grows_again(tmp_path: Path, url: str, bus: Any) -> None:
    """The writers go on from an older state: their new entries are younger than the archive's last and have seqs it knows."""
    add(bus, "{md}:tick", range(1, 9))
    copier = archiver(tmp_path, url)
    await copier.drain()
    for lost in range(5, 9):
        bus.xdel("{md}:tick", f"{100 + lost}-{lost % 3}")
    for seq in range(5, 8):
        bus.xadd("{md}:tick", {"id": f"{seq:032x}", "type": "FeedUp", "v": "1", "seq": str(seq), "at": "5", "data": "{}"}, id=f"{200 + seq}-0")  # fmt: skip
    await copier.drain()
    await copier.drain()
    copier.close()
    assert [asked.cause for asked in halts_asked_for(bus)] == [Reason.STALE_LOG], "asked for once"


def halts_asked_for(bus: Any) -> list[HaltRequested]:
    return [msgspec.json.decode(fields[b"data"], type=HaltRequested) for _, fields in bus.xrange("{main}:command")]


async def test_a_hole_stops_its_stream_and_no_other(tmp_path: Path, url: str, bus: Any) -> None:
    add(bus, "{md}:tick", range(1, 5))
    copier = archiver(tmp_path, url)
    await copier.drain()
    add(bus, "{md}:tick", range(6, 8))
    add(bus, "{md}:bar", range(1, 3))
    await copier.drain()
    copier.close()
    assert "expected seq 5 of tick" in copier.trouble
    assert [asked.cause for asked in halts_asked_for(bus)] == [Reason.STALE_LOG]
    assert copier.age > 0, "a stream that cannot be archived makes the archive old"
    assert ArchiveReader(tmp_path).count("tick") == 4
    assert ArchiveReader(tmp_path).count("bar") == 2


PROCESS = """
import asyncio, sys
from pathlib import Path
from services.monitor.archiver import Archiver
from libs.common.sections import Bus
from services.monitor.config import MonitorConfig
config = MonitorConfig(archive_poll_ms=1, archive_flush_ms=1, archive_rows=20)
copier = Archiver(Path(sys.argv[1]), config, Bus(market_url=sys.argv[2], book_url=sys.argv[2]))
print("up", flush=True)
asyncio.run(copier.run())
"""


def test_kill_9_again_and_again_loses_and_doubles_nothing(tmp_path: Path, url: str, bus: Any) -> None:
    chance = random.Random(5)
    done = 0
    folder = tmp_path / "events" / "tick"
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path), url], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        before = set(folder.glob("*"))
        until = 0.0
        while until == 0.0 or time.monotonic() < until:  # goes on for a moment after it has begun to write
            add(bus, "{md}:tick", range(done + 1, done + 31))
            bus.xadd("{main}:journal:risk", {"data": f"[{done}]"}, id=f"{done // 30 + 1}-0")
            done += 30
            if until == 0.0 and set(folder.glob("*")) - before:
                until = time.monotonic() + 0.1 * chance.random()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        ArchiveReader(tmp_path).verify_chain()
    finish(tmp_path, url)
    reader = ArchiveReader(tmp_path)
    assert [row["seq"] for row in reader.rows("tick")] == list(range(1, done + 1))
    assert reader.count("journal:risk") == done // 30
    assert reader.verify_chain() == done + done // 30


def finish(run_dir: Path, url: str) -> None:
    import asyncio

    async def drain() -> None:
        copier = archiver(run_dir, url)
        await copier.drain()
        copier.close()

    asyncio.run(drain())


# --- trimming ----------------------------------------------------------------------------------------------------


def snapshot(bus: Any, key: str, position: Position) -> None:
    bus.set(key, msgspec.msgpack.encode(Saved(position, b"")))


async def test_trimming_keeps_what_a_restart_would_read_again(tmp_path: Path, url: str, bus: Any) -> None:
    add(bus, "{md}:tick", range(1, 101))
    add(bus, "{main}:venue", range(1, 101))
    for version in range(1, 41):
        bus.xadd("{main}:journal:execution", {"data": "[]"}, id=f"{version}-0")
    copier = archiver(tmp_path, url)
    await copier.drain()
    assert await copier.trim() == {}, "no reader has a snapshot: all of it would be read again"

    for service, seq in {"signal": 60, "risk": 40, "monitor": 80}.items():
        snapshot(
            bus, f"{{main}}:snapshot:{service}", Position(cursors={"tick": (100 + seq, seq % 3), "venue": (190, 0)})
        )
    snapshot(bus, "{main}:snapshot:execution", Position(version=30, clock=(150, 0)))
    add(bus, "{md}:tick", range(101, 111))
    await copier.trim()
    copier.close()
    assert [int(fields[b"seq"]) for _, fields in bus.xrange("{md}:tick")] == list(range(40, 111))
    assert bus.xrange("{main}:venue")[0][0] >= b"150-0"
    assert bus.xlen("{main}:journal:execution") == 11
    assert bus.xrange("{main}:journal:execution")[0][0] == b"30-0"


async def test_nothing_is_trimmed_that_is_not_archived(tmp_path: Path, url: str, bus: Any) -> None:
    add(bus, "{md}:tick", range(1, 11))
    copier = archiver(tmp_path, url)
    await copier.drain()
    add(bus, "{md}:tick", range(11, 31))
    for service in ("signal", "risk", "monitor"):
        snapshot(bus, f"{{main}}:snapshot:{service}", Position(cursors={"tick": (130, 0)}))
    await copier.trim()
    assert int(bus.xrange("{md}:tick")[0][1][b"seq"]) == 10
    await copier.drain()
    copier.close()
    assert ArchiveReader(tmp_path).verify_chain() == 30
