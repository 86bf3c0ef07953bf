"""Spot beside its perpetual, execution's core at the simulated exchange: coins and cash agree to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from libs.common.events import Fill, FlatConfirmed, Halted, Mismatch, Mode, ModeChanged, Purpose, Reason, Reconciled
from libs.common.values import Side, from_units, to_units
from services.execution import spot
from tests.integration.execution.test_at_the_exchange import Run

PERPETUAL, PAIR = "BTCUSDT", "BTCUSDT-SPOT"


def traded(seed: int, lose: float = 0.0, instants: int = 120) -> Run:
    """Both legs bought and sold at random; spot never more than is held."""
    run = Run(seed, lose, (PERPETUAL, PAIR))
    while not run.of(Reconciled):
        run.instant()
    grid = run.exchange.desk.markets[PAIR].instrument.grid
    for _ in range(instants):
        held = run.core.state.ledger.quantity(PAIR)
        if run.dice.random() < 0.5:
            run.order(symbol=PERPETUAL)
        elif held and run.dice.random() < 0.4:
            size = grid.quantity(grid.lots(held * run.dice.randrange(1, 4) / 3))
            run.order(symbol=PAIR, side=Side.SELL, qty=size, purpose=Purpose.EXIT, reduce_only=True)
        else:
            run.order(symbol=PAIR, side=Side.BUY, qty=grid.quantity(run.dice.randrange(1_000, 20_000)))
        run.instant()
    return run


def closed(run: Run) -> Run:
    run.feed("halt", Halted(reason=Reason.OPERATOR, measured=Decimal(0), limit=Decimal(0)))
    run.feed("halt", ModeChanged(scope="book", old=Mode.HALTED, new=Mode.LIQUIDATING, reason=Reason.OPERATOR))
    for _ in range(60):
        if not any(order.purpose is Purpose.FLATTEN for order in run.core.state.orders.values()):
            run.flatten()
        run.instant()
        if run.of(FlatConfirmed):
            break
    return run


@pytest.mark.parametrize(("seed", "lose"), [(1, 0.0), (2, 0.0), (3, 0.2)])
def test_coins_and_cash_agree_to_the_last_digit_and_everything_sellable_is_sold(seed: int, lose: float) -> None:
    run = closed(traded(seed, lose))
    fills, account = run.of(Fill), run.exchange.desk.accounts["sim"]
    assert sum(fill.symbol == PAIR for fill in fills) > 10
    assert any(fill.dust for fill in fills), "fees were taken in coins"
    assert run.of(Mismatch) == []
    assert len(run.of(Reconciled)) > 10
    assert len(run.of(FlatConfirmed)) == 1
    ledger, coins = run.core.state.ledger, run.core.state.coins
    assert to_units(coins.expected(ledger, PAIR)) == account.balance("BTC")
    assert ledger.wallet_units - spot.cost_units(ledger) == account.wallet
    assert ledger.quantity(PAIR) == 0


def test_what_is_held_counts_as_wealth_and_its_cost_as_spent() -> None:
    run = traded(5)
    ledger, account = run.core.state.ledger, run.exchange.desk.accounts["sim"]
    assert ledger.quantity(PAIR) > 0
    assert from_units(ledger.wallet_units) > from_units(account.wallet), "part of the wealth stands as coins"
    assert run.of(Mismatch) == []


def test_coins_that_were_there_before_are_not_the_books() -> None:
    run = Run(6, 0.0, (PERPETUAL, PAIR))
    run.exchange.desk.accounts["sim"].credit("BTC", to_units(Decimal("0.5")))
    for _ in range(12):
        run.instant()
    assert run.core.state.coins.before[PAIR] == Decimal("0.5")
    assert run.core.state.ledger.quantity(PAIR) == 0
    assert run.of(Mismatch) == []


def test_coins_that_vanish_are_a_mismatch() -> None:
    run = traded(7, instants=40)
    run.exchange.desk.accounts["sim"].credit("BTC", -1)
    for _ in range(20):
        run.instant()
    assert {(event.kind, event.symbol) for event in run.of(Mismatch)} == {("coins", PAIR)}
