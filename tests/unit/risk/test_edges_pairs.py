"""The edges of pairs: which legs belong together, when they are naked, and what the book holds already."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import Halted, OrderIntent, OrderRefused, Purpose, Reason
from tests.unit.risk.desk import SECOND, D, Desk, Side, of, only
from tests.unit.risk.pairs import PERP, SPOT, ask, legs, paired, stakes, traded


def held(desk: Desk, **changes: Any) -> dict[str, OrderIntent]:
    orders = legs(ask(desk, **changes))
    for order in orders.values():
        assert of(traded(desk, order), OrderIntent) == []
    return orders


def left(desk: Desk) -> None:
    for order in legs(ask(desk, "0")).values():
        traded(desk, order)
    assert stakes(desk) == (0, 0)


@pytest.mark.parametrize("changes", [{"p": D("NaN")}, {"hedge": "NONE"}, {"hedge": PERP}])
def test_nothing_is_remembered_of_a_pair_that_is_none(changes: dict[str, Any]) -> None:
    desk = paired()
    only(desk.signal("-1", "arb", PERP, **({"hedge": SPOT} | changes)), OrderRefused)
    assert desk.state.hedges == {}


def test_a_held_pair_keeps_its_stop_and_the_next_one_brings_its_own() -> None:
    desk = paired()
    held(desk, stop_distance=D(600))
    ask(desk, stop_distance=D(700))
    assert [hedge.stop_distance for hedge in desk.state.hedges.values()] == [600]
    left(desk)
    held(desk, stop_distance=D(700))
    assert [hedge.stop_distance for hedge in desk.state.hedges.values()] == [700]


@pytest.mark.parametrize(("coins", "is_unwound"), [("0.0988", True), ("0.098801", False)])
def test_legs_may_differ_by_less_than_a_step_and_the_fee(coins: str, is_unwound: bool) -> None:
    """0.1 against 0.0988: a step of 0.001 and 0.2 % of 0.1 are missing."""
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[PERP], "0.1")
    made = traded(desk, orders[SPOT], coins)
    assert bool(of(made, OrderIntent)) is is_unwound


def test_a_pair_with_one_leg_in_is_held() -> None:
    desk = paired()
    orders = legs(ask(desk))
    traded(desk, orders[PERP])
    assert only(ask(desk), OrderRefused).reason is Reason.NO_CHANGE


def test_a_smaller_target_on_the_same_side_changes_no_pair() -> None:
    desk = paired()
    held(desk)
    assert only(ask(desk, "-0.05"), OrderRefused).reason is Reason.NO_CHANGE


def test_repeated_words_of_a_pair_disable_its_strategy() -> None:
    desk = paired(signal_repeats=D(1))
    for order in legs(ask(desk, score=D(1))).values():
        desk.put(e.OrderRejected(order_link_id=order.order_link_id, symbol=order.symbol, reason="x"), "order")
    desk.now += SECOND
    made = ask(desk, score=D(1))
    assert only(made, OrderRefused).reason is Reason.SIGNAL_REPEATS
    assert only(made, Halted).scope == "strategy:arb"


def test_the_limit_that_leaves_no_room_for_the_least_pair_is_named() -> None:
    """The coins' least is 70 USD, 0.001166, and a pair goes in whole steps of 0.001: the least pair is 0.002."""
    desk = paired(max_position_size=D("0.001"))
    desk.instrument(SPOT, "0.000001", category="spot", min_qty=D("0.000011"), tick_size=D("0.01"), min_notional=D(70))
    refused = only(ask(desk), OrderRefused)
    assert (refused.reason, refused.qty) == (Reason.MAX_POSITION_SIZE, D("0.002"))


def test_the_second_leg_is_judged_beside_the_first() -> None:
    """60 USD fit under 100; the pair's other 60 do not."""
    refused = only(ask(paired(max_gross_usd=D(100))), OrderRefused)
    assert (refused.reason, refused.detail) == (Reason.MAX_GROSS_USD, f"leg {PERP}")
    assert refused.measured > 100


def test_a_pair_fits_beside_what_others_hold() -> None:
    desk = paired(max_position_size=D("0.2"))
    other = only(desk.signal("-1", "trend", PERP), OrderIntent)
    desk.fill(other, D("0.15"))
    desk.cancelled(other, "0.15")
    assert {order.qty for order in legs(ask(desk)).values()} == {D("0.05")}


def test_a_liquidation_leaves_a_broken_pair_to_its_slices() -> None:
    desk = paired(flatten_slice_usd=D(1000))
    held(desk)
    desk.put(e.FlattenRequested(operator="a", nonce="f", expires_at=0), "command")
    made = of(desk.adjust(Side.BUY, "0.1", "60000") + desk.later(), OrderIntent)
    assert {order.purpose for order in made} <= {Purpose.FLATTEN}


def test_one_leg_alone_has_no_stop_of_the_pair() -> None:
    """The second time round: both stakes are known, one is still empty, and the price falls."""
    desk = paired()
    held(desk)
    left(desk)
    desk.now += SECOND
    traded(desk, legs(ask(desk))[SPOT])
    assert of(desk.tick("59900", SPOT, width="0.01") + desk.tick("59900"), OrderIntent) == []


def test_a_leg_on_its_way_out_reaches_further_with_the_clock() -> None:
    desk = paired()
    held(desk)
    out = legs(desk.adjust(Side.BUY, "0.1", "60000"))
    assert of(desk.cancelled(out[SPOT]), OrderIntent) == []
    again = only(desk.later(), OrderIntent)
    assert (again.symbol, again.qty) == (SPOT, D("0.137"))
    assert again.price < out[SPOT].price
