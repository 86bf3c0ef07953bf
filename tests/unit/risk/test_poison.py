"""One strategy gone wild: floods, repeats, nonsense. It is stopped for good, counted, and the others trade on."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import Halted, Mode, OrderIntent, OrderRefused, Reason
from libs.common.record import Started
from services.risk.config import Limits
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, config, of, only, opened

FLOOD = 10_000


def wild() -> Desk:
    return opened(config(auto_arm=True, max_order_usd=D(500)))


def flood(desk: Desk, fills: bool, **words: Any) -> list[list[e.Event]]:
    """The same words again and again within a second of tape; each order fills at once, or never."""
    decisions = []
    for _ in range(FLOOD):
        desk.now += SECOND // FLOOD
        made = desk.signal(score=D(1), **words)
        decisions.append(made)
        for order in of(made, OrderIntent):
            if fills:
                desk.fill(order)
    return decisions


@pytest.mark.parametrize("fills", [True, False])
def test_one_signal_ten_thousand_times_a_second(fills: bool) -> None:
    desk = wild()
    decisions = flood(desk, fills)
    assert all(len(of(made, OrderIntent)) + len(of(made, OrderRefused)) == 1 for made in decisions), "one decision each"
    children = [order for made in decisions for order in of(made, OrderIntent)]
    assert 1 <= len(children) <= 3
    (halt,) = [halt for made in decisions for halt in of(made, Halted)]
    assert (halt.scope, halt.mode) == ("strategy:trend", Mode.HALTED)
    assert halt.reason in (Reason.SIGNAL_REPEATS, Reason.SIGNAL_FLOOD)
    assert desk.state.blocks.keys() == {f"strategy:trend/{halt.reason}"}
    assert sum(desk.state.refusals.values()) == FLOOD - len(children)
    only(desk.signal(strategy="mean"), OrderIntent)


def test_it_stays_stopped_over_time_and_restarts_and_may_still_leave() -> None:
    desk = wild()
    flood(desk, fills=True)
    desk.later(10 * MINUTE)
    desk.restart()
    desk.put(Started(fresh=False), "timer")
    desk.reconcile()
    desk.tick("60000")
    assert only(desk.signal(), OrderRefused).reason is Reason.MODE
    assert only(desk.signal("0"), OrderIntent).reduce_only


def test_exits_repeated_ten_thousand_times_are_one_order() -> None:
    desk = wild()
    desk.hold()
    decisions = flood(desk, fills=False, target="0")
    assert len([order for made in decisions for order in of(made, OrderIntent)]) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"p": D("NaN")}, Reason.MALFORMED),
        ({"stop_distance": D("1e12")}, Reason.MALFORMED),
        ({"payoff": D("1e12")}, Reason.MALFORMED),
        ({"symbol": "NOSUCH"}, Reason.UNKNOWN_SYMBOL),
        ({"strategy": "stranger"}, Reason.ALLOW_LIST),
        ({"model": "blocked"}, Reason.ALLOW_LIST),
    ],
)
def test_nonsense_is_counted_and_stops_nobody(changes: dict[str, Any], reason: Reason) -> None:
    desk = wild()
    desk.put(e.ModelBlocked(model="blocked", reason="drift"), "portfolio")
    for _ in range(500):
        assert only(desk.signal(**changes), OrderRefused).reason is reason
    assert desk.state.refusals == {reason: 500}
    assert desk.halts()[1:] == []
    only(desk.signal(strategy="mean"), OrderIntent)


def test_expired_and_replayed_signals_are_refused() -> None:
    desk = wild()
    body = e.Signal(
        strategy="trend", symbol="BTCUSDT", target=D(1), p=D("0.6"), payoff=D("1.5"), stop_distance=D(600), horizon_ms=1
    )
    assert only(desk.put(body, "signal", at=desk.now - 11 * SECOND), OrderRefused).reason is Reason.EXPIRED
    order = only(desk.put(body, "signal"), OrderIntent)
    desk.cancelled(order)
    assert only(desk.put(body, "signal"), OrderRefused).reason is Reason.DUPLICATE, "the same words of the same instant"


def test_every_verdict_lists_every_limit_with_its_headroom() -> None:
    desk = wild()
    approved = only(desk.signal(), OrderIntent)
    refused = only(desk.signal(), OrderRefused)
    names = [use.name for use in approved.limits]
    assert names == [use.name for use in refused.limits]
    assert len(names) == len(set(names))
    assert {name.value for name in names} >= set(Limits.__struct_fields__) - {"exit_collar"}
    assert refused.reason is Reason.IN_FLIGHT
    order_usd = next(use for use in approved.limits if use.name is Reason.MAX_ORDER_USD)
    assert order_usd.headroom == 500 - order_usd.measured
    assert next(use for use in refused.limits if use.name is refused.reason).headroom == 0
    least = next(use for use in approved.limits if use.name is Reason.BELOW_MINIMUM)
    assert least.headroom == least.measured - least.limit > 0
