"""What happens to an account whose balance no longer covers its maintenance margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim import booking
from sim.account import Account
from sim.margin import margin_of
from sim.orders import Order

if TYPE_CHECKING:
    from sim.desk import Desk


def watch(desk: Desk, account: Account, at: int) -> None:
    """Take the account over when its balance no longer covers the maintenance margin."""
    margin = margin_of(account, desk.markets)
    if margin.balance > margin.maintenance:
        return
    for order in list(account.open_orders.values()):
        desk.cancel(order, at, "EC_NoError", "CancelAllBeforeLiq")
    for symbol, position in account.positions.items():
        if not position.lots:
            continue
        market = desk.markets[symbol]
        number, order_id = desk.new_order_id()
        order = Order(
            account=account.uid, number=number, order_id=order_id, link_id="", symbol=symbol, side=-position.side,
            kind="Market", ticks=market.mark, lots=abs(position.lots), tif="IOC", created_at=at, updated_at=at,
            reduce_only=True, create_type="CreateByTakeOver_PassThrough", last_on_created=market.last,
        )  # fmt: skip
        account.add(order)
        booking.fill(desk, account, order, market.mark, order.lots, False, at, "BustTrade")
    if account.wallet < 0:
        # The insurance fund takes what is below zero: a takeover ends at bankruptcy, never under it.
        missing, account.wallet = -account.wallet, 0
        booking.log(desk, account, account.fills[-1], "LIQUIDATION", cash_flow=missing)
