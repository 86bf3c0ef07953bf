"""The edges of prices, valuations, transfers and pairs, each on both sides: what the hunt for mutants found nobody looking at."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import Mode, OrderIntent, Purpose, Reason, StakeTransferred
from libs.common.portfolio import Position, Stake
from libs.common.values import Grid, Side
from services.risk import exits, hedges, pricing, standing, valuation
from services.risk.draft import Draft
from services.risk.state import Hedge, Market, Order, RiskState, Window
from tests.unit.risk.desk import D, config, of, only, opened

IOC, POST = False, True


def market(**changes: Any) -> Market:
    fields: dict[str, Any] = {"tick_size": D("0.5"), "bid": D(99), "ask": D(101), "mark": D(100), "index": D(100)}
    return Market("BTCUSDT", **(fields | changes))


# --- prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "side", "rests", "slippage", "collar", "price"),
    [
        ({}, Side.BUY, IOC, "0.01", "0.1", "102"),  # 102.01, down to a tick
        ({}, Side.SELL, IOC, "0.01", "0.1", "98.5"),  # 98.01, up to a tick
        ({}, Side.BUY, IOC, "0.1", "0.05", "105"),  # the collar of mark
        ({}, Side.SELL, IOC, "0.1", "0.05", "95"),
        ({"index": D(98)}, Side.BUY, IOC, "0.1", "0.05", "102.5"),  # 102.9: the lower of mark and index
        ({"index": D(104)}, Side.BUY, IOC, "0.1", "0.05", "105"),
        ({"index": D(104)}, Side.SELL, IOC, "0.1", "0.05", "99"),  # 98.8: the higher of both
        ({"index": D(98)}, Side.SELL, IOC, "0.1", "0.05", "95"),
        ({"index": D(0)}, Side.BUY, IOC, "0.1", "0.05", "105"),
        ({"index": D(0)}, Side.SELL, IOC, "0.1", "0.05", "95"),
        ({"index": D("0.5"), "mark": D(1), "ask": D(2)}, Side.BUY, IOC, "0", "0", "0.5"),
        ({"mark": D(1), "index": D(1), "ask": D(1)}, Side.BUY, IOC, "0", "0", "1"),
        ({}, Side.BUY, POST, "0.01", "0.1", "99"),
        ({}, Side.SELL, POST, "0.01", "0.1", "101"),
        ({"ask": D(0)}, Side.BUY, IOC, "0.01", "0.1", "0"),
        ({"bid": D(0)}, Side.SELL, IOC, "0.01", "0.1", "0"),
        ({"mark": D(0)}, Side.BUY, POST, "0.01", "0.1", "0"),
        ({"ask": D(0)}, Side.BUY, POST, "0.01", "0.1", "0"),
    ],
)  # fmt: skip
def test_entry_price(changes: dict[str, Any], side: Side, rests: bool, slippage: str, collar: str, price: str):
    assert pricing.entry_price(market(**changes), side, rests, D(slippage), D(collar)) == D(price)


@pytest.mark.parametrize(
    ("side", "tries", "ratio", "price"),
    [
        (Side.BUY, 0, "0", "102"), (Side.SELL, 0, "0", "98"), (Side.BUY, 1, "0", "104"), (Side.SELL, 2, "0", "92"), (Side.BUY, 3, "0", "116"),
        (Side.SELL, 3, "0.05", "95"), (Side.BUY, 3, "0.05", "105"), (Side.SELL, 10, "0", "1"), (Side.BUY, 10, "0", "199"),
    ],
)  # fmt: skip
def test_exit_price_doubles_its_collar_to_the_venues_ratio(side: Side, tries: int, ratio: str, price: str):
    assert pricing.exit_price(market(price_limit_ratio=D(ratio)), side, D("0.02"), tries) == D(price)


def test_a_collar_stops_doubling_after_ten_tries():
    wide = [pricing.exit_price(market(mark=D(10**6)), Side.BUY, D("0.0001"), tries) for tries in (9, 10, 11, 50)]
    assert wide == [D(1_051_200), D(1_102_400), D(1_102_400), D(1_102_400)]


# --- standing limits ----------------------------------------------------------------------------------------------------


def test_latency_is_the_nineteenth_of_twenty_sorted():
    state = RiskState(acks_ms=list(range(1, 21)))
    assert standing.latency(state)[0] == 19
    state.acks_ms = list(range(1, 20))
    assert standing.latency(state)[0] == 0


@pytest.mark.parametrize("which", ["day", "week", "peak_units"])
def test_each_loss_alone_is_seen_on_every_tick(which: str):
    """Equity 90 of 100 against limits of a tenth; the other two bases are at equity."""
    state = RiskState(ratios_e16=[10**15, 10**15, 10**15])
    state.ledger.wallet_units = 90
    state.day = state.week = Window(1, 90, 90)
    state.peak_units = 90
    assert not standing.loss_reached(state)
    setattr(state, which, 100 if which == "peak_units" else Window(1, 100, 100))
    assert standing.loss_reached(state)
    state.ledger.wallet_units = 91
    assert not standing.loss_reached(state)


# --- valuation ----------------------------------------------------------------------------------------------------------


def test_cash_scales_the_base_that_waits_behind_a_carried_one():
    state = RiskState(funded=True)
    state.ledger.wallet_units = 200
    state.peak_units, state.day, state.week = 120, Window(1, 110, 100, ["X"]), Window(1, 100, 100)
    valuation.on_cash(state, D("0.000001"))  # 100 units came to 100
    assert (state.peak_units, state.day.base_units, state.day.opened_units) == (240, 220, 200)


def test_a_new_day_forgets_the_rebases_and_the_clears():
    state = RiskState(now=10**18, rebases_today=1, clears_today={"book": 3})
    valuation.on_time(state)
    assert (state.rebases_today, state.clears_today) == (0, {})


def test_a_loss_is_carried_only_from_below_its_base():
    state = RiskState(now=10**18, markets={"BTCUSDT": market(unrealised_units=-1)})
    state.ledger.wallet_units = 100
    state.day = Window(1, 100, 100)
    valuation.on_time(state)
    assert state.day.carried == []
    state.day = Window(1, 101, 101)
    valuation.on_time(state)
    assert (state.day.carried, state.day.base_units, state.day.opened_units) == (["BTCUSDT"], 101, 100)


def test_a_position_that_goes_on_keeps_what_is_carried_and_one_that_turns_does_not():
    state = RiskState()
    state.ledger.positions["X"] = Position(lots=1)
    for before, kept in ((1, ["X"]), (5, ["X"]), (-1, []), (0, [])):
        state.day, state.week = Window(1, 10, 5, ["X"]), Window(1, 10, 5)
        valuation.on_position(state, "X", before)
        assert state.day.carried == kept
        assert state.day.base_units == 10, "what the last move cost is judged against the old base"


# --- transfers ------------------------------------------------------------------------------------------------------------


def held(**lots: int) -> RiskState:
    """Strategies' stakes of one symbol at mark 100."""
    state = RiskState(markets={"BTCUSDT": market()})
    state.ledger.grids["BTCUSDT"] = Grid(tick_size=D("0.5"), lot_size=D("0.001"))
    state.ledger.stakes = {f"{n}|BTCUSDT": Stake(strategy=n, symbol="BTCUSDT", lots=count) for n, count in lots.items()}
    return state


