"""The ledger: what the book holds, what it cost, and the wallet, folded from events in exact integers.

Risk, execution (reconciliation) and monitor fold the same events with this one file, so they cannot disagree.

- Quantities are lots of `Ledger.grids[symbol]`, amounts are 1e-8 units of the settlement coin.
- Average-entry accounting: closing part of a holding releases `divide_half_even(cost * closed, held)` of its cost; a
  fill that crosses zero is split into a close and an open. Over a round trip nothing is lost to rounding: the released
  parts add up to the whole cost.
- wallet = cash moved + realised - fees - funding: the exchange's wallet balance to the last digit, once what spot positions
  cost is taken off: there that much stands as coins.
- Each fill belongs to the strategy that caused it (`Stake`); the sum of the stakes of a symbol is the book's position.
  Trades of nobody (`OWN`: risk's flatten orders, ADL, liquidation, settlement) are taken from the stakes that hold the
  side being reduced, largest first; when they leave the book flat in the symbol (and at FlatConfirmed, when strategies
  hold against each other), every stake closes at the last price: an internal transfer, which moves no money in sum. So is
  StakeTransferred, by which risk lets one strategy out against another.
"""

from __future__ import annotations

from decimal import Decimal
from math import gcd

import msgspec

from libs.common.events import (
    CashMoved,
    Fill,
    FlatConfirmed,
    FundingPaid,
    InstrumentDefined,
    PositionAdjusted,
    StakeTransferred,
)
from libs.common.record import Record
from libs.common.values import Grid, divide_half_even, from_units, to_units

OWN = "risk"
"""The strategy of orders that risk made by itself, and of moves that the venue made."""


class Holding(msgspec.Struct):
    """Signed lots at a positive entry cost, and what they have earned and paid so far (units)."""

    lots: int = 0
    cost_units: int = 0
    realised_units: int = 0
    fees_units: int = 0
    funding_units: int = 0

    @property
    def net_units(self) -> int:
        """Realised less fees and funding."""
        return self.realised_units - self.fees_units - self.funding_units

    def trade(self, lots: int, value_units: int) -> int:
        """Apply signed `lots` worth `value_units` (positive); return what it realised."""
        held = self.lots
        if held * lots >= 0:
            self.lots = held + lots
            self.cost_units += value_units
            return 0
        closed = min(abs(held), abs(lots))
        released = divide_half_even(self.cost_units * closed, abs(held))
        proceeds = divide_half_even(value_units * closed, abs(lots))
        realised = proceeds - released if held > 0 else released - proceeds
        self.lots = held + lots
        # Beyond zero the rest of the fill opens the other side at the fill's own price.
        self.cost_units = self.cost_units - released if abs(held) > closed else value_units - proceeds
        self.realised_units += realised
        return realised

    def unrealised_units(self, lot_units: int) -> int:
        """Profit if closed at `lot_units`, the value of one lot at mark."""
        value = self.lots * lot_units
        return value - self.cost_units if self.lots >= 0 else value + self.cost_units


class Position(Holding):
    """The book's net holding of one symbol. `lot_units`: value of one lot at the last trade price."""

    lot_units: int = 0


class Stake(Holding):
    """What one strategy holds of one symbol. `trip_units`: realised less fees since it was last flat."""

    strategy: str = ""
    symbol: str = ""
    trip_units: int = 0


