"""Stands between a client and the exchange and behaves like a bad day: seeded, counted, by real sockets."""

from __future__ import annotations

import collections
import json
import random
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("10006", "10016", "unread", "swallowed", "doubled")
"""Turned away; maybe processed; never arrived, no answer; processed, no answer; processed twice."""


class BadGateway:
    """`with BadGateway(url, rate, seed) as gate`: `gate.url` leads to the exchange, this share of private calls with a fault."""

    def __init__(self, target: str, rate: float, seed: int, faults: tuple[str, ...] = FAULTS) -> None:
        self.injected: collections.Counter[str] = collections.Counter()
        self._dice, self._lock, self._faults = random.Random(seed), threading.Lock(), faults
        gate, target_url = self, target

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                fault = gate.roll(rate) if self.path.startswith(("/v5/order", "/v5/position")) else ""
                if fault == "10006":
                    self._answer(200, _envelope(10006, "Too many visits!"))
                elif fault == "unread":
                    self.close_connection = True
                else:
                    status, answer = self._forward(body)
                    if fault == "doubled" and self.command == "POST":
                        self._forward(body)
                    if fault == "swallowed":
                        self.close_connection = True
                        return
                    if fault == "10016":
                        answer = _envelope(10016, "Server error")
                    self._answer(status, answer)

            do_GET = do_POST = _serve  # noqa: N815 - named by the base class

            def _forward(self, body: bytes) -> tuple[int, bytes]:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length")}
                request = urllib.request.Request(target_url + self.path, body or None, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request, timeout=30) as reply:
                        return reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    return error.code, error.read()

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def roll(self, rate: float) -> str:
        with self._lock:
            fault = self._dice.choice(self._faults) if self._dice.random() < rate else ""
            if fault:
                self.injected[fault] += 1
            return fault

    def __enter__(self) -> BadGateway:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _envelope(code: int, text: str) -> bytes:
    body: dict[str, Any] = {
        "retCode": code,
        "retMsg": text,
        "result": {},
        "retExtInfo": {},
        "time": time.time_ns() // 10**6,
    }
    return json.dumps(body).encode()
