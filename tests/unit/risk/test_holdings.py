"""What price alone makes larger than a limit takes no entry from that very mark on, and can always be left."""

from __future__ import annotations

import pytest

from libs.common import events as e
from libs.common.events import CancelIntent, Halted, Mode, ModeChanged, OrderIntent, OrderRefused, Reason
from services.risk.config import EntryStyle
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, Side, config, of, only, opened

LOOSE = {"max_daily_loss": D(2), "max_weekly_loss": D(2), "max_drawdown": D(2), "velocity": D(1000)}


def holding(side: Side = Side.BUY, **limits: D) -> Desk:
    """0.1 BTC bought or sold at 60000, worth 6000 USD, without a stop, and capital of 10000."""
    desk = opened(config(auto_arm=True, **(LOOSE | limits)))
    order = only(desk.signal("1" if side is Side.BUY else "-1"), OrderIntent)
    desk.fill(order, D("0.1"), D(60_000))
    desk.cancelled(order, "0.1")
    assert desk.tick("60000") == []
    desk.state.stops.clear()
    return desk


def lowered(desk: Desk, **limits: D) -> list[e.Event]:
    """A tick after operators lowered limits."""
    desk.put(e.LimitChanged(version=2, limits=limits), "portfolio")
    return desk.tick("60000")


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("limit", ["position_limit_usd", "max_gross_usd", "max_net_usd"])
def test_a_mark_beyond_a_limit_of_value_is_reduce_only_at_that_mark_and_at_the_limit_it_is_not(
    limit: str, side: Side
) -> None:
    desk = holding(side)
    assert of(lowered(desk, **{limit: D(6_100)}), ModeChanged) == []
    assert desk.tick("61000") == []
    changed = only(desk.tick("61000.1"), ModeChanged)
    assert (changed.scope, changed.old, changed.new) == ("symbol:BTCUSDT", Mode.NORMAL, Mode.REDUCE_ONLY)
    assert changed.reason == limit
    seen = desk.state.conditions[f"symbol:BTCUSDT/{limit}"]
    assert (seen.measured, seen.limit) == (D("6100.01"), 6_100)


def test_leverage_is_made_by_what_is_held_and_by_what_is_left() -> None:
    """Short 6000 USD against 10000: at 60100 it is 6010 against 9990, 0.601602; the limit is between that and the next tick's."""
    desk = holding(Side.SELL, max_leverage=D("0.601602"))
    assert desk.tick("60100") == []
    changed = only(desk.tick("60100.1"), ModeChanged)
    assert (changed.scope, changed.reason) == ("symbol:BTCUSDT", Reason.MAX_LEVERAGE)
    seen = desk.state.conditions["symbol:BTCUSDT/max_leverage"]
    assert (seen.measured, seen.limit) == (D("0.601603"), D("0.601602"))


@pytest.mark.parametrize(("limit", "is_over"), [("0.6", False), ("0.599999", True)])
def test_a_book_may_be_at_its_leverage(limit: str, is_over: bool) -> None:
    """6000 USD on 10000."""
    changes = of(lowered(holding(), max_leverage=D(limit)), ModeChanged)
    assert [change.reason for change in changes] == [Reason.MAX_LEVERAGE] * is_over


def test_leverage_without_capital_is_too_much() -> None:
    desk = holding()
    desk.cash("-10000")
    assert Reason.MAX_LEVERAGE in [change.reason for change in of(desk.tick("60000"), ModeChanged)]


def test_what_the_book_holds_together_counts_and_the_symbol_of_the_mark_takes_no_more() -> None:
    """BTC 6000 long, ETH 3000 short: 9000 gross and 3000 net. ETH rises by 10: more gross, less net."""
    desk = holding()
    desk.instrument("ETHUSDT", "0.01")
    desk.tick("3000", "ETHUSDT")
    desk.adjust(Side.SELL, "1", "3000", "ETHUSDT")
    assert of(lowered(desk, max_gross_usd=D(9_000), max_net_usd=D(3_000)), ModeChanged) == []
    changed = only(desk.tick("3010", "ETHUSDT"), ModeChanged)
    assert (changed.scope, changed.reason) == ("symbol:ETHUSDT", Reason.MAX_GROSS_USD)
    assert desk.state.conditions["symbol:ETHUSDT/max_gross_usd"].measured == 9_010
    reasons = [(change.scope, change.reason) for change in of(desk.tick("60200"), ModeChanged)]
    assert reasons == [("symbol:BTCUSDT", Reason.MAX_GROSS_USD), ("symbol:BTCUSDT", Reason.MAX_NET_USD)]


def test_exits_pass_resting_entries_go_and_what_fell_back_clears_itself() -> None:
    desk = opened(config(auto_arm=True, entry={"mean": EntryStyle(style="post_only", ttl_ms=600_000)}, **LOOSE))
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D("0.1"), D(60_000))
    desk.cancelled(order, "0.1")
    resting = only(desk.signal(strategy="mean", target="1"), OrderIntent)
    lowered(desk, position_limit_usd=D(6_100))
    only(desk.tick("61001"), ModeChanged)
    assert only(desk.signal(score=D(3)), OrderRefused).reason is Reason.MODE
    assert only(desk.later(5 * SECOND), CancelIntent).order_link_id == resting.order_link_id
    exit_ = only(desk.signal("0"), OrderIntent)
    assert (exit_.reduce_only, exit_.qty) == (True, D("0.1"))
    desk.cancelled(exit_)
    desk.cancelled(resting)
    desk.tick("61000")
    desk.later()
    desk.reconcile()
    made: list[e.Event] = []
    for _ in range(7):
        made += desk.tick("61000") + desk.later(10 * SECOND)
    changed = [change for change in of(made, ModeChanged) if change.cleared]
    assert [change.reason for change in changed] == [Reason.POSITION_LIMIT_USD]


def test_it_does_not_clear_while_it_lasts_however_seldom_the_marks_come() -> None:
    desk = holding(position_limit_usd=D(6_100), feed_silence=D(10**9))
    only(desk.tick("61001"), ModeChanged)
    for _ in range(5):
        desk.later(MINUTE)
        assert of(desk.reconcile(), ModeChanged) == []
    assert of(desk.tick("61000"), Halted) == []


def test_what_may_still_fill_is_no_holding() -> None:
    """An entry that just fits is not stopped by the tick that comes before its fill."""
    desk = opened(config(auto_arm=True, position_limit_usd=D(6_000), **LOOSE))
    order = only(desk.signal(), OrderIntent)
    assert order.qty * 60_100 < 6_000 < (order.qty + D("0.001")) * 60_100
    assert of(desk.tick("60500"), ModeChanged) == []


def test_marks_of_symbols_that_are_flat_or_unknown_are_nobodys_breach() -> None:
    desk = holding()
    desk.instrument("ETHUSDT", "0.01")
    desk.adjust(Side.BUY, "1", "5", "XRPUSDT")
    assert of(lowered(desk, max_gross_usd=D(1)), ModeChanged) != []
    assert of(desk.tick("3000", "ETHUSDT"), ModeChanged) == []
    assert of(desk.tick("5", "XRPUSDT"), ModeChanged) == []
