"""Who is calling: keys, signatures on the raw bytes, the time rule, and request rates a second."""

from __future__ import annotations

import hashlib
import hmac
from collections import deque

from sim.account import AccountSpec
from sim.wiretypes import RefusalError, WireRequest

AHEAD_MS = 1000
DEFAULT_WINDOW = "5000"

LIMITS = {
    "/v5/order/create": 10,
    "/v5/order/amend": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/order/realtime": 50,
    "/v5/order/history": 50,
    "/v5/execution/list": 50,
    "/v5/position/list": 50,
    "/v5/position/closed-pnl": 50,
    "/v5/position/set-leverage": 10,
    "/v5/position/trading-stop": 10,
    "/v5/position/switch-mode": 10,
    "/v5/account/wallet-balance": 50,
    "/v5/account/info": 50,
    "/v5/account/transaction-log": 25,
    "/v5/account/fee-rate": 5,
    "/v5/user/query-api": 10,
}
"""Requests a second and account; Bybit's default level."""


class Keyring:
    """API keys and what they open."""

    def __init__(self, specs: list[AccountSpec]) -> None:
        self._keys = {spec.key: (spec, spec.secret.encode()) for spec in specs}

    def spec_of(self, request: WireRequest, now_ms: int) -> AccountSpec:
        """The key that signed the request; raises RefusalError 401, 10002, 10003 or 10004."""
        headers = request.headers
        key, sign = headers.get("x-bapi-api-key", ""), headers.get("x-bapi-sign", "")
        stamp = headers.get("x-bapi-timestamp", "")
        window = headers.get("x-bapi-recv-window", "")
        if not key or not sign or not stamp:
            raise RefusalError(10003, "API key, sign and timestamp headers are required", status=401)
        if key not in self._keys:
            raise RefusalError(10003, "API key is invalid.")
        check_time(stamp, window, now_ms, aged=bool(request.request_id))
        content = request.query if request.method == "GET" else request.body
        origin = f"{stamp}{key}{window}{content}"
        expected = hmac.new(self._keys[key][1], origin.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, sign):
            raise RefusalError(10004, f"error sign! origin_string[{origin}]")
        return self._keys[key][0]

    def session_account(self, key: str, expires: str, sign: str, now_ms: int) -> str | None:
        """The account of a WebSocket `auth`; None when anything is wrong."""
        if key not in self._keys or not expires.isdigit() or int(expires) < now_ms:
            return None
        expected = hmac.new(self._keys[key][1], f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        return self._keys[key][0].name if hmac.compare_digest(expected, sign) else None


def check_time(stamp: str, window: str, now_ms: int, aged: bool = False) -> None:
    """server - recv_window <= timestamp < server + 1000, else 10002.

    `aged`: a request of a tape run may be old. A client that was killed and restarted knows tape time only as of its last
    batch; its request id, not the stamp, keeps it from being executed twice.
    """
    if not stamp.isdigit() or (window and not window.isdigit()):
        raise RefusalError(10001, "params error: timestamp and recv_window must be integers")
    allowed = int(window or DEFAULT_WINDOW)
    oldest = 0 if aged else now_ms - allowed
    if not oldest <= int(stamp) < now_ms + AHEAD_MS:
        raise RefusalError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{allowed}]",
        )


class Rates:
    """Rolling one-second windows by account and endpoint."""

    def __init__(self, factor: int = 1) -> None:
        self._factor = factor
        self._seen: dict[tuple[str, str], deque[int]] = {}

    def take(self, account: str, path: str, now_ms: int) -> tuple[bool, dict[str, str]]:
        """(allowed, the X-Bapi-Limit headers)."""
        limit = LIMITS.get(path, 0) * self._factor
        if not limit:
            return True, {}
        seen = self._seen.setdefault((account, path), deque())
        while seen and seen[0] <= now_ms - 1000:
            seen.popleft()
        allowed = len(seen) < limit
        if allowed:
            seen.append(now_ms)
        reset = now_ms if allowed else seen[0] + 1000
        return allowed, {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(limit - len(seen)),
            "X-Bapi-Limit-Reset-Timestamp": str(reset),
        }
