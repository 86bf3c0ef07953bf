"""Orders whose outcome is not known: asked for until it is, never sent again."""

from __future__ import annotations

import pytest

from libs.common.events import OrderResolved, OrderUnknown
from tests.unit.execution.desk import Desk, execution_row, intent, kinds, order_row


@pytest.fixture
def desk() -> Desk:
    return Desk().opened()


def submit(desk: Desk) -> None:
    desk.feed("order-intent", intent())


@pytest.mark.parametrize("how", ["lost", "10000", "10016", "10019", "110072", "http 500", "new code"])
def test_an_ambiguous_answer_makes_the_order_unknown_and_is_never_sent_again(desk: Desk, how: str) -> None:
    submit(desk)
    create = desk.call("/order/create")
    if how == "lost":
        desk.message("lost", "ReadTimeout", create.number)
    elif how == "http 500":
        desk.message("reply", "<html>", create.number, 500)
    else:
        desk.reply(create, code=987654 if how == "new code" else int(how))
    assert desk.one(OrderUnknown).order_link_id == "tg-1"
    desk.pass_time()
    assert desk.calls("/order/create") == []
    assert "orderLinkId=tg-1" in desk.call("/order/realtime").target


def test_an_unknown_order_that_is_found_is_live(desk: Desk) -> None:
    submit(desk)
    desk.message("lost", "", desk.call("/order/create").number)
    desk.pass_time()
    desk.reply(desk.call("/order/realtime"), {"list": [order_row(status="New")]})
    assert desk.one(OrderResolved).outcome == "live"
    assert desk.state.orders["tg-1"].state == "live"


def test_an_unknown_order_that_filled_is_resolved_after_its_fills(desk: Desk) -> None:
    submit(desk)
    desk.message("lost", "", desk.call("/order/create").number)
    desk.pass_time()
    desk.reply(desk.call("/order/realtime"), {"list": [order_row(status="Filled", cum="0.01")]})
    assert desk.of(OrderResolved) == []
    desk.reply(desk.call("/execution/list"), {"list": [execution_row("e1", "0.01")]})
    assert kinds(desk.events)[-2:] == ["Fill", "OrderResolved"]
    assert desk.one(OrderResolved).outcome == "filled"
    assert desk.state.closed["tg-1"].state == "filled"


def deny(desk: Desk) -> None:
    """All three queries know nothing."""
    for path in ("/order/realtime", "/order/history", "/execution/list"):
        lookup = next(r for r in desk.calls(path) if "orderLinkId" in r.target)
        desk.reply(lookup, {"list": []})


def test_dead_only_after_the_last_possible_arrival_and_three_denials(desk: Desk) -> None:
    submit(desk)
    desk.message("lost", "", desk.call("/order/create").number)
    desk.pass_time(100)
    deny(desk)
    assert desk.of(OrderResolved) == [], "it may still be on its way"
    desk.pass_time(4_800)
    deny(desk)
    assert desk.of(OrderResolved) == [], "a round that began before the deadline proves nothing"
    desk.pass_time(500)
    deny(desk)
    assert desk.one(OrderResolved).outcome == "dead"
    assert desk.state.orders == {}


def test_an_order_that_comes_to_life_after_it_was_given_up_is_cancelled(desk: Desk) -> None:
    submit(desk)
    desk.message("lost", "", desk.call("/order/create").number)
    desk.pass_time(5_100)
    deny(desk)
    assert desk.one(OrderResolved).outcome == "dead"
    desk.frame("order", order_row(status="New"))
    first = desk.call("/order/cancel")
    desk.frame("order", order_row(status="New"))
    assert desk.call("/order/cancel") == first
    desk.reply(first)
    desk.now += 600_000_000
    desk.frame("order", order_row(status="PartiallyFilled", updated_ms=2))
    assert desk.call("/order/cancel") != first, "until the venue stops showing it"


def test_an_acknowledged_order_that_nothing_shows_is_asked_for(desk: Desk) -> None:
    submit(desk)
    desk.reply(desk.call("/order/create"))
    desk.pass_time(1_900)
    assert desk.of(OrderUnknown) == []
    desk.pass_time(200)
    assert desk.one(OrderUnknown).reason == "no proof"
