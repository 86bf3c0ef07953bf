"""The edges of a signal's decision: directions, reversals, sizes, and exits that meet the other strategies' stakes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from libs.common import events as e
from libs.common.decider import Linked
from libs.common.events import CancelIntent, OrderIntent, OrderRefused, Reason
from libs.common.record import Record
from services.risk import entries
from services.risk.config import EntryStyle
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, Side, config, of, only, opened

KEY = "trend|BTCUSDT"


def small(side: str = "1", strategy: str = "trend", quantity: str = "0.1") -> Desk:
    """A desk that holds `quantity` of what was asked for."""
    return add(opened(), side, strategy, quantity)


def add(desk: Desk, side: str, strategy: str, quantity: str) -> Desk:
    order = only(desk.signal(side, strategy), OrderIntent)
    desk.fill(order, D(quantity))
    desk.cancelled(order, quantity)
    return desk


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({}, True),
        ({"target": D(-1)}, True),
        ({"target": D("1.01")}, False),
        ({"payoff": D("0.5"), "stop_distance": D("0.5"), "horizon_ms": 1}, True),
        ({"payoff": D(0)}, False),
        ({"stop_distance": D(0)}, False),
        ({"horizon_ms": 0}, False),
        ({"p": D(0)}, False),
        ({"p": D(1)}, False),
        ({"strategy": "s" * 64}, True),
        ({"strategy": "s" * 65}, False),
        ({"strategy": "s"}, True),
        ({"strategy": ""}, False),
        ({"score": Decimal(10) ** 12}, False),
    ],
)
def test_words_at_the_edges_of_their_ranges(changes: dict[str, Any], is_good: bool) -> None:
    fields: dict[str, Any] = {
        "strategy": "trend", "symbol": "BTCUSDT", "target": D(1), "p": D("0.6"), "payoff": D("1.5"), "stop_distance": D(600),
        "horizon_ms": 1, "score": D(0),
    }  # fmt: skip
    assert entries.is_wellformed(e.Signal(**(fields | changes))) is is_good


# --- reversals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "target"), [("1", "-0.5"), ("-1", "0.5"), ("1", "-1"), ("-1", "1")])
def test_the_other_side_is_a_reversal(side: str, target: str) -> None:
    desk = small(side)
    desk.signal(target)
    assert [p.target for p in desk.state.pending.values()] == [D(target)]


@pytest.mark.parametrize("side", ["1", "-1"])
def test_out_is_no_reversal_and_said_twice_it_is_still_out(side: str) -> None:
    desk = small(side)
    exit_ = only(desk.signal("0"), OrderIntent)
    assert (desk.state.pending, list(desk.state.tasks)) == ({}, [KEY])
    assert only(desk.signal("0"), OrderRefused).reason is Reason.IN_FLIGHT
    assert list(desk.state.tasks) == [KEY]
    assert of(desk.fill(exit_), OrderIntent) == []


def test_newer_words_end_a_reversal() -> None:
    desk = small()
    exit_ = only(desk.signal("-1"), OrderIntent)
    only(desk.signal("1"), OrderRefused)
    assert desk.state.pending == {}
    assert of(desk.fill(exit_), OrderIntent) == []


def test_the_smallest_stake_that_is_wanted_again_is_not_left() -> None:
    desk = small(quantity="0.001")
    exit_ = only(desk.signal("0"), OrderIntent)
    desk.signal("1")
    assert desk.state.tasks == {}
    desk.cancelled(exit_)
    assert of(desk.later(), OrderIntent) == []


def test_a_reversal_waits_for_its_own_orders_and_for_nobody_elses() -> None:
    styles = {name: EntryStyle(style="post_only", ttl_ms=60_000) for name in ("trend", "mean")}
    desk = opened(config(auto_arm=True, entry=styles))
    resting = only(desk.signal("1"), OrderIntent)
    desk.fill(resting, D("0.1"), D(60_000))
    made = desk.signal("-1")
    assert {event.order_link_id for event in of(made, CancelIntent)} == {resting.order_link_id}
    exit_ = only(made, OrderIntent)
    assert of(desk.fill(exit_, price=D(60_000)), OrderIntent) == [], "what was resting may still fill"
    entry = only(desk.cancelled(resting, "0.1"), OrderIntent)
    assert (entry.strategy, entry.side) == ("trend", Side.SELL)
    desk.cancelled(entry)

    again = only(desk.signal("1"), OrderIntent)
    desk.fill(again, D("0.1"), D(60_000))
    desk.cancelled(again, "0.1")
    only(desk.signal("-1", "mean"), OrderIntent)
    exit_ = only(desk.signal("-1", "trend"), OrderIntent)
    assert only(desk.fill(exit_, price=D(60_000)), OrderIntent).strategy == "trend"


def test_a_reversal_is_forgotten_when_its_signal_has_expired() -> None:
    desk = small()
    exit_ = only(desk.signal("-1"), OrderIntent)
    desk.now += 10 * SECOND - 1
    desk.tick("60000")
    assert list(desk.state.pending) == [KEY]
    desk.now += 1
    desk.tick("60000")
    assert desk.state.pending == {}
    assert of(desk.fill(exit_), OrderIntent) == []


def test_on_a_tape_a_signal_lives_three_instants() -> None:
    desk = opened()
    desk.state.window_ns = 5 * SECOND
    assert entries.ttl_ms(desk.state, desk.settings) == 15_000
    desk.state.window_ns = SECOND
    assert entries.ttl_ms(desk.state, desk.settings) == 10_000


def test_the_same_words_are_counted_anew_after_a_minute() -> None:
    desk = opened()
    for wait, heard in ((0, 1), (MINUTE - 1, 2), (1, 1), (1, 2)):
        desk.later(wait)
        desk.signal(score=D(1))
        assert desk.state.repeats[KEY].heard == heard


def test_more_of_the_same_cancels_nothing() -> None:
    desk = opened(config(auto_arm=True, entry={"trend": EntryStyle(style="post_only", ttl_ms=60_000)}))
    only(desk.signal("1"), OrderIntent)
    made = desk.signal("1")
    assert of(made, CancelIntent) == []
    assert only(made, OrderRefused).reason is Reason.IN_FLIGHT


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_a_size_is_capital_times_share_times_kelly_over_the_stop() -> None:
    """10,000 x 0.5 x 0.25 x (0.6 x 1.5 - 0.4) / 1.5 x 0.1 / 600 = 0.0694."""
    desk = opened()
    order = only(desk.signal("0.1"), OrderIntent)
    assert order.qty == D("0.069")
    assert next(use.measured for use in order.limits if use.name is Reason.NO_EDGE) == D("0.08333333")
    desk.fill(order, price=D(60_000))
    more = only(desk.signal("0.2"), OrderIntent)
    assert (more.qty, more.reduce_only) == (D("0.069"), False), "to 0.138"


def test_a_position_is_cut_down_to_the_least_that_is_wanted() -> None:
    desk = opened()
    desk.fill(only(desk.signal("0.1"), OrderIntent), price=D(60_000))
    cut = only(desk.signal("0.0015"), OrderIntent)
    assert (cut.qty, cut.reduce_only) == (D("0.068"), True), "0.001 of 0.069 is wanted"


def test_what_is_held_already_is_not_asked_for_again() -> None:
    desk = opened(config(auto_arm=True, min_resize=D(0)))
    desk.fill(only(desk.signal("0.1"), OrderIntent), price=D(60_000))
    desk.tick("60000")
    assert only(desk.signal("0.1"), OrderRefused).reason is Reason.BELOW_MINIMUM


def test_a_change_of_exactly_the_least_resize_is_made() -> None:
    """0.069 is held, 0.092 wanted: a quarter of it is missing."""
    desk = opened(config(auto_arm=True))
    desk.fill(only(desk.signal("0.1"), OrderIntent), price=D(60_000))
    desk.tick("60000")
    assert only(desk.signal("0.1324"), OrderRefused).reason is Reason.NO_CHANGE
    assert only(desk.signal("0.1325"), OrderIntent).qty == D("0.023")


def test_words_without_an_edge_add_nothing_and_close_nothing() -> None:
    desk = small()
    refused = only(desk.signal("1", p=D("0.1")), OrderRefused)
    assert refused.reason is Reason.NO_EDGE
    assert desk.state.ledger.lots("BTCUSDT") == 100


# --- exits against others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mine", "side"), [("1", Side.SELL), ("-1", Side.BUY)])
def test_out_of_a_book_that_is_flat_between_two_is_judged_as_an_entry(mine: str, side: Side) -> None:
    desk = small(mine)
    add(desk, str(-int(mine)), "mean", "0.1")
    assert desk.state.ledger.lots("BTCUSDT") == 0
    order = only(desk.signal("0"), OrderIntent)
    assert (order.side, order.qty, order.reduce_only) == (side, D("0.1"), False)


@pytest.mark.parametrize(("mine", "side"), [("1", Side.SELL), ("-1", Side.BUY)])
@pytest.mark.parametrize("quantity", ["0.1", "0.001"])
def test_an_exit_whose_position_another_took_goes_on_against_him(mine: str, side: Side, quantity: str) -> None:
    desk = small(mine, quantity=quantity)
    exit_ = only(desk.signal("0"), OrderIntent)
    add(desk, str(-int(mine)), "mean", quantity)
    desk.cancelled(exit_)
    resting = D(60_000) + (1000 if mine == "1" else -1000)
    rest = only(desk.later(), OrderIntent)
    assert (rest.strategy, rest.side, rest.qty, rest.reduce_only) == ("trend", side, D(quantity), False)
    assert abs(rest.price - resting) < 2000
    assert of(desk.later(), OrderIntent) == [], "one at a time"


def test_an_exit_in_parts_is_one_order_at_a_time_and_keeps_its_cause() -> None:
    desk = opened()
    desk.hold()
    desk.instrument(max_qty=D("0.1"))
    first = only(desk.signal("0"), OrderIntent)
    signal_seq = desk.state.tasks[KEY].seq
    assert of(desk.later(), OrderIntent) == []
    desk.fill(first)
    body = e.Instant(number=99, window_ms=100)
    record = Record("clock", (desk.seq + 1, 0), "r" * 32, 99, desk.now, (("clock", 99),), "c" * 32, body)
    (made,) = entries.retries(desk.state, desk.settings, record)
    assert isinstance(made, Linked)
    assert isinstance(made.body, OrderIntent)
    assert (made.correlation, signal_seq) == (desk.state.tasks[KEY].correlation, desk.state.tasks[KEY].seq)
