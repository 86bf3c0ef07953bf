"""From candles to a model that trades: trained, served in a demo of real processes, replayed, switched while it runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_demo import ROOT, command, running
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SETTINGS = """
[risk.allocation]
threshold = 0
trend = 0
mean_reversion = 0
ml_momentum = 1

[risk.allow.ml_momentum]
symbols = ["BTCUSDT"]

[signal]
models_dir = "{models}"
drift_bars = 5
block_psi = 1000  # a tape of another seed is another market: it would be blocked

[signal.strategies.threshold]
enabled = false

[signal.strategies.trend]
enabled = false

[signal.strategies.ml_momentum]
interval = "1m"

[signal.strategies.ml_momentum.parameters]
model = "minutes"
min_edge = 0.0
"""
TAPE = "synthetic:seed=5,minutes=60,symbols=BTCUSDT"


def tidegate(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def train(models: Path, name: str, seed: int) -> None:
    done = tidegate(
        "train", "--data", f"synthetic:seed={seed},minutes=1500,symbols=BTCUSDT", "--name", name, "--interval", "1m",
        "--estimator", "boosting", "--horizon", "5", "--folds", "1", "--embargo", "5", "--fee", "0.0004", "--slippage", "0",
        "--models", str(models),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "net Sharpe" in done.stdout


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, and settings with which it trades."""
    directory = tmp_path_factory.mktemp("models")
    train(directory, "minutes", 1)
    file = directory / "demo.toml"
    file.write_text(SETTINGS.format(models=directory))
    return file


def test_a_demo_with_a_model_replays_without_a_difference(settings: Path, tmp_path: Path):
    run_dir = tmp_path / "run"
    done = tidegate("demo", "--tape", TAPE, "--duration", "20m", "--config", str(settings), "--run-dir", str(run_dir))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((run_dir / "report.json").read_text())
    assert report["replay"]["differences"] == 0
    assert report["orders"] > 0
    exported = tidegate("events", "export", "--run-dir", str(run_dir), "--stream", "model", "--stream", "signal")
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    (sha,) = [path.name for path in (settings.parent / "minutes").iterdir() if path.is_dir()]
    kinds = {event["type"] for event in events}
    assert {"ModelPromoted", "DriftMeasured", "Signal"} <= kinds
    assert {event["model"] for event in events if event["strategy"] == "ml_momentum"} == {sha[:12]}
    assert (run_dir / "models/minutes" / sha / "model.skops").is_file()  # the run can be replayed wherever it is taken
    (settings.parent / "minutes" / sha).rename(settings.parent / "elsewhere")
    try:
        again = tidegate("replay", "--run-dir", str(run_dir), "--verify")
    finally:
        (settings.parent / "elsewhere").rename(settings.parent / "minutes" / sha)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_a_model_is_promoted_and_rolled_back_while_it_trades(settings: Path, tmp_path: Path):
    train(settings.parent, "other", 2)
    both = settings.with_name("both.toml")
    both.write_text(settings.read_text().replace("[signal]", '[signal]\nmodels = ["other"]'))
    with running(tmp_path, "demo", "--tape", TAPE, "--speed", "20", "--config", str(both)):
        run_dir = str(tmp_path / "run")
        eventually(lambda: tidegate("status", "--run-dir", run_dir).returncode == 0, 60)
        promoted = tidegate("model", "promote", "other", "--run-dir", run_dir)
        assert promoted.returncode == 0, promoted.stderr
        assert "ModelPromoted" in promoted.stdout
        listed = json.loads(tidegate("model", "list", "--run-dir", run_dir, "-o", "json").stdout)
        assert [row["live"] for row in listed] == ["", "ml_momentum"]
        assert tidegate("model", "rollback", "--run-dir", run_dir).returncode == 0
        refused = tidegate("model", "rollback", "--run-dir", run_dir)
        assert refused.returncode == 1
        assert "NOTHING_BEFORE" in refused.stderr
