"""What execution tells of its calls and its clock: latency, errors, the exchange's time."""

from __future__ import annotations

import pytest

from libs.common.events import Heartbeat
from tests.unit.execution.desk import MS, Desk, S, intent, order_row


@pytest.fixture
def desk() -> Desk:
    return Desk().opened()


def test_the_heartbeat_tells_latency_and_errors_of_the_last_minute(desk: Desk) -> None:
    desk.now += 30 * S
    desk.feed("order-intent", intent("tg-1"))
    create = desk.call("/order/create")
    desk.now += 70 * MS
    desk.frame("order", order_row(status="New"))
    desk.reply(create, code=10016)
    desk.events.clear()
    desk.pass_time(29_000)
    beat = desk.one(Heartbeat)
    assert beat.order_ack_p95_ms == 70
    assert beat.api_errors == 1
    assert beat.api_requests >= 1
    desk.events.clear()
    desk.pass_time(100)
    assert desk.of(Heartbeat) == []


def test_calls_that_fail_are_told_within_a_second_and_once_a_second_at_most(desk: Desk) -> None:
    desk.pass_time(60_000)
    desk.events.clear()
    polls = desk.core.requests()
    for request in polls:
        desk.reply(request, code=10016)
        desk.pass_time(100)
    assert desk.of(Heartbeat) == []
    desk.pass_time(1_000 - 100 * len(polls))
    assert desk.one(Heartbeat).api_errors == len(polls) > 1
    desk.events.clear()
    desk.pass_time(900)
    desk.pass_time(900)
    assert desk.of(Heartbeat) == [], "nothing failed since"


def test_a_clock_that_moved_is_told_within_a_second(desk: Desk) -> None:
    desk.pass_time(60_000)
    desk.events.clear()
    desk.state.vitals.clock_offset_ms = -99
    desk.pass_time(1_000)
    assert desk.of(Heartbeat) == []
    desk.state.vitals.clock_offset_ms = -100
    desk.pass_time(100)
    assert desk.one(Heartbeat).clock_offset_ms == -100
    desk.events.clear()
    desk.pass_time(5_000)
    assert desk.of(Heartbeat) == []
