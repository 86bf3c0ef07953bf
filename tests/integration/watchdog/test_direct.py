"""`tidegate flatten --direct`: an exchange and a key are all there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from libs.bybit import rest
from tests.integration.watchdog.gateway import BadGateway
from tests.integration.watchdog.rig import ROOT, SYMBOL, Rig, rig
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)


def flatten(run: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "flatten", "--direct", "--config", str(run.dir / "config.toml")]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
        env={"PATH": "", "TIDEGATE_WATCHDOG__SLICE_USD": "150"},
    )  # fmt: skip


def trades(run: Rig) -> Counter[str]:
    """Quantity by order link id of everything that traded, from the exchange's own list, in thousandths."""
    found: Counter[str] = Counter()
    for row in run.private(rest.executions(0))["list"]:
        found[row["orderLinkId"]] += int(Decimal(row["execQty"]) * 1000)
    return found


def enter_and_kill_everything(run: Rig) -> None:
    """A position with its stop and a resting entry, and then nothing of ours is left."""
    run.start("execution")
    eventually(lambda: run.bus_has("account", b"Reconciled"), 60)
    run.enter()
    run.kill("execution")
    run.bus.kill()


def test_it_closes_the_account_with_everything_else_dead(tmp_path: Path) -> None:
    with rig(tmp_path) as run:
        enter_and_kill_everything(run)
        done = flatten(run)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "flat by the exchange's own answer: no orders, no positions\n"
        assert "1 orders cancelled" in done.stderr
        assert len(re.findall(r"Sell .* BTCUSDT at .* or better$", done.stderr, re.MULTILINE)) > 3, "in slices"
        assert (run.held(), run.entries(), run.stops()) == (0, [], 0)
        again = flatten(run)
        assert (again.returncode, again.stdout) == (0, done.stdout)


@pytest.mark.parametrize("seed", [1, 2])
def test_it_goes_on_through_limits_errors_and_lost_answers_and_never_doubles(tmp_path: Path, seed: int) -> None:
    with rig(tmp_path) as run:
        enter_and_kill_everything(run)
        bought = sum(trades(run).values())
        with BadGateway(run.url, rate=0.4, seed=seed) as gate:
            done = flatten(run, "--url", gate.url)
        assert done.returncode == 0, done.stderr
        assert sum(gate.injected.values()) > 10
        assert (run.held(), run.entries(), run.stops()) == (0, [], 0)
        sold = {link: qty for link, qty in trades(run).items() if link.startswith("tgw-")}
        assert sum(sold.values()) == bought, "as much as was held and not one lot more"


def test_nobody_there_is_told_as_such(tmp_path: Path) -> None:
    with rig(tmp_path) as run:
        done = flatten(run, "--url", "http://127.0.0.1:1")
        assert done.returncode == 5
        assert "expected http://127.0.0.1:1 to answer" in done.stderr


def test_a_refused_key_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    with rig(tmp_path) as run:
        (tmp_path / "wrong.json").write_text('{"key": "nobody", "secret": "canary-secret"}')
        done = flatten(run, "--venue-key", str(tmp_path / "wrong.json"))
        assert done.returncode == 1
        assert "expected the exchange to take the key, was 10003" in done.stderr
        missing = flatten(run, "--venue-key", str(tmp_path / "missing.json"))
        assert missing.returncode == 2
        assert "expected a JSON file" in missing.stderr
        for text in (done, missing):
            assert "Traceback" not in text.stderr
            assert "canary" not in text.stderr + text.stdout


def test_what_cannot_be_closed_in_time_is_an_error(tmp_path: Path) -> None:
    with rig(tmp_path) as run, BadGateway(run.url, 1.0, 3, ("10006",)) as gate:
        done = flatten(run, "--url", gate.url, "--within", "3")
        assert done.returncode == 1
        assert "expected the account to be flat within 3 s" in done.stderr
        assert SYMBOL not in done.stdout
