"""The demo as a newcomer runs it: the console command, real processes, a short tape."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from libs.common import seal
from libs.common.access import TOOLS, roles, user_of
from libs.common.streams import DRIVER, RISK, SERVICES
from tests.model.trace import check_run
from tests.waiting import eventually, is_alive

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

REPORT_KEYS = {
    "seed", "tape", "stage", "events", "orders", "fills", "refusals", "halts", "equity", "pnl_by_strategy", "latency", "replay",
    "reconciliation", "flat",
}  # fmt: skip


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A run that goes on until the test ends it, and the pid of each of its processes once all five are up."""
    run_dir = tmp_path / "run"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A runner that itself stands in the background ignores SIGINT, and its children would, too.
    whole = ["env", "--default-signal=INT", *command(*arguments), "--run-dir", str(run_dir)]
    with subprocess.Popen(
        whole, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            names = (*SERVICES, "driver")

            def up() -> dict[str, int]:
                files = [run_dir / "pids" / f"{name}.pid" for name in names]
                found = {
                    file.stem: int(file.read_text()) for file in files if file.is_file() and file.read_text().strip()
                }
                assert process.poll() is None, process.stdout and process.stdout.read()
                return found if len(found) == len(names) else {}

            pids = eventually(up, 60)
            pids["server"] = server_pid(run_dir)
            yield process, pids
        finally:
            process.kill()


def bus_as(role: str, run_dir: Path) -> redis.Redis:
    """The run's own server, as one of its users."""
    login = {"username": user_of(role, "main"), "password": (run_dir / "keys/bus" / role).read_text().strip()}
    return redis.Redis(unix_socket_path=str(run_dir / "bus/bus.sock"), **login)


def server_pid(run_dir: Path) -> int:
    with bus_as(TOOLS, run_dir) as client:
        return int(client.info("server")["process_id"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run directory and output of a demo of six minutes of tape."""
    run_dir = tmp_path_factory.mktemp("demo") / "run"
    arguments = ("demo", "--seed", "3", "--duration", "6m", "--run-dir", str(run_dir))
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return run_dir, done.stdout + done.stderr


def test_it_ends_flat_and_replays_without_a_difference(finished: tuple[Path, str]):
    report = json.loads((finished[0] / "report.json").read_text())
    assert set(report) == REPORT_KEYS
    assert report["seed"] == 3
    assert report["replay"]["differences"] == 0
    assert report["replay"]["events"] > 1000
    assert (report["flat"]["orders"], report["flat"]["positions"]) == (0, 0)
    assert "0 differences" in finished[1]
    assert (finished[0] / "report.html").stat().st_size > 1000


def test_the_log_keeps_the_theorems(finished: tuple[Path, str]):
    """T1 to T8 by a checker that shares no code with risk or execution, with the seals verified."""
    key = seal.public_of((finished[0] / "keys/seal.key").read_text().strip())
    verdict = check_run(finished[0], key)
    assert verdict.broken == []
    assert verdict.seen["halts"] > 0
    assert verdict.seen["seals verified"] == verdict.seen["submissions"] > 0


def test_every_service_wrote_and_everything_is_archived(finished: tuple[Path, str]):
    report = json.loads((finished[0] / "report.json").read_text())
    assert {"tick", "bar", "signal", "order-intent", "halt", "portfolio", "account", "venue"} <= set(report["events"])
    for service in SERVICES:
        assert report["events"][f"health:{service}"] >= 1
        assert (finished[0] / "logs" / f"{service}.log").is_file()


def test_nothing_is_left_running_and_the_keys_are_the_owners(finished: tuple[Path, str]):
    assert list((finished[0] / "pids").iterdir()) == []
    assert not (finished[0] / "bus/bus.sock").exists()
    files = [path for path in (finished[0] / "keys").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (*files, finished[0] / "bus/users.acl")} == {0o600}
    assert {path.name for path in files if path.parent.name == "bus"} == set(roles(tape=True, admin=False))


def test_no_secret_is_in_anything_but_the_key_files(finished: tuple[Path, str]):
    run_dir, output = finished
    secrets = [(run_dir / name).read_text().strip() for name in ("keys/seal.key", "keys/operator.key")]
    secrets.append(json.loads((run_dir / "keys/venue.json").read_text())["secret"])
    secrets += [path.read_text().strip() for path in (run_dir / "keys/bus").iterdir()]
    for path in run_dir.rglob("*"):
        if path.is_file() and "keys" not in path.relative_to(run_dir).parts:
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
    assert not [secret for secret in secrets if secret in output]


def test_a_run_directory_answers_the_listings(finished: tuple[Path, str]):
    done = subprocess.run(
        command("orders", "-o", "json", "--run-dir", str(finished[0])),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (first, *_) = json.loads(done.stdout)
    why = subprocess.run(
        command("why", first["order_link_id"], "-o", "json", "--run-dir", str(finished[0])),
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    types = [hop["type"] for hop in json.loads(why.stdout)["chain"]]
    assert [name for name in types if name in ("Signal", "OrderIntent", "OrderSubmitted")] == [
        "Signal",
        "OrderIntent",
        "OrderSubmitted",
    ]


def test_no_process_survives_a_demo_that_was_killed(tmp_path: Path):
    with running(tmp_path, "demo", "--speed", "1") as (process, pids):
        assert all(is_alive(pid) for pid in pids.values())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        eventually(lambda: not [name for name, pid in pids.items() if is_alive(pid)], 15)


def nobody_but_risk_approves_or_opens_the_gate(run_dir: Path) -> None:
    """On the demo's server while it runs. The driver, who exists in tape runs alone, releases what risk staged."""
    for role in set(roles(tape=True, admin=False)) - {RISK, DRIVER}:
        with bus_as(role, run_dir) as client:
            for name in ("order-intent", "halt"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.xadd(f"{{main}}:{name}", {"id": "forged"})
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.hset("{main}:gate", "book", "open")
    stranger = redis.Redis(unix_socket_path=str(run_dir / "bus/bus.sock"))
    with stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.hget("{main}:gate", "book")


def test_ctrl_c_ends_everything_and_says_so(tmp_path: Path):
    with running(tmp_path, "demo", "--speed", "1") as (process, pids):
        nobody_but_risk_approves_or_opens_the_gate(tmp_path / "run")
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 130, output
        assert output.rstrip().endswith("tidegate: interrupted")
        assert "Traceback" not in output
        assert not [name for name, pid in pids.items() if is_alive(pid)]
