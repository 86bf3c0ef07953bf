"""HTTP 403: the address says nothing for ten minutes, exits and cancels take the trade socket, entries wait for better days."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from libs.bybit import rest
from libs.common.decider import Request
from libs.common.events import (
    CancelIntent,
    Heartbeat,
    OrderRejected,
    OrderSubmitted,
    OrderUnknown,
    TimeInForce,
)
from tests.unit.execution.desk import MS, Desk, S, exit_intent, intent, order_row

FORBIDDEN = "access too frequent"


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk().opened()
    desk.message("trade-connected")
    desk.feed("order-intent", intent("tg-rest", time_in_force=TimeInForce.GTC))
    desk.reply(desk.call("/order/create"))
    desk.frame("order", order_row("tg-rest"))
    return desk


def banned(desk: Desk) -> Desk:
    """A poll was answered 403; nobody asks again what was asked before."""
    desk.pass_time(6_000)
    first, *others = desk.core.requests()
    desk.message("reply", FORBIDDEN, first.number, 403)
    for request in others:
        desk.message("unsent", rest.UNSENT_SILENT, request.number)
    desk.events.clear()
    return desk


def over_http(desk: Desk) -> list[Request]:
    return [request for request in desk.core.requests() if request.transport == "http"]


def test_nothing_goes_over_http_for_ten_minutes_and_then_everything_again(desk: Desk) -> None:
    banned(desk)
    for _ in range(598):
        desk.pass_time(1_000)
        assert over_http(desk) == []
    for _ in range(3):
        desk.pass_time(1_000)
    assert over_http(desk) != []


def test_a_cancel_takes_the_trade_socket(desk: Desk) -> None:
    banned(desk).feed("order-intent", CancelIntent(order_link_id="tg-rest"))
    assert desk.call("/order/cancel").transport == "trade"


def test_an_exit_takes_the_trade_socket_and_an_entry_is_turned_down(desk: Desk) -> None:
    banned(desk)
    desk.feed("order-intent", exit_intent("tg-out"))
    assert desk.call("/order/create").transport == "trade"
    desk.feed("order-intent", intent("tg-in"))
    assert desk.one(OrderRejected) == OrderRejected(order_link_id="tg-in", symbol="BTCUSDT", reason="RATE_LIMIT")
    assert [event.order_link_id for event in desk.of(OrderSubmitted)] == ["tg-out"]


def test_an_exit_waits_for_the_socket_no_longer_than_it_lives(desk: Desk) -> None:
    banned(desk).message("trade-disconnected")
    desk.feed("order-intent", exit_intent("tg-out", expires_at=desk.now + 2 * S))
    assert desk.calls("/order/create") == []
    desk.message("trade-connected")
    assert desk.call("/order/create").transport == "trade"
    desk.message("unsent", rest.UNSENT_NO_SOCKET, desk.call("/order/create").number)
    assert desk.calls("/order/create") == [], "the driver knew better: it waits again"
    desk.pass_time(2_100)
    assert desk.one(OrderRejected).reason == "EXPIRED"


def test_an_exit_that_met_the_403_itself_goes_again_over_the_socket_under_its_id(desk: Desk) -> None:
    desk.feed("order-intent", exit_intent("tg-out"))
    first = desk.call("/order/create")
    desk.message("reply", FORBIDDEN, first.number, 403)
    again = desk.call("/order/create")
    assert (again.transport, again.body) == ("trade", first.body)
    assert again.number != first.number


def test_an_entry_that_met_the_403_is_over(desk: Desk) -> None:
    desk.feed("order-intent", intent("tg-in"))
    desk.message("reply", FORBIDDEN, desk.call("/order/create").number, 403)
    assert desk.one(OrderRejected).reason == FORBIDDEN
    assert desk.calls("/order/create") == []


def test_an_order_on_a_socket_that_ends_is_unknown(desk: Desk) -> None:
    banned(desk).feed("order-intent", exit_intent("tg-out"))
    desk.message("lost", "the trade socket ended", desk.call("/order/create").number)
    assert desk.one(OrderUnknown).order_link_id == "tg-out"


def test_a_restarting_server_leaves_the_order_unknown(desk: Desk) -> None:
    banned(desk).feed("order-intent", exit_intent("tg-out"))
    answer = {"reqId": "execution-9", "retCode": 10019, "retMsg": "restarting", "op": "order.create"}
    desk.message("reply", answer, desk.call("/order/create").number, 200)
    assert desk.one(OrderUnknown).reason == "ambiguous 10019"


def test_the_silence_is_told_at_once_and_its_end_too(desk: Desk) -> None:
    desk.pass_time(60_000)
    desk.events.clear()
    first = desk.core.requests()[0]
    desk.message("reply", FORBIDDEN, first.number, 403)
    beat = desk.one(Heartbeat)
    assert (beat.http_silent_ms, beat.trade_socket) == (600_000, True)
    desk.events.clear()
    desk.now += 600_000 * MS
    desk.pass_time(0)
    assert desk.one(Heartbeat).http_silent_ms == 0


def test_a_flood_of_approvals_never_starves_a_cancel(desk: Desk) -> None:
    """What waits is bounded, and a cancel goes at once while it does."""
    for number in range(200):
        desk.feed("order-intent", intent(f"tg-{number}", expires_at=desk.now + 2 * S))
    assert desk.state.calls.waiting_entries() == 32
    assert len(desk.of(OrderRejected)) == 200 - 32 - len(desk.calls("/order/create"))
    desk.feed("order-intent", CancelIntent(order_link_id="tg-rest"))
    assert desk.call("/order/cancel").transport == "http"
    desk.feed("order-intent", exit_intent("tg-out", qty=Decimal("0.001")))
    assert desk.calls("/order/create")[-1].body.find('"orderLinkId":"tg-out"') > 0
