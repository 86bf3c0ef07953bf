"""The whole system on a tape, disturbed: killed services, loaded cores. What it decides must not change by a byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common.archive import ArchiveReader

pytestmark = pytest.mark.timeout(400)

DURATION = "9m"  # marketdata takes its second snapshot at its 1000th commit
DECISIONS = ("signal", "order-intent", "order", "fill", "halt", "account")
SHELL_FIELDS = ("epoch", "key_id", "seal")
"""What risk's shell adds to an approval: the keys are fresh in every run."""

KILLS = (
    "marketdata:decided:100",
    "marketdata:snapshotted:2",
    "signal:commit-sent:150",
    "risk:committed:200",
    "execution:submitted:2",
    "execution:request-sent:1",
    "execution:reply-received:2",
    "monitor:segment-written:3",
)


def demo(run_dir: Path, kill: str = "") -> dict[str, Any]:
    """One demo; returns its report. The replay is part of it and must find no difference."""
    command = [sys.executable, "-m", "cli.main", "demo", "--duration", DURATION, "--run-dir", str(run_dir)]
    env = {**os.environ, "TIDEGATE_KILL": kill}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((run_dir / "report.json").read_text())
    assert report["replay"]["differences"] == 0
    if kill:
        assert f"{kill.split(':', maxsplit=1)[0]} was killed by signal 9" in done.stdout + done.stderr
    return report


def decisions(run_dir: Path) -> dict[str, list[tuple[str, str, int, str]]]:
    """Every event that matters: id, type, time, body without what the shell added."""
    archive = ArchiveReader(run_dir)
    return {
        name: [(row["id"], row["type"], row["at"], _core_part(row["data"])) for row in archive.rows(name)]
        for name in DECISIONS
    }


def _core_part(data: str) -> str:
    body = {key: value for key, value in msgspec.json.decode(data).items() if key not in SHELL_FIELDS}
    return msgspec.json.encode(body).decode()


def venue_answer(run_dir: Path) -> dict[str, Any]:
    answer = json.loads((run_dir / "flat.json").read_text())
    return {key: answer[key] for key in ("orders", "positions", "wallet", "at")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("demo") / "undisturbed"
    report = demo(run_dir)
    assert report["fills"] > 5
    return run_dir


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_service_changes_no_decision(tmp_path: Path, undisturbed: Path, kill: str) -> None:
    demo(tmp_path / "run", kill)
    assert decisions(tmp_path / "run") == decisions(undisturbed)
    assert venue_answer(tmp_path / "run") == venue_answer(undisturbed)


def test_a_slow_machine_decides_the_same(tmp_path: Path, undisturbed: Path) -> None:
    with loaded_cores():
        demo(tmp_path / "run")
    assert decisions(tmp_path / "run") == decisions(undisturbed)
    assert venue_answer(tmp_path / "run") == venue_answer(undisturbed)


@contextmanager
def loaded_cores() -> Iterator[None]:
    """Both cores of this machine kept busy by somebody else."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 2)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