class Ledger(msgspec.Struct):
    """State of the fold; `apply` is total over the events it knows and ignores every other one."""

    wallet_units: int = 0
    cash_units: int = 0
    positions: dict[str, Position] = {}
    stakes: dict[str, Stake] = {}
    grids: dict[str, Grid] = {}
    trips: int = 0
    trips_won: int = 0
    losing_streak: int = 0
    """Losing round trips in a row, net of fees, funding apart; any winning one ends it."""

    def apply(self, record: Record) -> None:
        """Fold one record. Fills must be deduplicated already (execution does, by `exec_id`)."""
        body = record.body
        if isinstance(body, Fill):
            self._fill(body.strategy, body.symbol, body.side.sign, body.qty, body.price, body.fee)
        elif isinstance(body, FundingPaid):
            self._fund(body.symbol, to_units(body.fee))
        elif isinstance(body, PositionAdjusted):
            self._fill(OWN, body.symbol, body.side.sign, body.qty, body.price, body.fee)
        elif isinstance(body, CashMoved):
            amount = to_units(body.amount)
            self.cash_units += amount
            self.wallet_units += amount
        elif isinstance(body, StakeTransferred):
            size, value = self.grids[body.symbol].lots(body.qty), to_units(body.price * body.qty)
            self._attribute(body.seller, body.symbol, -size, value, 0)
            self._attribute(body.buyer, body.symbol, size, value, 0)
        elif isinstance(body, FlatConfirmed):
            for symbol, position in self.positions.items():
                if position.lots == 0:
                    self._transfer(symbol, position.lot_units)
        elif isinstance(body, InstrumentDefined):  # and InstrumentChanged, its subclass
            self.define(body.symbol, Grid(tick_size=body.tick_size, lot_size=body.lot_size))

    # --- reading -----------------------------------------------------------------------------------------------------

    def lots(self, symbol: str) -> int:
        position = self.positions.get(symbol)
        return position.lots if position is not None else 0

    def stake(self, strategy: str, symbol: str) -> Stake | None:
        return self.stakes.get(f"{strategy}|{symbol}")

    def stake_lots(self, strategy: str, symbol: str) -> int:
        stake = self.stake(strategy, symbol)
        return stake.lots if stake is not None else 0

    def lot_units(self, symbol: str, price: Decimal) -> int:
        """Value of one lot of `symbol` at `price`, in units; 0 for a symbol without a grid."""
        grid = self.grids.get(symbol)
        return to_units(price * grid.lot_size) if grid is not None else 0

    def unrealised_units(self, symbol: str, mark: Decimal) -> int:
        """Profit of the position if it closed at `mark`, before fees."""
        position = self.positions.get(symbol)
        if position is None or position.lots == 0:
            return 0
        value = to_units(mark * self.grids[symbol].quantity(position.lots))
        return value - position.cost_units if position.lots > 0 else value + position.cost_units

    def quantity(self, symbol: str) -> Decimal:
        """Signed base quantity held."""
        position = self.positions.get(symbol)
        return self.grids[symbol].quantity(position.lots) if position is not None else Decimal(0)

    def entry_price(self, symbol: str) -> Decimal:
        """Average entry price; 0 when flat."""
        position = self.positions.get(symbol)
        if position is None or position.lots == 0:
            return Decimal(0)
        return from_units(position.cost_units) / self.grids[symbol].quantity(abs(position.lots))

    def pnl_by_strategy(self) -> dict[str, Decimal]:
        """Realised less fees and funding of each strategy, in coin, sorted by name."""
        total: dict[str, int] = {}
        for stake in self.stakes.values():
            total[stake.strategy] = total.get(stake.strategy, 0) + stake.net_units
        return {name: from_units(total[name]) for name in sorted(total)}

    # --- folding -----------------------------------------------------------------------------------------------------

    def define(self, symbol: str, grid: Grid) -> None:
        """Take the venue's grid. Holdings keep their quantity: on a lot they do not fit, a finer one is kept."""
        old = self.grids.get(symbol)
        self.grids[symbol] = grid
        if old is None or old.lot_size == grid.lot_size:
            return
        held: list[Holding] = [stake for stake in self.stakes.values() if stake.symbol == symbol]
        if symbol in self.positions:
            held.append(self.positions[symbol])
        if any((old.quantity(holding.lots) % grid.lot_size) != 0 for holding in held):
            grid = Grid(tick_size=grid.tick_size, lot_size=_common(old.lot_size, grid.lot_size))
            self.grids[symbol] = grid
        for holding in held:
            holding.lots = int(old.quantity(holding.lots) / grid.lot_size)
        if symbol in self.positions:
            position = self.positions[symbol]
            position.lot_units = int(Decimal(position.lot_units) * grid.lot_size / old.lot_size)

    def _grid(self, symbol: str, price: Decimal, qty: Decimal) -> Grid:
        """The symbol's grid; before its definition, the one that the trade itself is on."""
        grid = self.grids.get(symbol)
        if grid is None:
            grid = Grid(tick_size=Decimal((0, (1,), _exponent(price))), lot_size=Decimal((0, (1,), _exponent(qty))))
            self.grids[symbol] = grid
        elif qty % grid.lot_size != 0:
            self.define(symbol, Grid(tick_size=grid.tick_size, lot_size=_common(grid.lot_size, qty)))
            grid = self.grids[symbol]
        return grid

    def _fill(self, strategy: str, symbol: str, sign: int, qty: Decimal, price: Decimal, fee: Decimal) -> None:
        size = self._grid(symbol, price, qty).lots(qty)
        value, cost = to_units(price * qty), to_units(fee)
        if size <= 0 and cost == 0:
            return
        position = self.positions.get(symbol)
        if position is None:
            position = self.positions[symbol] = Position()
        if size <= 0:  # a spot purchase whose coins were all fee and dust
            position.fees_units += cost
            self.wallet_units -= cost
            self._held_by(strategy, symbol).fees_units += cost
            return
        before = position.lots
        realised = position.trade(sign * size, value)
        position.fees_units += cost
        position.lot_units = divide_half_even(value, size)
        self.wallet_units += realised - cost
        if strategy == OWN:
            self._spread(symbol, before, sign * size, value, cost)
            if position.lots == 0:
                self._transfer(symbol, position.lot_units)
        else:
            self._attribute(strategy, symbol, sign * size, value, cost)

    def _spread(self, symbol: str, before: int, lots: int, value: int, fee: int) -> None:
        """Take a trade of nobody from the stakes on the side it reduces, the largest first, by name at a tie."""
        left = lots
        if before * lots < 0:
            owners = [s for s in self.stakes.values() if s.symbol == symbol and s.lots * before > 0]
            for stake in sorted(owners, key=lambda s: (-abs(s.lots), s.strategy)):
                taken = min(abs(stake.lots), abs(left)) * (1 if left > 0 else -1)
                if taken == 0:
                    break
                part_value, part_fee = _divide(value * taken, left), _divide(fee * taken, left)
                self._attribute(stake.strategy, symbol, taken, part_value, part_fee)
                left, value, fee = left - taken, value - part_value, fee - part_fee
        if left != 0:
            self._attribute(OWN, symbol, left, value, fee)

    def _transfer(self, symbol: str, lot_units: int) -> None:
        """The book is flat in the symbol: strategies that hold against each other close at one price."""
        for stake in [s for s in self.stakes.values() if s.symbol == symbol and s.lots != 0]:
            self._attribute(stake.strategy, symbol, -stake.lots, abs(stake.lots) * lot_units, 0)

    def _attribute(self, strategy: str, symbol: str, lots: int, value: int, fee: int) -> None:
        stake = self._held_by(strategy, symbol)
        before = stake.lots
        realised = stake.trade(lots, value)
        stake.fees_units += fee
        if before * lots >= 0 or abs(before) > abs(lots):
            stake.trip_units += realised - fee
            return
        closing_fee = divide_half_even(fee * abs(before), abs(lots))
        self._finish_trip(stake.trip_units + realised - closing_fee)
        stake.trip_units = closing_fee - fee

    def _finish_trip(self, result: int) -> None:
        self.trips += 1
        if result > 0:
            self.trips_won += 1
            self.losing_streak = 0
        elif result < 0:
            self.losing_streak += 1

    def _fund(self, symbol: str, paid: int) -> None:
        """Funding follows the signed lots, so stakes held against each other pay and receive their own shares."""
        self.wallet_units -= paid
        position = self.positions.get(symbol)
        if position is None:
            position = self.positions[symbol] = Position()
        position.funding_units += paid
        left = paid
        for stake in self.stakes.values():
            if stake.symbol == symbol and stake.lots != 0 and position.lots != 0:
                share = _divide(paid * stake.lots, position.lots)
                stake.funding_units += share
                left -= share
        if left:
            self._held_by(OWN, symbol).funding_units += left

    def _held_by(self, strategy: str, symbol: str) -> Stake:
        key = f"{strategy}|{symbol}"
        stake = self.stakes.get(key)
        if stake is None:
            stake = self.stakes[key] = Stake(strategy=strategy, symbol=symbol)
        return stake


def _divide(numerator: int, denominator: int) -> int:
    """`divide_half_even` for a denominator of either sign."""
    return divide_half_even(numerator, denominator) if denominator > 0 else divide_half_even(-numerator, -denominator)


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _common(first: Decimal, second: Decimal) -> Decimal:
    """The largest step of which both are multiples."""
    scale = min(_exponent(first), _exponent(second), 0)
    shift = Decimal(10) ** -scale
    return Decimal(gcd(int(first * shift), int(second * shift))).scaleb(scale)
