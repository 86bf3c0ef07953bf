"""Cross margin of an account over all markets, in 1e-8 USDT."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sim.account import Account, exposure, unrealised
from sim.instruments import RATE_SCALE
from sim.market import Market
from sim.orders import Order


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """`initial` covers positions and opening orders, `orders` is what the orders add to it."""

    wallet: int
    unrealised: int
    initial: int
    orders: int
    maintenance: int

    @property
    def balance(self) -> int:
        return self.wallet + self.unrealised

    @property
    def available(self) -> int:
        return max(0, self.balance - self.initial)


def margin_of(account: Account, markets: Mapping[str, Market], adding: Order | None = None) -> Margin:
    """The margin as it is or, with `adding`, as it would be with one more order."""
    opening = _opening_lots(account, adding)
    profit = initial = held = maintenance = 0
    for symbol in account.positions.keys() | opening.keys():
        market, position = markets[symbol], account.position(symbol)
        units, mark = market.instrument.units, market.mark
        buys, sells = opening.get(symbol, (0, 0))
        if not mark:
            # Restored, and no price yet: the position is worth what it cost.
            initial += position.cost * 100 // position.leverage_e2
            continue
        worst = exposure(position, buys, sells) * mark * units
        own = abs(position.lots) * mark * units
        profit += unrealised(position, mark, units)
        initial += worst * 100 // position.leverage_e2
        held += own * 100 // position.leverage_e2
        maintenance += own * market.instrument.maintenance_e8 // RATE_SCALE
    return Margin(
        wallet=account.wallet, unrealised=profit, initial=initial, orders=initial - held, maintenance=maintenance
    )


def _opening_lots(account: Account, adding: Order | None) -> dict[str, tuple[int, int]]:
    """symbol -> (buy lots, sell lots) of open orders that could grow a position; conditional ones hold no margin."""
    opening: dict[str, tuple[int, int]] = {}
    orders = [*account.open_orders.values(), adding] if adding is not None else account.open_orders.values()
    for order in orders:
        if order.reduce_only or order.status == "Untriggered":
            continue
        buys, sells = opening.get(order.symbol, (0, 0))
        opening[order.symbol] = (buys + order.leaves, sells) if order.side > 0 else (buys, sells + order.leaves)
    return opening
