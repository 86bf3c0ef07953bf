"""Executions are remembered one by one for as long as it takes; what was forgotten is never booked a second time."""

from __future__ import annotations

from decimal import Decimal

import pytest

from libs.common.events import FundingPaid
from services.execution import reconcile, state
from services.execution.state import State


def paid(number: int, exec_ms: int) -> FundingPaid:
    zero = Decimal(0)
    return FundingPaid(
        symbol="BTCUSDT", exec_id=f"e{number}", qty=zero, mark=zero, rate=zero, fee=zero, exec_at=exec_ms * 1_000_000
    )


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> State:
    """Five executions remembered, eight booked: 101..108 ms, the third late and out of order."""
    monkeypatch.setattr(state, "KEEP_IDS", 5)
    made = State()
    for number, exec_ms in enumerate((101, 102, 104, 103, 104, 106, 107, 108)):
        made.booked(paid(number, exec_ms))
    return made


def test_what_is_remembered_or_as_old_as_the_forgotten_is_booked(book: State) -> None:
    assert len(book.exec_ids) == 5
    assert book.forgotten_ms == 104
    assert book.is_booked("e0", 101), "forgotten"
    assert book.is_booked("e2", 104), "forgotten, in the same millisecond as one that is remembered"
    assert book.is_booked("e7", 108), "remembered"
    assert not book.is_booked("new", 105)


def test_healing_reads_back_to_where_all_is_remembered(book: State) -> None:
    assert reconcile._heal_from(book) == 105
    young = State()
    young.reconciliation.born_ms = 7
    assert reconcile._heal_from(young) == 7
