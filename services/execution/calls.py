"""Calls to the exchange as the state has them: waiting for their rate budget, or under way."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from libs.bybit.limits import Budgets
from libs.bybit.rest import Call, endpoint_of
from libs.bybit.trade import OPERATIONS
from libs.common.decider import Request

HTTP, TRADE = "http", "trade"
"""Ways a call may take; the trade socket carries order writes alone."""


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
    POLL_CASH = "poll_cash"
    SETUP = "setup"
    KEY = "key"
    FEES = "fees"
    DCP = "dcp"
    STREAM = "stream"


class Pending(msgspec.Struct):
    """One call. `key`: order link id, or what is set up. `released`: its budget was spent, it may be on the wire."""

    request: Request
    kind: Kind
    key: str = ""
    urgent: bool = False
    expires_at: int = 0
    released: bool = False
    again: int = 0
    """How often it was turned away unread and sent again with another stamp or key."""

    @property
    def endpoint(self) -> str:
        return endpoint_of(self.request.target)


class Calls(msgspec.Struct):
    """Every call that has no answer yet, by number (rising)."""

    last_number: int = 0
    pending: dict[int, Pending] = {}
    budgets: Budgets = msgspec.field(default_factory=Budgets)
    trade_open: bool = False
    """The trade socket is up and authenticated."""

    def add(self, kind: Kind, call: Call, key: str, now: int, urgent: bool = False, expires_at: int = 0) -> int:
        """Queue a call and let it go at once when its budget allows; returns its number."""
        self.last_number += 1
        entry = Pending(call.numbered(self.last_number), kind, key, urgent, expires_at)
        self.pending[self.last_number] = entry
        self._release(entry, now)
        return self.last_number

    def ask_stream(self, kind: Kind, what: str, key: str = "") -> int:
        """Ask the driver something about the private stream: `subscribe:<topic>`, or `reconnect`. No budget is spent."""
        self.last_number += 1
        request = Request(self.last_number, "WS", what)
        self.pending[self.last_number] = Pending(request, kind, key, released=True)
        return self.last_number

    def again(self, answered: Pending, now: int) -> int:
        """Queue a call that was turned away unread once more, under a new number and with the same content."""
        self.last_number += 1
        request = msgspec.structs.replace(answered.request, number=self.last_number, transport=HTTP)
        entry = msgspec.structs.replace(answered, request=request, released=False, again=answered.again + 1)
        self.pending[self.last_number] = entry
        self._release(entry, now)
        return self.last_number

    def way(self, target: str, now: int, urgent: bool) -> str:
        """How a call to `target` could go now; "" when it must wait. While HTTP is silent urgent order writes take the trade socket."""
        endpoint = endpoint_of(target)
        if not self.budgets.silent_ms(now):
            return HTTP if self.budgets.has_room(endpoint, now, urgent) else ""
        on_socket = urgent and self.trade_open and endpoint in OPERATIONS
        return TRADE if on_socket and self.budgets.has_room(endpoint, now, urgent, http=False) else ""

    def release(self, now: int) -> None:
        """Let waiting calls go as far as the budgets allow: urgent ones first, then by number."""
        waiting = [entry for entry in self.pending.values() if not entry.released]
        for entry in sorted(waiting, key=lambda entry: (not entry.urgent, entry.request.number)):
            self._release(entry, now)

    def _release(self, entry: Pending, now: int) -> None:
        if entry.expires_at and now >= entry.expires_at:
            return
        way = self.way(entry.request.target, now, entry.urgent)
        if way:
            entry.released = self.budgets.take(entry.endpoint, now, entry.urgent, http=way == HTTP)
            entry.request = msgspec.structs.replace(entry.request, transport=way)

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

    def waiting_entries(self) -> int:
        """Creates that wait for their budget and are not urgent."""
        return sum(1 for p in self.pending.values() if p.kind is Kind.CREATE and not (p.released or p.urgent))

    def under_way(self, kind: Kind, key: str = "") -> bool:
        return any(entry.kind is kind and entry.key == key for entry in self.pending.values())

    def requests(self) -> list[Request]:
        return [entry.request for entry in self.pending.values() if entry.released]
