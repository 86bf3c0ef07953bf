"""Orders under way: what counts as done, and what does not free a reservation."""

from __future__ import annotations

from libs.common import events as e
from libs.common.events import OrderIntent, Purpose
from tests.unit.risk.desk import D, only, opened


def test_exit_that_the_venue_cut_down_is_done_when_that_traded() -> None:
    """The position shrank while the exit was under way: the venue fills what is left and says no more."""
    desk = opened()
    desk.hold()
    exit_ = only(desk.signal("0"), OrderIntent)
    cut = exit_.qty / 2
    desk.put(
        e.Fill(
            order_link_id=exit_.order_link_id, order_id="v", exec_id="cut", strategy=exit_.strategy, symbol=exit_.symbol,
            side=exit_.side, qty=cut, price=exit_.price, fee=D(0), is_maker=False, reduce_only=True, purpose=Purpose.EXIT,
            cum_qty=cut, order_qty=cut, exec_at=desk.now,
        ),
        "fill",
    )  # fmt: skip
    assert exit_.order_link_id not in desk.state.orders


def test_duplicate_approval_does_not_free_what_may_be_live() -> None:
    desk = opened()
    order = only(desk.signal("1"), OrderIntent)
    desk.put(e.OrderRejected(order_link_id=order.order_link_id, symbol=order.symbol, reason="DUPLICATE"), "order")
    assert order.order_link_id in desk.state.orders
