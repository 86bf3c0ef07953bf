"""Approvals to orders, and orders to their ends, by feeding the core what the bus and the exchange would."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from libs.common.events import (
    CancelIntent,
    Fill,
    ForeignOrder,
    FundingPaid,
    Halted,
    Mode,
    ModeChanged,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderSubmitted,
    PositionAdjusted,
    Purpose,
    Reason,
    Resumed,
    TimeInForce,
)
from libs.common.record import Record
from tests.unit.execution.desk import (
    MS,
    START,
    Desk,
    Row,
    S,
    execution_row,
    exit_intent,
    intent,
    kinds,
    order_row,
)

HALT = Halted(reason=Reason.MAX_DRAWDOWN, measured=Decimal("0.1"), limit=Decimal("0.1"))


@pytest.fixture
def desk() -> Desk:
    return Desk().opened()


def submit(desk: Desk, link_id: str = "tg-1", **changes: object) -> None:
    desk.feed("order-intent", intent(link_id, **changes))


# --- approvals --------------------------------------------------------------------------------------------------------


def test_a_valid_entry_is_submitted_behind_its_guards_and_becomes_a_create_call(desk: Desk) -> None:
    approval = intent(expires_at=START + S)
    record = Record("order-intent", (1, 0), "x", 1, desk.now, (), "", approval)
    assert desk.core.guards(record) == ("book", "symbol:BTCUSDT", "strategy:trend")
    assert kinds(desk.feed("order-intent", approval)) == ["OrderSubmitted"]
    body = msgspec.json.decode(desk.call("/order/create").body)
    assert body["orderLinkId"] == "tg-1"
    assert (body["qty"], body["price"], body["timeInForce"]) == ("0.01", "30000", "IOC")
    assert desk.call("/order/create").weight_class == "create"


def test_an_exit_has_no_guards(desk: Desk) -> None:
    record = Record("order-intent", (1, 0), "x", 1, desk.now, (), "", exit_intent("tg-2"))
    assert desk.core.guards(record) == ()


@pytest.mark.parametrize(
    ("approval", "reason"),
    [
        (msgspec.structs.replace(intent(expires_at=START + S), qty=Decimal("0.02")), "SEAL"),
        (intent(key_id="other", expires_at=START + S), "SEAL"),
        (msgspec.structs.replace(intent(expires_at=START + S), seal="zz"), "SEAL"),
        (intent(expires_at=START), "EXPIRED"),
        (exit_intent("tg-1", reduce_only=False), "NOT_REDUCE_ONLY"),
    ],
)
def test_a_bad_approval_is_rejected_and_never_sent(desk: Desk, approval: object, reason: str) -> None:
    desk.feed("order-intent", approval)  # type: ignore[arg-type]
    assert desk.one(OrderRejected).reason == reason
    assert desk.calls("/order/create") == []


def test_a_used_id_is_turned_down_and_leaves_the_order_that_bears_it_alone(desk: Desk) -> None:
    submit(desk)
    submit(desk)
    assert desk.one(OrderRejected).reason == "DUPLICATE"
    assert len(desk.calls("/order/create")) == 1
    desk.frame("order", order_row(status="New"))
    assert desk.one(OrderAccepted).order_link_id == "tg-1"


def test_a_stop_travels_inside_the_entry_on_a_tick(desk: Desk) -> None:
    submit(desk, stop_distance=Decimal("123.456"))
    assert desk.one(OrderSubmitted).stop_loss == Decimal("29876.5")
    assert msgspec.json.decode(desk.call("/order/create").body)["stopLoss"] == "29876.5"


def test_after_a_halt_entries_are_rejected_and_exits_pass(desk: Desk) -> None:
    desk.feed("halt", HALT)
    submit(desk)
    desk.feed("order-intent", exit_intent("tg-2"))
    assert desk.one(OrderRejected).reason == "HALTED"
    assert desk.one(OrderSubmitted).order_link_id == "tg-2"
    desk.feed("halt", Resumed(halt_id="halt-1", scope="book", operator="ann"))
    submit(desk, "tg-3")
    assert [e.order_link_id for e in desk.of(OrderSubmitted)] == ["tg-2", "tg-3"]


def test_an_entry_passes_in_normal_only_and_a_resume_may_leave_a_scope_closed(desk: Desk) -> None:
    desk.feed("halt", ModeChanged(scope="symbol:BTCUSDT", old=Mode.NORMAL, new=Mode.REDUCE_ONLY, reason=Reason.SPREAD))
    submit(desk, "tg-1")
    desk.feed("halt", HALT)
    desk.feed("halt", Resumed(halt_id="halt-2", scope="book", operator="ann", mode=Mode.HALTED))
    submit(desk, "tg-2")
    assert [event.reason for event in desk.of(OrderRejected)] == ["REDUCE_ONLY", "HALTED"]


def test_a_refused_gate_without_a_halt_turns_the_entry_down(desk: Desk) -> None:
    record = Record("order-intent", (1, 0), "x", 1, desk.now, (), "", intent())
    (refusal,) = desk.core.refused(record)
    assert refusal == OrderRejected(order_link_id="tg-1", symbol="BTCUSDT", reason="HALTED")


# --- proof and ends ---------------------------------------------------------------------------------------------------


def test_an_ack_proves_nothing_the_stream_does(desk: Desk) -> None:
    submit(desk)
    assert desk.reply(desk.call("/order/create"), {"orderId": "id-tg-1"}) == []
    desk.now += 40 * MS
    assert kinds(desk.frame("order", order_row(status="New"))) == ["OrderAccepted"]
    assert desk.one(OrderAccepted).ack_ms == 40


def test_a_fill_proves_and_fills(desk: Desk) -> None:
    submit(desk)
    caused = desk.frame("execution", execution_row("e1", "0.004"), execution_row("e2", "0.006"))
    assert kinds(caused) == ["OrderAccepted", "Fill", "Fill"]
    assert [fill.cum_qty for fill in desk.of(Fill)] == [Decimal("0.004"), Decimal("0.010")]
    assert desk.state.orders == {}
    assert desk.state.closed["tg-1"].state == "filled"
    assert desk.state.ledger.quantity("BTCUSDT") == Decimal("0.01")


def test_events_of_an_order_belong_to_the_chain_of_its_approval(desk: Desk) -> None:
    submit(desk)
    desk.frame("execution", execution_row("e1", "0.01"))
    fill = next(record for record in desk.records if isinstance(record.body, Fill))
    assert fill.correlation == "chain-1"
    assert ("order-intent", 1) in fill.cause


def test_the_same_execution_counts_once(desk: Desk) -> None:
    submit(desk)
    desk.frame("execution", execution_row("e1", "0.004"), execution_row("e1", "0.004"))
    desk.frame("execution", execution_row("e1", "0.004"))
    assert len(desk.of(Fill)) == 1


def test_a_cancelled_rest_waits_for_the_fills_it_counts(desk: Desk) -> None:
    submit(desk)
    caused = desk.frame("order", order_row(status="Cancelled", cum="0.004", rejectReason="EC_CancelForNoFullFill"))
    assert kinds(caused) == ["OrderAccepted"]
    caused = desk.frame("execution", execution_row("e1", "0.004"))
    assert kinds(caused) == ["Fill", "OrderCancelled"]
    assert desk.one(OrderCancelled).cum_qty == Decimal("0.004")
    assert desk.one(OrderCancelled).reason == "EC_CancelForNoFullFill"


def test_missing_fills_are_asked_for(desk: Desk) -> None:
    submit(desk)
    desk.reply(desk.call("/order/create"))
    desk.frame("order", order_row(status="Filled", cum="0.01"))
    desk.pass_time(600)
    row = order_row(status="Filled", cum="0.01")
    lookup = next(r for r in desk.calls("/order/realtime") if "orderLinkId" in r.target)
    desk.reply(lookup, {"list": [row]})
    lookup = next(r for r in desk.calls("/execution/list") if "orderLinkId" in r.target)
    assert kinds(desk.reply(lookup, {"list": [execution_row("e1", "0.01")]})) == ["Fill"]


def test_a_refusal_of_the_venue_is_final(desk: Desk) -> None:
    submit(desk)
    desk.reply(desk.call("/order/create"), code=110007, message="ab not enough for new order")
    assert (desk.one(OrderRejected).code, desk.one(OrderRejected).reason) == (110007, "ab not enough for new order")
    assert desk.state.orders == {}


def test_a_rejection_by_the_engine_is_no_acceptance(desk: Desk) -> None:
    submit(desk)
    desk.frame("order", order_row(status="Rejected", rejectReason="EC_Others"))
    assert kinds(desk.events) == ["OrderSubmitted", "OrderRejected"]


def test_a_terminal_state_outranks_a_stale_open_one(desk: Desk) -> None:
    submit(desk)
    desk.frame("order", order_row(status="Cancelled", updated_ms=5, rejectReason="EC_PerCancelRequest"))
    assert desk.frame("order", order_row(status="New", updated_ms=9)) == []
    assert kinds(desk.events) == ["OrderSubmitted", "OrderAccepted", "OrderCancelled"]


def test_a_reduce_only_order_cut_down_by_the_venue_ends_when_the_venue_says_so(desk: Desk) -> None:
    desk.feed("order-intent", exit_intent("tg-2", qty=Decimal("0.05")))
    desk.frame("execution", execution_row("e1", "0.01", "tg-2", side="Sell"))
    desk.frame("order", order_row("tg-2", "Filled", "0.01", qty="0.01", side="Sell"))
    assert desk.one(OrderCancelled).cum_qty == Decimal("0.01")


# --- expiry and rates ---------------------------------------------------------------------------------------------------


def test_an_order_that_the_shell_did_not_send_is_expired(desk: Desk) -> None:
    submit(desk, expires_at=START + S)
    create = desk.call("/order/create")
    assert not desk.core.expired(create.number, START + S - 1)
    assert desk.core.expired(create.number, START + S)
    desk.message("unsent", "", create.number)
    assert desk.one(OrderRejected).reason == "EXPIRED"


def test_creates_beyond_the_budget_wait_and_exits_have_a_reserved_share(desk: Desk) -> None:
    desk.pass_time(2_000)
    for i in range(8):
        submit(desk, f"tg-{i}")
    assert len(desk.calls("/order/create")) == 6
    desk.feed("order-intent", exit_intent("tg-exit"))
    assert [msgspec.json.decode(r.body)["orderLinkId"] for r in desk.calls("/order/create")][-1] == "tg-exit"
    desk.pass_time(1_100)
    assert len(desk.calls("/order/create")) == 9


def test_a_waiting_create_expires_unsent(desk: Desk) -> None:
    desk.pass_time(2_000)
    for i in range(7):
        submit(desk, f"tg-{i}", expires_at=desk.now + 500 * MS)
    desk.pass_time(600)
    assert desk.one(OrderRejected).order_link_id == "tg-6"
    assert desk.one(OrderRejected).reason == "EXPIRED"


def test_a_rate_limited_exit_goes_again_and_an_entry_does_not(desk: Desk) -> None:
    submit(desk)
    desk.reply(desk.call("/order/create"), code=10006, message="Too many visits!")
    assert desk.one(OrderRejected).code == 10006
    desk.pass_time(2_000)
    desk.feed("order-intent", exit_intent("tg-2"))
    desk.reply(desk.call("/order/create"), code=10006, message="Too many visits!")
    assert desk.calls("/order/create") == []
    desk.pass_time(300)
    assert msgspec.json.decode(desk.call("/order/create").body)["orderLinkId"] == "tg-2"


# --- cancels and amends ---------------------------------------------------------------------------------------------------


def resting(desk: Desk, link_id: str = "tg-1", **changes: object) -> None:
    submit(desk, link_id, time_in_force=TimeInForce.GTC, **changes)
    desk.reply(next(r for r in desk.calls("/order/create") if link_id in r.body))
    desk.frame("order", order_row(link_id, "New"))


def test_a_halt_cancels_resting_entries_at_once_and_only_those(desk: Desk) -> None:
    resting(desk, "tg-1")
    desk.feed("order-intent", exit_intent("tg-2", time_in_force=TimeInForce.GTC))
    desk.reply(desk.call("/order/create"))
    desk.frame("order", order_row("tg-2", "New", side="Sell"))
    desk.feed("halt", HALT)
    assert msgspec.json.decode(desk.call("/order/cancel").body)["orderLinkId"] == "tg-1"


def test_a_halt_drops_entries_that_never_left(desk: Desk) -> None:
    desk.pass_time(2_000)
    for i in range(7):
        submit(desk, f"tg-{i}")
    desk.feed("halt", HALT)
    assert [(e.order_link_id, e.reason) for e in desk.of(OrderRejected)] == [("tg-6", "HALTED")]


def test_a_symbol_halt_leaves_other_symbols_alone(desk: Desk) -> None:
    resting(desk, "tg-1")
    resting(desk, "tg-2", symbol="ETHUSDT")
    desk.feed("halt", msgspec.structs.replace(HALT, scope="symbol:ETHUSDT"))
    assert msgspec.json.decode(desk.call("/order/cancel").body)["orderLinkId"] == "tg-2"


def test_a_cancel_is_repeated_until_the_order_has_ended(desk: Desk) -> None:
    resting(desk)
    desk.feed("order-intent", CancelIntent(order_link_id="tg-1"))
    desk.reply(desk.call("/order/cancel"), code=10006, message="Too many visits!")
    desk.pass_time(600)
    assert len(desk.calls("/order/cancel")) == 1, "a rate-limited cancel goes again"
    desk.reply(desk.call("/order/cancel"))
    desk.frame("order", order_row(status="Cancelled", cancelType="CancelByUser"))
    assert desk.one(OrderCancelled).reason == "CancelByUser"
    desk.pass_time(2_000)
    assert desk.calls("/order/cancel") == []


def test_an_order_that_is_gone_when_cancelled_is_looked_up(desk: Desk) -> None:
    resting(desk)
    desk.feed("order-intent", CancelIntent(symbol="BTCUSDT"))
    desk.reply(desk.call("/order/cancel"), code=110001, message="order not exists or too late to cancel")
    desk.pass_time(100)
    lookup = next(r for r in desk.calls("/order/realtime") if "orderLinkId" in r.target)
    desk.reply(lookup, {"list": [order_row(status="Filled", cum="0.01")]})
    desk.frame("execution", execution_row("e1", "0.01"))
    assert desk.one(Fill).cum_qty == Decimal("0.01")


# --- what is not ours -----------------------------------------------------------------------------------------------------


def test_funding_and_adl_are_booked(desk: Desk) -> None:
    submit(desk)
    desk.frame("execution", execution_row("e1", "0.01"))
    desk.frame("execution", execution_row("f1", "0.01", "", execType="Funding", execFee="0.03", execPrice="30000"))
    desk.frame("execution", execution_row("a1", "0.01", "", execType="AdlTrade", side="Sell", execFee="0"))
    assert desk.one(FundingPaid).fee == Decimal("0.03")
    assert desk.one(PositionAdjusted).kind == "AdlTrade"
    assert desk.of(ForeignOrder) == []
    assert desk.state.ledger.quantity("BTCUSDT") == 0
    assert desk.state.ledger.wallet_units == 10_000 * 10**8 - 16_500_000 - 3_000_000


def test_a_strangers_order_and_its_fill_are_reported_once_and_move_the_position(desk: Desk) -> None:
    desk.frame("order", order_row("web-1", "New"))
    desk.frame("order", order_row("web-1", "PartiallyFilled", "0.004"))
    desk.frame("execution", execution_row("x1", "0.004", "web-1"))
    assert desk.one(ForeignOrder).order_link_id == "web-1"
    assert desk.one(PositionAdjusted).qty == Decimal("0.004")


def test_an_attached_stop_is_ours(desk: Desk) -> None:
    submit(desk)
    desk.frame("execution", execution_row("e1", "0.01"))
    stop: Row = {"orderId": "stop-1", "side": "Sell", "stopOrderType": "StopLoss", "parentOrderLinkId": "tg-1"}
    desk.frame("order", order_row("", "Untriggered", **stop))
    done: Row = {"orderId": "stop-1", "side": "Sell", "stopOrderType": "StopLoss"}
    desk.frame("execution", execution_row("e2", "0.01", "", **done))
    fill = desk.of(Fill)[-1]
    assert (fill.order_link_id, fill.strategy, fill.purpose, fill.reduce_only) == (
        "tg-1-sl",
        "trend",
        Purpose.STOP,
        True,
    )
    assert desk.of(ForeignOrder) == []
    assert desk.state.ledger.quantity("BTCUSDT") == 0


def test_frames_of_other_categories_and_unreadable_ones_do_no_harm(desk: Desk) -> None:
    assert desk.frame("execution", execution_row("s1", "1", "x", category="spot")) == []
    assert desk.message("private", "{not json") == []
    assert desk.frame("order", {"orderId": 5}) == []
