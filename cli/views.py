"""What a log says now: modes, positions, orders, limits, folded from records. No I/O of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from cli.sources import Source
from libs.common.events import (
    Fill,
    Halted,
    Heartbeat,
    Mode,
    ModeChanged,
    OrderAccepted,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    OrderUnknown,
    PortfolioMarked,
    Resumed,
)
from libs.common.record import Record
from libs.common.streams import SERVICES

SEVERITY = tuple(Mode)
BOOK = "book"


class Modes:
    """The mode of every scope, and the halts that nobody resumed yet (several may hold one scope), by scope/reason."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.scopes: dict[str, Mode] = {BOOK: Mode.HALTED}  # a book is born halted
        self.open_halts: dict[str, Record] = {}
        for record in records:
            self._learn(record)

    def _learn(self, record: Record) -> None:
        match record.body:
            case Halted(scope=scope, mode=mode, reason=reason):
                self.scopes[scope] = mode
                self.open_halts[f"{scope}/{reason}"] = record
            case ModeChanged(scope=scope, new=new):
                self.scopes[scope] = new
            case Resumed(scope=scope, mode=mode, halt_id=halt_id):
                self.scopes[scope] = mode
                self.open_halts = {key: halt for key, halt in self.open_halts.items() if halt.id != halt_id}

    @property
    def worst(self) -> Mode:
        return max(self.scopes.values(), key=SEVERITY.index)

    @property
    def is_halted(self) -> bool:
        return self.scopes[BOOK] in (Mode.HALTED, Mode.LIQUIDATING)


def modes_of(source: Source) -> Modes:
    return Modes(source.read("halt"))


def last_mark(source: Source) -> tuple[Record, PortfolioMarked] | None:
    """The newest valuation of the book."""
    for record in source.newest("portfolio"):
        if isinstance(record.body, PortfolioMarked):
            return record, record.body
    return None


def health_rows(source: Source) -> list[dict[str, Any]]:
    """The last heartbeat of each service."""
    rows = []
    for service in SERVICES:
        newest = next(source.newest(f"health:{service}"), None)
        if newest is not None and isinstance(newest.body, Heartbeat):
            beat = newest.body
            row = {
                "service": service,
                "at": newest.at,
                "commits": beat.commits,
                "code": beat.code,
                "config": beat.config,
            }
            rows.append(
                row | {"order_ack_p95_ms": beat.order_ack_p95_ms, "api_errors": beat.api_errors, "gap": beat.gap}
            )
        else:
            rows.append(
                {
                    "service": service,
                    "at": 0,
                    "heartbeats": 0,
                    "commits": 0,
                    "code": "",
                    "config": "",
                    "gap": "no heartbeat",
                }
            )
    return rows


def position_rows(mark: PortfolioMarked | None) -> list[dict[str, Any]]:
    """Open positions; quantities are signed."""
    if mark is None:
        return []
    return [
        {
            "symbol": p.symbol,
            "qty": p.qty,
            "entry_price": p.entry_price,
            "mark": p.mark,
            "unrealised": p.unrealised,
            "notional": abs(p.qty * p.mark),
        }
        for p in mark.positions
        if p.qty
    ]


def limit_rows(mark: PortfolioMarked | None) -> list[dict[str, Any]]:
    """Every limit with what was last measured; `used` is a fraction."""
    if mark is None:
        return []
    return [
        {
            "limit": str(use.name),
            "measured": use.measured,
            "allowed": use.limit,
            "headroom": use.headroom,
            "used": round(use.measured / use.limit, 4) if use.limit else Decimal(0),
        }
        for use in mark.limits
    ]


def order_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row an order, in the order of submission, with its last known state."""
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        body = record.body
        if isinstance(body, OrderSubmitted):
            rows[body.order_link_id] = {
                "at": record.at,
                "order_link_id": body.order_link_id,
                "strategy": body.strategy,
                "symbol": body.symbol,
                "side": str(body.side),
                "qty": body.qty,
                "price": body.price,
                "purpose": str(body.purpose),
                "status": "submitted",
                "filled": Decimal(0),
                "reason": "",
            }
        elif (link := getattr(body, "order_link_id", "")) in rows:
            rows[link] |= dict(_order_change(rows[link], body))
    return list(rows.values())


def _order_change(row: dict[str, Any], body: object) -> Iterator[tuple[str, Any]]:
    match body:
        case OrderAccepted():
            yield "status", "accepted"
        case OrderRejected(reason=reason):
            yield from (("status", "rejected"), ("reason", reason))
        case OrderCancelled(cum_qty=filled, reason=reason):
            yield from (("status", "cancelled"), ("filled", filled), ("reason", reason))
        case OrderUnknown(reason=reason):
            yield from (("status", "unknown"), ("reason", reason))
        case OrderResolved(outcome=outcome, cum_qty=filled):
            yield from (("status", outcome), ("filled", max(filled, row["filled"])))
        case Fill(cum_qty=filled, order_qty=qty):
            yield "filled", max(filled, row["filled"])
            if row["status"] in ("submitted", "accepted", "partly filled", "unknown", "live"):
                yield "status", "filled" if filled >= qty else "partly filled"


def fill_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row an execution of ours."""
    return [
        {
            "at": record.at,
            "exec_id": fill.exec_id,
            "order_link_id": fill.order_link_id,
            "strategy": fill.strategy,
            "symbol": fill.symbol,
            "side": str(fill.side),
            "qty": fill.qty,
            "price": fill.price,
            "fee": fill.fee,
            "liquidity": "maker" if fill.is_maker else "taker",
            "purpose": str(fill.purpose),
        }
        for record in records
        if isinstance(fill := record.body, Fill)
    ]


def intents_by_link(source: Source) -> dict[str, Record]:
    """Approved orders by link id."""
    found = source.read("order-intent")
    return {record.body.order_link_id: record for record in found if isinstance(record.body, OrderIntent)}
