"""The edges of entries, exits and orders: each part of a condition that lets one through, keeps one back or counts one."""

from __future__ import annotations

import pytest

from libs.common import events as e
from libs.common.events import CancelIntent, Halted, OrderIntent, OrderRefused, Purpose, Reason, StakeTransferred
from services.risk import exits, orders, valuation
from services.risk.config import Allow, EntryStyle
from tests.unit.risk.desk import SECOND, D, Desk, Side, config, halted, of, only, opened
from tests.unit.risk.pairs import PERP, SPOT, ask, legs, paired, stakes, traded

KEY = "trend|BTCUSDT"
RESTING = {name: EntryStyle(style="post_only", ttl_ms=60_000) for name in ("trend", "mean")}


def add(desk: Desk, side: str, strategy: str, quantity: str) -> Desk:
    """What is asked for, filled as far as `quantity`."""
    order = only(desk.signal(side, strategy), OrderIntent)
    desk.fill(order, D(quantity), D(60_000))
    desk.cancelled(order, quantity)
    return desk


def with_ether(desk: Desk) -> Desk:
    desk.instrument("ETHUSDT", "0.01")
    desk.tick("3000", "ETHUSDT")
    return desk


# --- entries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "reserved"), [("1", "60060.1"), ("-1", "60000")])
def test_an_entry_is_reserved_at_the_worse_of_its_price_and_the_mark(side: str, reserved: str) -> None:
    desk = opened()
    order = only(desk.signal(side), OrderIntent)
    (kept,) = desk.state.orders.values()
    worth = max(order.price, D(60_000))
    assert kept.lot_units == worth * 10**8 / 1000
    assert abs(worth - D(reserved)) < 1


def test_nothing_is_remembered_of_what_a_strategy_may_not_trade() -> None:
    desk = with_ether(opened(config(auto_arm=True, allow={"trend": Allow(symbols=("BTCUSDT", "NONE"))})))
    for strategy, symbol in (("trend", "ETHUSDT"), ("trend", "NONE"), ("mean", "BTCUSDT")):
        only(desk.signal(strategy=strategy, symbol=symbol), OrderRefused)
    assert (desk.state.repeats, desk.state.pending) == ({}, {})


def test_a_reversal_by_a_model_that_was_blocked_meanwhile_is_not_entered() -> None:
    desk = opened()
    desk.hold(model="m1")
    exit_ = only(desk.signal("-1", model="m1"), OrderIntent)
    desk.put(e.ModelBlocked(model="m1", reason="drift"), "model")
    assert only(desk.fill(exit_, price=D(60_000)), OrderRefused).reason is Reason.ALLOW_LIST


def test_a_reversal_has_an_id_for_each_half_and_waits_for_no_other_symbol() -> None:
    desk = with_ether(opened())
    desk.hold()
    exit_ = only(desk.signal("-1"), OrderIntent)
    only(desk.signal(symbol="ETHUSDT", stop_distance=D(30)), OrderIntent)
    entry = only(desk.fill(exit_, price=D(60_000)), OrderIntent)
    assert (entry.side, entry.purpose) == (Side.SELL, Purpose.ENTRY)
    assert entry.order_link_id != exit_.order_link_id


def test_out_of_one_symbol_cancels_what_rests_there_and_nothing_else() -> None:
    desk = with_ether(opened(config(auto_arm=True, entry={"trend": RESTING["trend"]})))
    add(desk, "1", "trend", "0.1")
    ether = only(desk.signal(symbol="ETHUSDT", stop_distance=D(30)), OrderIntent)
    assert of(desk.signal("0"), CancelIntent) == []
    assert ether.order_link_id in desk.state.orders
    desk = opened()
    only(desk.signal("1"), OrderIntent)
    assert of(desk.signal("0"), CancelIntent) == [], "what takes at once has nothing resting"


def test_a_reversal_cancels_the_rest_of_its_entry_and_says_why() -> None:
    desk = opened(config(auto_arm=True, entry={"trend": RESTING["trend"]}))
    resting = only(desk.signal("1"), OrderIntent)
    desk.fill(resting, D("0.1"), D(60_000))
    named = {"order_link_id": resting.order_link_id, "symbol": "BTCUSDT"}
    assert CancelIntent(**named, reason="superseded") in desk.signal("-1")


def test_words_without_an_edge_are_refused_for_a_quantity_of_none() -> None:
    refused = only(add(opened(), "1", "trend", "0.1").signal("1", p=D("0.1")), OrderRefused)
    assert (refused.reason, refused.qty, refused.side) == (Reason.NO_EDGE, 0, Side.BUY)


