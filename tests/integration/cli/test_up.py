"""`tidegate up` where the exchange is not to be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parents[3]


def up(directory: Path, url: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TIDEGATE_VENUE__PUBLIC_REST_URL": url}
    command = [sys.executable, "-m", "cli.main", "up"]
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def said(done: subprocess.CompletedProcess[str], directory: Path) -> str:
    """The one sentence; nothing else was printed or made."""
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert list(directory.iterdir()) == []
    return line


def test_without_a_network_it_says_so_in_one_sentence_and_makes_nothing(tmp_path: Path):
    done = up(tmp_path, "http://127.0.0.1:1")
    assert done.returncode == 5
    line = said(done, tmp_path)
    assert line.startswith("tidegate: expected http://127.0.0.1:1 to answer, was ConnectError")
    assert "--tape synthetic:seed=7" in line


@pytest.mark.parametrize(("status", "text"), [(403, "region"), (502, "HTTP 502")])
def test_a_host_that_refuses_is_as_good_as_none(tmp_path: Path, status: int, text: str):
    with answering(status, "<html>no</html>") as url:
        done = up(tmp_path, url)
    assert done.returncode == 5
    assert text in said(done, tmp_path)


def test_a_symbol_that_is_not_traded_is_the_callers_fault(tmp_path: Path):
    nothing = json.dumps({"retCode": 0, "retMsg": "OK", "result": {"list": []}, "time": 1})
    with answering(200, nothing) as url:
        done = up(tmp_path, url)
    assert done.returncode == 2
    assert "BTCUSDT" in said(done, tmp_path)
