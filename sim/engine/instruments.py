"""The instruments of the simulated exchange: grid, limits, and their spelling on the wire.

Inside the simulator a price is an integer count of ticks, a quantity of lots, an amount of 1e-8 USDT.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from libs.common.errors import UsageError
from libs.common.values import SPOT, UNITS_PER_COIN, Grid, category_of, divide_half_even, venue_name

RATE_SCALE = 100_000_000
"""Rates (fees, funding, margin) are integers of 1e-8."""
SPOT_MOST_USDT = 8_000_000
"""maxOrderAmt of a spot order."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange publishes about a linear perpetual. Quantities in base coin, ratios as fractions."""

    tick_size: Decimal
    lot_size: Decimal
    max_qty: Decimal
    max_market_qty: Decimal
    min_qty: Decimal = Decimal(0)
    """0: one lot."""
    min_notional: Decimal = Decimal(5)
    max_leverage: Decimal = Decimal(100)
    price_limit_ratio_x: Decimal = Decimal("0.01")
    price_limit_ratio_y: Decimal = Decimal("0.02")
    funding_interval_min: int = 480


_KNOWN = {
    "BTCUSDT": ("0.10", "0.001", "1190.000", "500.000"),
    "ETHUSDT": ("0.01", "0.01", "7240.00", "3620.00"),
    "LTCUSDT": ("0.01", "0.1", "54000.0", "10000.0"),
    "SOLUSDT": ("0.01", "0.1", "79000.0", "16000.0"),
    "XRPUSDT": ("0.0001", "0.1", "2500000.0", "500000.0"),
}


def rules_of(symbol: str, price: Decimal) -> Rules:
    """The rules of a known symbol, else a grid derived from the magnitude of one of its prices.

    Derived: five significant digits of price; a lot is worth between 0.1 and 1 USDT.
    """
    if symbol in _KNOWN:
        tick, lot, most, market = map(Decimal, _KNOWN[symbol])
        return Rules(tick_size=tick, lot_size=lot, max_qty=most, max_market_qty=market)
    power = min(max(price.adjusted(), -4), 6)
    return rules_on_grid(Decimal(1).scaleb(power - 4), Decimal(1).scaleb(-power - 1))


def rules_on_grid(tick_size: Decimal, lot_size: Decimal) -> Rules:
    """Rules of a symbol of which only the grid is known."""
    tick, lot = Decimal(f"{tick_size:f}"), Decimal(f"{lot_size:f}")
    return Rules(tick_size=tick, lot_size=lot, max_qty=lot * 10_000_000, max_market_qty=lot * 2_000_000)


def spot_rules(linear: Rules) -> Rules:
    """Rules of the spot market beside a perpetual: same tick, a lot up to a thousand times finer, half the price limits."""
    unit = Decimal(1) / UNITS_PER_COIN
    lot = linear.lot_size
    for _ in range(3):
        if min(lot, lot * linear.tick_size) / 10 < unit:
            break
        lot /= 10
    return msgspec.structs.replace(
        linear, lot_size=lot, price_limit_ratio_x=Decimal("0.005"), price_limit_ratio_y=Decimal("0.01")
    )


def amount_text(units: int) -> str:
    """1e-8 units as the exchange writes amounts: no exponent, no trailing zeros."""
    if not units:
        return "0"
    whole, rest = divmod(abs(units), UNITS_PER_COIN)
    text = ("%d.%08d" % (whole, rest)).rstrip("0") if rest else str(whole)  # noqa: UP031 (twice as fast)
    return "-" + text if units < 0 else text


def _scale(step: Decimal) -> tuple[int, int]:
    """(decimals shown, step in units of the last decimal): 0.10 -> (2, 10)."""
    exponent = step.as_tuple().exponent
    decimals = max(0, -exponent) if isinstance(exponent, int) else 0
    return decimals, int(step.scaleb(decimals))


