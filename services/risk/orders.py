"""Approvals and what became of them: a reservation lasts until an order is proven dead."""

from __future__ import annotations

import hashlib
from decimal import ROUND_CEILING, Decimal

from libs.common.events import (
    CancelIntent,
    Event,
    Fill,
    OrderAccepted,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderResolved,
    Purpose,
    TimeInForce,
)
from services.risk import kernel
from services.risk.state import MINUTE_NS, NS_PER_MS, NS_PER_S, Order, RiskState, pair

ACKS_KEPT = 20
ASK_AGAIN_NS = 5 * NS_PER_S


def link_id(seed: str, purpose: Purpose, subject: str) -> str:
    """The idempotency key of an order: 33 characters from what caused it, its purpose, and strategy|symbol."""
    text = f"{seed}|{purpose}|{subject}"
    return "tg-" + hashlib.blake2b(text.encode(), digest_size=15).hexdigest()


def on_intent(state: RiskState, event: OrderIntent) -> None:
    """Reserve."""
    grid = state.ledger.grids[event.symbol]
    market = state.markets[event.symbol]
    worth = max(state.ledger.lot_units(event.symbol, event.price), market.mark_units)
    state.orders[event.order_link_id] = Order(
        order_link_id=event.order_link_id,
        strategy=event.strategy,
        symbol=event.symbol,
        sign=event.side.sign,
        lots=grid.lots(event.qty),
        filled=0,
        price=event.price,
        lot_units=worth,
        time_in_force=event.time_in_force,
        reduce_only=event.reduce_only,
        purpose=event.purpose,
        at=state.now,
        cancel_at=state.now + event.cancel_after_ms * NS_PER_MS if event.cancel_after_ms else 0,
    )
    if event.purpose is Purpose.FLATTEN:
        state.slices_at = [*kernel.later(state.slices_at, state.now - NS_PER_S), state.now]
    if event.purpose is not Purpose.ENTRY:
        return
    key = pair(event.strategy, event.symbol)
    state.entries_at = [*kernel.later(state.entries_at, state.now - NS_PER_S), state.now]
    if event.stop_distance > 0:
        state.stops[key] = event.stop_distance
    repeat = state.repeats.get(key)
    if repeat is not None:
        repeat.approved_at = [*kernel.later(repeat.approved_at, state.now - MINUTE_NS), state.now]


def on_order(state: RiskState, event: Event) -> None:
    """Learn what execution proved about an order."""
    match event:
        case OrderAccepted(ack_ms=ack_ms):
            state.acks_ms.append(ack_ms)
            del state.acks_ms[:-ACKS_KEPT]
        case OrderRejected(reason="DUPLICATE"):
            pass  # of a second approval under an id that may still be live
        case OrderRejected(order_link_id=link):
            _end(state, link, Decimal(0))
        case OrderCancelled(order_link_id=link, cum_qty=traded):
            _end(state, link, traded)
        case OrderResolved(order_link_id=link, outcome=outcome, cum_qty=traded) if outcome != "live":
            order = state.orders.get(link)
            if outcome == "filled" and traded == 0 and order is not None:
                traded = state.ledger.grids[order.symbol].quantity(order.lots)
            _end(state, link, traded)
        case _:
            pass


def on_fill(state: RiskState, event: Fill) -> None:
    """Move lots from the reservation to the position (the ledger has them already)."""
    order = state.orders.get(event.order_link_id)
    if order is None:
        return
    if order.filled == 0:
        recent = kernel.later(state.fills_at.get(order.strategy, []), state.now - MINUTE_NS)
        state.fills_at[order.strategy] = [*recent, state.now]
    grid = state.ledger.grids[order.symbol]
    order.filled = max(order.filled, grid.lots(event.cum_qty))
    if order.reduce_only:  # the venue cuts a reduce-only order down to the position: the rest never comes
        order.lots = max(order.filled, min(order.lots, grid.lots(event.order_qty)))
    if order.filled >= order.lots:
        del state.orders[event.order_link_id]
        _tried(state, event.order_link_id, is_whole=True)


def requantise(state: RiskState, symbol: str, ratio: Decimal) -> None:
    """The ledger's lot of a symbol changed by `ratio` (old / new): orders follow, and none counts for less than before."""
    for order in state.orders.values():
        if order.symbol == symbol:
            order.lots = int((order.lots * ratio).to_integral_value(ROUND_CEILING))
            order.filled = int(order.filled * ratio)
            order.lot_units = int((order.lot_units / ratio).to_integral_value(ROUND_CEILING))


def _end(state: RiskState, link: str, traded: Decimal) -> None:
    """Proven dead after `traded`. What traded stays reserved until its fills have come."""
    order = state.orders.get(link)
    if order is None:
        return
    lots = min(order.lots, state.ledger.grids[order.symbol].lots(traded))
    _tried(state, link, is_whole=lots == order.lots)
    order.lots = lots
    if order.filled >= order.lots:
        del state.orders[link]


def _tried(state: RiskState, link: str, *, is_whole: bool) -> None:
    """An exit's try ended: the next one reaches further, unless this one filled."""
    for task in state.tasks.values():
        if task.order_link_id == link:
            task.tries = 0 if is_whole else task.tries + 1


def on_cancel(state: RiskState, event: CancelIntent) -> None:
    for order in state.orders.values():
        named = order.order_link_id == event.order_link_id
        swept = not event.order_link_id and not order.reduce_only and event.symbol in ("", order.symbol)
        if named or swept:
            order.asked_at = state.now


def reduce_open(state: RiskState, symbol: str, sign: int) -> int:
    """Lots of a symbol that reduce-only orders of `sign` are closing already."""
    return sum(o.open_lots for o in state.orders.values() if o.reduce_only and o.symbol == symbol and o.sign == sign)


def entries_of(state: RiskState, strategy: str) -> list[Order]:
    """A strategy's open entries, in order of approval."""
    return [order for order in state.orders.values() if not order.reduce_only and order.strategy == strategy]


def rests(order: Order) -> bool:
    return order.time_in_force is not TimeInForce.IOC


def is_due(order: Order, now: int) -> bool:
    """Whether a cancel is to be asked for (again)."""
    return now - order.asked_at >= ASK_AGAIN_NS
