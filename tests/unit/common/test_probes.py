"""The probes answer over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.errors import TidegateError
from libs.common.probes import Probes
from libs.common.telemetry import Metrics


async def get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


@pytest.fixture
async def probes(tmp_path: Path) -> AsyncIterator[Probes]:
    served = Probes(Metrics("risk"), run_dir=tmp_path, max_step_age_s=30)
    await served.start()
    yield served
    await served.stop()


async def test_the_port_is_free_and_written_down(probes: Probes, tmp_path: Path) -> None:
    assert int((tmp_path / "ports" / "risk.port").read_text()) == probes.port > 0
    await probes.stop()
    assert not (tmp_path / "ports" / "risk.port").exists()


async def test_ready_says_why_not(probes: Probes) -> None:
    assert await get(probes.port, "/readyz") == (503, '{"ready":false,"reason":"starting"}')
    probes.set_ready(ready=False, reason="gap in tick")
    assert json.loads((await get(probes.port, "/readyz"))[1])["reason"] == "gap in tick"
    probes.set_ready(ready=True)
    assert (await get(probes.port, "/readyz"))[0] == 200
    assert 'trading_ready{service="risk"} 1.0' in (await get(probes.port, "/metrics"))[1]


async def test_alive_is_the_age_of_the_last_step_and_nothing_else(probes: Probes) -> None:
    assert (await get(probes.port, "/livez"))[0] == 200
    probes._beat_at -= 31
    status, body = await get(probes.port, "/livez")
    assert status == 503
    assert json.loads(body)["last_step_age_seconds"] > 30
    probes.beat()
    assert (await get(probes.port, "/livez"))[0] == 200


async def test_a_taken_port_is_said_plainly(probes: Probes) -> None:
    second = Probes(Metrics("risk"), port=probes.port)
    with pytest.raises(TidegateError, match=r"telemetry\.probes_port"):
        await second.start()


async def test_stopping_does_not_wait_for_an_idle_scraper(probes: Probes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", probes.port)
    async with asyncio.timeout(5):
        await probes.stop()
    writer.close()
