"""Each limit alone: the case just inside, the case that binds, and what the refusal says."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import OrderIntent, OrderRefused, Reason
from services.risk import limits, standing
from services.risk.config import Allow, EntryStyle
from services.risk.draft import Draft, exposure, minimum_lots
from services.risk.verdict import Measured
from tests.unit.risk.desk import MINUTE, SECOND, D, Desk, Side, config, of, only, opened


def arming(**changes: Any) -> Desk:
    return opened(config(auto_arm=True, **changes))


def refusal(desk: Desk, **signal: Any) -> OrderRefused:
    return only(desk.signal(**signal), OrderRefused)


def test_verdict_lists_every_limit_in_order() -> None:
    order = only(opened().signal(), OrderIntent)
    assert [use.name for use in order.limits][:4] == [
        Reason.ALLOW_LIST, Reason.EXPIRED, Reason.DUPLICATE, Reason.MODE,
    ]  # fmt: skip
    assert len(order.limits) == len(limits.ENTRY)
    assert len({use.name for use in order.limits}) == len(limits.ENTRY)


def test_refusal_lists_every_limit_and_names_the_first_breached() -> None:
    desk = arming(allow={"trend": Allow(symbols=("BTCUSDT",), stages=("full",))})
    refused = refusal(desk, target="1")
    assert refused.reason is Reason.ALLOW_LIST
    assert len(refused.limits) == len(limits.ENTRY)


@pytest.mark.parametrize("strategy", ["unknown", "trend"])
def test_allow_list_denies_by_default(strategy: str) -> None:
    desk = arming(allow={"trend": Allow(symbols=("ETHUSDT",))})
    assert refusal(desk, strategy=strategy).reason is Reason.ALLOW_LIST


def test_blocked_model_is_not_allowed() -> None:
    desk = opened()
    drift = e.DriftMeasured(strategy="trend", model="m1", psi=D(1), rolling_sharpe=D(0), factor=D(0))
    only(desk.put(drift, "model"), e.ModelBlocked)
    assert desk.put(drift, "model") == []
    assert refusal(desk, model="m1").reason is Reason.ALLOW_LIST
    assert refusal(desk, model="m2").reason is Reason.BELOW_MINIMUM
    desk.put(e.ModelPromoted(strategy="trend", model="m2"), "model")
    only(desk.signal(model="m2"), OrderIntent)


def test_expired_signal() -> None:
    desk = opened()
    old, desk.now = desk.now, desk.now + 10 * SECOND
    desk.later(0)
    body = e.Signal(
        strategy="trend", symbol="BTCUSDT", target=D(1), p=D("0.6"), payoff=D(2), stop_distance=D(600), horizon_ms=1
    )
    refused = only(desk.put(body, "signal", at=old), OrderRefused)
    assert (refused.reason, refused.measured, refused.limit) == (Reason.EXPIRED, D(10_000), D(10_000))


def test_duplicate_signal() -> None:
    desk = opened()
    only(desk.signal(score=D(7)), OrderIntent)
    assert refusal(desk, score=D(7)).reason is Reason.DUPLICATE


def test_not_reconciled_after_restart_and_mismatch() -> None:
    desk = opened()
    desk.put(e.Mismatch(kind="position", symbol="BTCUSDT", ours="1", venue="2", healed=True), "account")
    assert refusal(desk).reason is Reason.NOT_RECONCILED
    desk.reconcile()
    only(desk.signal(), OrderIntent)


@pytest.mark.parametrize("how", ["no ask", "closed", "down"])
def test_no_market(how: str) -> None:
    desk = opened()
    if how == "no ask":
        desk.put(e.Tick(symbol="BTCUSDT", last=D(60000), bids=(), asks=()), "tick")
    elif how == "closed":
        desk.instrument(status="Closed")
    else:
        desk.state.markets["BTCUSDT"].down = True
    assert refusal(desk).reason is Reason.NO_MARKET


def test_one_order_in_flight() -> None:
    desk = opened()
    only(desk.signal(), OrderIntent)
    assert refusal(desk).reason is Reason.IN_FLIGHT


def test_no_edge() -> None:
    assert refusal(opened(), p=D("0.3")).reason is Reason.NO_EDGE


def test_below_minimum_without_allocation() -> None:
    assert refusal(arming(allocation={}), target="1").reason is Reason.BELOW_MINIMUM


def test_stop_distance_below_a_unit_sizes_nothing() -> None:
    assert refusal(opened(), stop_distance=D("1e-12")).reason is Reason.BELOW_MINIMUM


def test_order_rate_counts_entries_of_the_last_second() -> None:
    desk = arming(order_rate=D(2))
    for _ in range(2):
        desk.cancelled(only(desk.signal(), OrderIntent))
    refused = refusal(desk)
    assert (refused.reason, refused.measured, refused.limit) == (Reason.ORDER_RATE, D(2), D(2))
    desk.later()
    only(desk.signal(), OrderIntent)


def test_repeated_words_disable_the_strategy() -> None:
    desk = opened()
    for _ in range(3):
        desk.later()
        desk.cancelled(only(desk.signal(score=D(7)), OrderIntent))
    desk.later()
    made = desk.signal(score=D(7))
    assert only(made, OrderRefused).reason is Reason.SIGNAL_REPEATS
    assert only(made, e.Halted).scope == "strategy:trend"
    assert refusal(desk, target="-1").reason is Reason.MODE
    only(desk.signal(strategy="mean"), OrderIntent)


def test_orders_filled_a_minute_disable_the_strategy() -> None:
    desk = arming(fills_per_minute=D(3), order_rate=D(100))
    for _ in range(3):
        order = only(desk.signal(), OrderIntent)
        made = desk.fill(order, D("0.001"))
        desk.cancelled(order, "0.001")
    assert only(made, e.Halted).reason is Reason.FILLS_PER_MINUTE
    assert limits.orders_filled(desk.state, "trend") == 3
    desk.later(MINUTE)
    assert limits.orders_filled(desk.state, "trend") == 0


@pytest.mark.parametrize(
    ("side", "mark", "bound"), [("1", "59000", False), ("1", "59500", True), ("-1", "61000", False)]
)
def test_entry_collar(side: str, mark: str, bound: bool) -> None:
    """Touch 60000: 1 % from a mark of 59500 is 60095."""
    desk = opened()
    desk.mark(mark)
    made = desk.signal(side)
    if bound:
        assert D("59999") < only(made, OrderIntent).price <= D("60095")
    else:
        assert only(made, OrderRefused).reason is Reason.ENTRY_COLLAR


def test_self_match_across_strategies() -> None:
    desk = arming(entry={"mean": EntryStyle(style="post_only", ttl_ms=5_000)})
    resting = only(desk.signal("-1", strategy="mean"), OrderIntent)
    assert (resting.time_in_force, resting.price) == (e.TimeInForce.POST_ONLY, D("60000.1"))
    assert refusal(desk).reason is Reason.SELF_MATCH
    desk.cancelled(resting)
    only(desk.signal("-1"), OrderIntent)
    assert refusal(desk, strategy="mean").reason is Reason.SELF_MATCH


def test_draft_meets_only_the_other_side_at_its_price() -> None:
    draft = Draft(
        strategy="a", symbol="B", side=Side.SELL, lots=1, price=D(100), touch=D(100), lot_units=1
    )  # fmt: skip
    assert limits.crosses(draft, 1, D(100))
    assert not limits.crosses(draft, 1, D(99))
    assert not limits.crosses(draft, -1, D(100))


@pytest.mark.parametrize(
    ("changes", "qty"),
    [
        ({"max_position_size": D("0.05")}, "0.050"),
        ({"position_limit_usd": D(3003)}, "0.050"),
        ({"max_order_usd": D(3003)}, "0.049"),
        ({"max_order_qty": D("0.05")}, "0.050"),
        ({"max_gross_usd": D(3010)}, "0.050"),
        ({"max_net_usd": D(3010)}, "0.050"),
        ({"max_leverage": D("0.301")}, "0.050"),
    ],
)
def test_caps_shrink_to_the_limit(changes: dict[str, Any], qty: str) -> None:
    if "max_order_usd" in changes or "position_limit_usd" in changes:
        changes = {name: D("3003.005") if qty == "0.050" else D("3003.0049") for name in changes}
    order = only(arming(**changes).signal(), OrderIntent)
    assert order.qty == D(qty)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_position_size": D(0)}, Reason.MAX_POSITION_SIZE),
        ({"position_limit_usd": D(50)}, Reason.POSITION_LIMIT_USD),
        ({"max_order_usd": D(50)}, Reason.MAX_ORDER_USD),
        ({"max_order_qty": D("0.0005")}, Reason.MAX_ORDER_QTY),
        ({"max_gross_usd": D(50)}, Reason.MAX_GROSS_USD),
        ({"max_net_usd": D(50)}, Reason.MAX_NET_USD),
        ({"max_leverage": D("0.001")}, Reason.MAX_LEVERAGE),
    ],
)
@pytest.mark.parametrize("target", ["1", "-1"])
def test_no_room_is_refused_by_its_limit(changes: dict[str, Any], reason: Reason, target: str) -> None:
    refused = refusal(arming(**changes), target=target)
    assert refused.reason is reason
    assert refused.measured > refused.limit
    assert refused.qty > 0


def test_no_maximum_known_is_no_order() -> None:
    desk = opened()
    desk.instrument(max_qty=D(0))
    assert refusal(desk).reason is Reason.MAX_ORDER_QTY


def test_exposure_is_book_wide_and_counts_open_orders() -> None:
    desk = arming(max_gross_usd=D(15_000), max_position_size=D(10))
    desk.instrument("ETHUSDT", "0.01")
    desk.tick("3000", "ETHUSDT")
    only(desk.signal(), OrderIntent)
    order = only(desk.signal(strategy="mean", symbol="ETHUSDT", stop_distance=D(30)), OrderIntent)
    assert order.qty * order.price < D(15_000) - D("9969") < (order.qty + D("0.01")) * order.price


def test_price_alone_stops_entries() -> None:
    """Long 0.166 at 60000; a limit of 10000 USD lets no more in when the mark rises, on either side."""
    desk = arming(position_limit_usd=D(10_000), max_daily_loss=D(1), max_drawdown=D(1))
    desk.hold()
    desk.tick("61000")
    for target in ("1", "-1"):
        refused = refusal(desk, strategy="mean", target=target)
        assert refused.reason is Reason.MODE
        use = next(use for use in refused.limits if use.name is Reason.POSITION_LIMIT_USD)
        assert use.measured > use.limit


def test_leverage_without_capital_is_none() -> None:
    desk = arming(max_daily_loss=D(2), max_weekly_loss=D(2), max_drawdown=D(2))
    desk.cash("-10000")
    draft = Draft(
        strategy="trend", symbol="BTCUSDT", side=Side.BUY, lots=5, price=D(60000), touch=D(60000), lot_units=6 * 10**9
    )  # fmt: skip
    draft.exposure = exposure(desk.state, "BTCUSDT")
    assert limits.judge(desk.state, draft).lots == 5
    assert limits.max_leverage(desk.state, draft) == (0, desk.state.limits.max_leverage, True)
    assert limits.entry_collar(desk.state, draft)[2] is False


def test_collar_without_a_mark_divides_nothing() -> None:
    desk = opened()
    desk.state.markets["BTCUSDT"].mark = D(0)
    draft = Draft(strategy="trend", symbol="BTCUSDT", side=Side.SELL, lots=1, price=D(0), touch=D(0), lot_units=0)
    desk.state.markets["BTCUSDT"].index = D(0)
    assert limits.entry_collar(desk.state, draft)[0] == 0


def test_minimum_by_value_and_step() -> None:
    desk = opened()
    market = desk.state.markets["BTCUSDT"]
    assert minimum_lots(market, 6 * 10**9) == 1
    assert minimum_lots(market, 10**8) == 5
    assert minimum_lots(market, 0) == 1
    market.step = 10
    assert minimum_lots(market, 10**8) == 10


def test_limit_that_raises_refuses_and_halts(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(state: Any, draft: Any) -> Measured:
        raise ZeroDivisionError("nothing to divide by")

    healthy = [use.name for use in only(opened().signal(), OrderIntent).limits]
    monkeypatch.setattr(limits, "ENTRY", limits.ENTRY | {Reason.NO_MARKET: broken})
    desk = opened()
    made = desk.signal()
    refused = only(made, OrderRefused)
    assert (refused.reason, refused.detail) == (Reason.EXCEPTION, "ZeroDivisionError: nothing to divide by")
    assert [use.name for use in refused.limits] == [
        Reason.EXCEPTION if name is Reason.NO_MARKET else name for name in healthy
    ]
    halted = only(made, e.Halted)
    assert (halted.reason, halted.scope) == (Reason.EXCEPTION, "book")
    assert "nothing to divide by" in halted.detail
    assert of(made, OrderIntent) == []


def test_sizing_and_pricing_that_raise_refuse_and_halt() -> None:
    for field in ("step", "tick_size"):
        desk = opened()
        setattr(desk.state.markets["BTCUSDT"], field, 0 if field == "step" else D(0))
        made = desk.signal()
        assert only(made, OrderRefused).reason is Reason.EXCEPTION
        only(made, e.Halted)


def test_standing_limit_that_raises_halts(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(state: Any, draft: Any) -> Measured:
        raise KeyError("gone")

    desk = opened()
    monkeypatch.setattr(standing, "STANDING", {Reason.MAX_DRAWDOWN: broken})
    assert only(desk.adjust(Side.BUY, "0.001", "60000"), e.Halted).reason is Reason.EXCEPTION


def test_latency_is_the_p95_of_twenty() -> None:
    desk = opened()
    accept = e.OrderAccepted(order_link_id="x", symbol="BTCUSDT", order_id="y", ack_ms=1000)
    for count in range(18):
        assert desk.put(e.OrderAccepted(order_link_id="x", symbol="B", order_id="y", ack_ms=5), "order") == [], count
    assert desk.put(accept, "order") == []
    halted = only(desk.put(accept, "order"), e.Halted)
    assert (halted.reason, halted.measured) == (Reason.MAX_LATENCY_MS, D(1000))


@pytest.mark.parametrize(("requests", "errors", "halts"), [(9, 9, 0), (10, 1, 0), (10, 2, 1)])
def test_error_rate_needs_ten_requests(requests: int, errors: int, halts: int) -> None:
    desk = opened()
    beat = e.Heartbeat(service="execution", api_requests=requests, api_errors=errors)
    assert len(of(desk.put(beat, "health:execution"), e.Halted)) == halts
