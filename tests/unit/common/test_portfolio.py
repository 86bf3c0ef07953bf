from __future__ import annotations

from decimal import Decimal as D

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import events as e
from libs.common.portfolio import OWN, Ledger
from libs.common.record import Record
from libs.common.values import Side, from_units, to_units

SYMBOL = "BTCUSDT"


class Book:
    def __init__(self, lot: str = "0.001") -> None:
        self.ledger = Ledger()
        self.count = 0
        self.cash_flow = D(0)
        self.define(lot)

    def put(self, body: e.Event) -> None:
        self.count += 1
        self.ledger.apply(Record("x", (self.count, 0), f"{self.count:032x}", self.count, self.count, (), "", body))

    def define(self, lot: str) -> None:
        self.put(
            e.InstrumentDefined(
                symbol=SYMBOL, tick_size=D("0.1"), lot_size=D(lot), min_qty=D(lot), max_qty=D(10), min_notional=D(5)
            )
        )

    def trade(self, owner: str, side: Side, qty: str | D, price: str | D, fee: str | D = "0") -> None:
        self.cash_flow -= side.sign * D(qty) * D(price) + D(fee)
        self.put(
            e.Fill(
                order_link_id="a", order_id="b", exec_id=str(self.count), strategy=owner, symbol=SYMBOL, side=side, qty=D(qty),
                price=D(price), fee=D(fee), is_maker=False, reduce_only=False, purpose=e.Purpose.ENTRY, cum_qty=D(qty),
                order_qty=D(qty), exec_at=0,
            )
        )  # fmt: skip

    def net(self, owner: str) -> D:
        stake = self.ledger.stake(owner, SYMBOL)
        return from_units(stake.net_units) if stake else D(0)


def test_partial_close_releases_its_share_of_the_cost() -> None:
    book = Book()
    book.trade("a", Side.BUY, "0.002", "60000")
    book.trade("a", Side.BUY, "0.001", "60003")
    book.trade("a", Side.SELL, "0.001", "60011")
    assert book.ledger.positions[SYMBOL].realised_units == to_units(D("0.010"))
    assert book.ledger.entry_price(SYMBOL) == D(60001)
    assert book.ledger.quantity(SYMBOL) == D("0.002")


def test_fill_through_zero_is_a_close_and_an_open() -> None:
    book = Book()
    book.trade("a", Side.SELL, "0.002", "60000")
    book.trade("a", Side.BUY, "0.005", "59900", fee="0.5")
    assert book.ledger.quantity(SYMBOL) == D("0.003")
    assert book.ledger.entry_price(SYMBOL) == D(59900)
    assert from_units(book.ledger.wallet_units) == D("0.2") - D("0.5")
    stake = book.ledger.stake("a", SYMBOL)
    assert stake is not None
    # The closing part of the fee ended the trip at 0.2 - 0.2 = 0; the rest opened the next one.
    assert (book.ledger.trips, stake.trip_units) == (1, -to_units(D("0.3")))


def test_unrealised_is_signed() -> None:
    book = Book()
    book.trade("a", Side.SELL, "0.010", "60000")
    assert book.ledger.unrealised_units(SYMBOL, D("59990.5")) == to_units(D("0.095"))
    assert book.ledger.unrealised_units("NONE", D(1)) == 0
    lot_units = book.ledger.lot_units(SYMBOL, D("59990.5"))
    assert book.ledger.positions[SYMBOL].unrealised_units(lot_units) == to_units(D("0.095"))


def test_flatten_closes_strategies_that_hold_against_each_other() -> None:
    book = Book()
    book.trade("a", Side.BUY, "0.003", "60000")
    book.trade("b", Side.SELL, "0.002", "60010")
    book.trade(OWN, Side.SELL, "0.001", "60020")
    assert (book.net("a"), book.net("b"), book.net(OWN)) == (D("0.06"), D("-0.02"), D(0))
    assert book.ledger.pnl_by_strategy() == {"a": D("0.06"), "b": D("-0.02")}


def test_flat_confirmed_ends_what_strategies_hold_against_each_other() -> None:
    book = Book()
    book.trade("a", Side.BUY, "0.001", "60000")
    book.trade("b", Side.SELL, "0.001", "60010")
    assert book.ledger.lots(SYMBOL) == 0
    book.put(e.FlatConfirmed(checked_at=0, wallet=D(0)))
    assert (book.net("a"), book.net("b")) == (D("0.01"), D(0))
    assert from_units(book.ledger.wallet_units) == D("0.01")


def test_venue_adjustment_is_taken_from_the_side_it_reduces() -> None:
    book = Book()
    book.trade("a", Side.BUY, "0.003", "60000")
    book.put(
        e.PositionAdjusted(
            symbol=SYMBOL,
            exec_id="x",
            kind="AdlTrade",
            side=Side.SELL,
            qty=D("0.002"),
            price=D(60100),
            fee=D(0),
            exec_at=0,
        )
    )
    assert (book.ledger.stake_lots("a", SYMBOL), book.net("a")) == (1, D("0.2"))


