"""Tapes whose exchange loses and shuffles frames of the order books: every book heals, and every run is the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.backtest import Backtest
from cli.context import Context
from cli.rundir import make_run_dir, write_accounts, write_config, write_keys
from cli.tapes import plan
from libs.common.archive import ArchiveReader
from libs.common.events import FeedDown, FeedUp, RawFrame, Tick
from libs.common.record import Record
from libs.common.settings import Settings
from sim.tapes.tape import Tape, open_tape

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TAPE = "synthetic:seed=7,minutes=10,symbols=BTCUSDT"
FAULTS: dict[str, Any] = {
    "seed": 3,
    "faults": [
        {"kind": "drop", "rate": 0.05, "match": {"topic": "orderbook"}},
        {"kind": "reorder", "rate": 0.1, "ms": 900, "match": {"topic": "orderbook"}},
    ],
}
STREAMS = ("raw", "tick", "reference", "bar", "signal", "venue", "order", "fill", "account", "halt")
"""Everything but what risk sealed with a key of this run."""
PAIR = """
[signal.strategies.funding_arb]
parameters = { enter_rate = 0.00002, leave_rate = -0.01 }
"""


def settings_file(directory: Path, more: str = "") -> Path:
    (directory / "faults.json").write_text(json.dumps(FAULTS))
    file = directory / "tidegate.toml"
    file.write_text(f'[sim]\nspot = true\nfaults_file = "{directory / "faults.json"}"\n[risk]\nauto_arm = true\n{more}')
    return file


class Noted(Backtest):
    """A backtest that remembers what marketdata heard and said."""

    def __init__(self, config: Path, settings: Settings, tape: Tape) -> None:
        self.heard: list[Record] = []
        super().__init__(config, settings, tape, lambda _: None)

    def _sink(self, record: Record) -> None:
        self.heard.append(record)
        super()._sink(record)


def backtest(directory: Path) -> list[Record]:
    """Six minutes of a perpetual and its spot market; every record, in order."""
    directory.mkdir()
    ctx = Context(config=settings_file(directory, PAIR))
    overrides, _, base = plan(ctx, 7, "max", "6m", [TAPE])
    run_dir = make_run_dir(directory / "run")
    settings = ctx.settings(overrides | write_keys(run_dir) | {"run.run_dir": str(run_dir)}, base)
    write_accounts(run_dir, settings)
    run = Noted(write_config(run_dir, settings), settings, open_tape([TAPE], 7))
    run.run()
    return run.heard


def demo(directory: Path) -> Path:
    """A demo of three minutes with the replay that is part of it; gives its run directory."""
    directory.mkdir()
    run_dir = directory / "run"
    whole = ("--config", str(settings_file(directory)), "--seed", "3", "--duration", "3m", "--run-dir", str(run_dir))
    command = [sys.executable, "-m", "cli.main", "demo", *whole]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "started again" not in done.stdout + done.stderr
    return run_dir


def test_a_backtest_heals_the_books_of_both_markets(tmp_path: Path) -> None:
    records = backtest(tmp_path / "first")
    for symbol in ("BTCUSDT", "BTCUSDT-SPOT"):
        turns = [r.body for r in records if isinstance(r.body, FeedDown | FeedUp) and r.body.symbol == symbol]
        down = [body for body in turns if isinstance(body, FeedDown)]
        assert len(down) > 5, symbol
        assert len(turns) - len(down) >= len(down) - 1, symbol
        assert max(body.down_ms for body in turns if isinstance(body, FeedUp)) < 15_000, symbol
    again = backtest(tmp_path / "second")
    kinds = (RawFrame, Tick, FeedDown, FeedUp)
    heard, heard_again = ([r for r in run if isinstance(r.body, kinds)] for run in (records, again))
    assert heard == heard_again


def test_a_demo_heals_its_books_twice_the_same_and_replays(tmp_path: Path) -> None:
    first, second = (demo(tmp_path / name) for name in ("first", "second"))
    report = json.loads((first / "report.json").read_text())
    assert report["replay"]["differences"] == 0
    types = [row["type"] for row in ArchiveReader(first).rows("tick")]
    assert types.count("FeedDown") > 10
    assert types.count("FeedUp") >= types.count("FeedDown") - 1
    for name in STREAMS:
        one, other = (
            [(r["id"], r["type"], r["at"], r["data"]) for r in ArchiveReader(run).rows(name)] for run in (first, second)
        )
        assert one == other, name
