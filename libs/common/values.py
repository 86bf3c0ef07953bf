"""Values every service speaks: sides, instruments, amounts.

Money never touches a float. On events it is Decimal; inside the kernels it is an integer count of
ticks (price), lots (quantity) or `UNIT`s of 1e-8 of the settlement coin (amounts).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

import msgspec

UNIT = Decimal("0.00000001")
"""The smallest amount of the settlement coin that a ledger books: 1e-8 USDT."""

UNITS_PER_COIN = 100_000_000
_UNITS_PER_COIN = Decimal(UNITS_PER_COIN)


class Side(StrEnum):
    """Bybit's spelling; the sign of a quantity follows it."""

    is_buy: bool
    sign: int

    BUY = "Buy"
    SELL = "Sell"

    def __init__(self, word: str) -> None:
        # Once, not at each question: a member looked up by its class costs more than an attribute.
        self.is_buy = word == "Buy"
        self.sign = 1 if self.is_buy else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self.is_buy else Side.BUY


SPOT_SUFFIX = "-SPOT"
"""Ends the name of a spot instrument: the venue calls the spot pair and the perpetual by the same name."""

LINEAR, SPOT = "linear", "spot"


def category_of(symbol: str) -> str:
    """The venue's category of one of our symbols: `BTCUSDT-SPOT` -> `spot`, `BTCUSDT` -> `linear`."""
    return SPOT if symbol.endswith(SPOT_SUFFIX) else LINEAR


def venue_name(symbol: str) -> str:
    """What the venue calls one of our symbols: `BTCUSDT-SPOT` -> `BTCUSDT`."""
    return symbol.removesuffix(SPOT_SUFFIX)


def symbol_of(name: str, category: str) -> str:
    """Our symbol for a name of the venue: the other way round of `venue_name` and `category_of`."""
    return name + SPOT_SUFFIX if category == SPOT else name


def base_coin(symbol: str) -> str:
    """The coin that a symbol trades: `BTCUSDT-SPOT` -> `BTC`, `USDCUSDT-SPOT` -> `USDC`. Quoted in USDT, as all of ours are."""
    return venue_name(symbol).removesuffix("USDT")


def to_units(amount: Decimal) -> int:
    """Coin amount to integer 1e-8 units, half-even."""
    return round(amount * _UNITS_PER_COIN)


def from_units(units: int) -> Decimal:
    """Integer 1e-8 units to a coin amount, exact."""
    return UNIT * units


def divide_half_even(numerator: int, denominator: int) -> int:
    """Integer division rounded half to even; the one rounding rule of the ledgers."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


class Grid(msgspec.Struct, frozen=True):
    """The tick and lot of one instrument, and what one tick times one lot is worth.

    `price = ticks * tick_size`, `quantity = lots * lot_size`, and
    `notional in 1e-8 units = ticks * lots * units_per_tick_lot`, exactly.
    """

    tick_size: Decimal
    lot_size: Decimal

    @property
    def units_per_tick_lot(self) -> int:
        value = self.tick_size * self.lot_size / UNIT
        units = int(value)
        if units != value:
            raise ValueError(f"expected tick x lot to be a multiple of {UNIT}, was {self.tick_size} x {self.lot_size}")
        return units

    def ticks(self, price: Decimal) -> int:
        """Price to ticks, rounded half-even (venue prices are on the grid already)."""
        return round(price / self.tick_size)

    def ticks_down(self, price: Decimal) -> int:
        return int(price / self.tick_size)

    def ticks_up(self, price: Decimal) -> int:
        return int((price / self.tick_size).to_integral_value(ROUND_CEILING))

    def lots(self, quantity: Decimal) -> int:
        """Quantity to whole lots, rounded toward zero: a size never grows by rounding."""
        return int(quantity / self.lot_size)

    def price(self, ticks: int) -> Decimal:
        return self.tick_size * ticks

    def quantity(self, lots: int) -> Decimal:
        return self.lot_size * lots
