"""No new risk from five minutes before the exchange goes down until it is back."""

from __future__ import annotations

from libs.common import events as e
from libs.common.events import Mode, ModeChanged, OrderIntent, OrderRefused, Reason
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, of, only, opened

LEAD = 5 * MINUTE


def planned(desk: Desk, begin_at: int, end_at: int, window: str = "w", *, is_over: bool = False) -> None:
    body = e.MaintenancePlanned(window=window, title="t", begin_at=begin_at, end_at=end_at, is_over=is_over)
    assert desk.put(body, "instrument") == []


def alive(desk: Desk, ns: int) -> list[e.Event]:
    """Time moves on and the market with it, as if nothing were wrong."""
    desk.now += ns - SECOND
    desk.tick("60000")
    desk.reconcile()
    return desk.later(SECOND)


def test_entries_end_five_minutes_before_and_exits_go_on() -> None:
    desk = opened()
    desk.hold()
    begin_at = desk.now + LEAD + 2 * SECOND
    planned(desk, begin_at, begin_at + MINUTE)
    desk.now = begin_at - LEAD - 2
    desk.tick("60000")
    assert desk.later(1) == []
    (shut,) = of(desk.later(1), ModeChanged)
    assert (shut.scope, shut.new, shut.reason) == ("book", Mode.REDUCE_ONLY, Reason.MAINTENANCE)
    assert shut.detail == "measured 300000, limit 300000"
    assert only(desk.signal("1", symbol="BTCUSDT", stop_distance=D(300)), OrderRefused).reason is Reason.MODE
    assert only(desk.signal("0"), OrderIntent).reduce_only


def test_it_ends_a_quiet_minute_after_the_exchange_is_back() -> None:
    desk = opened()
    begin_at, end_at = desk.now + MINUTE, desk.now + 3 * MINUTE
    planned(desk, begin_at, end_at)
    alive(desk, SECOND)
    desk.now = begin_at + MINUTE
    desk.tick("60000")
    assert of(desk.later(1), ModeChanged) == [], "nothing is new in the middle of it"
    condition = desk.state.conditions["book/MAINTENANCE"]
    assert (condition.measured, condition.limit) == (D(0), D(300_000))
    desk.now = end_at - 2
    desk.tick("60000")
    desk.later(1)
    assert desk.state.conditions["book/MAINTENANCE"].bad_at == end_at - 1
    desk.later(1)
    assert desk.state.maintenance == {}
    assert desk.state.conditions["book/MAINTENANCE"].bad_at == end_at - 1
    alive(desk, MINUTE)
    assert desk.state.blocks == {}


def test_one_that_is_moved_or_called_off_holds_nobody() -> None:
    desk = opened()
    planned(desk, desk.now + LEAD + SECOND, desk.now + 2 * LEAD)
    planned(desk, desk.now + 10 * LEAD, desk.now + 11 * LEAD)
    alive(desk, 2 * SECOND)
    assert desk.state.blocks == {}
    planned(desk, desk.now + SECOND, desk.now + LEAD, "other")
    planned(desk, desk.now + SECOND, desk.now + LEAD, "other", is_over=True)
    planned(desk, 0, 0, "unheard of", is_over=True)
    alive(desk, 2 * SECOND)
    assert desk.state.blocks == {}
    assert set(desk.state.maintenance) == {"w"}
