"""Facts as events: an execution becomes a Fill of ours, funding, or a move of the position that was not ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from libs.bybit import wire
from libs.common.decider import Linked
from libs.common.events import Event, Fill, ForeignOrder, FundingPaid, PositionAdjusted, Purpose
from libs.common.values import Side
from services.execution import spot, terms
from services.execution.config import ExecutionConfig
from services.execution.orders import Order
from services.execution.state import State, Stop

MS = 1_000_000


def of_execution(state: State, config: ExecutionConfig, done: wire.Execution) -> Iterator[Event | Linked]:
    """The events of one execution that is not in the log yet."""
    order = state.find(done.link_id) if done.link_id else None
    stop = state.stops.get(done.order_id)
    booked = spot.booked(done, state.ledger, state.coins)
    if done.kind == "Funding":
        yield _funding(done)
    elif done.kind == "Trade" and order is not None:
        yield linked(_fill(done, order, booked), order)
        yield from terms.judge_fee(state, config, order.symbol, done)
    elif done.kind == "Trade" and stop is not None:
        yield _stop_fill(done, stop, booked)
    else:
        yield _adjustment(done, booked)
        is_ours = done.kind != "Trade" or done.link_id.startswith(config.watchdog_prefix)
        if not is_ours and done.order_id not in state.foreign:
            yield ForeignOrder(
                order_id=done.order_id,
                order_link_id=done.link_id,
                symbol=done.symbol,
                side=_side(done.side),
                qty=done.qty,
            )


def foreign(told: wire.Order) -> ForeignOrder:
    """An open order that nobody of us sent."""
    return ForeignOrder(
        order_id=told.order_id,
        order_link_id=told.link_id,
        symbol=told.symbol,
        side=_side(told.side),
        qty=told.qty,
    )


def linked(event: Event, order: Order) -> Event | Linked:
    """An event of an order belongs to the chain of its approval."""
    if not order.correlation:
        return event
    return Linked(event, ("order-intent", order.intent_seq), order.correlation)


def _fill(done: wire.Execution, order: Order, booked: spot.Booked) -> Fill:
    order_qty = min(order.qty, done.order_qty) if done.order_qty > 0 else order.qty
    return Fill(
        order_link_id=order.link_id,
        strategy=order.strategy,
        reduce_only=order.reduce_only,
        purpose=order.purpose,
        cum_qty=order.cum_qty + done.qty,
        order_qty=order_qty,
        **_traded(done, booked),
    )


def _stop_fill(done: wire.Execution, stop: Stop, booked: spot.Booked) -> Fill:
    """An attached stop traded: its own chain of fills, under a name derived from its parent."""
    cum_qty = stop.cum_qty + done.qty
    return Fill(
        order_link_id=stop.link_id,
        strategy=stop.strategy,
        reduce_only=True,
        purpose=Purpose.STOP,
        cum_qty=cum_qty,
        order_qty=max(stop.qty, cum_qty),
        **_traded(done, booked),
    )


def _traded(done: wire.Execution, booked: spot.Booked) -> dict[str, Any]:
    """What every fill takes over from the venue's row."""
    return {
        "order_id": done.order_id,
        "exec_id": done.exec_id,
        "symbol": done.symbol,
        "side": _side(done.side),
        "qty": booked.qty,
        "price": done.price,
        "fee": booked.fee,
        "dust": booked.dust,
        "is_maker": done.is_maker,
        "exec_at": done.exec_ms * MS,
    }


def _funding(done: wire.Execution) -> FundingPaid:
    """The row's side is the position's."""
    return FundingPaid(
        symbol=done.symbol,
        exec_id=done.exec_id,
        qty=_side(done.side).sign * done.qty,
        mark=done.price,
        rate=done.rate,
        fee=done.fee,
        exec_at=done.exec_ms * MS,
    )


def _adjustment(done: wire.Execution, booked: spot.Booked) -> PositionAdjusted:
    """ADL, liquidation, settlement, or a trade of an order that is not in our log: the position moved all the same."""
    return PositionAdjusted(
        symbol=done.symbol,
        exec_id=done.exec_id,
        kind=done.kind,
        side=_side(done.side),
        qty=booked.qty,
        price=done.price,
        fee=booked.fee,
        dust=booked.dust,
        exec_at=done.exec_ms * MS,
    )


def _side(text: str) -> Side:
    return Side.SELL if text == "Sell" else Side.BUY
