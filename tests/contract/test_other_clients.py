"""Third-party clients, unmodified, in environments of their own; each test is skipped where its client is not installed.

TIDEGATE_CCXT_PYTHON    a Python that has ccxt
TIDEGATE_NODE_MODULES   a node_modules that has bybit-api
TIDEGATE_FREQTRADE      the freqtrade command
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simprocess import Process, wait_price

CLIENTS = Path(__file__).parents[1] / "clients"


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    wait_price(process)
    yield process
    process.end(signal.SIGTERM)


def client(variable: str) -> str:
    """Where a client is, or the test is skipped."""
    place = os.environ.get(variable, "")
    if not place:
        pytest.skip(f"{variable} names no installed client")
    return place


def run(command: list[str], **environment: str) -> str:
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, env={**os.environ, **environment}
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def test_ccxt(process: Process) -> None:
    python = client("TIDEGATE_CCXT_PYTHON")
    assert "all as expected" in run([python, str(CLIENTS / "ccxt_session.py"), process.url])


def test_the_node_sdk(process: Process) -> None:
    modules, node = client("TIDEGATE_NODE_MODULES"), shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    assert "all as expected" in run([node, str(CLIENTS / "node_session.cjs"), process.url], NODE_PATH=modules)
