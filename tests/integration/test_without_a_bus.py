"""A service whose bus is not there: it waits, says so in one line, and leaves at once when asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from libs.common.streams import SERVICES
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "redis://user:canary-password@127.0.0.1:1/0"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "venue.json").write_text('{"key": "key", "secret": "canary-secret"}')
    (tmp_path / "seal.key").write_text("11" * 32)
    (tmp_path / "seal.key").chmod(0o600)
    path = tmp_path / "config.toml"
    path.write_text(
        f'[bus]\nbook_url = "{NOBODY}"\nmarket_url = "{NOBODY}"\n[venue]\nkey_file = "venue.json"\n'
        '[run]\nseal_key_file = "seal.key"\n'
    )
    return path


def test_every_service_waits_for_the_bus_and_answers_sigterm(tmp_path: Path, config: Path) -> None:
    env = {**os.environ, "TIDEGATE_CONFIG": str(config), "TIDEGATE_RUN_DIR": str(tmp_path)}
    logs = {name: tmp_path / f"{name}.log" for name in SERVICES}
    running = {}
    for name in SERVICES:
        with logs[name].open("wb") as out:
            command = [sys.executable, "-m", f"services.{name}"]
            running[name] = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        for name in SERVICES:
            eventually(lambda name=name: "waiting for the bus" in logs[name].read_text(), 30)
        asked_s = time.monotonic()
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        assert {name: process.wait(10) for name, process in running.items()} == dict.fromkeys(SERVICES, 0)
        assert time.monotonic() - asked_s < 8
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    for name in SERVICES:
        text = logs[name].read_text()
        assert f"{name}: waiting for the bus at redis://user:********@127.0.0.1:1/0" in text
        assert "Traceback" not in text
        assert "canary" not in text
