"""The life of an order: a transition table as data, and what follows from what the venue says.

`TRANSITIONS` is the only place that says how an order moves; the diagram in the docs is printed from it. `next_event` compares
what the venue told with what was logged and names the one event that is due, so the order in which frames, replies and
queries come, and how often, does not matter.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from libs.bybit import wire
from libs.common.events import (
    Event,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    OrderUnknown,
    Purpose,
    TimeInForce,
)
from libs.common.values import Side


class OrderState(StrEnum):
    SUBMITTED = "submitted"
    LIVE = "live"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    DEAD = "dead"


CLOSED = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.DEAD})

_S = OrderState

TRANSITIONS: dict[tuple[OrderState, str], OrderState] = {
    (_S.SUBMITTED, "OrderAccepted"): _S.LIVE,
    (_S.SUBMITTED, "OrderRejected"): _S.REJECTED,
    (_S.SUBMITTED, "OrderUnknown"): _S.UNKNOWN,
    (_S.LIVE, "Fill"): _S.LIVE,
    (_S.LIVE, "Fill (last)"): _S.FILLED,
    (_S.LIVE, "OrderCancelled"): _S.CANCELLED,
    (_S.UNKNOWN, "Fill"): _S.UNKNOWN,
    (_S.UNKNOWN, "Fill (last)"): _S.UNKNOWN,
    (_S.UNKNOWN, "OrderResolved (live)"): _S.LIVE,
    (_S.UNKNOWN, "OrderResolved (filled)"): _S.FILLED,
    (_S.UNKNOWN, "OrderResolved (cancelled)"): _S.CANCELLED,
    (_S.UNKNOWN, "OrderResolved (rejected)"): _S.REJECTED,
    (_S.UNKNOWN, "OrderResolved (dead)"): _S.DEAD,
}
"""(state, event) -> state. Anything else leaves the state as it is; above all, a closed order stays closed. A fill that the
venue reports for a closed order is still a fact: it is written and moves the position, not the state."""


def following(state: OrderState, label: str) -> OrderState:
    """The state after an event; unchanged for a pair that is not in the table."""
    return TRANSITIONS.get((state, label), state)


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> submitted: OrderSubmitted"]
    lines += [f"    {old} --> {new}: {label}" for (old, label), new in TRANSITIONS.items()]
    lines += [f"    {state} --> [*]" for state in OrderState if state in CLOSED]
    return "\n".join(lines) + "\n"


class Order(msgspec.Struct):
    """One order of ours: as logged (first part), as the venue tells it (second), and what we still want (third)."""

    link_id: str
    strategy: str
    symbol: str
    side: Side
    qty: Decimal
    time_in_force: TimeInForce
    reduce_only: bool
    purpose: Purpose
    submitted_at: int
    intent_seq: int = 0
    correlation: str = ""
    state: OrderState = OrderState.SUBMITTED
    cum_qty: Decimal = Decimal(0)
    accepted_at: int = 0
    unknown_at: int = 0

    order_id: str = ""
    proved: bool = False
    """The venue showed it: on the stream, in a query or by an execution."""
    venue_status: str = ""
    venue_cum: Decimal = Decimal(0)
    venue_reason: str = ""
    venue_ms: int = 0
    proof_ms: int = 0
    """Span from submit to the first proof."""
    refusal: str = ""
    refusal_code: int = 0
    doubt: str = ""
    absent: bool = False
    """All three queries denied it after the last instant at which it could still have arrived."""

    cancel_wanted: bool = False
    cancel_at: int = 0
    """When the next cancel may go."""
    lookup_step: int = 0
    """0: no lookup under way; 1 realtime, 2 history, 3 executions."""
    lookup_from: int = 0
    lookup_at: int = 0
    """When the next lookup is due; 0: none."""

    @property
    def closed(self) -> bool:
        return self.state in CLOSED

    @property
    def venue_final(self) -> bool:
        return self.venue_status in wire.CLOSED_STATUSES

    @property
    def fills_missing(self) -> bool:
        return self.venue_cum > self.cum_qty


def order_from(body: OrderSubmitted, at: int, intent_seq: int, correlation: str) -> Order:
    return Order(
        link_id=body.order_link_id,
        strategy=body.strategy,
        symbol=body.symbol,
        side=body.side,
        qty=body.qty,
        time_in_force=body.time_in_force,
        reduce_only=body.reduce_only,
        purpose=body.purpose,
        submitted_at=at,
        intent_seq=intent_seq,
        correlation=correlation,
    )


def learn(order: Order, told: wire.Order, proof_ms: int) -> None:
    """Take what the venue tells. Stale and repeated rows do no harm: closed outranks open, the larger cumExecQty counts."""
    prove(order, told.order_id, proof_ms)
    order.venue_cum = max(order.venue_cum, told.cum_qty)
    if order.venue_final or (not told.closed and told.updated_ms < order.venue_ms):
        return
    order.venue_status, order.venue_reason, order.venue_ms = told.status, told.reason, told.updated_ms
    if told.qty > 0:
        order.qty = told.qty


def prove(order: Order, order_id: str, proof_ms: int) -> None:
    """The venue showed the order to exist."""
    if not order.proved:
        order.proved, order.proof_ms = True, max(proof_ms, 0)
    order.order_id = order.order_id or order_id


def next_event(order: Order) -> Event | None:
    """The event that is due now, None when log and venue agree or facts are missing. Ask again after each."""
    if order.state is OrderState.SUBMITTED:
        return _first_answer(order)
    if order.state is OrderState.UNKNOWN:
        return _resolution(order)
    if order.state is OrderState.LIVE:
        return _ending(order)
    return None


def _first_answer(order: Order) -> Event | None:
    if order.proved:
        if order.venue_status == "Rejected" and not order.venue_cum:
            return OrderRejected(
                order_link_id=order.link_id, symbol=order.symbol, reason=order.venue_reason or "Rejected"
            )
        return OrderAccepted(
            order_link_id=order.link_id, symbol=order.symbol, order_id=order.order_id, ack_ms=order.proof_ms
        )
    if order.refusal:
        return OrderRejected(
            order_link_id=order.link_id, symbol=order.symbol, reason=order.refusal, code=order.refusal_code
        )
    if order.doubt:
        return OrderUnknown(order_link_id=order.link_id, symbol=order.symbol, reason=order.doubt)
    return None


def _resolution(order: Order) -> Event | None:
    outcome = _outcome(order)
    if not outcome:
        return None
    return OrderResolved(order_link_id=order.link_id, symbol=order.symbol, outcome=outcome, cum_qty=order.cum_qty)


def _outcome(order: Order) -> str:
    """A final outcome waits until the fills it counts are logged: a reservation must not go before the position comes."""
    if not order.proved:
        return "dead" if order.absent else ""
    if not order.venue_final:
        return "filled" if order.cum_qty >= order.qty else "live"
    if order.fills_missing:
        return ""
    if order.venue_status == "Rejected" and not order.cum_qty:
        return "rejected"
    return "filled" if order.cum_qty >= order.qty else "cancelled"


def _ending(order: Order) -> Event | None:
    """A full fill ends an order by itself; the rest ends when its fills are complete."""
    if not order.venue_final or order.fills_missing:
        return None
    return OrderCancelled(
        order_link_id=order.link_id,
        symbol=order.symbol,
        cum_qty=order.cum_qty,
        reason=order.venue_reason or order.venue_status,
    )


def advance(order: Order, event: Event, at: int) -> None:
    """Fold one own event about this order (all but Fill, which `add_fill` takes)."""
    label = type(event).__name__
    if isinstance(event, OrderResolved):
        label = f"{label} ({event.outcome})"
    order.state = following(order.state, label)
    if isinstance(event, OrderAccepted):
        order.accepted_at = at
    elif isinstance(event, OrderUnknown):
        order.unknown_at = order.lookup_at = at
    elif isinstance(event, OrderResolved):
        order.accepted_at = order.accepted_at or at


def add_fill(order: Order, qty: Decimal) -> None:
    """Fold one deduplicated fill."""
    order.cum_qty += qty
    order.venue_cum = max(order.venue_cum, order.cum_qty)
    order.state = following(order.state, "Fill (last)" if order.cum_qty >= order.qty else "Fill")
