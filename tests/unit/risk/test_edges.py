"""The edges of small functions, each on both sides: what the hunt for mutants found nobody looking at."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.events import (
    CancelIntent,
    FlattenRequested,
    Halted,
    Mode,
    ModeChanged,
    OrderAccepted,
    OrderIntent,
    Purpose,
    Reason,
    Resumed,
    TimeInForce,
)
from libs.common.values import Grid, Side
from services.risk import exits, kernel, limits, modes, orders, sizing
from services.risk.config import EntryStyle, Limits
from services.risk.draft import Draft
from services.risk.modes import SEVERITY
from services.risk.state import Block, Market, Order, Repeat, RiskState, Task
from tests.unit.risk.desk import SECOND, D, config, of, only, opened

# --- kernel and sizing ------------------------------------------------------------------------------------------------


def test_a_unit_buys_a_lot_of_a_unit():
    assert kernel.lots_for(1, 1) == 1
    assert kernel.lots_for(5, 1) == 5
    assert kernel.lots_for(0, 1) == kernel.lots_for(5, 0) == kernel.lots_for(-5, 1) == 0


def test_bases_of_one_unit_and_below():
    assert kernel.rescaled(10, 1, 5) == 50
    assert kernel.rescaled(10, -5, 5) == 20
    assert kernel.rescaled(10, 0, 5) == 15


def test_without_a_base_the_smallest_loss_reaches_any_ratio():
    assert kernel.reaches(1, 10**17, 0)
    assert not kernel.reaches(1, 10**17, 1)


def test_sizes_at_zero_and_one():
    assert sizing.risk_units(10**12, D(1), 10**8, D(1), D(0)) == 0
    assert sizing.lots_at_risk(5, 1) == 5
    assert sizing.kelly_e8(D(1), D("0.00000001"), D(1)) == 10**8


# --- limits -----------------------------------------------------------------------------------------------------------


def market(**changes: Any) -> Market:
    fields: dict[str, Any] = {"bid": D(100), "ask": D(101), "mark": D(100), "index": D(102), "mark_units": 1}
    return Market("BTCUSDT", **(fields | changes))


def draft(**changes: Any) -> Draft:
    fields: dict[str, Any] = {"side": Side.BUY, "lots": 1, "price": D(101), "touch": D(101), "lot_units": 1}
    return Draft("trend", "BTCUSDT", **(fields | changes))


def order(link: str = "o", **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "strategy": "trend", "symbol": "BTCUSDT", "sign": -1, "lots": 4, "filled": 0, "price": D(101), "lot_units": 100,
        "time_in_force": TimeInForce.POST_ONLY, "reduce_only": False, "purpose": Purpose.ENTRY, "at": 0,
    }  # fmt: skip
    return Order(order_link_id=link, **(fields | changes))


def book(**markets: Any) -> RiskState:
    state = RiskState(markets={"BTCUSDT": market(**markets)})
    state.ledger.grids["BTCUSDT"] = Grid(tick_size=D("0.1"), lot_size=D("0.001"))
    return state


@pytest.mark.parametrize(
    ("side", "touch", "mark", "index", "measured"),
    [
        (Side.BUY, "101", "100", "102", "0.01"),
        (Side.BUY, "101", "100", "0", "0.01"),
        (Side.BUY, "101", "102", "100", "0.01"),
        (Side.BUY, "99", "100", "102", "0"),
        (Side.SELL, "99", "100", "90", "0.01"),
        (Side.SELL, "99", "90", "100", "0.01"),
        (Side.SELL, "101", "90", "100", "0"),
        (Side.SELL, "0.5", "1", "0", "0.5"),
    ],
)
def test_the_collar_is_measured_from_what_hurts(side: Side, touch: str, mark: str, index: str, measured: str):
    state = book(mark=D(mark), index=D(index))
    is_breached = D(measured) > state.limits.entry_collar
    told = limits.entry_collar(state, draft(side=side, touch=D(touch)))
    assert told == (D(measured), state.limits.entry_collar, is_breached)


def test_the_collar_is_breached_beyond_its_limit_not_at_it():
    state = book(mark=D(100), index=D(100))
    assert [limits.entry_collar(state, draft(touch=D(touch)))[2] for touch in ("101", "101.0001")] == [False, True]


@pytest.mark.parametrize("what", ["trading", "down", "mark_units", "touch", "lot_units"])
def test_a_market_needs_all_it_is_made_of(what: str):
    state, wanted = book(), draft()
    assert limits.no_market(state, wanted) == (0, 1, False)
    holder = wanted if what in ("touch", "lot_units") else state.markets["BTCUSDT"]
    setattr(holder, what, {"trading": False, "down": True, "touch": D(0)}.get(what, 0))
    assert limits.no_market(state, wanted) == (1, 1, True)


def test_an_order_is_crossed_at_its_own_price():
    assert limits.crosses(draft(price=D(101)), -1, D(101))
    assert not limits.crosses(draft(price=D(101)), -1, D("101.1"))
    assert limits.crosses(draft(side=Side.SELL, price=D(101)), 1, D(101))
    assert not limits.crosses(draft(side=Side.SELL, price=D(101)), 1, D("100.9"))
    assert not limits.crosses(draft(), 1, D(101))


def test_crossings_and_orders_in_flight_are_counted():
    state = book()
    state.orders = {"a": order("a"), "b": order("b", strategy="mean"), "c": order("c", symbol="ETHUSDT")}
    assert limits.self_match(state, draft()) == (2, 1, True)
    assert limits.in_flight(state, draft()) == (1, 1, True)


def test_rates_without_any_memory_are_zero():
    state = book()
    assert limits.signal_repeats(state, draft())[0] == limits.signal_flood(state, draft())[0] == 0
    said = draft(repeat=Repeat("w", approved_at=[1, 2], heard=3))
    assert limits.signal_repeats(state, said)[0] == 2
    assert limits.signal_flood(state, said)[0] == 3


def test_coins_may_cost_all_the_cash_that_is_free_and_no_unit_more():
    state = book()
    state.ledger.wallet_units = 100  # a hundredth is kept back
    asked = draft(lots=99)
    asked.symbol = "BTCUSDT-SPOT"
    assert not limits.spot_cash(state, asked)[2]
    asked.lots = 100
    assert limits.spot_cash(state, asked)[2]


@pytest.mark.parametrize(("side", "worst"), [(Side.BUY, 8), (Side.SELL, 5)])
def test_the_worst_of_a_symbol_has_the_order_on_its_own_side(side: Side, worst: int):
    asked = draft(side=side, lots=3)
    asked.exposure.buy_units, asked.exposure.sell_units = 5, 2
    limits.judge(book(), asked)
    assert asked.worst_units == worst


def test_only_the_mode_says_why():
    state = book()
    assert (found := limits.judge(state, draft()).binding) is not None
    assert (found.use.name, found.breached, found.detail) == (Reason.ALLOW_LIST, True, "")
    state.blocks[f"book/{Reason.OPERATOR}"] = Block("book", Reason.OPERATOR, Mode.HALTED, 0, "h")
    assert (found := limits.judge(state, draft(is_allowed=True)).binding) is not None
    assert (found.use.name, found.breached, found.detail) == (Reason.MODE, True, "book HALTED OPERATOR")


def test_why_names_the_scopes_of_the_draft_only():
    state = book()
    for scope in ("book", "symbol:ETHUSDT", "strategy:trend"):
        state.blocks[f"{scope}/{Reason.OPERATOR}"] = Block(scope, Reason.OPERATOR, Mode.HALTED, 0, "h")
    told = limits.why(state, draft())
    assert "book" in told
    assert "strategy:trend" in told
    assert "ETHUSDT" not in told
    assert limits.mode(state, draft()) == (SEVERITY[Mode.HALTED], 1, True)


def test_the_largest_order_is_the_smaller_of_the_venues_and_ours():
    state = book(max_lots=50)
    assert limits.largest_order(state, "BTCUSDT") == 50
    state.markets["BTCUSDT"].max_lots = 1
    assert limits.largest_order(state, "BTCUSDT") == 1
    state.limits = msgspec.structs.replace(state.limits, max_order_qty=D(1))
    assert limits.largest_order(state, "BTCUSDT") == 1, "a thousand lots by ours"
    state.limits = Limits()
    state.markets["BTCUSDT"].max_lots = 0
    assert limits.largest_order(state, "BTCUSDT") == 0


# --- modes ------------------------------------------------------------------------------------------------------------


def condition(state: RiskState, scope: str = "book") -> str:
    modes.note(state, scope, Reason.SPREAD, D(2), D(1))
    return f"{scope}/{Reason.SPREAD}"


def test_the_first_time_a_day_clears_itself_where_one_is_allowed():
    state = RiskState()
    key = condition(state)
    assert isinstance(modes.raised(state, key, 1), ModeChanged)
    state.clears_today["book"] = 1
    assert isinstance(modes.raised(state, key, 1), Halted)


def test_a_transient_clears_when_it_was_quiet_for_just_long_enough():
    state = RiskState(now=10, reconciled=True, reconciled_at=2_000_000_000)
    key = condition(state)
    state.blocks[key] = Block("book", Reason.SPREAD, Mode.REDUCE_ONLY, 10)
    state.now = 10 + 1_000_000_000 - 1
    assert modes.cleared(state, key, 1000) is None
    state.now += 1
    assert modes.cleared(state, key, 1000) is not None


def test_what_clears_leaves_the_rest_of_its_own_scope():
    state = RiskState(now=10**12, reconciled=True, reconciled_at=10**12)
    key = f"book/{Reason.SPREAD}"
    state.blocks[key] = Block("book", Reason.SPREAD, Mode.REDUCE_ONLY, 0)
    state.blocks["symbol:X/a"] = Block("symbol:X", Reason.OPERATOR, Mode.HALTED, 0, "h1")
    assert modes.cleared(state, key, 0).new is Mode.NORMAL  # type: ignore[union-attr]
    state.blocks["book/b"] = Block("book", Reason.OPERATOR, Mode.HALTED, 0, "h2")
    assert modes.cleared(state, key, 0).new is Mode.HALTED  # type: ignore[union-attr]


def test_a_liquidation_counts_without_any_block():
    assert modes.effective_mode(RiskState(liquidating=True), "trend", "BTCUSDT") is Mode.LIQUIDATING
    assert modes.effective_mode(RiskState(), "trend", "BTCUSDT") is Mode.NORMAL


def test_the_end_of_a_liquidation_ends_the_exits_under_way():
    state = RiskState(liquidating=True)
    state.tasks["trend|BTCUSDT"] = Task("trend", "BTCUSDT", Purpose.EXIT, 0, "o", "s", 1, "c")
    modes.on_mode_changed(
        state, ModeChanged(scope="book", old=Mode.LIQUIDATING, new=Mode.HALTED, reason=Reason.OPERATOR)
    )
    assert not state.tasks
    assert not state.liquidating


def test_a_resume_forgets_the_condition_and_says_that_the_streak_is_none():
    state = RiskState()
    key = condition(state)
    state.blocks[key] = Block("book", Reason.SPREAD, Mode.HALTED, 0, "h")
    modes.on_resumed(state, Resumed(halt_id="h", scope="book", operator="a"))
    assert not state.conditions
    assert modes.rebases(state, Reason.MAX_CONSECUTIVE_LOSSES)[0].new == 0


# --- orders -----------------------------------------------------------------------------------------------------------


def test_a_lot_change_carries_what_was_filled_and_what_a_lot_is_worth():
    state = book()
    state.orders = {"o": order(lots=5, filled=2, lot_units=100)}
    orders.requantise(state, "BTCUSDT", Decimal(10))
    changed = state.orders["o"]
    assert (changed.lots, changed.filled, changed.lot_units) == (50, 20, 10)


def test_a_cancel_is_asked_of_what_it_names():
    def asked(**fields: str) -> set[str]:
        state = book()
        state.now = 7
        state.orders = {
            "a": order("a"), "b": order("b", symbol="ETHUSDT"), "c": order("c", reduce_only=True),
        }  # fmt: skip
        orders.on_cancel(state, CancelIntent(**fields))
        return {link for link, each in state.orders.items() if each.asked_at == 7}

    assert asked(order_link_id="a") == {"a"}
    assert asked(order_link_id="c", symbol="BTCUSDT") == {"c"}
    assert asked(symbol="BTCUSDT") == {"a"}
    assert asked() == {"a", "b"}


def test_entries_of_a_strategy_are_its_own_and_no_exits():
    state = book()
    state.orders = {"a": order("a"), "b": order("b", strategy="mean"), "c": order("c", reduce_only=True)}
    assert [each.order_link_id for each in orders.entries_of(state, "trend")] == ["a"]


def test_twenty_acknowledgements_are_kept():
    state = book()
    for ms in range(30):
        orders.on_order(state, OrderAccepted(order_link_id="x", symbol="BTCUSDT", order_id="v", ack_ms=ms))
    assert state.acks_ms == list(range(10, 30))


def test_a_failed_try_counts_one():
    state = book()
    state.tasks["k"] = Task("trend", "BTCUSDT", Purpose.EXIT, 0, "o", "s", 1, "c")
    orders._tried(state, "o", is_whole=False)
    assert state.tasks["k"].tries == 1
    orders._tried(state, "o", is_whole=True)
    assert state.tasks["k"].tries == 0


def test_an_approval_remembers_when_its_rest_is_to_go():
    desk = opened(config(auto_arm=True))
    made = only(desk.signal("1"), OrderIntent)
    assert desk.state.orders[made.order_link_id].cancel_at == 0
    assert desk.state.orders[made.order_link_id].filled == 0


# --- exits ------------------------------------------------------------------------------------------------------------


def leaving(side: Side = Side.SELL, price: str = "100") -> Any:
    return OrderIntent(
        order_link_id="x", strategy="trend", symbol="BTCUSDT", side=side, qty=D(1), price=D(price), time_in_force=TimeInForce.IOC,
        reduce_only=True, purpose=Purpose.EXIT, expires_at=1, limits_version=1,
    )  # fmt: skip


def cleared_by(state: RiskState, intent: Any) -> list[str]:
    return [event.order_link_id for event in exits.clear_way(state, intent)]  # type: ignore[attr-defined]


def test_an_exit_clears_only_resting_entries_that_it_would_meet():
    state = book()
    state.orders = {
        "meets": order("meets", sign=1, price=D(100)), "below": order("below", sign=1, price=D(99)), "same": order("same", sign=-1, price=D(100)),
        "ioc": order("ioc", sign=1, price=D(100), time_in_force=TimeInForce.IOC), "exit": order("exit", sign=1, price=D(100), reduce_only=True),
        "other": order("other", sign=1, price=D(100), symbol="ETHUSDT"),
    }  # fmt: skip
    assert cleared_by(state, leaving()) == ["meets"]


def test_a_buying_exit_meets_what_sells_at_its_price_or_below():
    state = book()
    state.orders = {"at": order("at", sign=-1, price=D(100)), "above": order("above", sign=-1, price=D(101))}
    assert cleared_by(state, leaving(Side.BUY)) == ["at"]


def test_only_an_entry_of_the_same_pair_keeps_a_stop():
    state = book()
    state.stops["trend|BTCUSDT"] = D(5)
    for kept in (order(strategy="mean"), order(reduce_only=True), order(symbol="ETHUSDT")):
        state.orders, state.stops = {"o": kept}, {"trend|BTCUSDT": D(5)}
        exits.drop_done(state)
        assert not state.stops
    state.orders, state.stops = {"o": order()}, {"trend|BTCUSDT": D(5)}
    exits.drop_done(state)
    assert state.stops


def test_a_software_stop_is_hit_at_its_distance_and_clears_its_way():
    """Long at 60,000 with a stop of 600; a resting buy of another strategy stands where the exit will sell."""
    desk = opened(config(auto_arm=True, entry={"mean": EntryStyle(style="post_only", ttl_ms=60_000)}))
    desk.hold("1", "60000")
    resting = only(desk.signal("1", strategy="mean"), OrderIntent)
    assert not of(desk.tick("59400.1"), OrderIntent)
    made = desk.tick("59400")
    stop = only(made, OrderIntent)
    assert (stop.purpose, stop.side) == (Purpose.STOP, Side.SELL)
    assert [event.order_link_id for event in of(made, CancelIntent)] == [resting.order_link_id]


def test_a_short_stop_buys():
    desk = opened()
    desk.hold("-1", "60000")
    assert not of(desk.tick("60599.9"), OrderIntent)
    stop = only(desk.tick("60600"), OrderIntent)
    assert (stop.purpose, stop.side) == (Purpose.STOP, Side.BUY)


@pytest.mark.parametrize(("side", "sign"), [("1", 1), ("-1", -1)])
def test_liquidation_takes_the_other_side_and_clears_its_way(side: str, sign: int):
    desk = opened(config(auto_arm=True, entry={"mean": EntryStyle(style="post_only", ttl_ms=60_000)}))
    entry = desk.hold(side, "60000")
    resting = only(desk.signal(side, strategy="mean"), OrderIntent)
    made = desk.put(FlattenRequested(operator="x", nonce="f", expires_at=0), "command")
    slice_ = only(made, OrderIntent)
    assert slice_.side is entry.side.opposite
    assert slice_.purpose is Purpose.FLATTEN
    named = [event.order_link_id for event in of(made, CancelIntent)]
    assert resting.order_link_id in named or "" in named


def test_a_small_loss_of_time_does_not_end_a_task():
    """A rejected exit is asked again, wider, when time passes; not twice while it is under way."""
    desk = opened()
    desk.hold("1", "60000")
    first = only(desk.signal("0"), OrderIntent)
    assert not of(desk.later(SECOND), OrderIntent)
    desk.cancelled(first)
    second = only(desk.later(SECOND), OrderIntent)
    assert second.price < first.price
    assert second.side is first.side
