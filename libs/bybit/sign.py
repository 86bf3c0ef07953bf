"""Signatures of Bybit v5: HMAC-SHA256 over exactly the bytes that go on the wire."""

from __future__ import annotations

import hashlib
import hmac

import msgspec


class Key(msgspec.Struct, frozen=True):
    """An API key. Its repr hides the secret, so that no log or traceback can show it."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return f"Key(key={self.key[:4]}…, secret=***)"


def signature(secret: str, text: str) -> str:
    """Lower-case hex of HMAC-SHA256."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def rest_text(timestamp_ms: int, key: str, recv_window_ms: int, payload: str) -> str:
    """What a REST call signs. `payload`: the query as on the wire without `?`, or the body."""
    return f"{timestamp_ms}{key}{recv_window_ms}{payload}"


def rest_headers(
    key: Key, timestamp_ms: int, recv_window_ms: int, method: str, target: str, body: str
) -> dict[str, str]:
    """Headers of a private call. `target` is path plus query, exactly as sent; `body` "" for GET."""
    payload = target.partition("?")[2] if method == "GET" else body
    headers = {
        "X-BAPI-API-KEY": key.key,
        "X-BAPI-TIMESTAMP": str(timestamp_ms),
        "X-BAPI-RECV-WINDOW": str(recv_window_ms),
        "X-BAPI-SIGN": signature(key.secret, rest_text(timestamp_ms, key.key, recv_window_ms, payload)),
    }
    if method == "POST":
        headers["Content-Type"] = "application/json"
    return headers


def stream_auth_args(key: Key, expires_ms: int) -> list[str | int]:
    """`args` of the WebSocket auth op; `expires_ms` lies in the future."""
    return [key.key, expires_ms, signature(key.secret, f"GET/realtime{expires_ms}")]