def test_a_refusal_tells_the_measure_the_limit_and_what_was_wanted() -> None:
    desk = opened(config(auto_arm=True, max_gross_usd=D(1)))
    refused = only(desk.signal("-1"), OrderRefused)
    assert (refused.strategy, refused.symbol, refused.side) == ("trend", "BTCUSDT", Side.SELL)
    assert (refused.reason, refused.limit) == (Reason.MAX_GROSS_USD, 1)
    assert refused.measured == D(60), "the least that the venue takes"
    assert refused.qty > 0
    assert len(refused.limits) > 20


@pytest.mark.parametrize(("factor", "blocked"), [("0", ["m"]), ("0.5", []), ("1", [])])
def test_drift_blocks_a_model_only_when_nothing_of_it_is_left(factor: str, blocked: list[str]) -> None:
    desk = opened()
    body = e.DriftMeasured(strategy="trend", model="m", psi=D(0), rolling_sharpe=D(0), factor=D(factor))
    assert [event.model for event in of(desk.put(body, "model"), e.ModelBlocked)] == blocked


@pytest.mark.parametrize("name", ["order_rate", "signal_repeats", "fills_per_minute"])
def test_a_count_of_which_none_is_allowed_refuses_the_first(name: str) -> None:
    assert only(opened(config(auto_arm=True, **{name: D(0)})).signal(), OrderRefused).reason == name


def test_a_mark_lists_what_is_held_and_no_flat_symbol() -> None:
    desk = with_ether(opened())
    desk.hold()
    assert [each.symbol for each in valuation.marked(desk.state).positions] == ["BTCUSDT"]


def test_a_book_too_large_reduces_what_is_held_and_leaves_a_flat_symbol_alone() -> None:
    desk = with_ether(opened())
    ether = only(desk.signal(symbol="ETHUSDT", stop_distance=D(300)), OrderIntent)
    traded(desk, ether, price="3000")
    traded(desk, only(desk.signal("0", symbol="ETHUSDT"), OrderIntent), price="3000")
    desk.hold()
    desk.put(e.LimitChanged(version=2, limits={"max_gross_usd": D(100)}), "portfolio")
    assert [changed.scope for changed in of(desk.later(), e.ModeChanged)] == ["symbol:BTCUSDT"]


# --- what is counted -------------------------------------------------------------------------------------------------


def test_an_order_that_fills_in_parts_is_counted_once_and_an_exit_disables_nobody() -> None:
    desk = opened(config(auto_arm=True, fills_per_minute=D(2)))
    order = only(desk.signal(), OrderIntent)
    made = [event for _ in range(4) for event in desk.fill(order, D("0.02"), D(60_000))]
    made += desk.cancelled(order, "0.08")
    made += desk.fill(only(desk.signal("0"), OrderIntent), price=D(60_000))
    assert of(made, Halted) == []
    assert only(desk.signal(), OrderRefused).reason is Reason.FILLS_PER_MINUTE


def test_what_closes_one_side_takes_nothing_from_the_other() -> None:
    desk = opened()
    desk.hold()
    only(desk.signal("0"), OrderIntent)
    assert (orders.reduce_open(desk.state, "BTCUSDT", -1), orders.reduce_open(desk.state, "BTCUSDT", 1)) == (166, 0)
    assert orders.reduce_open(desk.state, "ETHUSDT", -1) == 0


def test_a_dead_exit_is_not_brought_back_by_fills_that_were_late() -> None:
    """The venue said that 0.1 traded; its fills come in two parts and name the whole order."""
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.cancelled(exit_, "0.1")
    desk.fill(exit_, D("0.05"), D(60_000))
    assert desk.state.orders[exit_.order_link_id].open_lots == 50
    desk.fill(exit_, D("0.05"), D(60_000))
    assert desk.state.orders == {}
    assert only(desk.later(), OrderIntent).qty == D("0.066")


def test_a_try_that_failed_widens_its_own_exit_alone() -> None:
    desk = opened(config(auto_arm=True, max_order_usd=D(5000)))
    desk.hold()
    desk.hold(strategy="mean")
    mine, other = only(desk.signal("0"), OrderIntent), only(desk.signal("0", "mean"), OrderIntent)
    desk.cancelled(mine)
    desk.cancelled(mine)
    assert {name: task.tries for name, task in desk.state.tasks.items()} == {KEY: 1, "mean|BTCUSDT": 0}
    assert other.order_link_id in desk.state.orders


