"""The deployment's own settings, keys and access list with real processes: each service logs in as itself, and it trades."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.deploy.paper import running_paper
from tests.waiting import eventually


@pytest.mark.timeout(180)
def test_the_deployment_comes_up_with_its_logins_and_obeys_its_operator(tmp_path: Path):
    with running_paper(tmp_path) as paper:
        eventually(lambda: all(ready(port) for port in paper.ports.values()), 60)
        eventually(lambda: "NORMAL" in paper.tidegate("status"), 60)
        paper.tidegate("halt", "--reason", "a test")
        assert "HALTED" in paper.tidegate("status")
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "NOPERM" not in logs
    assert "NOAUTH" not in logs
    for path in tmp_path.glob("keys/*/bus/*"):
        assert path.read_text().strip() not in logs


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
