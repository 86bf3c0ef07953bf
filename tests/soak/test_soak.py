"""`make soak`, small: the same runs with a thousand intents, and proof that its checks can fail."""

from __future__ import annotations

from decimal import Decimal

import pytest

from libs.common.events import OrderSubmitted
from services.execution import pursuit, state
from tests.soak import plan
from tests.soak.__main__ import faults_of
from tests.soak.live import run_live
from tests.soak.virtual import VirtualRun

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_thousand_intents_with_faults_and_crashes(seed: int) -> None:
    run = VirtualRun(1_000, seed)
    run.run()
    assert faults_of(run, run.tally) == []
    rows = {row.fault: row for row in run.tally.rows()}
    assert rows["all"].intents == 1_000
    assert run.kills >= 3
    assert run.log.snapshots >= 1
    assert run.tally.counts["OrderResolved"] >= 20
    assert rows["all"].dead >= 3
    assert rows["all"].filled > 500


def test_a_run_is_the_same_every_time() -> None:
    first, second = VirtualRun(150, 5), VirtualRun(150, 5)
    first.run()
    second.run()
    assert first.tally.rows() == second.tally.rows()
    assert first.exchange.desk.accounts["sim"].wallet == second.exchange.desk.accounts["sim"].wallet
    assert first.kills == second.kills


def test_it_finds_an_execution_that_sends_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic fault: what was not answered is sent again instead of being asked for, and under a new id."""

    def resend(state: object, order: object, step: int) -> None:
        from libs.bybit import rest
        from services.execution.calls import Kind

        call = rest.create_order(
            link_id=order.link_id, symbol=order.symbol, side=order.side, qty=order.qty, price=Decimal(1),  # type: ignore[attr-defined]
            time_in_force="IOC", reduce_only=False,
        )  # fmt: skip
        state.calls.add(Kind.CREATE, call, order.link_id, state.now)  # type: ignore[attr-defined]
        order.lookup_at = state.now + 1_000_000_000  # type: ignore[attr-defined]

    monkeypatch.setattr(pursuit, "look_up", resend)
    run = VirtualRun(150, 1)
    for _ in range(900):
        if run.begun < run.intents and run.tally.counts["Reconciled"]:
            run.intend()
        run.step()
    assert run.tally.sent_twice() > 0


def test_it_finds_an_order_that_is_accepted_twice() -> None:
    run = VirtualRun(20, 1)
    run.intend()
    link = next(record.body.order_link_id for record in run._queue if hasattr(record.body, "order_link_id"))
    run.tally.wrote(OrderSubmitted(
        order_link_id=link, strategy="s", symbol="BTCUSDT", side="Buy", qty=1, price=1, time_in_force="IOC",  # type: ignore[arg-type]
        reduce_only=False, purpose="entry", expires_at=1,  # type: ignore[arg-type]
    ), 1)  # fmt: skip
    run.tally.placed(link)
    run.tally.placed(link)
    assert any("accepted more than once" in line for line in faults_of(run, run.tally))
    assert any("have no end" in line for line in faults_of(run, run.tally))


def test_real_processes_killed() -> None:
    result = run_live(60, kills=3, seed=2)
    assert result.wrong == []
    assert sum(result.outcomes.values()) == 60
    assert result.accepted > 40


def test_every_class_can_be_told_by_its_orders() -> None:
    assert len(plan.BY_CODE) == len(plan.CLASSES) + 1
    for kind in plan.BY_CODE.values():
        link = plan.link_id(kind, 12_345)
        assert (len(link), plan.index_of(link), plan.BY_CODE[link[3:5]]) == (36, 12_345, kind)
    assert abs(sum(kind.share for kind in plan.CLASSES if kind.text.startswith("ambiguous")) - 0.05) < 1e-9
    assert abs(sum(kind.share for kind in plan.CLASSES if kind.kill) - 0.01) < 1e-9
    assert sum(kind.share for kind in plan.CLASSES if kind.doubled) == 0.01


def test_a_short_memory_of_executions_books_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after 10,000 fills: ids are forgotten while the book is healed again and again."""
    monkeypatch.setattr(state, "KEEP_IDS", 60)
    run = VirtualRun(600, 7)
    healed = 0
    while not run.tally.counts["Reconciled"]:
        run.step()
    while run.begun < run.intents:
        if run.open_orders < 20 and run.dice.random() < 0.5:
            run.intend()
        run.step()
        if run.life is not None and run.begun % 50 == 0:  # as a mismatch would have it
            our = run.life.core.state.reconciliation  # type: ignore[attr-defined]
            our.heal_from_ms = our.born_ms
            healed += 1
    run.settle()
    assert healed > 5
    assert run.differences() == []
