"""Polls against the log: opening, agreement, differences that count, healing, flatness."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from libs.common.events import (
    AccountSnapshot,
    CashMoved,
    Fill,
    FlatConfirmed,
    ForeignOrder,
    Halted,
    Mismatch,
    Mode,
    ModeChanged,
    Reason,
    Reconciled,
    TimeInForce,
)
from tests.unit.execution.desk import CONFIG, MS, START, Desk, execution_row, exit_intent, intent, kinds, order_row

LIQUIDATE = ModeChanged(scope="book", old=Mode.HALTED, new=Mode.LIQUIDATING, reason=Reason.OPERATOR)


def position_row(qty: str, side: str = "Buy", symbol: str = "BTCUSDT") -> dict[str, str]:
    return {"symbol": symbol, "side": side, "size": qty, "avgPrice": "30000"}


@pytest.fixture
def desk() -> Desk:
    return Desk().opened()


def poll(desk: Desk) -> list[str]:
    """Let the next poll become due and answer it."""
    desk.pass_time(5_100)
    return kinds(desk.answer_polls())


def test_the_first_poll_books_the_opening_balance_and_asserts_leverage_and_mode() -> None:
    desk = Desk()
    desk.start()
    leverage = msgspec.json.decode(desk.call("/position/set-leverage").body)
    assert (leverage["buyLeverage"], leverage["sellLeverage"]) == ("5", "5")
    assert msgspec.json.decode(desk.call("/position/switch-mode").body)["mode"] == 0
    desk.answer_polls()
    assert kinds(desk.events) == ["CashMoved", "AccountSnapshot", "Reconciled"]
    assert desk.one(CashMoved).amount == Decimal(10000)
    assert poll(desk) == ["AccountSnapshot", "Reconciled"]


def test_executions_before_the_book_was_born_are_not_its_own() -> None:
    desk = Desk()
    desk.executions = [execution_row("old", "1", at_ms=START // MS - 60_000)]
    desk.start()
    desk.answer_polls()
    assert desk.of(Fill) == []
    assert desk.one(Reconciled).positions == 0


def test_settings_that_the_venue_refuses_withhold_reconciliation() -> None:
    desk = Desk()
    desk.start()
    refused = desk.call("/position/set-leverage")
    desk.reply(refused, code=110013, message="cannot set leverage above the risk limit")
    desk.answer_polls()
    assert desk.of(Reconciled) == []
    desk.pass_time(600)
    desk.reply(desk.call("/position/set-leverage"), code=110013, message="cannot set leverage above the risk limit")
    desk.answer_polls()
    assert desk.one(Mismatch).kind == "setup"
    desk.pass_time(600)
    desk.reply(desk.call("/position/set-leverage"), code=110043, message="leverage not modified")
    desk.answer_polls()
    assert desk.one(Reconciled).checks == 3


def test_a_difference_counts_when_two_polls_agree_on_it(desk: Desk) -> None:
    desk.positions = [position_row("0.02")]
    assert poll(desk) == ["AccountSnapshot"]
    desk.positions = [position_row("0.03")]
    desk.pass_time(600)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot"], "another difference begins anew"
    desk.pass_time(600)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot", "Mismatch"]
    assert (desk.one(Mismatch).kind, desk.one(Mismatch).ours, desk.one(Mismatch).venue) == ("position", "0", "0.03")
    desk.pass_time(600)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot"], "the same one is told once"
    desk.positions = []
    desk.pass_time(600)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot", "Reconciled"]


def test_a_fill_that_the_stream_lost_is_healed_by_the_poll(desk: Desk) -> None:
    desk.feed("order-intent", intent())
    desk.reply(desk.call("/order/create"))
    desk.frame("order", order_row(status="New"))
    desk.executions = [execution_row("e1", "0.01", at_ms=desk.now // MS)]
    desk.positions, desk.wallet = [position_row("0.01")], "9999.835"
    assert poll(desk) == ["Fill", "AccountSnapshot", "Reconciled"]


def test_after_a_mismatch_executions_are_read_again_from_the_start(desk: Desk) -> None:
    desk.feed("order-intent", intent())
    desk.frame("execution", execution_row("e1", "0.01", at_ms=desk.now // MS + 1_000_000))
    desk.executions = [execution_row("f1", "0.01", "", at_ms=START // MS, execType="Funding", execFee="1")]
    desk.positions, desk.wallet = [position_row("0.01")], "9998.835"
    assert poll(desk) == ["AccountSnapshot"], "too old for the overlap"
    desk.pass_time(600)
    desk.answer_polls()
    assert desk.one(Mismatch).kind == "wallet"
    desk.pass_time(600)
    assert kinds(desk.answer_polls()) == ["FundingPaid", "AccountSnapshot", "Reconciled"]


def test_a_live_order_that_the_venue_does_not_list_is_looked_up(desk: Desk) -> None:
    desk.feed("order-intent", intent(time_in_force=TimeInForce.GTC))
    desk.reply(desk.call("/order/create"))
    desk.frame("order", order_row(status="New"))
    poll(desk)
    desk.pass_time(100)
    lookup = next(r for r in desk.calls("/order/realtime") if "orderLinkId" in r.target)
    desk.reply(lookup, {"list": [order_row(status="Cancelled", cancelType="CancelByUser")]})
    assert kinds(desk.events)[-1] == "OrderCancelled"
    desk.pass_time(600)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot", "Reconciled"]
    assert desk.of(Mismatch) == []


def test_an_open_order_of_a_stranger_is_reported_and_one_of_the_watchdog_is_not(desk: Desk) -> None:
    desk.open_orders = [order_row("web-1"), order_row("tgw-1")]
    poll(desk)
    poll(desk)
    assert [event.order_link_id for event in desk.of(ForeignOrder)] == ["web-1"]


def test_another_incarnation_of_the_venue_is_a_mismatch_at_once() -> None:
    desk = Desk()
    desk.incarnation = "a"
    desk.opened()
    desk.incarnation = "b"
    assert poll(desk) == ["Mismatch", "AccountSnapshot", "Reconciled"]
    assert (desk.one(Mismatch).kind, desk.one(Mismatch).ours, desk.one(Mismatch).venue) == ("venue_reset", "a", "b")


def test_a_poll_with_a_lost_answer_is_thrown_away_and_repeated(desk: Desk) -> None:
    desk.pass_time(5_100)
    desk.message("lost", "ReadTimeout", desk.call("/account/wallet-balance").number)
    assert desk.answer_polls() == []
    desk.pass_time(1_100)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot", "Reconciled"]


def test_open_orders_are_read_page_by_page(desk: Desk) -> None:
    desk.pass_time(5_100)
    rows = [order_row(f"web-{i}") for i in range(50)]
    desk.reply(desk.call("/order/realtime"), {"list": rows, "nextPageCursor": "a%3A1"})
    assert desk.call("/order/realtime").target.endswith("&cursor=a%3A1")
    desk.reply(desk.call("/order/realtime"), {"list": [order_row("web-50")], "nextPageCursor": "b"})
    desk.answer_polls()
    assert desk.one(AccountSnapshot).open_orders == 51


def test_on_a_tape_polls_follow_instants() -> None:
    desk = Desk(msgspec.structs.replace(CONFIG, reconcile_every_instants=3)).opened()
    desk.pass_instant()
    desk.pass_instant()
    assert desk.core.requests() == []
    desk.pass_instant()
    assert kinds(desk.answer_polls()) == ["AccountSnapshot", "Reconciled"]


def test_flat_is_confirmed_by_a_poll_that_began_after_it_was_asked_for(desk: Desk) -> None:
    desk.feed("order-intent", intent())
    desk.frame("execution", execution_row("e1", "0.01"))
    desk.positions, desk.wallet = [position_row("0.01")], "9999.835"
    desk.feed("halt", LIQUIDATE)
    desk.pass_time(100)
    desk.answer_polls()
    assert desk.of(FlatConfirmed) == []
    desk.feed("order-intent", exit_intent("tg-2"))
    desk.frame("execution", execution_row("e2", "0.01", "tg-2", side="Sell"))
    desk.positions, desk.wallet = [], "9999.67"
    desk.pass_time(1_100)
    desk.answer_polls()
    assert desk.one(FlatConfirmed).wallet == Decimal("9999.67")
    poll(desk)
    assert len(desk.of(FlatConfirmed)) == 1


def test_a_halt_on_top_of_a_liquidation_does_not_end_it(desk: Desk) -> None:
    desk.feed("halt", LIQUIDATE)
    desk.feed("halt", Halted(reason=Reason.MAX_DRAWDOWN, measured=Decimal(0), limit=Decimal(0)))
    desk.pass_time(100)
    desk.answer_polls()
    assert desk.one(FlatConfirmed).wallet == Decimal(10000)


def test_a_halt_straight_into_liquidation_asks_for_flatness_too(desk: Desk) -> None:
    halt = Halted(reason=Reason.OPERATOR, measured=Decimal(0), limit=Decimal(0), mode=Mode.LIQUIDATING)
    desk.feed("halt", halt)
    desk.pass_time(100)
    desk.answer_polls()
    assert desk.one(FlatConfirmed).wallet == Decimal(10000)


def test_a_reconnection_and_a_restart_poll_at_once(desk: Desk) -> None:
    desk.message("disconnected")
    desk.message("connected")
    desk.pass_time(100)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot", "Reconciled"]
    desk.start(fresh=False)
    assert kinds(desk.answer_polls()) == ["AccountSnapshot", "Reconciled"]
