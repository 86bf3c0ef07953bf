"""What became of every intent, by what execution wrote and by what the exchange did; and the table of it."""

from __future__ import annotations

import collections
from array import array
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.events import (
    Event,
    Fill,
    OrderCancelled,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
)
from tests.soak import plan

OPEN, FILLED, CANCELLED, REJECTED, DEAD = range(5)
OUTCOMES = ("unresolved", "filled", "cancelled", "rejected", "dead")
RESOLVED = {"filled": FILLED, "cancelled": CANCELLED, "rejected": REJECTED, "dead": DEAD}
LATE_MS = 30_000


class Row(msgspec.Struct):
    """One line of the table. `once`, `never`, `twice`: intents by acceptances at the exchange."""

    fault: str
    intents: int = 0
    never: int = 0
    once: int = 0
    twice: int = 0
    filled: int = 0
    cancelled: int = 0
    rejected: int = 0
    dead: int = 0
    unresolved: int = 0
    worst_ms: int = 0
    """Longest from submission to proof or resolution."""


class Tally:
    """By index of the intent, in arrays: its size does not grow while the run goes on."""

    def __init__(self, intents: int) -> None:
        self.kinds = bytearray(intents)
        self.accepted = bytearray(intents)
        self.sent = bytearray(intents)
        self.outcome = bytearray(intents)
        self.begun_ms, self.took_ms = array("q", bytes(8 * intents)), array("q", bytes(8 * intents))
        self._left: dict[int, Decimal] = {}
        """What of an open order has not filled."""
        self.counts: collections.Counter[str] = collections.Counter()
        self.fills = self.venue_fills = 0
        self._fill_hash = self._venue_hash = 0
        self._codes = [kind.code for kind in (*plan.CLASSES, plan.CLEAN)]
        self.terminal = 0

    def intend(self, index: int, kind: plan.Class) -> None:
        self.kinds[index] = self._codes.index(kind.code)

    # --- execution's side ---------------------------------------------------------------------------------------------

    def wrote(self, body: Event, now_ms: int) -> None:
        """An event that execution committed."""
        self.counts[type(body).__name__] += 1
        match body:
            case Fill():
                self._filled(body, now_ms)
            case OrderSubmitted(order_link_id=link, qty=qty):
                index = plan.index_of(link)
                if index >= 0:
                    self.begun_ms[index], self._left[index] = now_ms, qty
            case OrderRejected(order_link_id=link):
                self._end(plan.index_of(link), REJECTED, now_ms)
            case OrderCancelled(order_link_id=link):
                self._end(plan.index_of(link), CANCELLED, now_ms)
            case OrderResolved(order_link_id=link, outcome=outcome):
                index = plan.index_of(link)
                self._took(index, now_ms)
                if outcome in RESOLVED:
                    self._end(index, RESOLVED[outcome], now_ms)

    def _filled(self, body: Fill, now_ms: int) -> None:
        self.fills += 1
        self._fill_hash ^= hash(body.exec_id)
        index = plan.index_of(body.order_link_id)
        if index in self._left:
            self._left[index] -= body.qty
            if not self._left[index]:
                self._end(index, FILLED, now_ms)

    def sends(self, link: str) -> None:
        """Execution put a create on the wire."""
        index = plan.index_of(link)
        if index >= 0:
            self.sent[index] += 1

    def proved(self, link: str, now_ms: int) -> None:
        self._took(plan.index_of(link), now_ms)

    def _took(self, index: int, now_ms: int) -> None:
        if index >= 0 and self.begun_ms[index] and not self.took_ms[index]:
            self.took_ms[index] = max(1, now_ms - self.begun_ms[index])

    def _end(self, index: int, outcome: int, now_ms: int) -> None:
        if index < 0 or self.outcome[index] != OPEN:
            return
        self._took(index, now_ms)
        self.outcome[index] = outcome
        self._left.pop(index, None)
        self.terminal += 1

    # --- the exchange's side ------------------------------------------------------------------------------------------

    def placed(self, link: str) -> None:
        """The engine took an order."""
        index = plan.index_of(link)
        if index >= 0:
            self.accepted[index] += 1

    def traded(self, exec_id: str) -> None:
        self.venue_fills += 1
        self._venue_hash ^= hash(exec_id)

    @property
    def same_fills(self) -> bool:
        """Every execution of the exchange is in the log, once: their count and the sum of their ids agree."""
        return (self.fills, self._fill_hash) == (self.venue_fills, self._venue_hash)

    # --- the result ---------------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        rows = [Row(plan.BY_CODE[code].text) for code in self._codes]
        for index, kind in enumerate(self.kinds):
            row = rows[kind]
            row.intents += 1
            accepted = self.accepted[index]
            row.never, row.once, row.twice = (
                row.never + (accepted == 0),
                row.once + (accepted == 1),
                row.twice + (accepted > 1),
            )
            name = OUTCOMES[self.outcome[index]]
            setattr(row, name, getattr(row, name) + 1)
            row.worst_ms = max(row.worst_ms, self.took_ms[index])
        total = Row("all", **{name: sum(getattr(row, name) for row in rows) for name in Row.__struct_fields__[1:-1]})
        total.worst_ms = max(row.worst_ms for row in rows)
        return [*rows, total]

    def late(self) -> int:
        """Orders that stayed without proof or resolution for longer than 30 s."""
        return sum(ms > LATE_MS for ms in self.took_ms)

    def sent_twice(self) -> int:
        """Creates that execution itself sent more than once, other than those the exchange turned away unread."""
        unread = self._codes.index("ra")
        return sum(count > 1 and kind != unread for count, kind in zip(self.sent, self.kinds, strict=True))


def table(rows: list[Row]) -> str:
    """Markdown."""
    names = ("intents", "never", "once", "twice", "filled", "cancelled", "rejected", "dead", "unresolved")
    lines = [
        "| fault | intents | accepted: never | once | twice or more | filled | cancelled | rejected | dead | unresolved | worst s |"
    ]
    lines += ["| --- |" + " ---: |" * (len(names) + 1)]
    for row in rows:
        cells = " | ".join(f"{getattr(row, name):,}" for name in names)
        lines.append(f"| {row.fault} | {cells} | {row.worst_ms / 1000:.1f} |")
    return "\n".join(lines)


def as_data(rows: list[Row]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(row) for row in rows]
