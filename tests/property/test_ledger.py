"""The ledger against a second one that keeps a list of open lots and fractions: any run of fills, fees, funding, cash, ADL.

The shipped ledger averages costs in whole units; the naive one below holds exact rationals. They must agree on every
quantity, and on money to the rounding that the shipped one states: half a unit a closing trade, nothing over a round trip.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from libs.common import events as e
from libs.common.events import Event, Purpose
from libs.common.portfolio import OWN, Ledger
from libs.common.record import Record
from libs.common.values import Side

SYMBOLS = ("BTCUSDT", "ETHUSDT")
STRATEGIES = ("trend", "mean")
UNITS = 10**8
LOT = Decimal("0.001")
prices = st.integers(1, 2_000_000).map(lambda ticks: Decimal(ticks) / 10)
sizes = st.integers(1, 5_000)
sides = st.sampled_from(Side)


class Naive:
    """One holding in exact rationals: average cost, no rounding anywhere."""

    def __init__(self) -> None:
        self.lots = 0
        self.cost = Fraction(0)
        self.realised = Fraction(0)

    def trade(self, lots: int, price: Decimal) -> None:
        value = Fraction(price) * Fraction(LOT) * abs(lots) * UNITS
        closing = min(abs(self.lots), abs(lots)) if self.lots * lots < 0 else 0
        if closing:
            sign = 1 if self.lots > 0 else -1
            released, proceeds = self.cost * closing / abs(self.lots), value * closing / abs(lots)
            self.realised += sign * (proceeds - released)
            self.cost -= released
        opening = abs(lots) - closing
        self.lots += lots
        self.cost += value * opening / abs(lots)


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.naive = {symbol: Naive() for symbol in SYMBOLS}
        self.stakes = {(strategy, symbol): 0 for strategy in STRATEGIES for symbol in SYMBOLS}
        self.cash = self.paid = 0
        self.closings = self.seq = 0
        for symbol in SYMBOLS:
            self._tell(
                e.InstrumentDefined(
                    symbol=symbol, tick_size=Decimal("0.1"), lot_size=LOT, min_qty=LOT, max_qty=Decimal(1000),
                    min_notional=Decimal(5), price_limit_ratio=Decimal("0.05"),
                )
            )  # fmt: skip

    def _tell(self, body: Event) -> None:
        self.seq += 1
        self.ledger.apply(Record("in", (self.seq, 0), str(self.seq), self.seq, 0, (), "", body))

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        strategy=st.sampled_from(STRATEGIES),
        side=sides,
        lots=sizes,
        price=prices,
        fee=st.integers(-5000, 90_000),
    )
    def fill(self, symbol: str, strategy: str, side: Side, lots: int, price: Decimal, fee: int) -> None:
        self._trade(symbol, side, lots, price, fee)
        self.stakes[strategy, symbol] += side.sign * lots
        body = e.Fill(
            order_link_id="o", order_id="v", exec_id=str(self.seq), strategy=strategy, symbol=symbol, side=side, qty=lots * LOT,
            price=price, fee=Decimal(fee) / UNITS, is_maker=False, reduce_only=False, purpose=Purpose.ENTRY, cum_qty=lots * LOT,
            order_qty=lots * LOT, exec_at=0,
        )  # fmt: skip
        self._tell(body)

    @precondition(lambda self: any(each.lots for each in self.naive.values()))
    @rule(lots=sizes, price=prices, whole=st.booleans())
    def adl(self, lots: int, price: Decimal, whole: bool) -> None:
        """The venue takes a part of what is held, or all of it; the stakes that hold it give it up."""
        symbol = next(name for name, each in self.naive.items() if each.lots)
        held = self.naive[symbol].lots
        side, taken = (Side.SELL if held > 0 else Side.BUY), (abs(held) if whole else min(lots, abs(held)))
        self._trade(symbol, side, taken, price, 0)
        body = e.PositionAdjusted(
            symbol=symbol,
            exec_id=str(self.seq),
            kind="AdlTrade",
            side=side,
            qty=taken * LOT,
            price=price,
            fee=Decimal(0),
            exec_at=0,
        )
        self._tell(body)
        for strategy in STRATEGIES:
            self.stakes[strategy, symbol] = self.ledger.stake_lots(strategy, symbol)

    def _trade(self, symbol: str, side: Side, lots: int, price: Decimal, fee: int) -> None:
        naive = self.naive[symbol]
        self.closings += naive.lots * side.sign < 0
        naive.trade(side.sign * lots, price)
        self.paid += fee

    @rule(symbol=st.sampled_from(SYMBOLS), fee=st.integers(-10_000, 10_000))
    def funding(self, symbol: str, fee: int) -> None:
        self.paid += fee
        body = e.FundingPaid(
            symbol=symbol,
            exec_id=str(self.seq),
            qty=Decimal(1),
            mark=Decimal(1),
            rate=Decimal(0),
            fee=Decimal(fee) / UNITS,
            exec_at=0,
        )
        self._tell(body)

    @rule(amount=st.integers(-(10**12), 10**13))
    def cash_moves(self, amount: int) -> None:
        self.cash += amount
        self._tell(e.CashMoved(amount=Decimal(amount) / UNITS, reference="t"))

    @invariant()
    def positions_are_exact_and_stakes_add_up(self) -> None:
        for symbol, naive in self.naive.items():
            assert self.ledger.lots(symbol) == naive.lots
            owned = [stake.lots for stake in self.ledger.stakes.values() if stake.symbol == symbol]
            assert sum(owned) == naive.lots, "the stakes of a symbol are the book's position"
        for (strategy, symbol), lots in self.stakes.items():
            assert self.ledger.stake_lots(strategy, symbol) == lots

    @invariant()
    def money_is_the_naive_books_to_its_stated_rounding(self) -> None:
        exact = self.cash - self.paid + sum(naive.realised for naive in self.naive.values())
        equity = self.ledger.wallet_units - sum(
            (1 if position.lots > 0 else -1) * position.cost_units for position in self.ledger.positions.values()
        )
        naive_equity = exact - sum((1 if n.lots > 0 else -1) * n.cost for n in self.naive.values())
        assert abs(self.ledger.wallet_units - exact) <= self.closings
        assert equity == naive_equity, "what rounding takes from the wallet stays in the cost: nothing is lost"

    @invariant()
    def wallet_is_cash_and_what_was_earned_less_what_was_paid(self) -> None:
        positions = self.ledger.positions.values()
        assert self.ledger.wallet_units == self.ledger.cash_units + sum(each.net_units for each in positions)
        assert all(each.cost_units >= 0 for each in positions)
        assert all(each.lots != 0 or each.cost_units == 0 for each in positions)
        assert OWN not in {s.strategy for s in self.ledger.stakes.values() if s.lots}, "nothing is held by nobody"

    @invariant()
    def what_the_strategies_earned_adds_up_to_what_the_book_earned(self) -> None:
        earned = sum(stake.net_units for stake in self.ledger.stakes.values())
        flat = all(naive.lots == 0 for naive in self.naive.values()) and not any(self.stakes.values())
        if flat:
            assert earned == sum(position.net_units for position in self.ledger.positions.values())


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase
