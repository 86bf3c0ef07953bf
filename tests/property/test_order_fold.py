"""Frames of an order in any order, any number of times: the position moves once, and nothing comes back from its end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.events import Fill, OrderAccepted, OrderCancelled, OrderRejected, OrderResolved
from services.execution.orders import CLOSED, OrderState
from tests.unit.execution.desk import Desk, execution_row, intent, order_row

QTY = 10
"""In thousandths."""


def text(thousandths: int) -> str:
    return str(Decimal(thousandths) / 1000)


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[tuple[str, dict[str, Any]]], int, bool]:
    """(messages shuffled with duplicates, how much filled, whether all of it)."""
    filled = draw(st.integers(0, QTY))
    parts: list[int] = []
    while sum(parts) < filled:
        parts.append(draw(st.integers(1, filled - sum(parts))))
    messages: list[tuple[str, dict[str, Any]]] = [("order", order_row(status="New", updated_ms=1))]
    done = 0
    for index, part in enumerate(parts):
        done += part
        status = "Filled" if done == QTY else "PartiallyFilled"
        messages.append(("execution", execution_row(f"e{index}", text(part))))
        messages.append(("order", order_row(status=status, cum=text(done), updated_ms=2 + index)))
    if done < QTY:
        messages.append(
            ("order", order_row(status="Cancelled", cum=text(done), updated_ms=99, cancelType="CancelByUser"))
        )
    repeated = draw(st.lists(st.sampled_from(messages), max_size=6))
    return draw(st.permutations(messages + repeated)), filled, filled == QTY


@settings(max_examples=150, deadline=None)
@given(life=lives(), lost=st.booleans(), together=st.booleans())
def test_any_arrival_order_gives_one_life(
    life: tuple[list[tuple[str, dict[str, Any]]], int, bool], lost: bool, together: bool
) -> None:
    messages, filled, complete = life
    desk = Desk().opened()
    desk.feed("order-intent", intent())
    create = desk.call("/order/create").number
    if lost:
        desk.message("lost", "", create)
    ended_at = None
    for topic, row in messages:
        desk.frame(topic, *([row, row] if together else [row]))
        order = desk.state.find("tg-1")
        if ended_at is not None:
            assert order.state is ended_at, "a closed order stays as it is"
        elif order.state in CLOSED:
            ended_at = order.state
    order = desk.state.find("tg-1")
    assert order.state is (OrderState.FILLED if complete else OrderState.CANCELLED)
    assert desk.state.ledger.quantity("BTCUSDT") == Decimal(filled) / 1000
    fills = desk.of(Fill)
    assert sum(fill.qty for fill in fills) == Decimal(filled) / 1000
    assert [fill.cum_qty for fill in fills] == sorted({fill.cum_qty for fill in fills})
    ends = [e for e in desk.of(OrderResolved) if e.outcome in ("filled", "cancelled")] + desk.of(OrderCancelled)
    assert len(ends) <= 1
    assert len(desk.of(OrderAccepted)) <= 1
    assert desk.of(OrderRejected) == []
