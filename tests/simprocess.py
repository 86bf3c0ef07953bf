"""The simulator as a process of its own, and a plain client that signs by hand."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import subprocess
import sys
import time
from typing import Any

import httpx

from tests.waiting import eventually

KEY, SECRET = "sim", "sim-secret"


def sign(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def signed(content: str, at_ms: int | None = None, **more: str) -> dict[str, str]:
    stamp = str(at_ms if at_ms is not None else time.time_ns() // 1_000_000)
    return {"X-BAPI-API-KEY": KEY, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": "5000", "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-SIGN": sign(f"{stamp}{KEY}5000{content}"), **more}  # fmt: skip


class Process:
    """`python -m sim` on a free port."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sim", "--port", "0", "--tape", "synthetic:seed=7", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("{"), line + self.process.stderr.read()
        self.url = str(json.loads(line)["url"])

    def get(self, path: str, query: str = "") -> dict[str, Any]:
        answer = httpx.get(f"{self.url}{path}?{query}", headers=signed(query), timeout=10)
        return dict(answer.json())

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(body)
        headers = signed(text) | {"Content-Type": "application/json"}
        return dict(httpx.post(f"{self.url}{path}", content=text, headers=headers, timeout=10).json())

    def order(self, **more: Any) -> dict[str, Any]:
        body = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.01"} | more
        return self.post("/v5/order/create", body)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def wait_price(process: Process) -> None:
    eventually(lambda: process.get("/sim/state")["markets"]["BTCUSDT"]["last"] != "0.00")