# --- exits -----------------------------------------------------------------------------------------------------------


def test_no_more_coins_are_sold_than_are_left_because_others_lie_in_the_account() -> None:
    desk = paired()
    for order in legs(ask(desk)).values():
        traded(desk, order)
    desk.now += SECOND
    balances = {"BTC": D(5)}
    desk.put(e.AccountSnapshot(wallet=D(0), equity=D(0), available=D(0), balances=balances), "account")
    assert legs(ask(desk, "0"))[SPOT].qty == D("0.137")


def test_the_whole_of_a_stake_goes_on_leaving_though_the_book_holds_more() -> None:
    """0.1 of 0.2 that two hold: the exit is whole, so what does not fill is tried again."""
    desk = opened()
    for name in ("trend", "mean"):
        add(desk, "1", name, "0.1")
    desk.cancelled(only(desk.signal("0"), OrderIntent))
    again = only(desk.later(), OrderIntent)
    assert (again.strategy, again.qty) == ("trend", D("0.1"))


def test_an_exit_clears_its_way_by_name_symbol_and_reason() -> None:
    desk = opened(config(auto_arm=True, entry={"mean": RESTING["mean"]}))
    desk.hold()
    resting = only(desk.signal("1", "mean"), OrderIntent)
    wanted = CancelIntent(order_link_id=resting.order_link_id, symbol="BTCUSDT", reason="self_match")
    assert only(desk.signal("0"), CancelIntent) == wanted


def test_coins_of_a_market_that_nobody_defined_are_no_dust_and_stop_nothing() -> None:
    desk = opened()
    fill = e.Fill(
        order_link_id="x", order_id="v", exec_id="x", strategy="trend", symbol="NEWUSDT-SPOT", side=Side.BUY, qty=D(1),
        price=D(1), fee=D(0), is_maker=False, reduce_only=False, purpose=Purpose.ENTRY, cum_qty=D(1), order_qty=D(1),
        exec_at=desk.now,
    )  # fmt: skip
    desk.put(fill, "fill")
    assert exits.held(desk.state, "trend|NEWUSDT-SPOT") == 1
    halted(desk, flatten=True)
    assert of(desk.later(), OrderIntent) == []
    assert of(desk.put(e.FlatConfirmed(checked_at=0, wallet=D(0)), "account"), e.ModeChanged) == []


def test_a_stop_is_tried_again_by_the_clock_and_goes_on_whatever_is_wanted() -> None:
    desk = opened()
    desk.hold()
    stop = only(desk.tick("59400"), OrderIntent)
    assert of(desk.cancelled(stop) + desk.tick("59390"), OrderIntent) == [], "not with every price"
    desk.signal("1")
    again = only(desk.later(), OrderIntent)
    assert (again.purpose, again.qty) == (Purpose.STOP, stop.qty)


def test_no_stop_is_sent_beside_a_liquidation_nor_against_a_book_that_holds_the_other_side() -> None:
    desk = opened(config(auto_arm=True, flatten_slice_usd=D(4000)))
    desk.hold()
    only(halted(desk, flatten=True), OrderIntent)
    assert of(desk.tick("59400"), OrderIntent) == []
    desk = add(opened(config(auto_arm=True, max_order_usd=D(20_000))), "1", "trend", "0.1")
    add(desk, "-1", "mean", "0.15")
    assert of(desk.tick("59400"), OrderIntent) == [], "nothing of it is long"


def test_a_stop_of_one_strategy_passes_over_a_leg_that_has_none() -> None:
    desk = paired(max_order_usd=D(3000))
    desk.fill(only(desk.signal("1", "trend", PERP, stop_distance=D(600)), OrderIntent), price=D(60_000))
    for order in legs(ask(desk)).values():
        traded(desk, order)
    desk.tick("59400", SPOT, width="0.01")
    assert {order.strategy for order in of(desk.tick("59400"), OrderIntent)} <= {"trend"}


