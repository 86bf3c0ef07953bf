"""Spot: what is held is coins in the wallet, so a fee may be taken in coins and less than a lot may stay behind.

The position of a spot symbol is whole lots. What a fee leaves beyond them is `dust`: it is in the wallet, nothing can be done with
it, and the ledger has it as cost. So, exactly:

    coins in the wallet       = coins from before + position + dust
    settle coin in the wallet = ledger's wallet - cost of the spot positions
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_FLOOR, Decimal

import msgspec

from libs.bybit import wire
from libs.common.events import InstrumentDefined
from libs.common.portfolio import Ledger
from libs.common.values import SPOT, base_coin, category_of, from_units, to_units

_ZERO = Decimal(0)


class Minimum(msgspec.Struct, frozen=True):
    """The least order of a spot symbol, in base coin and in settle coin: less than that cannot be sold."""

    qty: Decimal
    notional: Decimal


class Coins(msgspec.Struct):
    """By symbol: coins of the wallet that are no part of a position."""

    before: dict[str, Decimal] = {}
    """What the account had when the book began."""
    dust: dict[str, Decimal] = {}
    minimum: dict[str, Minimum] = {}

    def define(self, body: InstrumentDefined) -> None:
        if category_of(body.symbol) == SPOT:
            self.minimum[body.symbol] = Minimum(body.min_qty, body.min_notional)

    def add_dust(self, symbol: str, dust: Decimal) -> None:
        if dust:
            self.dust[symbol] = self.dust.get(symbol, _ZERO) + dust

    def expected(self, ledger: Ledger, symbol: str) -> Decimal:
        """What the wallet must hold of the symbol's coin."""
        return self.before.get(symbol, _ZERO) + ledger.quantity(symbol) + self.dust.get(symbol, _ZERO)


class Booked(msgspec.Struct, frozen=True):
    """A trade as the ledger takes it: `qty` in whole lots, `fee` in the settle coin, `dust` in coins."""

    qty: Decimal
    fee: Decimal
    dust: Decimal = _ZERO


def symbols_of(symbols: tuple[str, ...]) -> list[str]:
    return [symbol for symbol in symbols if category_of(symbol) == SPOT]


def free(wallet: wire.Wallet, symbols: tuple[str, ...]) -> dict[str, Decimal]:
    """What can be sold of each coin that is traded on spot."""
    return {coin: wallet.free.get(coin, _ZERO) for coin in map(base_coin, symbols_of(symbols))}


def booked(done: wire.Execution, ledger: Ledger, coins: Coins) -> Booked:
    """How an execution is booked. Only a purchase whose fee is taken in the coin differs from what the venue says."""
    grid = ledger.grids.get(done.symbol)
    in_coin = category_of(done.symbol) == SPOT and done.fee_coin == base_coin(done.symbol)
    if not in_coin or grid is None:
        return Booked(done.qty, done.fee)
    received = done.qty - done.fee
    dust = coins.dust.get(done.symbol, _ZERO)
    qty = max(_ZERO, ((received + dust) / grid.lot_size).to_integral_value(ROUND_FLOOR) * grid.lot_size)
    # What was paid and is not cost of the position is fee: to the unit, as the wallet has it.
    fee = from_units(to_units(done.qty * done.price) - to_units(qty * done.price))
    return Booked(qty, fee, received - qty)


def compare(
    ledger: Ledger, coins: Coins, wallet: wire.Wallet, symbols: tuple[str, ...]
) -> Iterator[tuple[str, Decimal, Decimal]]:
    """Symbols whose coins differ: (symbol, ours, the venue's)."""
    for symbol in symbols_of(symbols):
        ours = coins.expected(ledger, symbol)
        theirs = wallet.coins.get(base_coin(symbol), _ZERO)
        if ours != theirs:
            yield symbol, ours, theirs


def cost_units(ledger: Ledger) -> int:
    """What the spot positions cost: settle coin that the ledger counts as its own and the wallet has as coins."""
    return sum(p.cost_units for symbol, p in ledger.positions.items() if category_of(symbol) == SPOT)


def is_flat(ledger: Ledger, coins: Coins, symbol: str) -> bool:
    """Whether nothing is left that could be sold: on spot, less than the venue's minimum."""
    position = ledger.positions.get(symbol)
    if position is None or position.lots == 0:
        return True
    minimum = coins.minimum.get(symbol)
    if minimum is None:
        return False
    worth = from_units(abs(position.lots) * position.lot_units)
    return ledger.quantity(symbol) < minimum.qty or worth < minimum.notional
