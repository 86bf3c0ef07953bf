"""Rate limits as a value: how many calls may still go, by endpoint, at an instant.

Each endpoint's budget counts what went in the last second, exactly, and stays below the venue's figure, because messages bunch up
on the way. `urgent` calls (cancels, exits) may use all of a budget, others leave `reserved` for them. The venue's own
`X-Bapi-Limit-*` headers overrule our count: their bucket size is taken over, few remaining hold back what is not urgent,
none or 10006 closes the endpoint until the reset. HTTP 403 silences the whole address.
"""

from __future__ import annotations

import msgspec

MS = 1_000_000
"""Nanoseconds in a millisecond."""

SPAN_NS = 1_000 * MS
IP_SILENCE_MS = 600_000
"""After HTTP 403 nothing may be sent from this address for ten minutes."""
HOLD_MS = 250
"""How long a low bucket keeps back what is not urgent."""
SHORTEST_MS, LONGEST_MS = 200, 2_000
"""Bounds of a wait for the venue's reset."""

LIMIT_HEADER = "x-bapi-limit"
STATUS_HEADER = "x-bapi-limit-status"
RESET_HEADER = "x-bapi-limit-reset-timestamp"

CREATE = "/v5/order/create"
PER_SECOND = {
    CREATE: 10,
    "/v5/order/amend": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-mode": 10,
    "/v5/user/query-api": 10,
    "/v5/account/transaction-log": 25,
    "/v5/account/fee-rate": 5,
    "/v5/account/set-margin-mode": 5,
    "/v5/account/query-dcp-info": 5,
    "/v5/order/disconnected-cancel-all": 5,
}
"""The venue's default figures (the rate limit page of the v5 documentation); every other private query has 50."""
QUERIES_PER_SECOND = 50


class Budget(msgspec.Struct):
    """Calls of one endpoint: at most `per_second` in any second, the last `reserved` of them for urgent ones."""

    per_second: int
    reserved: int = 0
    sent_at: list[int] = []
    closed_until: int = 0
    held_until: int = 0
    """Before it only urgent calls go."""

    def room(self, now: int) -> int:
        """Calls that may go at `now` (ns), urgent ones."""
        if now < self.closed_until:
            return 0
        while self.sent_at and self.sent_at[0] <= now - SPAN_NS:
            self.sent_at.pop(0)
        return self.per_second - len(self.sent_at)

    def has_room(self, now: int, urgent: bool = False) -> bool:
        if not urgent and now < self.held_until:
            return False
        return self.room(now) > (0 if urgent else self.reserved)

    def take(self, now: int, urgent: bool = False) -> bool:
        """Spend one call if there is room; False leaves everything as it was."""
        if not self.has_room(now, urgent):
            return False
        self.sent_at.append(now)
        return True

    def close(self, until: int) -> None:
        """Nothing goes before `until` (ns); never shortens an earlier closing."""
        self.closed_until = max(self.closed_until, until)


def budget_of(endpoint: str, venue_per_second: int) -> Budget:
    """A tenth below the venue's figure; a third of the creates is kept for exits."""
    ours = max(venue_per_second * 9 // 10, 1)
    return Budget(ours, ours // 3 if endpoint == CREATE else 0)


class Budgets(msgspec.Struct):
    """The budgets of one account, by REST path (the trade socket draws on the same ones), and of its address (`all`, HTTP only)."""

    by_endpoint: dict[str, Budget] = {}
    all: Budget = msgspec.field(default_factory=lambda: Budget(per_second=100, reserved=30))
    """The venue allows 600 calls in 5 s an address."""
    silent_until: int = 0
    """HTTP says nothing before (ns): the venue answered 403."""

    def at(self, endpoint: str) -> Budget:
        budget = self.by_endpoint.get(endpoint)
        if budget is None:
            venue = PER_SECOND.get(endpoint, QUERIES_PER_SECOND)
            budget = self.by_endpoint[endpoint] = budget_of(endpoint, venue)
        return budget

    def silent_ms(self, now: int) -> int:
        """How long HTTP must stay silent, rounded up; 0 when it need not."""
        return max(0, -((now - self.silent_until) // MS))

    def has_room(self, endpoint: str, now: int, urgent: bool = False, *, http: bool = True) -> bool:
        """Whether `take` would succeed."""
        if http and (now < self.silent_until or not self.all.has_room(now, urgent)):
            return False
        return self.at(endpoint).has_room(now, urgent)

    def take(self, endpoint: str, now: int, urgent: bool = False, *, http: bool = True) -> bool:
        """Spend one call; False leaves everything as it was."""
        if not self.has_room(endpoint, now, urgent, http=http):
            return False
        return self.at(endpoint).take(now, urgent) and (not http or self.all.take(now, urgent))

    def learn(self, endpoint: str, now: int, headers: dict[str, str], venue_ms: int = 0) -> None:
        """Steer by the headers of a reply (lower-case keys); `venue_ms`: the exchange's clock when it answered, 0 unknown."""
        budget, limit, left = self.at(endpoint), headers.get(LIMIT_HEADER, ""), headers.get(STATUS_HEADER, "")
        if limit.isdigit() and int(limit) > 0:
            sized = budget_of(endpoint, int(limit))
            budget.per_second, budget.reserved = sized.per_second, sized.reserved
        if left.isdigit() and int(left) == 0:
            self.refuse(endpoint, now, headers, venue_ms)
        elif left.isdigit() and int(left) <= budget.reserved:
            # Others draw on the bucket too: what is left of it is for cancels and exits.
            budget.held_until = max(budget.held_until, now + HOLD_MS * MS)

    def refuse(self, endpoint: str, now: int, headers: dict[str, str], venue_ms: int = 0) -> None:
        """The venue said 10006: wait for its reset, at most two seconds, at least a fifth of one."""
        reset = headers.get(RESET_HEADER, "")
        wait_ms = int(reset) - (venue_ms or now // MS) if reset.isdigit() else 0
        self.at(endpoint).close(now + min(max(wait_ms, SHORTEST_MS), LONGEST_MS) * MS)

    def silence(self, now: int, span_ms: int = IP_SILENCE_MS) -> None:
        """HTTP 403: the whole address is silent, ten minutes unless said otherwise."""
        self.silent_until = max(self.silent_until, now + span_ms * MS)
