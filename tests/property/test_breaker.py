"""The textbook breaker beside ours on the same paths of equity: ours has none of its five faults, and each of them is
found: in the textbook's own breaker, and put into ours."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FailedHealthCheck

from libs.common import events as e
from libs.common.events import Reason
from libs.common.record import Record, Started
from services.risk import facts, kernel, standing, valuation
from services.risk.config import RiskConfig
from services.risk.state import RiskState, Window
from services.risk.verdict import flag
from tests.property.breaker import FAULTS, Breaker
from tests.unit.risk.desk import D, Desk, config

DAILY, DRAWDOWN = D("0.02"), D("0.05")
START = 10_000

Step = int | str
"""A valuation (whole coins of equity) or `restart`."""


class Watch(Protocol):
    def see(self, equity: Decimal) -> bool: ...
    def restart(self) -> None: ...


class Ours:
    """The shipped core holding one contract whose value makes the equity what the path says."""

    def __init__(self) -> None:
        limits = {"max_daily_loss": DAILY, "max_drawdown": DRAWDOWN, "max_weekly_loss": D(1)}
        self.desk = Desk(config(auto_arm=True, max_position_size=D(10**6), **limits))
        self.desk.put(Started(fresh=True), "timer")
        self.desk.instrument(tick_size=D("0.0001"), lot="1")
        self.desk.later()
        self.desk.tick(100)
        self.desk.cash(str(START))
        self.desk.reconcile()
        self.desk.put(
            e.Fill(
                order_link_id="x", order_id="v", exec_id="1", strategy="trend", symbol="BTCUSDT", side=e.Side.BUY,
                qty=D(100), price=D(100), fee=D(0), is_maker=False, reduce_only=False, purpose=e.Purpose.ENTRY,
                cum_qty=D(100), order_qty=D(100), exec_at=self.desk.now,
            ),
            "fill",
        )  # fmt: skip

    def see(self, equity: Decimal) -> bool:
        self.desk.tick(100 + (equity - START) / 100)
        return any(block.halt_id for block in self.desk.state.blocks.values())

    def restart(self) -> None:
        self.desk.restart()
        self.desk.put(Started(fresh=False), "timer")
        self.desk.reconcile()


def right(path: list[Step]) -> list[bool]:
    """What must be: halted from the first valuation on whose loss, or fall from the highest yet, reaches its limit."""
    peak, halted, found = D(START), False, []
    for step in path:
        if isinstance(step, int):
            peak = max(peak, D(step))
            halted = halted or START - step >= DAILY * START or peak - step >= DRAWDOWN * peak
            found.append(halted)
    return found


def answers(watch: Watch, path: list[Step]) -> list[bool]:
    found = []
    for step in path:
        if isinstance(step, int):
            found.append(watch.see(D(step)))
        else:
            watch.restart()
    return found


def textbook(*faults: str) -> Breaker:
    return Breaker(frozenset(faults), DAILY, DRAWDOWN)


moves = st.lists(st.one_of(st.integers(9_400, 10_700), st.just("restart")), max_size=12)
paths = moves.map(lambda steps: [START, *steps])
"""A path begins with the equity that the day begins with."""


@settings(max_examples=200, deadline=None)
@given(paths)
def test_ours_halts_exactly_when_it_must(path: list[Step]) -> None:
    assert answers(Ours(), path) == right(path)


@settings(max_examples=300, deadline=None)
@given(paths)
def test_the_breaker_without_its_faults_is_right_too(path: list[Step]) -> None:
    """So what the next test finds is the fault and not the harness."""
    assert answers(textbook(), path) == right(path)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_put_back_is_found(fault: str) -> None:
    @settings(max_examples=500, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(paths)
    def is_right(path: list[Step]) -> None:
        assert answers(textbook(fault), path) == right(path)

    with pytest.raises((AssertionError, ArithmeticError, ExceptionGroup, FailedHealthCheck)) as caught:
        is_right()
    assert not isinstance(caught.value, FailedHealthCheck)


# --- the faults in the shipped core -----------------------------------------------------------------------------------


def profit_halts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kernel, "reaches", lambda loss, ratio, base: abs(loss) * 10**16 >= ratio * base > 0)
    patch.setattr(standing, "STANDING", {Reason.MAX_DAILY_LOSS: lambda state, _: flag(standing.loss_reached(state))})


def good_tick_ends_the_halt(patch: pytest.MonkeyPatch) -> None:
    def on_equity(state: RiskState) -> None:
        valuation_on_equity(state)
        if not standing.loss_reached(state):
            state.blocks.clear()

    valuation_on_equity = valuation.on_equity
    patch.setattr(valuation, "on_equity", on_equity)


def peak_of_zero_divides(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kernel, "reaches", lambda loss, ratio, base: loss * 10**16 // base >= ratio)


def restart_forgets_the_loss(patch: pytest.MonkeyPatch) -> None:
    def on_started(state: RiskState, config: RiskConfig, body: Started, record: Record) -> None:
        learnt(state, config, body, record)
        if not body.fresh:
            state.blocks.clear()
            state.day = Window(state.day.number, state.equity_units, state.equity_units)
            state.peak_units = state.equity_units

    learn: dict[Any, Any] = facts.LEARN
    learnt = learn[Started]
    patch.setitem(learn, Started, on_started)


def loss_counts_again(patch: pytest.MonkeyPatch) -> None:
    def on_equity(state: RiskState) -> None:
        valuation_on_equity(state)
        state.day.base_units += max(state.day.base_units - state.equity_units, 0)

    valuation_on_equity = valuation.on_equity
    patch.setattr(valuation, "on_equity", on_equity)


OURS = (profit_halts, good_tick_ends_the_halt, peak_of_zero_divides, restart_forgets_the_loss, loss_counts_again)


@pytest.mark.parametrize("put_back", OURS, ids=lambda put_back: put_back.__name__.replace("_", " "))
def test_each_fault_put_into_ours_is_found(
    put_back: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=300, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(paths)
    def is_right(path: list[Step]) -> None:
        assert answers(Ours(), path) == right(path)

    put_back(monkeypatch)
    with pytest.raises((AssertionError, ArithmeticError, ExceptionGroup)):
        is_right()


@pytest.mark.parametrize(
    ("fault", "path"),
    [
        ("profit halts", [10_000, 10_200]),
        ("a good tick ends the halt", [10_000, 9_800, 10_000]),
        ("a peak of zero divides", [10_000]),
        ("a restart forgets the loss", [10_000, 9_850, "restart", 9_800]),
        ("a loss counts again", [10_000, 9_900, 9_900]),
    ],
)
def test_each_fault_by_its_plainest_case(fault: str, path: list[Step]) -> None:
    assert answers(Ours(), path) == right(path)
    try:
        found: list[bool] | None = answers(textbook(fault), path)
    except ArithmeticError:
        found = None
    assert found != right(path)
