"""Calls to the exchange as the state has them: waiting for their rate budget, or under way."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from libs.bybit.limits import Budgets, default_budgets
from libs.bybit.rest import Call
from libs.common.decider import Request


class Kind(StrEnum):
    """What a call is for; decides what its answer means."""

    CREATE = "create"
    AMEND = "amend"
    CANCEL = "cancel"
    LOOKUP = "lookup"
    POLL_POSITIONS = "poll_positions"
    POLL_ORDERS = "poll_orders"
    POLL_EXECUTIONS = "poll_executions"
    POLL_WALLET = "poll_wallet"
    POLL_TIME = "poll_time"
    SETUP = "setup"
    KEY = "key"


class Pending(msgspec.Struct):
    """One call. `key`: order link id, or what is set up. `released`: its budget was spent, it may be on the wire."""

    request: Request
    kind: Kind
    key: str = ""
    urgent: bool = False
    expires_at: int = 0
    released: bool = False


class Calls(msgspec.Struct):
    """Every call that has no answer yet, by number (rising)."""

    last_number: int = 0
    pending: dict[int, Pending] = {}
    budgets: Budgets = msgspec.field(default_factory=default_budgets)

    def add(self, kind: Kind, call: Call, key: str, now: int, urgent: bool = False, expires_at: int = 0) -> int:
        """Queue a call and let it go at once when its budget allows; returns its number."""
        self.last_number += 1
        entry = Pending(call.numbered(self.last_number), kind, key, urgent, expires_at)
        self.pending[self.last_number] = entry
        self._release(entry, now)
        return self.last_number

    def may_go(self, weight_class: str, now: int, urgent: bool) -> bool:
        """Whether a call added now would be released at once."""
        budgets = self.budgets
        floor = 0 if urgent else budgets.by_class[weight_class].reserved
        floor_all = 0 if urgent or weight_class == "cancel" else budgets.all.reserved
        return budgets.by_class[weight_class].room(now) > floor and budgets.all.room(now) > floor_all

    def release(self, now: int) -> None:
        """Let waiting calls go as far as the budgets allow: urgent ones first, then by number."""
        waiting = [entry for entry in self.pending.values() if not entry.released]
        for entry in sorted(waiting, key=lambda entry: (not entry.urgent, entry.request.number)):
            self._release(entry, now)

    def _release(self, entry: Pending, now: int) -> None:
        if entry.expires_at and now >= entry.expires_at:
            return
        entry.released = self.budgets.take(entry.request.weight_class, now, entry.urgent)

    def answered(self, number: int) -> Pending | None:
        """Forget a call that was answered; None when it is not known (an answer that came twice)."""
        return self.pending.pop(number, None)

    def drop(self, numbers: list[int]) -> None:
        for number in numbers:
            self.pending.pop(number, None)

    def expired(self, now: int) -> list[Pending]:
        """Creates that never left and must not any more."""
        return [p for p in self.pending.values() if p.expires_at and not p.released and now >= p.expires_at]

    def unreleased(self, kind: Kind, key: str) -> Pending | None:
        for entry in self.pending.values():
            if entry.kind is kind and entry.key == key and not entry.released:
                return entry
        return None

    def under_way(self, kind: Kind, key: str = "") -> bool:
        return any(entry.kind is kind and entry.key == key for entry in self.pending.values())

    def requests(self) -> list[Request]:
        return [entry.request for entry in self.pending.values() if entry.released]
