"""`tidegate up` as it runs for weeks, in a minute: live data from an exchange on this machine, kills, a cut, an end in order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from libs.common.archive import ArchiveReader
from libs.common.streams import SERVICES
from tests.waiting import eventually, is_alive

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def tidegate(*arguments: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


class Run:
    """A running `tidegate up`, started the way a script in the background starts it: with SIGINT ignored."""

    def __init__(self, tmp_path: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.dir, self.log = tmp_path / "run", tmp_path / "up.log"
        whole = [sys.executable, "-m", "cli.main", "up", *arguments, "--run-dir", str(self.dir)]
        with self.log.open("wb") as out:
            command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *whole]
            self.process = subprocess.Popen(
                command, cwd=tmp_path, env={**ENV, **(env or {})}, stdout=out, stderr=subprocess.STDOUT
            )

    def pid(self, name: str) -> int:
        def found() -> int:
            assert self.process.poll() is None, self.log.read_text()
            file = self.dir / "pids" / f"{name}.pid"
            return int(file.read_text() or 0) if file.is_file() else 0

        return eventually(found, 60)

    def kill(self, name: str) -> None:
        """kill -9, and wait until its supervisor started it again."""
        old = self.pid(name)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: self.pid(name) != old, 30)

    def armed(self) -> bool:
        return tidegate("status", "--run-dir", str(self.dir)).returncode == 0

    def stop(self) -> str:
        """SIGTERM; returns everything it said."""
        pids = [self.pid(name) for name in (*SERVICES, "sim")]
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0, self.log.read_text()
        assert not [pid for pid in pids if is_alive(pid)]
        return self.log.read_text()


@contextmanager
def running(tmp_path: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Run]:
    run = Run(tmp_path, *arguments, env=env)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()


@contextmanager
def exchange_elsewhere() -> Iterator[str]:
    """Stands where the real exchange is: another simulator, of which only the public side is used."""
    command = [sys.executable, "-m", "sim", "--port", "0", "--tape", "synthetic:seed=7"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield str(json.loads(process.stderr.readline())["url"])
        finally:
            process.kill()


@pytest.mark.slow
def test_live_data_is_traded_on_paper_and_replays_without_a_difference_after_kills(tmp_path: Path):
    with exchange_elsewhere() as url:
        places = {"TIDEGATE_VENUE__PUBLIC_REST_URL": url, "TIDEGATE_VENUE__PUBLIC_WS_URL": url.replace("http", "ws")}
        with running(tmp_path, env=places) as run:
            eventually(run.armed, 60)
            run.kill("marketdata")
            run.kill("execution")
            orders = ("orders", "-o", "json", "--run-dir", str(run.dir))
            eventually(lambda: json.loads(tidegate(*orders).stdout or "[]"), 150)
            run.kill("execution")
            run.kill("marketdata")
            eventually(run.armed, 60)
            said = run.stop()
    assert f"live from {url}" in said
    assert "stopping" in said
    assert "Traceback" not in said
    replayed = tidegate("replay", str(run.dir), "--verify")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert re.search(r"events re-run: 0 differences", replayed.stdout)
    assert ArchiveReader(run.dir).count("order") > 0
    flat = json.loads((run.dir / "flat.json").read_text())
    if flat["positions"]:
        assert f"{flat['positions']} positions" in said


@pytest.mark.slow
def test_a_tape_by_the_wall_clock_goes_on_where_it_was_when_the_exchange_was_killed(tmp_path: Path):
    with running(tmp_path, "--tape", "synthetic:seed=7", "--flatten-on-exit") as run:
        eventually(run.armed, 60)
        origin = (run.dir / "exchange" / "origin").read_text()
        run.kill("sim")
        eventually(lambda: (run.dir / "logs" / "sim.log").read_text().count("simulator listens") == 2, 30)
        assert (run.dir / "exchange" / "origin").read_text() == origin
        said = run.stop()
    assert "FlatConfirmed" in said
    assert "flat by the exchange's own answer" in said
    assert tidegate("replay", str(run.dir), "--verify").returncode == 0


def test_a_halt_from_the_command_line_halts_the_running_book(tmp_path: Path):
    with running(tmp_path, "--tape", "synthetic:seed=7") as run:
        place = ("--run-dir", str(run.dir))
        eventually(run.armed, 60)
        halted = tidegate("halt", "--reason", "drill", *place)
        assert halted.returncode == 0, halted.stderr
        assert "HALTED book: OPERATOR" in halted.stdout
        status = tidegate("status", "-o", "json", *place)
        assert status.returncode == 3
        resumed = tidegate("resume", json.loads(status.stdout)["halts"][0]["id"][:10], *place)
        assert resumed.returncode == 0, resumed.stderr
        assert tidegate("status", *place).returncode == 0
