from __future__ import annotations

from decimal import Decimal

from libs.common.events import RejectKind
from services.marketdata.firewall import NS_PER_SECOND, Firewall, SpikeGuard, Trade


def trade(price: str) -> Trade:
    return Trade(0, Decimal(price), Decimal(1))


def calm() -> SpikeGuard:
    guard = SpikeGuard()
    for n in range(40):
        guard.pass_on(trade("100.0" if n % 2 else "100.1"), 10, 10_000)
    return guard


def test_the_first_trades_teach_and_are_never_held():
    guard = SpikeGuard()
    for price in ("100", "200", "50"):
        assert guard.pass_on(trade(price), 10, 10_000) == ([trade(price)], None)


def test_a_jump_waits_and_a_near_one_confirms_it():
    guard = calm()
    assert guard.pass_on(trade("110"), 10, 10_000) == ([], None)
    assert guard.pass_on(trade("110.2"), 10, 10_000) == ([trade("110"), trade("110.2")], None)
    assert guard.last == Decimal("110.2")


def test_a_jump_that_falls_back_is_a_spike():
    guard = calm()
    guard.pass_on(trade("90"), 10, 10_000)
    assert guard.pass_on(trade("100"), 10, 10_000) == ([trade("100")], trade("90"))


def test_two_wild_prices_in_a_row_are_each_held():
    guard = calm()
    guard.pass_on(trade("90"), 10, 10_000)
    assert guard.pass_on(trade("110"), 10, 10_000) == ([], trade("90"))


def test_moves_below_the_floor_pass_however_calm_it_was():
    guard = calm()
    assert guard.pass_on(trade("100.9"), 1, 10_000) == ([trade("100.9")], None)


def test_the_log_budget_is_per_kind_and_second():
    wall = Firewall()
    for _ in range(4):
        wall.reject(0, 2, "X", RejectKind.GAP, "", "")
    wall.reject(0, 2, "X", RejectKind.STALE, "", "")
    wall.reject(NS_PER_SECOND, 2, "X", RejectKind.GAP, "", "")
    assert [event.kind for event in wall.pending] == [RejectKind.GAP, RejectKind.GAP, RejectKind.STALE, RejectKind.GAP]
    assert wall.counts == {"gap": 5, "stale": 1}


def test_long_payloads_are_cut():
    wall = Firewall()
    wall.reject(0, 1, "X", RejectKind.MALFORMED, "json", "x" * 100_000)
    assert len(wall.pending[0].got) <= 200