def handed(state: RiskState, lots: int) -> list[tuple[str, str, Decimal]]:
    made = list(exits.transfers(state, "a", "BTCUSDT", lots))
    return [(x.seller, x.buyer, x.qty) for x in made if isinstance(x, StakeTransferred)]


def test_a_stake_goes_to_the_largest_of_the_other_side_first():
    state = held(a=10, b=-3, c=-4, d=5, e=-3)
    assert handed(state, 10) == [("a", "c", D("0.004")), ("a", "b", D("0.003")), ("a", "e", D("0.003"))]
    assert handed(state, 5) == [("a", "c", D("0.004")), ("a", "b", D("0.001"))]
    assert handed(state, 1) == [("a", "c", D("0.001"))]


def test_a_short_stake_is_bought():
    assert handed(held(a=-2, b=5), 2) == [("b", "a", D("0.002"))]


def test_nothing_is_handed_over_without_a_mark_or_to_who_is_busy_or_flat():
    state = held(a=2, b=-5, c=0)
    state.markets["BTCUSDT"].mark = D(0)
    assert handed(state, 2) == []
    state.markets["BTCUSDT"].mark = D("0.5")
    assert handed(state, 0) == []
    assert handed(state, 2) == [("a", "b", D("0.002"))]
    state.orders["o"] = Order("o", "b", "BTCUSDT", 1, 1, 0, D(1), 1, IOC, False, Purpose.ENTRY, 0)
    assert handed(state, 2) == []
    state.orders["o"].symbol = "ETHUSDT"
    assert handed(state, 2) != []


# --- pairs ------------------------------------------------------------------------------------------------------------------

PAIR = Hedge("arb", "BTCUSDT", "ETHUSDT", D(10))


def legs(first: int, second: int) -> RiskState:
    """Lots of 0.001 and 0.01, both venues' steps of one lot."""
    state = RiskState(markets={name: Market(name, mark_units=100) for name in ("BTCUSDT", "ETHUSDT")})
    for name, lot in (("BTCUSDT", "0.001"), ("ETHUSDT", "0.01")):
        state.ledger.grids[name] = Grid(tick_size=D("0.1"), lot_size=D(lot))
    for name, lots in (("BTCUSDT", first), ("ETHUSDT", second)):
        state.ledger.stakes[f"arb|{name}"] = Stake(strategy="arb", symbol=name, lots=lots)
    return state


