"""Cross margin of an account over all markets, in 1e-8 USDT."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from libs.common.values import SPOT_SUFFIX
from sim.engine.account import Account, exposure
from sim.engine.instruments import RATE_SCALE
from sim.engine.market import Market
from sim.engine.orders import Order, Position

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
    isolated: bool = False
    """Each position has its own margin: what it gains is nobody else's before it is realised."""

    @property
    def balance(self) -> int:
        """What margin is measured against."""
        if self.isolated:
            return self.wallet
        return self.wallet + self.unrealised + self.collateral

    @property
    def equity(self) -> int:
        return self.wallet + self.unrealised + self.coins

    @property
    def available(self) -> int:
        return max(0, self.balance - self.initial - self.locked)


class Own(msgspec.Struct, frozen=True):
    """Of one position: profit at mark, initial and maintenance margin with the fee of closing it, 1e-8 USDT."""

    unrealised: int
    initial: int
    maintenance: int


def position_margin(position: Position, market: Market, taker_e8: int, isolated: bool = False) -> Own:
    """Initial margin on mark (isolated: on entry), maintenance margin by tier on mark; both with the fee of a close at
    the price where the initial margin is gone."""
    lots, units, leverage = abs(position.lots), market.instrument.units, position.leverage_e2
    if not lots:
        return NOTHING
    if not market.mark:
        # Restored, and no price yet: the position is worth what it cost.
        return Own(0, position.cost * 100 // leverage, 0)
    value, cost = lots * market.mark * units, position.cost
    fee = (cost - position.side * cost * 100 // leverage) * taker_e8 // RATE_SCALE
    return Own(
        position.lots * market.mark * units - cost * position.side,
        (cost if isolated else value) * 100 // leverage + fee,
        market.tiers.maintenance(value) + fee,
    )


NOTHING = Own(0, 0, 0)


def margin_of(account: Account, markets: Mapping[str, Market], adding: Order | None = None) -> Margin:
    """The margin as it is or, with `adding`, as it would be with one more order."""
    opening = _opening_lots(account, adding)
    profit = initial = held = maintenance = 0
    isolated = account.margin_mode == "ISOLATED_MARGIN"
    for key in account.positions.keys() | opening.keys():
        position = account.positions[key] if key in account.positions else _missing(account, key)
        if not position.lots and key not in opening:
            continue
        market = markets[position.symbol]
        own = position_margin(position, market, account.taker_e8, isolated)
        profit += own.unrealised
        held += own.initial
        maintenance += own.maintenance
        initial += own.initial
        if key in opening:
            buys, sells = opening[key]
            more = exposure(position, buys, sells) - abs(position.lots)
            value = more * market.mark * market.instrument.units
            initial += value * 100 // position.leverage_e2 + value * account.taker_e8 // RATE_SCALE
    coins = collateral = locked = 0
    if account.coins:
        coins, collateral = _coins(account, markets)
    if account.spot_orders:
        locked = sum(worth(coin, amount, markets) for coin, amount in locked_of(account, markets).items())
    return Margin(
        wallet=account.wallet, unrealised=profit, initial=initial, orders=initial - held, maintenance=maintenance,
        coins=coins, collateral=collateral, locked=locked, isolated=isolated,
    )  # fmt: skip


def _missing(account: Account, key: str) -> Position:
    """The position an order would open."""
    symbol, _, idx = key.partition("/")
    return account.position(symbol, int(idx or 0))


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
    """position key -> (buy lots, sell lots) of open orders that could grow a position; conditional ones hold no margin."""
    opening: dict[str, tuple[int, int]] = {}
    orders = [*account.open_orders.values(), adding] if adding is not None else account.open_orders.values()
    for order in orders:
        if order.reduce_only or order.spot or order.status == "Untriggered":
            continue
        key = f"{order.symbol}/{order.idx}" if order.idx else order.symbol
        buys, sells = opening.get(key, (0, 0))
        opening[key] = (buys + order.leaves, sells) if order.side > 0 else (buys, sells + order.leaves)
    return opening
