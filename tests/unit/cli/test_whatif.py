"""Comparing what two sides decided."""

from __future__ import annotations

from decimal import Decimal

from cli.whatif import compare, decision
from libs.common import events as e
from libs.common.record import Record
from libs.common.values import Side

SECOND = 1_000_000_000


def decided(body: e.Event, at: int):
    found = decision(Record("x", (at, 0), f"{at:032x}", 1, at, (), "", body))
    assert found is not None
    return found


def intent(link: str, qty: str, limit: str = "1"):
    use = e.LimitUse(e.Reason.MAX_DRAWDOWN, Decimal(0), Decimal(limit))
    return e.OrderIntent(
        order_link_id=link, strategy="trend", symbol="BTCUSDT", side=Side.BUY, qty=Decimal(qty), price=Decimal(10), reduce_only=False,
        time_in_force=e.TimeInForce.IOC, purpose=e.Purpose.ENTRY, expires_at=1, limits_version=1, limits=(use,), seal=limit,
    )  # fmt: skip


def test_a_limit_that_is_only_repeated_in_an_order_is_no_difference():
    found = compare([decided(intent("a", "1", "0.1"), 1)], [decided(intent("a", "1", "0.05"), 1)])
    assert found.changes == []
    assert found.first_at == 0
    assert found.counts == {"orders": (1, 1)}


def test_gone_new_and_other_are_told_in_order_of_time():
    before = [decided(intent("a", "1"), 3 * SECOND), decided(intent("b", "2"), 2 * SECOND)]
    halt = e.Halted(reason=e.Reason.MAX_DRAWDOWN, measured=Decimal(1), limit=Decimal(1))
    after = [decided(intent("b", "1"), 2 * SECOND), decided(halt, SECOND)]
    found = compare(before, after)
    assert [(c.how, c.kind) for c in found.changes] == [("new", "halts"), ("other", "orders"), ("gone", "orders")]
    assert found.first_at == SECOND
    assert found.counts == {"orders": (2, 1), "halts": (0, 1)}
    assert "Buy 2" in found.changes[1].was


def test_the_same_thing_twice_is_matched_twice():
    refusal = e.OrderRefused(strategy="trend", symbol="BTCUSDT", reason=e.Reason.MODE)
    one, two = decided(refusal, 1), decided(refusal, 1)
    assert compare([one, two], [one, two]).changes == []
    assert [c.how for c in compare([one, two], [one]).changes] == ["gone"]


def test_marks_and_market_data_are_not_decisions():
    tick = e.Tick(symbol="BTCUSDT", last=Decimal(1), bids=(), asks=())
    assert decision(Record("tick", (1, 0), "0" * 32, 1, 1, (), "", tick)) is None