class Instrument:
    """One symbol: its rules and the fast conversions between wire text and integers.

    Ticks and lots are those of the tape, for good. The exchange may trade in coarser ones: a published tick is then
    `tick_step` of them, a published lot `lot_step`.
    """

    __slots__ = (
        "_lot_decimals",
        "_lot_format",
        "_lot_points",
        "_lot_power",
        "_price_decimals",
        "_price_format",
        "_price_points",
        "_price_power",
        "category",
        "grid",
        "lot_e8",
        "lot_step",
        "name",
        "price_e8",
        "rules",
        "symbol",
        "tick_step",
        "units",
    )

    def __init__(self, symbol: str, rules: Rules) -> None:
        self.symbol = symbol
        self.tick_step = self.lot_step = 1
        self.name, self.category = venue_name(symbol), category_of(symbol)
        self.rules = rules
        self.grid = Grid(rules.tick_size, rules.lot_size)
        self.units = self.grid.units_per_tick_lot
        self.price_e8 = int(rules.tick_size * UNITS_PER_COIN)
        """A tick in 1e-8 USDT."""
        self.lot_e8 = int(rules.lot_size * UNITS_PER_COIN)
        self._price_decimals, self._price_points = _scale(rules.tick_size)
        self._lot_decimals, self._lot_points = _scale(rules.lot_size)
        self._price_power, self._lot_power = 10**self._price_decimals, 10**self._lot_decimals
        # Printing is most of what a feed does: the formats are made once.
        self._price_format, self._lot_format = f"%d.%0{self._price_decimals}d", f"%d.%0{self._lot_decimals}d"

    def change(self, rules: Rules) -> None:
        """The exchange announces other rules. Raises UsageError for a tick or lot that is no multiple of the tape's."""
        steps = []
        for wanted, own, name in (
            (rules.tick_size, self.grid.tick_size, "tick"),
            (rules.lot_size, self.grid.lot_size, "lot"),
        ):
            step = int(wanted / own)
            if step < 1 or step * own != wanted:
                raise UsageError(f"{self.symbol}: expected a {name} size that is a multiple of {own}, was {wanted}")
            steps.append(step)
        self.rules = rules
        self.tick_step, self.lot_step = steps

    def whole_lots(self, qty: Decimal) -> int:
        """Lots of a quantity of base coin, rounded down."""
        return int(qty / self.grid.lot_size)

    @property
    def least_lots(self) -> int:
        """The smallest order."""
        return max(self.lot_step, self.whole_lots(self.rules.min_qty))

    @property
    def base_coin(self) -> str:
        return self.name.removesuffix("USDT") if self.name.endswith("USDT") else self.name.removesuffix("USDC")

    def price_text(self, ticks: int) -> str:
        value = ticks * self._price_points
        return self._price_format % divmod(value, self._price_power) if self._price_decimals else str(value)

    def qty_text(self, lots: int) -> str:
        value = lots * self._lot_points
        return self._lot_format % divmod(value, self._lot_power) if self._lot_decimals else str(value)

    def plain_qty(self, lots: int) -> str:
        """Quantity without trailing zeros, as order and position rows show it."""
        text = self.qty_text(lots)
        return text.rstrip("0").rstrip(".") if "." in text else text

    def plain_price(self, ticks: int) -> str:
        text = self.price_text(ticks)
        return text.rstrip("0").rstrip(".") if "." in text else text

    def average_text(self, value: int, lots: int) -> str:
        """Average price of `lots` that cost `value` (1e-8 USDT), to 1e-8; empty for nothing."""
        return amount_text(divide_half_even(value * UNITS_PER_COIN, lots * self.lot_e8)) if lots else ""

    def ticks_exact(self, text: Any) -> int | None:
        """Ticks of a price on the wire, None when it is no positive number on the grid."""
        ticks = steps_of(text, self.rules.tick_size)
        return None if ticks is None else ticks * self.tick_step

    def lots_exact(self, text: Any) -> int | None:
        """Lots of a quantity on the wire, None when it is no number >= 0 on the grid."""
        lots = steps_of(text, self.rules.lot_size)
        return None if lots is None else lots * self.lot_step

    def ratio_ticks(self, ticks: int, ratio: Decimal, sign: int) -> int:
        """Ticks moved by a fraction, rounded toward the unmoved price."""
        moved = ticks * int(ratio * RATE_SCALE) // RATE_SCALE
        return ticks + sign * (moved // self.tick_step * self.tick_step)

    def row(self, status: str = "Trading", delivery_ms: int = 0) -> dict[str, Any]:
        """A row of /v5/market/instruments-info."""
        if self.category == SPOT:
            return self._spot_row(status)
        return self._linear_row() | {"status": status, "deliveryTime": str(delivery_ms)}

    def _spot_row(self, status: str) -> dict[str, Any]:
        rules, most = self.rules, f"{self.rules.max_qty.normalize():f}"
        return {
            "symbolId": 9,
            "symbol": self.name,
            "baseCoin": self.base_coin,
            "quoteCoin": "USDT",
            "innovation": "0",
            "status": status,
            "marginTrading": "utaOnly",
            "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": f"{rules.lot_size:f}",
                "quotePrecision": "0.0000001",
                "minOrderQty": self.qty_text(self.least_lots),
                "maxOrderQty": most,
                "minOrderAmt": str(rules.min_notional),
                "maxOrderAmt": str(SPOT_MOST_USDT),
                "maxLimitOrderQty": most,
                "maxMarketOrderQty": f"{rules.max_market_qty.normalize():f}",
                "postOnlyMaxLimitOrderSize": most,
            },
            "priceFilter": {"tickSize": self.plain_price(self.tick_step)},
            "riskParameters": {
                "priceLimitRatioX": str(rules.price_limit_ratio_x),
                "priceLimitRatioY": str(rules.price_limit_ratio_y),
            },
            "symbolType": "",
        }

    def _linear_row(self) -> dict[str, Any]:
        rules = self.rules
        lot, market = self.qty_text(self.whole_lots(rules.max_qty)), self.whole_lots(rules.max_market_qty)
        return {
            "symbol": self.symbol,
            "symbolId": 5,
            "contractType": "LinearPerpetual",
            "baseCoin": self.base_coin,
            "quoteCoin": "USDT",
            "launchTime": "1585526400000",
            "deliveryFeeRate": "",
            "priceScale": str(self._price_decimals),
            "leverageFilter": {"minLeverage": "1", "maxLeverage": f"{rules.max_leverage:.2f}", "leverageStep": "0.01"},
            "priceFilter": {
                "minPrice": self.price_text(self.tick_step),
                "maxPrice": self.price_text(19_999_998 // self.tick_step * self.tick_step),
                "tickSize": self.price_text(self.tick_step),
            },
            "lotSizeFilter": {
                "maxOrderQty": lot,
                "minOrderQty": self.qty_text(self.least_lots),
                "qtyStep": self.qty_text(self.lot_step),
                "postOnlyMaxOrderQty": lot,
                "maxMktOrderQty": self.qty_text(market),
                "minNotionalValue": str(rules.min_notional),
            },
            "unifiedMarginTrade": True,
            "fundingInterval": rules.funding_interval_min,
            "settleCoin": "USDT",
            "copyTrading": "both",
            "upperFundingRate": "0.00375",
            "lowerFundingRate": "-0.00375",
            "isPreListing": False,
            "preListingInfo": None,
            "riskParameters": {
                "priceLimitRatioX": str(rules.price_limit_ratio_x),
                "priceLimitRatioY": str(rules.price_limit_ratio_y),
            },
            "symbolType": "",
        }


def steps_of(text: Any, step: Decimal) -> int | None:
    """How many whole steps a number on the wire is; None when it is no number >= 0 on that grid."""
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        return None
    if not value.is_finite() or value < 0 or value.adjusted() > 15:
        return None
    steps = value / step
    whole = int(steps)
    return whole if whole == steps else None
