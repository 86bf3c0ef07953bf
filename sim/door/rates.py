"""How often one may ask: a second by account and endpoint, five seconds by address, a second by trade socket."""

from __future__ import annotations

from collections import deque

BATCH = ("/v5/order/create-batch", "/v5/order/amend-batch", "/v5/order/cancel-batch")
LIMITS = {
    "/v5/order/create": (10, 20),
    "/v5/order/amend": (10, 10),
    "/v5/order/cancel": (10, 20),
    "/v5/order/cancel-all": (10, 20),
    **dict.fromkeys(BATCH, (10, 20)),
    "/v5/order/realtime": (50, 50),
    "/v5/order/history": (50, 50),
    "/v5/order/pre-check": (10, 10),
    "/v5/order/disconnected-cancel-all": (5, 5),
    "/v5/execution/list": (50, 50),
    "/v5/position/list": (50, 50),
    "/v5/position/closed-pnl": (50, 50),
    "/v5/position/set-leverage": (10, 10),
    "/v5/position/trading-stop": (10, 10),
    "/v5/position/switch-mode": (10, 10),
    "/v5/account/wallet-balance": (50, 50),
    "/v5/account/info": (50, 50),
    "/v5/account/transaction-log": (25, 25),
    "/v5/account/fee-rate": (5, 5),
    "/v5/account/query-dcp-info": (5, 5),
    "/v5/account/set-margin-mode": (5, 5),
    "/v5/user/query-api": (10, 10),
}
"""Requests a second and account, (linear, spot); Bybit's default level."""
SECOND_MS = 1000
ADDRESS_LIMIT, ADDRESS_SPAN_MS, BAN_MS = 600, 5000, 600_000
SOCKET_LIMIT = 3000
"""Trade socket: messages a second and address."""


class Window:
    """Stamps within a rolling span."""

    __slots__ = ("_seen", "_span_ms")

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._seen: deque[int] = deque()

    def take(self, limit: int, now_ms: int, cost: int = 1) -> int:
        """How many of `cost` fit under the limit; those are counted."""
        seen = self._seen
        while seen and seen[0] <= now_ms - self._span_ms:
            seen.popleft()
        granted = min(cost, max(0, limit - len(seen)))
        seen.extend([now_ms] * granted)
        return granted

    def __len__(self) -> int:
        return len(self._seen)

    def frees_ms(self, now_ms: int) -> int:
        """When the oldest stamp leaves the span."""
        return self._seen[0] + self._span_ms if self._seen else now_ms


class Rates:
    """Rolling one-second windows by account, endpoint and kind of product."""

    def __init__(self, factor: int = 1) -> None:
        self._factor = factor
        self._windows: dict[tuple[str, str, bool], Window] = {}

    def take(
        self, account: str, path: str, category: str, now_ms: int, headers: dict[str, str], cost: int = 1
    ) -> int:  # fmt: skip
        """How many of `cost` are allowed; the X-Bapi-Limit headers are added to `headers`."""
        limits = LIMITS.get(path)
        if limits is None:
            return cost
        spot = category == "spot"
        limit = limits[spot] * self._factor
        window = self._windows.setdefault((account, path, spot), Window(SECOND_MS))
        granted = window.take(limit, now_ms, cost)
        headers["X-Bapi-Limit"] = str(limit)
        headers["X-Bapi-Limit-Status"] = str(limit - len(window))
        headers["X-Bapi-Limit-Reset-Timestamp"] = str(now_ms if granted == cost else window.frees_ms(now_ms))
        return granted


class Addresses:
    """What an address may ask for: breached, it is shut out for ten minutes, then let in again by itself."""

    def __init__(self, limit: int = ADDRESS_LIMIT, span_ms: int = ADDRESS_SPAN_MS, ban_ms: int = BAN_MS) -> None:
        self._limit, self._span_ms, self._ban_ms = limit, span_ms, ban_ms
        self._windows: dict[str, Window] = {}
        self._banned_until_ms: dict[str, int] = {}

    def admits(self, address: str, now_ms: int) -> bool:
        """Count one request; False when it must be answered with HTTP 403. A limit of 0 admits everybody."""
        if not self._limit:
            return True
        if (until := self._banned_until_ms.get(address)) is not None:
            if now_ms < until:
                return False
            del self._banned_until_ms[address]
        if self._windows.setdefault(address, Window(self._span_ms)).take(self._limit, now_ms):
            return True
        self._banned_until_ms[address] = now_ms + self._ban_ms
        del self._windows[address]
        return False