def test_what_others_are_closing_is_not_sold_a_second_time_as_an_entry() -> None:
    """Two are long 0.1 each and one short 0.1: the book's 0.1 leaves once; who comes second waits until he is out of the way."""
    names = ("trend", "mean", "late")
    allow, shares = {name: Allow(symbols=("BTCUSDT",)) for name in names}, {name: D("0.3") for name in names}
    desk = opened(config(auto_arm=True, allow=allow, allocation=shares))
    for name, side in (("trend", "1"), ("mean", "1"), ("late", "-1")):
        add(desk, side, name, "0.1")
    desk.cancelled(only(desk.signal("0"), OrderIntent))
    first = only(desk.signal("0", "mean"), OrderIntent)
    assert (first.qty, first.reduce_only) == (D("0.1"), True)
    assert of(desk.later(), OrderIntent) == []
    desk.fill(first, price=D(60_000))
    rest = only(desk.later(), OrderIntent)
    assert (rest.strategy, rest.qty, rest.reduce_only) == ("trend", D("0.1"), False)


def test_a_step_that_nobody_asked_for_refuses_nothing() -> None:
    """The book is halted and trend, who holds the other side, is busy: mean waits, and no second of it says a word."""
    desk = add(opened(), "1", "trend", "0.1")
    desk.hold("-1", strategy="mean")
    buy = only(desk.signal("0", "mean"), OrderIntent)
    more = only(desk.signal("1", stop_distance=D(100)), OrderIntent)
    halted(desk)
    desk.fill(buy, price=D(60_000))
    assert (more.order_link_id in desk.state.orders, list(desk.state.tasks)) == (True, ["mean|BTCUSDT"])
    made = desk.later() + desk.later()
    assert (of(made, OrderRefused), of(made, StakeTransferred), of(made, OrderIntent)) == ([], [], [])
    desk.cancelled(more)
    assert only(desk.later(), StakeTransferred).buyer == "mean"


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_a_pair_is_known_by_both_of_its_symbols() -> None:
    desk = paired()
    for symbol, hedge in (("NONE", SPOT), (PERP, "NONE")):
        refused = only(desk.signal("-1", "arb", symbol, hedge=hedge), OrderRefused)
        assert (refused.reason, desk.state.hedges) == (Reason.UNKNOWN_SYMBOL, {})
    assert only(desk.signal("-1", "nobody", PERP, hedge=SPOT), OrderRefused).reason is Reason.ALLOW_LIST
    assert desk.state.hedges == {}


def test_a_pair_that_turns_leaves_and_enters_nothing_by_itself() -> None:
    desk = paired()
    for order in legs(ask(desk)).values():
        traded(desk, order)
    out = legs(ask(desk, "1"))
    assert desk.state.pending == {}
    for order in out.values():
        assert of(traded(desk, order), OrderIntent) == []
    assert stakes(desk) == (0, 0)


def test_a_leg_that_comes_in_parts_is_alone_since_the_first_of_them() -> None:
    desk = paired()
    spot = legs(ask(desk))[SPOT]
    desk.fill(spot, D("0.1"), D(60_000))
    desk.now += SECOND // 4
    rest = e.Fill(
        order_link_id=spot.order_link_id, order_id="v", exec_id="second", strategy="arb", symbol=SPOT, side=Side.BUY,
        qty=D("0.037"), price=D(60_000), fee=D(0), is_maker=False, reduce_only=False, purpose=Purpose.ENTRY,
        cum_qty=D("0.137"), order_qty=D("0.137"), exec_at=desk.now,
    )  # fmt: skip
    assert of(desk.put(rest, "fill"), OrderIntent) == []
    assert only(desk.later(SECOND // 4), OrderIntent).symbol == SPOT


def test_a_leg_alone_waits_for_no_order_in_another_symbol() -> None:
    allow = {"arb": Allow(symbols=(PERP, SPOT, "ETHUSDT"))}
    desk = with_ether(paired(allow=allow, allocation={"arb": D("0.5")}))
    orders_ = legs(ask(desk))
    traded(desk, orders_[SPOT])
    only(desk.signal("1", "arb", "ETHUSDT", stop_distance=D(30)), OrderIntent)
    assert only(traded(desk, orders_[PERP], 0), OrderIntent).symbol == SPOT


def test_the_larger_of_two_minima_is_the_pairs() -> None:
    for symbol in (PERP, SPOT):
        desk = paired(max_position_size=D("0.001"))
        lot, rest = ("0.001", {}) if symbol == PERP else ("0.000001", {"category": "spot", "tick_size": D("0.01")})
        desk.instrument(symbol, lot, min_qty=D("0.2"), **rest)  # type: ignore[arg-type]
        refused = only(ask(desk), OrderRefused)
        assert (refused.qty, refused.side) == (D("0.2"), Side.BUY)
        assert (refused.reason, refused.limit) == (Reason.MAX_POSITION_SIZE, D("0.001"))
