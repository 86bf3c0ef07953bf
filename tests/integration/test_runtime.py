"""Crashes of the runtime, for real: processes that kill themselves at each named point, a killed server, lost replies, zombies."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from libs.common import killpoints
from libs.common.wire import Wire
from tests.integration.harness import Bus, Services, TapeRun, contents, seqs
from tests.integration.proxy import DroppingProxy

INSTANTS = 120


async def tape(directory: Path, kill: str = "") -> tuple[dict[str, list[Any]], list[tuple[str, int]]]:
    directory.mkdir()
    with Bus(directory) as bus:
        services = Services(bus.url, directory, lockstep=True)
        try:
            await TapeRun(bus, services).run(INSTANTS, kill)
            assert set(services.stop().values()) == {0}, "expected a graceful stop"
            return await contents(bus.url), services.died
        finally:
            services.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    found, died = asyncio.run(tape(tmp_path_factory.mktemp("bus") / "undisturbed"))
    assert died == []
    assert len(found["{main}:order"]) == INSTANTS
    assert {fields[3] for _, fields in found["{main}:order"]} == {b"OrderSubmitted", b"OrderRejected"}
    return found


RUNTIME_POINTS = [
    p for p in killpoints.POINTS if p not in ("snapshotted", "segment-written", "request-sent", "reply-received")
]


@pytest.mark.parametrize("point", RUNTIME_POINTS)
async def test_a_killed_service_changes_no_byte_of_the_log(
    tmp_path: Path, undisturbed: dict[str, list[Any]], point: str
) -> None:
    service = "execution" if point in ("submitted", "restored") else "risk"
    count = 1 if point == "restored" else 40
    found, died = await tape(tmp_path / "bus", f"{service}:{point}:{count}")
    assert died == [(service, -signal.SIGKILL)]
    assert found == undisturbed


async def test_a_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with Bus(tmp_path) as bus:
        services = Services(bus.url, tmp_path, lockstep=False)
        try:
            await _gate_open(bus.url)
            services.start_all()
            for restart in range(1, 4):
                await _until(bus.url, "{main}:order", restart * 60)
                bus.kill()
                bus.start()
            await _until(bus.url, "{main}:order", 300)
            assert services.died == [(s, c) for s, c in services.died if c == 75], "only a fenced process may leave"
            services.stop()
            await _check_chain(bus.url)
        finally:
            services.kill()


async def test_a_server_without_memory_takes_nothing_and_goes_on_when_it_has_some(tmp_path: Path) -> None:
    with Bus(tmp_path) as bus:
        services, wire = Services(bus.url, tmp_path, lockstep=False), Wire(bus.url)
        try:
            await _gate_open(bus.url)
            services.start_all()
            await _until(bus.url, "{main}:order", 60)
            await wire.call("CONFIG", "SET", "maxmemory", "1")
            until = time.monotonic() + 60
            while not services.died:
                assert time.monotonic() < until, "expected a service that cannot commit to leave"
                await asyncio.sleep(0.02)
                services.tend()
            full = await contents(bus.url)
            assert await contents(bus.url) == full, "nothing is written while there is no room"
            await wire.call("CONFIG", "SET", "maxmemory", "0")
            until = time.monotonic() + 60
            while len((await contents(bus.url))["{main}:order"]) < len(full["{main}:order"]) + 60:
                assert time.monotonic() < until, "expected orders again once there is room"
                await asyncio.sleep(0.02)
                services.tend()
            assert {code for _, code in services.died} == {75}
            services.stop()
            await _check_chain(bus.url)
        finally:
            wire.abort()
            services.kill()


async def test_a_commit_whose_reply_is_lost_is_applied_once(tmp_path: Path) -> None:
    with Bus(tmp_path) as bus:
        async with DroppingProxy(bus.socket, drop_every=25) as proxy:
            services = Services(proxy.url, tmp_path, lockstep=False)
            try:
                await _gate_open(bus.url)
                services.start_all()
                await _until(bus.url, "{main}:order", 250)
                assert proxy.dropped > 10
                assert services.died == []
                await asyncio.to_thread(services.stop)
                await _check_chain(bus.url)
            finally:
                services.kill()


async def test_a_zombie_with_an_old_epoch_commits_nothing(tmp_path: Path) -> None:
    with Bus(tmp_path) as bus:
        services = Services(bus.url, tmp_path, lockstep=False)
        try:
            await _gate_open(bus.url)
            services.start_all()
            await _until(bus.url, "{main}:order", 50)
            zombie = services.processes["risk"]
            zombie.send_signal(signal.SIGSTOP)
            services.start("risk")
            done = len((await contents(bus.url))["{main}:order"])
            await _until(bus.url, "{main}:order", done + 50)
            zombie.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(zombie.wait, 20) == 75
            assert b"FENCED" in services.errors.read_bytes()
            await _until(bus.url, "{main}:order", done + 100)
            services.stop()
            await _check_chain(bus.url)
        finally:
            services.kill()


async def test_a_gap_in_a_stream_stops_its_reader_and_is_told(tmp_path: Path) -> None:
    with Bus(tmp_path) as bus:
        services = Services(bus.url, tmp_path, lockstep=False)
        wire = Wire(bus.url)
        try:
            await _gate_open(bus.url)
            services.start_all()
            await _until(bus.url, "{main}:signal", 30)
            services.processes["signal"].send_signal(signal.SIGSTOP)
            seen = len((await contents(bus.url))["{md}:tick"])
            await _until(bus.url, "{md}:tick", seen + 20)
            unread = (await contents(bus.url))["{md}:tick"][-5]
            assert await wire.call("XDEL", "{md}:tick", unread[0]) == 1
            services.processes["signal"].send_signal(signal.SIGCONT)
            await _until(bus.url, "{main}:health:signal", 1)
            ((_, beat),) = await wire.call("XRANGE", "{main}:health:signal", "-", "+")
            assert b'"gap":"tick"' in beat[17]
            before = (await contents(bus.url))["{main}:signal"]
            await _until(bus.url, "{md}:tick", seen + 60)
            assert (await contents(bus.url))["{main}:signal"] == before
            assert before[-1][1][11] == b'[["tick",%d]]' % (int(unread[1][7]) - 1), "it went on up to the gap"
            assert services.stop()["signal"] == 0
        finally:
            wire.abort()
            services.kill()


async def _gate_open(url: str) -> None:
    wire = Wire(url)
    await wire.ready()
    await wire.call("HSET", "{main}:gate", "book", "open")
    wire.abort()


async def _until(url: str, key: str, length: int) -> None:
    wire = Wire(url)
    until = time.monotonic() + 60
    while True:
        try:
            if await wire.call("XLEN", key) >= length:
                break
        except Exception:  # noqa: BLE001 - the server is being killed under us; the deadline below judges
            pass
        assert time.monotonic() < until, f"expected {length} entries in {key} within 60 s"
        await asyncio.sleep(0.02)
    wire.abort()


async def _check_chain(url: str) -> None:
    """Every tick became exactly one signal, intent and order, in order, without a gap."""
    found = await contents(url)
    ticks, signals = found["{md}:tick"], found["{main}:signal"]
    intents = [e for e in found["{main}:order-intent"] if e[1][3] == b"OrderIntent"]
    orders = found["{main}:order"]
    for entries in found.values():
        assert seqs(entries) == list(range(1, len(entries) + 1))
    for effects, causes in ((signals, ticks), (intents, signals), (orders, intents)):
        named = [fields[11] for _, fields in effects]
        assert len(set(named)) == len(named)
        assert len(effects) <= len(causes)
        assert len(effects) >= len(causes) - 20, "a tail may still have been under way when the services stopped"