def test_funding_follows_signed_lots_and_is_no_trade() -> None:
    book = Book()
    book.trade("a", Side.BUY, "0.003", "60000")
    book.trade("b", Side.SELL, "0.001", "60000")
    paid = e.FundingPaid(symbol=SYMBOL, exec_id="f", qty=D("0.002"), mark=D(1), rate=D(1), fee=D("0.02"), exec_at=0)
    book.put(paid)
    assert (book.net("a"), book.net("b")) == (D("-0.03"), D("0.01"))
    assert from_units(book.ledger.wallet_units) == D("-0.02")
    assert (book.ledger.trips, book.ledger.losing_streak) == (0, 0)


def test_streak_counts_losing_trips_net_of_fees() -> None:
    book = Book()
    for price, fee, streak in (("60001", "0.002", 1), ("60000", "0", 1), ("59990", "0", 2), ("60010", "0.001", 0)):
        book.trade("a", Side.BUY, "0.001", "60000")
        book.trade("a", Side.SELL, "0.001", price, fee=fee)
        assert book.ledger.losing_streak == streak
    assert (book.ledger.trips, book.ledger.trips_won) == (4, 1)


def test_lot_change_keeps_quantities() -> None:
    book = Book("0.001")
    book.trade("a", Side.BUY, "0.025", "60000")
    book.define("0.01")
    assert (book.ledger.grids[SYMBOL].lot_size, book.ledger.lots(SYMBOL)) == (D("0.001"), 25)
    assert book.ledger.quantity(SYMBOL) == D("0.025")
    book.define("0.0001")
    assert (book.ledger.lots(SYMBOL), book.ledger.stake_lots("a", SYMBOL)) == (250, 250)
    assert book.ledger.unrealised_units(SYMBOL, D(60001)) == to_units(D("0.025"))


def test_trade_before_its_instrument_is_known() -> None:
    book = Book()
    book.ledger.grids.clear()
    book.trade("a", Side.BUY, "0.0025", "60000.5")
    assert book.ledger.quantity(SYMBOL) == D("0.0025")
    book.define("0.001")
    assert book.ledger.quantity(SYMBOL) == D("0.0025")


trades = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", OWN]),
        st.sampled_from(list(Side)),
        st.integers(1, 9),
        st.integers(599_900, 600_100),
        st.integers(-3, 9),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(trades)
def test_flat_wallet_is_the_cash_flow_and_stakes_add_up(steps: list[tuple[str, Side, int, int, int]]) -> None:
    """Over any trades: stakes sum to the position; closed out, wallet = cash flow = sum of the stakes, to the last digit."""
    book = Book()
    for owner, side, lots, ticks, fee in steps:
        book.trade(owner, side, D(lots) / 1000, D(ticks) / 10, D(fee) / 10**8)
        assert sum(s.lots for s in book.ledger.stakes.values()) == book.ledger.lots(SYMBOL)
        assert book.ledger.positions[SYMBOL].cost_units >= 0
    left = book.ledger.lots(SYMBOL)
    if left:
        book.trade(OWN, Side.SELL if left > 0 else Side.BUY, D(abs(left)) / 1000, "60000.3")
    book.put(e.FlatConfirmed(checked_at=0, wallet=D(0)))
    assert from_units(book.ledger.wallet_units) == book.cash_flow
    assert sum(s.net_units for s in book.ledger.stakes.values()) == book.ledger.wallet_units
    assert all(s.lots == 0 and s.cost_units == 0 for s in book.ledger.stakes.values())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(book.ledger), type=Ledger) == book.ledger


def test_what_is_not_held_is_worth_nothing() -> None:
    book = Book()
    assert (book.ledger.quantity(SYMBOL), book.ledger.entry_price(SYMBOL), book.ledger.lots(SYMBOL)) == (D(0), D(0), 0)
    assert (book.ledger.stake_lots("a", SYMBOL), book.ledger.lot_units("NONE", D(1))) == (0, 0)
    book.trade("a", Side.BUY, "0", "1")
    assert book.ledger.positions == {}


def test_funding_of_a_position_that_is_gone_belongs_to_nobody() -> None:
    book = Book()
    for _ in range(2):
        book.put(e.FundingPaid(symbol=SYMBOL, exec_id="f", qty=D(1), mark=D(1), rate=D(1), fee=D("0.02"), exec_at=0))
    assert book.net(OWN) == D("-0.04")
    assert from_units(book.ledger.wallet_units) == D("-0.04")


def test_quantity_off_the_lot_makes_the_grid_finer() -> None:
    book = Book()
    book.trade("a", Side.BUY, "0.001", "60000")
    book.trade("a", Side.BUY, "0.0005", "60000")
    assert (book.ledger.quantity(SYMBOL), book.ledger.lots(SYMBOL)) == (D("0.0015"), 3)
