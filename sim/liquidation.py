"""What happens to an account whose balance no longer covers its maintenance margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim import booking
from sim.account import Account
from sim.margin import margin_of
from sim.market import Market

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
        mark, lots = desk.markets[symbol].mark, abs(position.lots)
        order = booking.closing_order(desk, account, position, mark, lots, at, "CreateByTakeOver_PassThrough")
        booking.fill(desk, account, order, mark, lots, False, at, "BustTrade")
    if account.wallet < 0:
        # The insurance fund takes what is below zero: a takeover ends at bankruptcy, never under it.
        missing, account.wallet = -account.wallet, 0
        booking.log(desk, account, account.fills[-1], "LIQUIDATION", cash_flow=missing)


def deleverage(desk: Desk, account: Account, market: Market, lots: int, at: int) -> int:
    """Close (up to `lots` of, 0: all of) a position at mark against somebody whose takeover found no market. Gives lots."""
    closed = 0
    for position in account.positions_of(market.instrument.symbol):
        if not position.lots:
            continue
        for order in [o for o in account.open_orders.values() if o.symbol == position.symbol]:
            desk.cancel(order, at, "EC_NoError", "CancelAllBeforeAdl")
        part = min(lots or abs(position.lots), abs(position.lots))
        order = booking.closing_order(desk, account, position, market.mark, part, at, "CreateByAdl_PassThrough")
        booking.fill(desk, account, order, market.mark, part, False, at, "AdlTrade")
        closed += part
    return closed
