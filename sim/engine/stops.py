"""Stop loss and take profit of a position: untriggered market orders that close all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.engine.account import Account
from sim.engine.orders import Order, Position

if TYPE_CHECKING:
    from sim.engine.desk import Desk

STOP_LOSS, TAKE_PROFIT, TRAILING = "StopLoss", "TakeProfit", "TrailingStop"
PARTIAL = ("PartialStopLoss", "PartialTakeProfit")


def follow(desk: Desk, account: Account, order: Order, at: int) -> None:
    """After a fill of `order`: its attached stops become the position's; a closed position loses its stops."""
    position = account.position(order.symbol, order.idx)
    if position.lots and position.side == order.side and (order.stop_loss or order.take_profit):
        if order.stop_loss:
            position.stop_loss, position.stop_by = order.stop_loss, order.stop_by
        if order.take_profit:
            position.take_profit, position.profit_by = order.take_profit, order.profit_by
        arrange(desk, account, position, at, order.link_id)
    elif not position.lots or any(
        other.symbol == order.symbol and other.idx == order.idx and other.status == "Untriggered"
        for other in account.open_orders.values()
    ):
        arrange(desk, account, position, at, "")


def arrange(desk: Desk, account: Account, position: Position, at: int, parent: str) -> None:
    """Make the untriggered orders agree with what the position asks for."""
    if not position.lots:
        position.stop_loss = position.take_profit = position.trailing = position.active = 0
        for order in list(account.open_orders.values()):
            if (
                order.symbol == position.symbol
                and order.idx == position.idx
                and order.stop_type in PARTIAL
                and order.status == "Untriggered"
            ):
                desk.cancel(order, at, "EC_PerCancelRequest", "CancelByTpSlTsClear")
    _arrange_trailing(desk, account, position, at)
    for kind, trigger in ((STOP_LOSS, position.stop_loss), (TAKE_PROFIT, position.take_profit)):
        current = _current(account, position, kind)
        if current is not None and (not trigger or current.side == position.side):
            cause = "CancelByUser" if position.lots else "CancelByTpSlTsClear"
            desk.cancel(current, at, "EC_PerCancelRequest", cause)
            current = None
        if not trigger:
            continue
        if current is None:
            desk.place(order_of(desk, account, position, kind, trigger, abs(position.lots), at, parent), at)
        elif (current.trigger_ticks, current.lots, current.trigger_by) != (
            trigger,
            abs(position.lots),
            by_of(position, kind),
        ):
            current.trigger_ticks, current.lots, current.updated_at = trigger, abs(position.lots), at
            current.trigger_by = by_of(position, kind)
            desk.touch(current)


def by_of(position: Position, kind: str) -> str:
    """The price that triggers this kind of stop of the position."""
    return {STOP_LOSS: position.stop_by, TAKE_PROFIT: position.profit_by}.get(kind, "LastPrice")


def _arrange_trailing(desk: Desk, account: Account, position: Position, at: int) -> None:
    current = _current(account, position, TRAILING)
    wanted = (position.trailing, position.active, abs(position.lots))
    if current is not None:
        if (current.trail, current.active, current.lots) == wanted and current.side != position.side:
            return
        cause = "CancelByUser" if position.lots else "CancelByTpSlTsClear"
        if position.trailing and current.side != position.side and current.trail == position.trailing:
            current.lots, current.updated_at = abs(position.lots), at
            desk.touch(current)
            return
        desk.cancel(current, at, "EC_PerCancelRequest", cause)
    if position.trailing:
        last = desk.markets[position.symbol].last
        order = order_of(desk, account, position, TRAILING, last - position.side * position.trailing, wanted[2], at)
        order.trail, order.active = position.trailing, position.active
        desk.place(order, at)


def trail(order: Order, last: int) -> None:
    """A trailing stop follows the price on its way up (of a long), once that has reached the activation price."""
    if order.active:
        if (last - order.active) * -order.side < 0:
            return
        order.active = 0
        order.trigger_ticks = last + order.side * order.trail
        return
    moved = last + order.side * order.trail
    if (moved - order.trigger_ticks) * order.side < 0:
        order.trigger_ticks = moved


def _current(account: Account, position: Position, kind: str) -> Order | None:
    return next((o for o in account.open_orders.values() if o.symbol == position.symbol and o.idx == position.idx
                 and o.stop_type == kind and o.status == "Untriggered"), None)  # fmt: skip


def note(account: Account, order: Order, trigger: int) -> None:
    """The position's own stop is what its order was changed to, in ticks; 0 when it was cancelled."""
    position = account.position(order.symbol, order.idx)
    if order.stop_type == TRAILING:
        position.trailing = position.active = 0
    elif order.stop_type == STOP_LOSS:
        position.stop_loss = trigger
    else:
        position.take_profit = trigger


def order_of(
    desk: Desk, account: Account, position: Position, kind: str, trigger: int, lots: int, at: int, parent: str = ""
) -> Order:
    """A market order that waits for the trigger and then closes so many lots of the position."""
    number, order_id = desk.new_order_id()
    # A stop of a long waits below the market, its target above; a short the other way round.
    rising = (position.side > 0) == (kind == TAKE_PROFIT)
    return Order(
        account=account.uid, number=number, order_id=order_id, link_id="", symbol=position.symbol, side=-position.side,
        kind="Market", ticks=0, lots=lots, tif="IOC", created_at=at, updated_at=at, reduce_only=True,
        idx=position.idx, close_on_trigger=True, stop_type=kind, create_type=f"CreateBy{kind}", trigger_ticks=trigger,
        trigger_direction=1 if rising else 2, trigger_by=by_of(position, kind), parent_link_id=parent,
        last_on_created=desk.markets[position.symbol].last,
    )  # fmt: skip
