"""What execution keeps after until it is done: proof of orders, their ends, cancels. Driven by time, kept in the state."""

from __future__ import annotations

from collections.abc import Iterator

from libs.bybit import rest
from libs.common.events import Purpose, TimeInForce
from libs.common.values import SPOT, category_of
from services.execution.calls import Kind
from services.execution.config import ExecutionConfig
from services.execution.orders import Order, OrderState
from services.execution.state import State

MS = 1_000_000


def on_time(state: State, config: ExecutionConfig) -> Iterator[Order]:
    """Do what is due; gives the orders about which something is to be said."""
    for pending in state.calls.expired(state.now):
        state.calls.drop([pending.request.number])
        order = state.orders.get(pending.key)
        if order is not None:
            order.refusal = "EXPIRED"
            yield order
    for order in state.orders.values():
        if _unproved(state, config, order):
            order.doubt = "no proof"
            yield order
        if order.cancel_wanted:
            send_cancel(state, config, order)
        if order.lookup_at and state.now >= order.lookup_at and not order.lookup_step:
            look_up(state, order, 1)


def _unproved(state: State, config: ExecutionConfig, order: Order) -> bool:
    """Answered, but neither stream nor query has shown it for too long."""
    waited = state.now - order.submitted_at >= config.ack_timeout_ms * MS
    silent = order.state is OrderState.SUBMITTED and not (order.proved or order.doubt or order.refusal)
    return silent and waited and not state.calls.under_way(Kind.CREATE, order.link_id)


def look_up(state: State, order: Order, step: int) -> None:
    """Ask the next of the three that know: 1 realtime, 2 history, 3 executions."""
    ask = {1: rest.order_now, 2: rest.order_history, 3: rest.order_executions}[step]
    if step == 1:
        order.lookup_from = state.now
    order.lookup_step = step
    state.calls.add(Kind.LOOKUP, ask(order.link_id, order.symbol), order.link_id, state.now)


def cancel(state: State, config: ExecutionConfig, order: Order, reason: str) -> None:
    """Want an order gone: one that never left is refused here, any other is cancelled until it has ended."""
    waiting = state.calls.unreleased(Kind.CREATE, order.link_id)
    if waiting is not None:
        state.calls.drop([waiting.request.number])
        order.refusal = reason
        return
    order.cancel_wanted = True
    send_cancel(state, config, order)


def send_cancel(state: State, config: ExecutionConfig, order: Order) -> None:
    """One cancel, unless one is under way, was just tried, or the venue has ended the order."""
    if state.now < order.cancel_at or order.venue_final or state.calls.under_way(Kind.CANCEL, order.link_id):
        return
    order.cancel_at = state.now + config.retry_ms * MS
    state.calls.add(Kind.CANCEL, rest.cancel_order(order.link_id, order.symbol), order.link_id, state.now, urgent=True)


def resting_entries(state: State, scope: str) -> list[Order]:
    """Open entries under a scope that can rest: an IOC is gone before a cancel could reach it, unless it never left."""
    kind, _, name = scope.partition(":")
    found = []
    for order in state.orders.values():
        covered = kind == "book" or name == (order.symbol if kind == "symbol" else order.strategy)
        rests = order.time_in_force is not TimeInForce.IOC or state.calls.unreleased(Kind.CREATE, order.link_id)
        # A resting sale of spot holds the coins that a way out at the market needs.
        if covered and rests and (order.purpose is Purpose.ENTRY or category_of(order.symbol) == SPOT):
            found.append(order)
    return found
