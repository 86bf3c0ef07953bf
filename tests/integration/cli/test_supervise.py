"""The supervisor: real processes, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli import supervise
from cli.supervise import Child, Supervisor
from libs.common.errors import TidegateError
from tests.waiting import eventually, is_alive

WORKER = """
import os, signal, sys
def stop(*_):
    print("stopped in order", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("config", os.environ["TIDEGATE_CONFIG"], "run", os.environ["TIDEGATE_RUN_DIR"], flush=True)
print("stray", [name for name in os.environ if name.startswith("TIDEGATE_") and "__" in name], flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that children can be started from: the supervisor's root becomes a directory of ours."""
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "failing.py").write_text("import sys; print('no such key', file=sys.stderr); sys.exit(2)\n")
    (tmp_path / "brief.py").write_text("import sys; sys.exit(75)\n")
    monkeypatch.setattr(supervise, "ROOT", tmp_path)
    return "worker"


def made(tmp_path: Path, **options) -> Supervisor:
    return Supervisor(tmp_path / "run", tmp_path / "config.toml", **options)


def log_has(supervisor: Supervisor, name: str, text: str) -> bool:
    return text in supervisor.log_of(name).read_text()


def test_a_killed_child_is_started_again(tmp_path: Path, worker: str):
    told: list[tuple[str, int]] = []
    supervisor = made(tmp_path, on_restart=lambda child, code: told.append((child.name, code)))
    try:
        child = supervisor.start("risk", worker)
        eventually(lambda: log_has(supervisor, "risk", "config"))
        first = child.pid
        os.kill(first, signal.SIGKILL)

        def restarted() -> bool:
            supervisor.tend()
            return child.restarts == 1 and child.is_running()

        eventually(restarted)
        assert child.pid != first
        assert told == [("risk", -signal.SIGKILL)]
        assert (tmp_path / "run/pids/risk.pid").read_text().strip() == str(child.pid)
    finally:
        supervisor.kill()


def test_any_exit_code_is_restarted_with_a_growing_back_off(tmp_path: Path, worker: str):
    supervisor = made(tmp_path)
    try:
        child = supervisor.start("risk", "brief")

        def thrice() -> bool:
            supervisor.tend()
            return child.restarts >= 3

        eventually(thrice)
        assert child.backoff_s > supervise._FIRST_BACKOFF_S
        assert set(child.codes) == {75}
    finally:
        supervisor.kill()


def test_wrong_settings_are_told_with_the_log_and_not_restarted(tmp_path: Path, worker: str):
    supervisor = made(tmp_path)
    try:
        child = supervisor.start("risk", "failing")
        eventually(lambda: not child.is_running())
        with pytest.raises(TidegateError, match=r"risk cannot start.*\n.*no such key"):
            supervisor.tend()
    finally:
        supervisor.kill()


def test_stop_is_in_order_and_graceful(tmp_path: Path, worker: str):
    supervisor = made(tmp_path)
    for name in ("risk", "execution"):
        supervisor.start(name, worker)
    for name in ("risk", "execution"):
        eventually(lambda name=name: log_has(supervisor, name, "config"))
    supervisor.stop("risk")
    assert log_has(supervisor, "risk", "stopped in order")
    assert supervisor.children["execution"].is_running()
    assert not (tmp_path / "run/pids/risk.pid").exists()
    supervisor.stop()
    assert not supervisor.children["execution"].is_running()


def test_what_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path, worker: str):
    (tmp_path / "deaf.py").write_text(
        "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\nsignal.pause()\n"
    )
    supervisor = made(tmp_path)
    child = supervisor.start("risk", "deaf")
    eventually(lambda: log_has(supervisor, "risk", "up"))
    supervisor.stop(grace_s=0.1)
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def test_children_are_told_the_run_and_no_stray_settings(tmp_path: Path, worker: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TIDEGATE_RISK__MAX_DRAWDOWN", "0.5")
    supervisor = made(tmp_path)
    try:
        supervisor.start("risk", worker)
        eventually(lambda: log_has(supervisor, "risk", "stray"))
        text = supervisor.log_of("risk").read_text()
        assert f"config {tmp_path / 'config.toml'} run {tmp_path / 'run'}" in text
        assert "stray []" in text
    finally:
        supervisor.kill()


def test_children_die_with_a_supervisor_that_was_killed(tmp_path: Path, worker: str):
    script = (
        "import sys, signal; from pathlib import Path; from cli import supervise;"
        "root = Path(sys.argv[1]); supervise.ROOT = root;"
        "s = supervise.Supervisor(root / 'run', root / 'config.toml'); print(s.start('risk', 'worker').pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        eventually(lambda: not is_alive(pid))


def test_a_child_that_never_started_has_no_pid():
    assert Child("risk", []).pid == 0
    assert not Child("risk", []).is_running()
