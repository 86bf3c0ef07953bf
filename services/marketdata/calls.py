"""Requests to the venue's public side, as data in the state: what is under way and how it is written on the wire."""

from __future__ import annotations

import msgspec

from libs.bybit import rest
from libs.bybit.limits import IP_SILENCE_MS
from libs.common.decider import Request
from libs.common.values import LINEAR, category_of, venue_name
from services.marketdata.bars import MOST_ROWS, Gap
from services.marketdata.config import NS_PER_MS, venue_code

INSTRUMENT, HISTORY, RESUBSCRIBE, STATUS = "instrument", "history", "resubscribe", "status"


class Call(msgspec.Struct):
    """`kind`: `instrument`, `history` (with `gap`), `status` (of no symbol) or `resubscribe` (a WebSocket topic, no REST call)."""

    number: int
    kind: str
    symbol: str
    asked_at: int
    gap: Gap | None = None


class Calls(msgspec.Struct):
    """`pending` by number; numbers rise and are never used again."""

    number: int = 0
    pending: dict[int, Call] = {}
    sent: int = 0
    failed: int = 0
    """REST calls since the last heartbeat, and those of them that failed."""
    silent_until: int = 0
    """The venue banned our address (403), and lifts that only when HTTP is silent until then (ns)."""

    def add(self, kind: str, symbol: str, now: int, gap: Gap | None = None) -> None:
        self.number += 1
        self.sent += kind != RESUBSCRIBE
        self.pending[self.number] = Call(self.number, kind, symbol, now, gap)

    def forbidden(self, now: int) -> None:
        self.silent_until = now + IP_SILENCE_MS * NS_PER_MS

    def has(self, kind: str, symbol: str) -> bool:
        return any(call.kind == kind and call.symbol == symbol for call in self.pending.values())

    def drop(self, kind: str, symbol: str) -> None:
        for call in [call for call in self.pending.values() if call.kind == kind and call.symbol == symbol]:
            del self.pending[call.number]


def request(call: Call, depth: int) -> Request:
    """A call as the driver sends it. WS targets read `resubscribe:<topic>`, of the spot stream `resubscribe:spot:<topic>`."""
    if call.kind == STATUS:
        return rest.system_status().numbered(call.number)
    category, name = category_of(call.symbol), venue_name(call.symbol)
    if call.kind == RESUBSCRIBE:
        stream = "" if category == LINEAR else f"{category}:"
        return Request(call.number, "WS", f"resubscribe:{stream}orderbook.{depth}.{name}", private=False)
    if call.gap is None:
        return rest.instruments(category, name).numbered(call.number)
    gap, code = call.gap, venue_code(call.gap.span)
    start_ms, end_ms = gap.start_at // NS_PER_MS, gap.end_at // NS_PER_MS - 1
    return rest.kline(name, code, start_ms, end_ms, MOST_ROWS, category).numbered(call.number)
