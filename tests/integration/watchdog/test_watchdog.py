"""The dead man's switch with real processes: what kills execution, what kills the bus, and what comes back."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.watchdog.rig import ROOT, Rig, rig
from tests.waiting import eventually

QUICK = {"beat_every_ms": 200, "cancel_after_ms": 3_000, "flatten_after_ms": 8_000, "round_every_ms": 100}
pytestmark = pytest.mark.timeout(240)


def test_entries_are_cancelled_when_execution_dies_and_the_stop_stays(tmp_path: Path) -> None:
    with rig(tmp_path, **QUICK) as run:
        run.start_all()
        run.enter()
        run.kill("execution")
        eventually(lambda: not run.entries(), 30)
        eventually(lambda: "cancelled" in run.states(), 30)
        assert run.stops() == 1, "the protective stop stays"
        assert run.held() > 0, "not armed: nothing is closed"
        eventually(lambda: [e["state"] for e in run.bus_events("watchdog")] == ["cancelling", "cancelled"], 30)
        run.start("execution")
        eventually(lambda: run.states()[-1] == "watching", 60)
        eventually(lambda: run.bus_events("watchdog")[-1]["state"] == "watching", 30)
        assert run.states() == ["cancelling", "cancelled", "watching"]
        assert run.bus_events("command") == []


def test_armed_it_closes_everything_and_asks_for_a_halt(tmp_path: Path) -> None:
    with rig(tmp_path, armed=True, slice_usd="100", **QUICK) as run:
        run.start_all()
        run.enter()
        run.kill("execution")
        eventually(lambda: run.held() == 0 and not run.entries(), 90)
        eventually(lambda: run.states()[-1] == "flat", 30)
        assert run.states() == ["cancelling", "cancelled", "flattening", "flat"]
        slices = [line for line in run.said("watchdog") if line.get("what") == "slice"]
        assert len(slices) > 3, "in pieces"
        assert all(line["side"] == "Sell" for line in slices)
        assert len({line["link_id"] for line in slices}) == len(slices)
        (halt,) = eventually(lambda: run.bus_events("command"), 30)
        assert (halt["type"], halt["operator"], halt.get("scope", "book")) == ("HaltRequested", "watchdog", "book")
        status, metrics = run.probe("watchdog", "/metrics")
        assert status == 200
        assert re.search(r"^trading_watchdog_phase 2\.0$", metrics, re.MULTILINE)
        run.start("execution")
        eventually(lambda: run.states()[-1] == "watching", 60)
        assert not [e for e in run.bus_events("account") if e["type"] == "ForeignOrder"], "its orders are no stranger's"


def test_the_bus_alone_may_die(tmp_path: Path) -> None:
    """Then execution's direct beats are heard: nothing is cancelled for as long as that lasts, nor when the bus is back."""
    with rig(tmp_path, armed=True, **QUICK) as run:
        run.start_all()
        run.enter()
        resting = run.entries()
        run.bus.kill()
        _heard(run, "bus", QUICK["flatten_after_ms"] / 1000)
        assert run.entries() == resting
        assert run.held() > 0
        run.bus.start()
        eventually(lambda: _silence(run, "bus") < 1.0, 60)
        assert run.entries() == resting
        assert run.states() == []


def test_the_bus_and_execution_die_together(tmp_path: Path) -> None:
    with rig(tmp_path, **QUICK) as run:
        run.start_all()
        run.enter()
        run.bus.kill()
        run.kill("execution")
        eventually(lambda: not run.entries(), 30)
        assert run.stops() == 1
        run.bus.start()  # what was done is told as soon as there is somebody to tell
        eventually(lambda: {e["state"] for e in run.bus_events("watchdog")} >= {"cancelling", "cancelled"}, 30)


def test_a_watchdog_that_starts_waits_its_full_time(tmp_path: Path) -> None:
    """It was killed together with execution: what it never heard counts from its own start."""
    with rig(tmp_path, armed=True, **QUICK) as run:
        run.start_all()
        run.enter()
        run.kill("watchdog")
        run.kill("execution")
        run.start("watchdog")
        eventually(lambda: not run.entries(), 60)
        first = next(line for line in run.said("watchdog") if "state" in line)
        assert (first["state"], first["silent_ms"] >= QUICK["cancel_after_ms"]) == ("cancelling", True)
        eventually(lambda: run.held() == 0, 60)


def test_a_watchdog_that_was_stopped_itself_counts_anew(tmp_path: Path) -> None:
    """Nothing is cancelled because it did not listen: what counts is silence while it could hear."""
    with rig(tmp_path, armed=True, **QUICK) as run:
        run.start_all()
        run.enter()
        resting, dog = run.entries(), run.processes["watchdog"]
        dog.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        eventually(lambda: time.monotonic() - began_s > QUICK["flatten_after_ms"] / 1000, 30)
        dog.send_signal(signal.SIGCONT)
        eventually(lambda: "counts anew" in run.log("watchdog").read_text(), 30)
        eventually(lambda: 0 < _silence(run, "direct") < 1.0, 30)
        assert run.entries() == resting
        assert run.states() == []


def test_orders_that_arrive_late_are_cancelled_too(tmp_path: Path) -> None:
    """It goes on looking while execution is silent: a create may still be on its way when the first cancel leaves."""
    with rig(tmp_path, **QUICK) as run:
        run.start_all()
        run.kill("execution")
        eventually(lambda: "cancelled" in run.states(), 30)
        run.place(resting=True)
        eventually(lambda: run.account_fills() == 0 and not run.entries(), 30)
        assert run.cancelled() == 1


@pytest.mark.parametrize("missing", ["beat_url", "key_file", "own"])
def test_it_refuses_to_start_without_what_it_needs(tmp_path: Path, missing: str) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"key": "k", "secret": "secret-canary"}')
    lines = {"beat_url": 'beat_url = "udp://127.0.0.1:1"', "key_file": f'key_file = "{key}"'}
    lines.pop(missing, None)
    venue = f'key_file = "{key}"' if missing == "own" else ""
    (tmp_path / "c.toml").write_text("[venue]\n" + venue + "\n[watchdog]\n" + "\n".join(lines.values()))
    done = subprocess.run(
        [sys.executable, "-m", "services.execution.watchdog"], cwd=ROOT, env={"TIDEGATE_CONFIG": str(tmp_path / "c.toml")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"watchdog.{'key_file' if missing == 'own' else missing}: expected" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret-canary" not in done.stderr


def _silence(run: Rig, way: str) -> float:
    """Seconds since this way was heard, as the watchdog measures it."""
    _, metrics = run.probe("watchdog", "/metrics")
    found = re.search(rf'^trading_watchdog_silence_seconds{{way="{way}"}} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _heard(run: Rig, silent: str, seconds: float) -> None:
    """Until one way was silent for so long while the other was not."""
    eventually(lambda: _silence(run, silent) > seconds, 60)


@pytest.mark.slow
def test_with_the_times_it_ships_with(tmp_path: Path) -> None:
    """Five seconds and a minute, by its own log; execution had a position, its stop and a resting entry."""
    with rig(tmp_path, armed=True) as run:
        run.start_all()
        run.enter()
        run.kill("execution")
        eventually(lambda: run.held() == 0 and not run.entries(), 180)
        eventually(lambda: run.states()[-1] == "flat", 30)
        told = {line["state"]: line["silent_ms"] for line in run.said("watchdog") if "state" in line}
        assert 5_000 <= told["cancelling"] <= told["cancelled"] < 60_000 <= told["flattening"] <= told["flat"]
