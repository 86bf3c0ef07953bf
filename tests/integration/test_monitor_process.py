"""Monitor as a process: reads a real bus, shows metrics, archives, ends in order and is killed without harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from libs.common import events as e
from libs.common.archive import ArchiveReader
from libs.common.streams import key
from services.monitor.report import build_report
from tests.redis_server import running_server
from tests.unit.monitor.sample import Tape, as_entry, d, halted, mark, tick
from tests.waiting import eventually


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    data = tmp_path / "redis"
    data.mkdir()
    with running_server(data) as address:
        yield address


class Monitor:
    """One process of the service."""

    def __init__(self, run_dir: Path, url: str) -> None:
        self.run_dir = run_dir
        config = run_dir / "config.toml"
        config.write_text(
            f'[run]\nmode = "realtime"\nrun_dir = "{run_dir}"\n[bus]\nmarket_url = "{url}"\nbook_url = "{url}"\n'
            "[monitor]\narchive_poll_ms = 20\narchive_flush_ms = 50\n"
        )
        env = os.environ | {"TIDEGATE_CONFIG": str(config)}
        (run_dir / "ports" / "monitor.port").unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, "-m", "services.monitor"], env=env, stderr=subprocess.PIPE)

    def metrics(self) -> str:
        port = eventually(self._port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            return str(reply.read().decode())

    def _port(self) -> str:
        assert self.process.poll() is None, self.end()
        path = self.run_dir / "ports" / "monitor.port"
        return path.read_text().strip() if path.exists() else ""

    def end(self, sign: int = signal.SIGTERM) -> str:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        _, errors = self.process.communicate(timeout=20)
        return errors.decode()


def publish(bus: redis.Redis, tape: Tape, start: int) -> None:
    for record in tape.records[start:]:
        entry, flat = as_entry(record)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        bus.xadd(key(record.stream, "main"), fields, id=entry)  # type: ignore[arg-type]


def test_monitor_reads_shows_archives_and_survives_a_kill(tmp_path: Path, url: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    bus, tape = redis.Redis.from_url(url), Tape()
    monitor = Monitor(run_dir, url)
    for at in range(1, 40):
        tape.add(tick("BTCUSDT", 60000 + at), at)
    tape.add(mark(9500, 10000), 40)
    publish(bus, tape, 0)
    eventually(lambda: "trading_equity_usd 9500.0" in monitor.metrics())
    monitor.end(signal.SIGKILL)

    done = len(tape.records)
    monitor = Monitor(run_dir, url)
    tape.add(halted(), 50)
    tape.add(e.Mismatch(kind="wallet", symbol="", ours="1", venue="2"), 51)
    publish(bus, tape, done)
    text = eventually(lambda: text if 'reason="max_drawdown"' in (text := monitor.metrics()) else "")
    assert "trading_equity_usd 9500.0" in text, "the read model was lost in the kill"
    assert 'trading_price{symbol="BTCUSDT"} 60039.0' in text
    eventually(lambda: bus.xlen(key("alert", "main")) >= 2)
    errors = monitor.end()
    assert monitor.process.returncode == 0, errors

    reader = ArchiveReader(run_dir)
    assert [row["seq"] for row in reader.rows("tick")] == list(range(1, 40))
    assert [row["type"] for row in reader.rows("halt")] == ["Halted"]
    assert reader.count("alert") == bus.xlen(key("alert", "main"))
    assert reader.count("journal:monitor") == bus.xlen("{main}:journal:monitor")
    assert reader.verify_chain() == sum(reader.count(name) for name in reader.streams())
    assert reader.manifest().closed  # type: ignore[union-attr]
    found = build_report(run_dir)
    assert found["equity"]["end"] == d(9500)
    bus.close()
