"""From a sealed approval to an order: the only way a create request comes to be.

`VerifiedIntent` is made by `verified` alone, `OrderSubmitted` by `submission` alone (which takes a VerifiedIntent), and
`create_call` takes only an OrderSubmitted. So every create request has one valid approval, committed before it.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.bybit import rest
from libs.common import seal
from libs.common.events import OrderIntent, OrderSubmitted, Purpose
from libs.common.values import SPOT, Grid, category_of


class VerifiedIntent(msgspec.Struct, frozen=True):
    """An approval whose seal was checked; see `verified`."""

    intent: OrderIntent


def verified(keys: dict[str, str], intent: OrderIntent) -> VerifiedIntent | None:
    """The approval when its seal is by the public key that its key id names, else None."""
    public_key = keys.get(intent.key_id)
    if public_key is None or not seal.verify(public_key, intent):
        return None
    return VerifiedIntent(intent)


def scopes(intent: OrderIntent) -> tuple[str, ...]:
    """The scopes of the gate that an order of this approval falls under."""
    return ("book", f"symbol:{intent.symbol}", f"strategy:{intent.strategy}")


def submission(approval: VerifiedIntent, grid: Grid | None) -> OrderSubmitted:
    """The order as it will be sent. `grid`: to place an attached stop on a tick; None attaches none."""
    intent = approval.intent
    return OrderSubmitted(
        order_link_id=intent.order_link_id,
        strategy=intent.strategy,
        symbol=intent.symbol,
        side=intent.side,
        qty=intent.qty,
        price=intent.price,
        time_in_force=intent.time_in_force,
        reduce_only=intent.reduce_only,
        purpose=intent.purpose,
        expires_at=intent.expires_at,
        stop_loss=_stop_loss(intent, grid),
    )


def _stop_loss(intent: OrderIntent, grid: Grid | None) -> Decimal:
    if grid is None or intent.purpose is not Purpose.ENTRY or intent.reduce_only or intent.stop_distance <= 0:
        return Decimal(0)
    if category_of(intent.symbol) == SPOT:
        return Decimal(0)  # spot has no position for a stop to guard
    price = intent.price - intent.side.sign * intent.stop_distance
    return grid.price(grid.ticks(price)) if price > 0 else Decimal(0)


def create_call(body: OrderSubmitted) -> rest.Call:
    """The create request of a logged submission."""
    return rest.create_order(
        link_id=body.order_link_id,
        symbol=body.symbol,
        side=body.side,
        qty=body.qty,
        price=body.price,
        time_in_force=body.time_in_force.value,
        reduce_only=body.reduce_only,
        stop_loss=body.stop_loss or None,
    )
