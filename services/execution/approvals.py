"""From a sealed approval to an order: the only way a create request comes to be.

`VerifiedIntent` is made by `verified` alone, `OrderSubmitted` by `submission` alone (which takes a VerifiedIntent), and
`create_call` takes only an OrderSubmitted. So every create request has one valid approval, committed before it; tests read
the code of the service for any other way.
"""

from __future__ import annotations

from decimal import Decimal

from libs.bybit import rest
from libs.common import seal
from libs.common.events import AmendIntent, OrderIntent, OrderSubmitted, Purpose
from libs.common.values import SPOT, Grid, category_of
from services.execution.config import ExecutionConfig
from services.execution.orders import Order

MS = 1_000_000
EXPIRED = "EXPIRED"


_PROOF = object()
"""Held by `verified` alone: nothing else can make a VerifiedIntent."""


class VerifiedIntent:
    """An approval whose seal was checked; `verified` is the only one to make it."""

    __slots__ = ("intent",)

    def __init__(self, intent: OrderIntent, proof: object) -> None:
        if proof is not _PROOF:
            raise TypeError("expected a VerifiedIntent to come from verified(), was made elsewhere")
        self.intent = intent


def verified(config: ExecutionConfig, intent: OrderIntent, at: int) -> VerifiedIntent | None:
    """The approval when its seal is by a key that its key id names and that is not retired `at` (ns), else None."""
    public_key = config.seal_keys.get(intent.key_id)
    if public_key is None or at >= config.seal_retired.get(intent.key_id, at + 1):
        return None
    return VerifiedIntent(intent, _PROOF) if seal.verify(public_key, intent) else None


def terms_refusal(config: ExecutionConfig, epoch: int, intent: OrderIntent, at: int, now: int) -> str:
    """Why an approval's own terms turn it down; "" when they do not. `at`: when it was made, `epoch`: the last one obeyed."""
    if now >= intent.expires_at:
        return EXPIRED
    if intent.expires_at > at + config.longest_approval_ms * MS:
        return seal.LASTS_TOO_LONG
    if intent.book != config.book:
        return seal.OTHER_BOOK
    if intent.epoch < epoch:
        return seal.OLD_EPOCH
    numbers = (intent.qty, intent.price, intent.stop_distance)
    is_order = all(number.is_finite() for number in numbers) and intent.qty > 0 < intent.price
    return "" if is_order else seal.NO_ORDER


def amend_call(config: ExecutionConfig, epoch: int, intent: AmendIntent, at: int, now: int) -> rest.Call | None:
    """The amend request of a change that is sealed, of this book, by the risk last obeyed, and in time; else None."""
    public_key = config.seal_keys.get(intent.key_id)
    retired = at >= config.seal_retired.get(intent.key_id, at + 1)
    lasts_too_long = intent.expires_at > at + config.longest_approval_ms * MS
    if public_key is None or retired or lasts_too_long or now >= intent.expires_at:
        return None
    if intent.book != config.book or intent.epoch < epoch or not seal.verify(public_key, intent):
        return None
    return rest.amend_order(intent.order_link_id, intent.symbol, intent.qty, intent.price)


def scopes(intent: OrderIntent | Order) -> tuple[str, ...]:
    """The scopes of the gate that an order, or its approval, falls under."""
    return ("book", f"symbol:{intent.symbol}", f"strategy:{intent.strategy}")


def reduces(intent: OrderIntent) -> bool:
    """Whether an exit cannot add to a position: the venue sees to that on perpetuals, on spot only a sale is one."""
    return intent.reduce_only and (category_of(intent.symbol) != SPOT or not intent.side.is_buy)


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
        epoch=intent.epoch,
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
