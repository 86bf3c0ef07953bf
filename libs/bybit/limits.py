"""Rate limits as a value: how many calls may still go, by budget, at an instant.

Each budget counts what went in the last second, exactly, and stays below the venue's figure, because messages bunch up
on the way. `urgent` calls (cancels, exits) may use all of a budget, others leave `reserved` for them. The venue's own
`X-Bapi-Limit-*` headers overrule our count: remaining 0, 10006 or 403 close a budget until the reset.
"""

from __future__ import annotations

import msgspec

MS = 1_000_000
"""Nanoseconds in a millisecond."""

SPAN_NS = 1_000 * MS
IP_SILENCE_MS = 600_000
"""After HTTP 403 nothing may be sent from this address for ten minutes."""

STATUS_HEADER = "x-bapi-limit-status"
RESET_HEADER = "x-bapi-limit-reset-timestamp"


class Budget(msgspec.Struct):
    """Calls of one class: at most `per_second` in any second, the last `reserved` of them for urgent ones."""

    per_second: int
    reserved: int = 0
    sent_at: list[int] = []
    closed_until: int = 0

    def room(self, now: int) -> int:
        """Calls that may go at `now` (ns), urgent ones."""
        if now < self.closed_until:
            return 0
        while self.sent_at and self.sent_at[0] <= now - SPAN_NS:
            self.sent_at.pop(0)
        return self.per_second - len(self.sent_at)

    def take(self, now: int, urgent: bool = False) -> bool:
        """Spend one call if there is room; False leaves everything as it was."""
        if self.room(now) <= (0 if urgent else self.reserved):
            return False
        self.sent_at.append(now)
        return True

    def close(self, until: int) -> None:
        """Nothing goes before `until` (ns); never shortens an earlier closing."""
        self.closed_until = max(self.closed_until, until)


class Budgets(msgspec.Struct):
    """The budgets of one account and address, by Request.weight_class; `all` is the address's own."""

    by_class: dict[str, Budget]
    all: Budget

    def take(self, weight_class: str, now: int, urgent: bool = False) -> bool:
        """Spend one call of a class. Cancels are urgent for the address by nature."""
        budget = self.by_class[weight_class]
        urgent_here = urgent or weight_class == "cancel"
        if self.all.room(now) <= (0 if urgent_here else self.all.reserved):
            return False
        return budget.take(now, urgent) and self.all.take(now, urgent_here)

    def learn(self, weight_class: str, now: int, headers: dict[str, str]) -> None:
        """Steer by the headers of a reply (lower-case keys): nothing remaining closes the class until the reset."""
        remaining = headers.get(STATUS_HEADER, "")
        if remaining.isdigit() and int(remaining) == 0:
            self.refuse(weight_class, now, headers)

    def refuse(self, weight_class: str, now: int, headers: dict[str, str]) -> None:
        """The venue said 10006: wait for its reset, at most two seconds, at least a fifth of one."""
        reset = headers.get(RESET_HEADER, "")
        until = int(reset) * MS if reset.isdigit() else 0
        self.by_class[weight_class].close(min(max(until, now + 200 * MS), now + 2_000 * MS))

    def silence(self, now: int) -> None:
        """HTTP 403: the whole address is silent for ten minutes."""
        self.all.close(now + IP_SILENCE_MS * MS)


def default_budgets() -> Budgets:
    """Below the venue's default figures: 10 creates, 10 cancels, 50 queries a second; 600 calls in 5 s an address."""
    return Budgets(
        by_class={
            "create": Budget(per_second=9, reserved=3),
            "cancel": Budget(per_second=9),
            "query": Budget(per_second=40),
        },
        all=Budget(per_second=100, reserved=30),
    )
