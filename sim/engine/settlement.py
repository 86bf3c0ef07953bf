"""The end of a contract: orders cancelled, positions closed at the settlement price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sim.engine import booking
from sim.engine.account import Account
from sim.engine.margin import locked_of, margin_of
from sim.engine.market import Market

if TYPE_CHECKING:
    from sim.engine.desk import Desk


def settle(desk: Desk, market: Market, ticks: int, at: int) -> None:
    """Cancel every order of the market and close every position at `ticks`, without a fee."""
    symbol = market.instrument.symbol
    for account in desk.accounts.values():
        for order in [order for order in account.open_orders.values() if order.symbol == symbol]:
            desk.cancel(order, at, "EC_NoError", "CancelBySettle")
        for position in account.positions_of(symbol):
            if position.lots:
                lots = abs(position.lots)
                order = booking.closing_order(desk, account, position, ticks, lots, at, "CreateBySettle")
                booking.fill(desk, account, order, ticks, lots, False, at, "Settle")


def spare(account: Account, coin: str, markets: Mapping[str, Market]) -> int:
    """1e-8 of a coin that may leave the account: what is neither locked nor needed as margin."""
    free = account.balance(coin) - locked_of(account, markets).get(coin, 0)
    if coin == "USDT" and account.has_exposure:
        free = min(free, margin_of(account, markets).available)
    return max(0, free)
