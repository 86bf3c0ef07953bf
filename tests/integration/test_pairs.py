"""An arbitrage pair through the real cores and the simulated exchange: whatever comes between the legs, none stays alone.

Tape time runs in windows of 100 ms. A leg is alone from the execution that made the legs differ to the one that made them equal.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cli.backtest import Backtest
from cli.context import Context
from cli.rundir import make_run_dir, write_accounts, write_config, write_keys
from cli.tapes import plan
from libs.common.events import Fill, HaltRequested, OrderIntent, OrderSubmitted, PositionAdjusted, Purpose
from libs.common.record import Record
from sim.tapes.tape import open_tape

PERPETUAL, PAIR = "BTCUSDT", "BTCUSDT-SPOT"
SECOND = 1_000_000_000
TAPE = "synthetic:seed=7,minutes=10,symbols=BTCUSDT"
SETTINGS = """
[run]
instant_ms = 100
resume_after_ms = 0

[sim]
spot = true
script = "{script}"

[risk]
auto_arm = true

[risk.allocation]
threshold = 0.0
trend = 0.0
mean_reversion = 0.0
funding_arb = 1.0

[risk.allow.funding_arb]
symbols = ["BTCUSDT", "BTCUSDT-SPOT"]

[signal.strategies.threshold]
enabled = false

[signal.strategies.trend]
enabled = false

[signal.strategies.mean_reversion]
enabled = false

[signal.strategies.funding_arb]
parameters = {{ enter_rate = 0.00002, leave_rate = -0.01 }}
"""


class Run:
    """One backtest of a minute; notes what the legs held and when."""

    def __init__(self, directory: Path, operations: str = "", halt_at: int = 0) -> None:
        script = directory / "script.toml"
        script.write_text(operations)
        config = directory / "pair.toml"
        config.write_text(SETTINGS.format(script=script))
        ctx = Context(config=config)
        overrides, _, base = plan(ctx, 7, "max", "1m", [TAPE])
        run_dir = make_run_dir(directory / "run")
        settings = ctx.settings(overrides | write_keys(run_dir) | {"run.run_dir": str(run_dir)}, base)
        write_accounts(run_dir, settings)
        self.held = {PERPETUAL: Decimal(0), PAIR: Decimal(0)}
        self.most = dict(self.held)
        self.alone_since: int | None = None
        self.alone_ns = 0
        self.intents: list[OrderIntent] = []
        self.entered_at = 0
        tape = open_tape([TAPE], 7)
        self.backtest = Backtest(write_config(run_dir, settings), settings, tape, self.note)
        self.halt_at = halt_at
        self._instant, self.backtest._instant = self.backtest._instant, self._next
        self.result = self.backtest.run()

    def _next(self) -> None:
        """An instant, with the halt in it when it is time."""
        if self.halt_at and self.backtest._next_at >= self.halt_at:
            script = self.backtest.script
            self.backtest._command(script._sealed(HaltRequested(reason="test", **script._common(self.halt_at))))
            self.halt_at = 0
        self._instant()

    def note(self, record: Record) -> None:
        body = record.body
        if isinstance(body, OrderIntent):
            self.intents.append(body)
        elif isinstance(body, OrderSubmitted) and body.purpose is Purpose.ENTRY:
            self.entered_at = self.entered_at or record.at
        elif isinstance(body, Fill | PositionAdjusted):
            self.held[body.symbol] += body.side.sign * body.qty
            self.most[body.symbol] = max(self.most[body.symbol], abs(self.held[body.symbol]))
            self._weigh(body.exec_at)

    def _weigh(self, at: int) -> None:
        first, second = self.held.values()
        alone = abs(first + second) > Decimal("0.001") + Decimal("0.002") * max(abs(first), abs(second))
        if alone and self.alone_since is None:
            self.alone_since = at
        if self.alone_since is not None:
            self.alone_ns = max(self.alone_ns, at - self.alone_since)
        if not alone:
            self.alone_since = None


def operation(**fields: Any) -> str:
    lines = [f"{name} = {value!r}".replace("'", '"') for name, value in fields.items()]
    return "\n".join(["[[operation]]", *lines, ""])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("undisturbed"))


def test_a_pair_goes_in_together_and_out_together(undisturbed: Run) -> None:
    entries = [intent for intent in undisturbed.intents if intent.purpose is Purpose.ENTRY]
    assert {intent.symbol for intent in entries} == {PERPETUAL, PAIR}
    assert undisturbed.most[PERPETUAL] > Decimal("0.05")
    assert undisturbed.alone_since is None
    assert undisturbed.alone_ns <= SECOND
    assert undisturbed.result.flat["positions"] == 0


@pytest.mark.parametrize("qty", ["", "0.1"], ids=["all of it", "a part"])
def test_a_leg_that_the_venue_deleverages_takes_the_other_with_it(tmp_path: Path, qty: str) -> None:
    fields = {"after": "30s", "do": "adl", "symbol": PERPETUAL} | ({"qty": qty} if qty else {})
    run = Run(tmp_path, operation(**fields))
    assert any(intent.purpose is Purpose.EXIT and intent.symbol == PAIR for intent in run.intents)
    assert run.alone_since is None
    assert 0 < run.alone_ns <= SECOND


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_a_leg_that_the_venue_refuses_takes_the_other_with_it(tmp_path: Path, category: str) -> None:
    refused = operation(after="0s", do="status", symbol=PERPETUAL, category=category, status="Trading", refuse=110074)
    run = Run(tmp_path, refused)
    traded = PAIR if category == "linear" else PERPETUAL
    assert run.most[traded] > 0, "the other leg was filled"
    assert run.alone_since is None
    assert 0 < run.alone_ns <= SECOND


@pytest.mark.parametrize("late", range(-1, 6))
def test_a_halt_at_any_instant_around_the_legs_leaves_none_alone(tmp_path: Path, undisturbed: Run, late: int) -> None:
    run = Run(tmp_path, halt_at=undisturbed.entered_at + late * SECOND // 10)
    assert run.alone_since is None
    assert run.alone_ns <= SECOND
    assert run.result.flat["positions"] == 0
