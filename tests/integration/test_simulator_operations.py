"""Operations of the exchange from outside: a request on loopback, a script beside the tape, a restart by kill -9."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.integration.test_simulator import Process, start, wait_price
from tests.waiting import eventually

__all__ = ["start"]


def do(process: Process, **operation: Any) -> httpx.Response:
    return httpx.post(f"{process.url}/sim/do", json=operation, timeout=10)


def balance(process: Process) -> str:
    wallet = process.get("/v5/account/wallet-balance", "accountType=UNIFIED")
    return str(wallet["result"]["list"][0]["coin"][0]["walletBalance"])


def test_what_was_done_survives_kill_9(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start("--state-dir", str(tmp_path))
    wait_price(process)
    assert do(process, do="deposit", amount="12.5").json()["balance"] == "10012.5"
    assert do(process, do="status", symbol="BTCUSDT", refuse=110023).status_code == 200
    refused = do(process, do="deposit")
    assert refused.status_code == 400
    assert "amount" in refused.json()["error"]
    process.end(signal.SIGKILL)
    again = start("--state-dir", str(tmp_path))
    wait_price(again)
    assert balance(again) == "10012.5"
    assert again.order()["retCode"] == 110023


def test_a_script_beside_the_tape(start: Callable[..., Process], tmp_path: Path) -> None:
    file = tmp_path / "script.toml"
    file.write_text('[[operation]]\nafter = "500ms"\ndo = "deposit"\namount = 1\n')
    process = start("--script", str(file))
    eventually(lambda: balance(process) == "10001")


def test_without_control_nobody_can(start: Callable[..., Process]) -> None:
    process = start("--no-control")
    assert do(process, do="deposit", amount=1).status_code == 404
