"""Money that moves without a trade is booked to the digit; a private stream that keeps executions to itself is found."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from libs.common.events import CashMoved, Fill, Mismatch, Reconciled
from services.execution import cash
from services.execution.state import State
from tests.unit.execution.desk import MS, Desk, Row, execution_row, intent, order_row


@pytest.fixture
def desk() -> Desk:
    return Desk().opened()


def log_row(desk: Desk, name: str, change: str, kind: str = "TRANSFER_IN", **changes: Any) -> Row:
    row = {"id": name, "type": kind, "currency": "USDT", "change": change, "transactionTime": str(desk.now // MS)}
    return row | changes


def poll(desk: Desk, *rows: Row) -> None:
    """One round; the transaction log, when it is asked for, has these rows."""
    desk.log = list(rows)
    desk.pass_time(5_000)
    desk.answer_polls()


def test_a_deposit_is_cash_moved_by_exactly_its_amount_and_no_mismatch(desk: Desk) -> None:
    desk.wallet = "10500.00000001"
    poll(desk)
    assert desk.of(CashMoved) == desk.of(Reconciled) == [], "the wallets differ: the log is asked for"
    row = log_row(desk, "t1", "500.00000001")
    poll(desk, row)
    assert desk.one(CashMoved) == CashMoved(amount=Decimal("500.00000001"), reference="TRANSFER_IN t1")
    assert desk.of(Mismatch) == []
    desk.one(Reconciled)
    poll(desk)
    assert desk.calls("/account/transaction-log") == [], "nothing to explain any more"


def test_a_withdrawal_and_a_fee_refund_in_one_difference(desk: Desk) -> None:
    desk.wallet = "7001.5"
    poll(desk)
    poll(desk, log_row(desk, "r", "1.5", "FEE_REFUND"), log_row(desk, "w", "-3000", "TRANSFER_OUT"))
    assert sorted(event.amount for event in desk.of(CashMoved)) == [Decimal(-3000), Decimal("1.5")]
    desk.one(Reconciled)


def test_a_row_counts_once_and_those_of_trades_never(desk: Desk) -> None:
    desk.wallet = "10100"
    poll(desk)
    rows = [
        log_row(desk, "t1", "100"),
        log_row(desk, "x", "-3", "TRADE"),
        log_row(desk, "f", "-2", "SETTLEMENT"),
        log_row(desk, "b", "5", currency="BTC"),
        log_row(desk, "early", "9", transactionTime="5"),
    ]
    poll(desk, *rows)
    assert desk.one(CashMoved).amount == 100
    desk.wallet = "10107"
    poll(desk, *rows)
    poll(desk, *rows)
    assert desk.one(CashMoved).amount == 100
    assert desk.one(Mismatch).kind == "wallet", "seven that nothing explains"


# --- the silent stream ------------------------------------------------------------------------------------------------


def hold(desk: Desk, age_ms: int) -> None:
    """A fill that is known to REST for `age_ms` and that the private stream did not tell."""
    desk.message("connected")
    desk.pass_time(10_000)
    desk.answer_polls()
    desk.feed("order-intent", intent(expires_at=desk.now + 2_000 * MS))
    desk.reply(desk.call("/order/create"))
    desk.frame("order", order_row())
    desk.executions = [execution_row("e1", "0.01", at_ms=desk.now // MS)]
    desk.positions = [{"symbol": "BTCUSDT", "side": "Buy", "size": "0.01", "avgPrice": "30000"}]
    desk.wallet = "9999.835"
    desk.events.clear()
    desk.state.reconciliation.due_at = desk.now + age_ms * MS
    desk.pass_time(age_ms)
    desk.answer_polls()


def test_a_stream_that_keeps_an_execution_is_silent_and_is_connected_anew(desk: Desk) -> None:
    hold(desk, 3_000)
    assert desk.one(Fill).exec_id == "e1", "the poll heals it"
    assert desk.one(Mismatch) == Mismatch(kind="stream", symbol="", ours="", venue="e1", healed=True)
    (reconnect,) = desk.calls("reconnect")
    assert reconnect.method == "WS"
    desk.message("reply", "", reconnect.number, 200)
    desk.message("connected")
    desk.pass_time(5_000)
    desk.answer_polls()
    assert len(desk.of(Mismatch)) == 1


def test_an_execution_that_may_still_be_on_its_way_proves_nothing(desk: Desk) -> None:
    hold(desk, 1_500)
    assert desk.one(Fill).exec_id == "e1"
    assert desk.of(Mismatch) == []


def test_the_log_is_read_from_the_last_agreement_on() -> None:
    """Not from the beginning: a year of trades would be thousands of pages each time the wallets differ for a moment."""
    state = State(now=10_000_000 * MS)
    state.cash.from_ms = 1_000
    assert "startTime=1000" in cash.call(state, "USDT").target
    state.cash.agreed_ms = 9_000_000
    assert f"startTime={9_000_000 - cash.OVERLAP_MS}" in cash.call(state, "USDT").target