def test_legs_that_differ_by_a_step_and_what_fees_explain_are_naked():
    assert not hedges.is_naked(legs(-100, 10), PAIR)
    slack = hedges.SLACK * D("0.1")
    assert slack > 0
    assert hedges.is_naked(legs(-100, 8), PAIR)
    assert hedges.is_naked(legs(-80, 10), PAIR)
    assert not hedges.is_naked(legs(0, 1), PAIR)  # a step exactly, less than a step and the slack of it
    assert hedges.is_naked(legs(0, 2), PAIR)
    assert not hedges.is_naked(legs(-91, 10), PAIR)


def test_a_pair_is_stopped_when_both_legs_together_lost_its_distance():
    """0.1 held of each: the stop is 10 a unit, 1.00 together, in units of 1e-8."""
    state = legs(-100, 10)
    loss = 10**8
    for name in ("BTCUSDT", "ETHUSDT"):
        stake = state.ledger.stakes[f"arb|{name}"]
        stake.cost_units = abs(stake.lots) * 100
    assert not hedges._is_stopped(state, PAIR)
    state.ledger.stakes["arb|ETHUSDT"].cost_units += loss - 1
    assert not hedges._is_stopped(state, PAIR)
    state.ledger.stakes["arb|ETHUSDT"].cost_units += 1
    assert hedges._is_stopped(state, PAIR)
    for unpriced in ("BTCUSDT", "ETHUSDT"):
        state.markets[unpriced].mark_units = 0
        assert not hedges._is_stopped(state, PAIR), "without a price nothing was lost"
        state.markets[unpriced].mark_units = 100


def test_a_pair_without_one_leg_is_no_matter_of_its_stop():
    state = legs(-100, 0)
    state.ledger.stakes["arb|BTCUSDT"].cost_units = -(10**9)
    assert not hedges._is_stopped(state, PAIR)


def test_the_room_of_a_pair_is_what_both_legs_cost_together():
    """10,000 of capital, leverage 1: 9,000 left beside 1,000 of other things; a unit of both legs costs 300."""
    state = legs(0, 0)
    state.ledger.wallet_units = 10_000 * 10**8
    state.limits = config(max_leverage=D(1), max_gross_usd=D(10**6)).limits
    first = Draft("arb", "BTCUSDT", Side.SELL, 1, D(1), D(1), 10**8 // 10)
    second = Draft("arb", "ETHUSDT", Side.BUY, 1, D(1), D(1), 2 * 10**8)
    first.exposure.gross_others_units = 1_000 * 10**8
    first.exposure.capital_units = state.capital_units()
    assert hedges._room(state, second, first) == D(30)
    first.exposure.lots, first.exposure.mark_units = 10, 300 * 10**8
    assert hedges._room(state, second, first) == D(20)
    first.exposure.gross_others_units = 20_000 * 10**8
    assert hedges._room(state, second, first) == 0


def test_a_pair_takes_no_more_than_the_cash_that_is_free():
    """9,900 are free; a unit of both legs is worth 300 and holds 60 at a leverage of 5."""
    state = legs(0, 0)
    state.ledger.wallet_units = 10_000 * 10**8
    state.limits = config(max_leverage=D(5), max_gross_usd=D(10**6)).limits
    first = Draft("arb", "BTCUSDT", Side.SELL, 1, D(1), D(1), 10**8 // 10)
    second = Draft("arb", "ETHUSDT", Side.BUY, 1, D(1), D(1), 2 * 10**8)
    first.exposure.capital_units = state.capital_units()
    assert hedges._room(state, second, first) == D(165)


# --- facts that arm and reverse ----------------------------------------------------------------------------------------------


def test_a_fresh_book_arms_itself_on_the_tick_that_was_missing():
    from libs.common.record import Started
    from tests.unit.risk.desk import Desk

    desk = Desk(config(auto_arm=True))
    desk.put(Started(fresh=True), "timer")
    desk.instrument()
    desk.cash()
    desk.reconcile()
    assert f"book/{Reason.BORN}" in desk.state.blocks
    assert only(desk.tick("60000"), e.Resumed).operator == "auto_arm"
    assert not of(desk.tick("60000"), e.Resumed)


def test_a_reversal_enters_when_time_passes_after_its_exit():
    desk = opened(config(auto_arm=True, signal_ttl_ms=60_000))
    desk.hold("1", "60000")
    leaving = only(desk.signal("-1"), OrderIntent)
    entered = of(desk.fill(leaving, price=D(60_000)), OrderIntent) + of(desk.later(), OrderIntent)
    assert [(order.side, order.purpose) for order in entered] == [(Side.SELL, Purpose.ENTRY)]
    assert entered[0].expires_at > desk.now - 10**9
    assert not of(desk.later(), OrderIntent)


def test_mode_of_a_mark_is_the_books():
    desk = opened()
    assert valuation.marked(desk.state).mode is Mode.NORMAL
    desk.put(e.HaltRequested(operator="x", nonce="h", expires_at=0, reason="r"), "command")
    assert valuation.marked(desk.state).mode is Mode.HALTED
