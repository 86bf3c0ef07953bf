"""A client of a running simulator, as thin as a real one may be: signed REST, private and public sockets, the fault menu."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.waiting import eventually

KEY, SECRET = "sim", "sim-secret"
BTC = "BTCUSDT"
CREATE = "/v5/order/create"


class Simulator:
    """`python -m sim` on a free port, in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sim", "--port", "0", "--tape", "synthetic:seed=7", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("{"), line + self.process.stderr.read()
        self.url = str(json.loads(line)["url"])

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def sign(text: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class Trader:
    """One key of a simulator. Answers are the decoded envelopes."""

    def __init__(self, url: str, key: str = KEY, secret: str = SECRET) -> None:
        self.url, self.key, self.secret = url, key, secret
        self.http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def __enter__(self) -> Trader:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def headers(self, content: str) -> dict[str, str]:
        stamp = str(time.time_ns() // 1_000_000)
        return {"X-BAPI-API-KEY": self.key, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": "5000",
                "X-BAPI-SIGN": sign(f"{stamp}{self.key}5000{content}", self.secret)}  # fmt: skip

    def call(self, method: str, path: str, timeout: float = 10, **values: Any) -> httpx.Response:
        if method == "GET":
            query = "&".join(f"{name}={value}" for name, value in values.items())
            return self.http.get(f"{path}?{query}", headers=self.headers(query), timeout=timeout)
        text = json.dumps(values)
        headers = self.headers(text) | {"Content-Type": "application/json"}
        return self.http.post(path, content=text, headers=headers, timeout=timeout)

    def get(self, path: str, **values: Any) -> dict[str, Any]:
        return dict(self.call("GET", path, **values).json())

    def post(self, path: str, **values: Any) -> dict[str, Any]:
        return dict(self.call("POST", path, **values).json())

    def order(self, link: str, timeout: float = 10, **more: Any) -> httpx.Response:
        """A market order for 0.01 unless told otherwise."""
        body = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"}
        return self.call("POST", CREATE, timeout=timeout, **body | {"orderLinkId": link} | more)

    def resting(self, link: str) -> dict[str, Any]:
        """A limit order far below the market."""
        answer = self.order(link, orderType="Limit", price=self.price(0.9)).json()
        assert answer["retCode"] == 0, answer
        return dict(answer["result"])

    def price(self, ratio: float) -> str:
        return f"{float(self.state()['markets'][BTC]['last']) * ratio:.0f}"

    def found(self, path: str, link: str) -> list[dict[str, Any]]:
        """Rows of a list that are about an order."""
        rows = self.get(path, category="linear", symbol=BTC, orderLinkId=link)["result"]["list"]
        return [dict(row) for row in rows]

    def orders(self, link: str) -> list[dict[str, Any]]:
        return self.found("/v5/order/realtime", link)

    def private(self, *topics: str) -> Stream:
        """An authenticated socket that has subscribed."""
        stream = self._authenticated("/v5/private")
        assert stream.seen[-1]["success"]
        return stream.subscribe(*topics or ("order", "execution", "position", "wallet"))

    def trade(self) -> Stream:
        """An authenticated socket for orders."""
        stream = self._authenticated("/v5/trade")
        assert stream.seen[-1]["retCode"] == 0
        return stream

    def _authenticated(self, path: str) -> Stream:
        stream = Stream(f"{self.url.replace('http', 'ws')}{path}")
        expires = time.time_ns() // 1_000_000 + 20_000
        stream.say(op="auth", args=[self.key, expires, sign(f"GET/realtime{expires}", self.secret)])
        stream.until(lambda m: m.get("op") == "auth")
        return stream

    def public(self, *topics: str) -> Stream:
        return Stream(f"{self.url.replace('http', 'ws')}/v5/public/linear").subscribe(*topics)

    def state(self) -> dict[str, Any]:
        return dict(self.http.get("/sim/state").json())

    def ready(self) -> Trader:
        """Once there is a price."""
        eventually(lambda: float(self.state()["markets"][BTC]["last"]) > 0)
        return self

    def faults(self, *faults: dict[str, Any], seed: int = 7) -> None:
        answer = self.http.post("/sim/faults", content=json.dumps({"seed": seed, "faults": faults}))
        assert answer.status_code == 200, answer.text

    def injected(self) -> dict[str, int]:
        return dict(self.http.get("/sim/faults").json()["injected"])

    def calm(self) -> None:
        self.http.delete("/sim/faults")


class Stream:
    """A WebSocket; messages that were not wanted are kept in `seen`."""

    def __init__(self, url: str) -> None:
        self._stack = contextlib.ExitStack()
        opened = connect(url, ping_interval=None, proxy=None, close_timeout=1)
        self.socket: ClientConnection = self._stack.enter_context(opened)
        self.seen: list[dict[str, Any]] = []

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def subscribe(self, *topics: str) -> Stream:
        self.say(op="subscribe", args=topics)
        assert self.until(lambda m: m.get("op") == "subscribe")["success"]
        return self

    def until(self, wanted: Callable[[dict[str, Any]], bool], within_s: float = 15) -> dict[str, Any]:
        """The next message that is wanted."""
        while True:
            message = dict(json.loads(self.socket.recv(timeout=within_s)))
            self.seen.append(message)
            if wanted(message):
                return message

    def row(self, topic: str, link: str, **fields: str) -> dict[str, Any]:
        """The next row of a topic about an order, with these fields."""
        found: list[dict[str, Any]] = []

        def wanted(message: dict[str, Any]) -> bool:
            rows = message["data"] if message.get("topic") == topic else []
            found.extend(row for row in rows if row["orderLinkId"] == link and fields.items() <= dict(row).items())
            return bool(found)

        self.until(wanted)
        return found[0]

    def rows(self, topic: str, link: str) -> list[dict[str, Any]]:
        """Rows seen so far of a topic about an order."""
        return [
            row
            for message in self.seen
            if message.get("topic") == topic
            for row in message["data"]
            if row.get("orderLinkId") == link
        ]
