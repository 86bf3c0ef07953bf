"""Cross margin of an account over all markets, in 1e-8 USDT."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from libs.common.values import SPOT_SUFFIX
from sim.account import Account, exposure, unrealised
from sim.instruments import RATE_SCALE
from sim.market import Market
from sim.orders import Order

COLLATERAL_PERCENT = {"BTC": 95, "ETH": 95}
OTHER_COLLATERAL_PERCENT = 85
"""What of a coin's value counts as margin."""


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """`initial` covers positions and opening orders, `orders` is what the orders add to it. Coins beside USDT are worth
    `coins`, of which `collateral` counts; `locked` of the balance waits in open spot orders."""

    wallet: int
    unrealised: int
    initial: int
    orders: int
    maintenance: int
    coins: int = 0
    collateral: int = 0
    locked: int = 0

    @property
    def balance(self) -> int:
        """What margin is measured against."""
        return self.wallet + self.unrealised + self.collateral

    @property
    def equity(self) -> int:
        return self.wallet + self.unrealised + self.coins

    @property
    def available(self) -> int:
        return max(0, self.balance - self.initial - self.locked)


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
    coins = collateral = locked = 0
    if account.coins:
        coins, collateral = _coins(account, markets)
    if account.spot_orders:
        locked = sum(worth(coin, amount, markets) for coin, amount in locked_of(account, markets).items())
    return Margin(
        wallet=account.wallet, unrealised=profit, initial=initial, orders=initial - held, maintenance=maintenance,
        coins=coins, collateral=collateral, locked=locked,
    )  # fmt: skip


def worth(coin: str, amount: int, markets: Mapping[str, Market]) -> int:
    """Value of 1e-8 of a coin in 1e-8 USDT, at the last spot price, else at the perpetual's mark; 0 without any."""
    if coin == "USDT":
        return amount
    spot, linear = markets.get(f"{coin}USDT{SPOT_SUFFIX}"), markets.get(f"{coin}USDT")
    if spot is not None and spot.last:
        return amount * spot.last * spot.instrument.units // spot.instrument.lot_e8
    return amount * linear.mark * linear.instrument.units // linear.instrument.lot_e8 if linear is not None else 0


def _coins(account: Account, markets: Mapping[str, Market]) -> tuple[int, int]:
    """(value of the coins, what of it counts as margin); a debt counts whole."""
    value = collateral = 0
    for coin, amount in account.coins.items():
        part = worth(coin, amount, markets)
        value += part
        collateral += part if part < 0 else part * COLLATERAL_PERCENT.get(coin, OTHER_COLLATERAL_PERCENT) // 100
    return value, collateral


def locked_of(account: Account, markets: Mapping[str, Market]) -> dict[str, int]:
    """coin -> 1e-8 of it that open spot orders wait to spend; a conditional one spends nothing yet."""
    locked: dict[str, int] = {}
    for order in account.open_orders.values():
        if order.spot and order.status != "Untriggered":
            coin, amount = spends(order, markets[order.symbol])
            locked[coin] = locked.get(coin, 0) + amount
    return locked


def spot_free(account: Account, coin: str, markets: Mapping[str, Market], but: Order | None = None) -> int:
    """1e-8 of a coin that a spot order may still spend; `but`: an order whose own lock does not count."""
    locked = locked_of(account, markets) if account.spot_orders else {}
    free, own = account.balance(coin) - locked.get(coin, 0), 0
    if but is not None and but.order_id in account.open_orders and but.status != "Untriggered":
        own = spends(but, markets[but.symbol])[1]
    if coin == "USDT" and account.has_exposure:
        # What positions and their orders need must stay.
        margin = margin_of(account, markets)
        free = min(free, margin.balance - margin.initial - margin.locked)
    return max(0, free + own)


def spends(order: Order, market: Market) -> tuple[str, int]:
    """(coin, 1e-8 of it) that a spot order takes if all that is left of it trades at its price."""
    instrument = market.instrument
    if order.side < 0:
        return instrument.base_coin, order.leaves * instrument.lot_e8
    if order.budget:
        return "USDT", order.budget - order.cum_value
    return "USDT", order.leaves * order.ticks * instrument.units


def _opening_lots(account: Account, adding: Order | None) -> dict[str, tuple[int, int]]:
    """symbol -> (buy lots, sell lots) of open orders that could grow a position; conditional ones hold no margin."""
    opening: dict[str, tuple[int, int]] = {}
    orders = [*account.open_orders.values(), adding] if adding is not None else account.open_orders.values()
    for order in orders:
        if order.reduce_only or order.spot or order.status == "Untriggered":
            continue
        buys, sells = opening.get(order.symbol, (0, 0))
        opening[order.symbol] = (buys + order.leaves, sells) if order.side > 0 else (buys, sells + order.leaves)
    return opening
