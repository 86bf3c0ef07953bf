"""What a desk asks before it trusts a risk service with its account. One question, one test; each answer is the core's own."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common import seal
from libs.common.events import Halted, LimitChanged, Mode, ModeChanged, OrderIntent, OrderRefused, Reason, Resumed
from libs.common.record import Started
from services.risk.config import RiskConfig
from tests.unit.risk.desk import DAY, MINUTE, SECOND, D, Desk, Side, config, halted, of, only, opened
from tests.unit.risk.pairs import PERP, SPOT, ask, legs, paired, stakes, traded

PRIVATE, PUBLIC = seal.generate()


def signed(desk: Desk, kind: type[e.Command], **fields: Any) -> list[e.Event]:
    desk.seq += 1
    body = kind(operator="alice", nonce=f"q{desk.seq}", expires_at=desk.now + MINUTE, **fields)
    return desk.put(seal.sign(PRIVATE, body), "command")


def settings(**changes: Any) -> RiskConfig:
    return config(auto_arm=True, operator_keys={"alice": PUBLIC}, **changes)


def losing(price: str = "58500", **changes: Any) -> Desk:
    """Long 0.1 BTC from 60,000 with a far stop, on 10,000: at 58,500 the day's loss is 1.5 %."""
    desk = opened(settings(**changes))
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D("0.1"), D(60_000))
    desk.cancelled(order, "0.1")
    desk.state.stops["trend|BTCUSDT"] = D(30_000)
    desk.tick(price)
    return desk


def test_does_a_deposit_hide_a_loss() -> None:
    desk = losing()
    made = desk.cash("10000")
    assert only(made, e.PortfolioMarked).daily_loss == D("0.015"), "no: the loss keeps its share of the base"
    assert of(desk.tick("57492.5"), Halted) == []
    assert only(desk.tick("57492.3"), Halted).reason is Reason.MAX_DAILY_LOSS, "and half a percent more of it all halts"


def test_does_a_withdrawal_halt() -> None:
    desk = losing()
    for amount in ("-5000", "-4000", "-500"):
        assert of(desk.cash(amount), Halted) == [], "no: what left was no loss"
    assert only(desk.cash("0.01"), e.PortfolioMarked).daily_loss == D("0.015")


def test_is_a_loss_over_midnight_counted() -> None:
    desk = losing()
    desk.later(DAY - desk.now % DAY)
    halt = only(desk.tick("58000"), Halted)
    assert (halt.reason, halt.measured) == (Reason.MAX_DAILY_LOSS, D("0.02")), "yes: while the position runs"


@pytest.mark.parametrize(
    ("reason", "limit"), [("max_daily_loss", "0.02"), ("max_weekly_loss", "0.02"), ("max_drawdown", "0.02")]
)
def test_does_a_resumed_book_halt_again_on_the_old_loss(reason: str, limit: str) -> None:
    wide = {"max_daily_loss": D(1), "max_weekly_loss": D(1), "max_drawdown": D(1)} | {reason: D(limit)}
    desk = losing("58000", **wide)
    (halt,) = desk.halts()[1:]
    resumed = only(signed(desk, e.ResumeRequested, halt_id=halt.id), Resumed)
    assert [(r.old, r.new) for r in resumed.rebased] == [(D(10_000), D(9_800))]
    for price in ("57999", "57950", "57900"):
        assert of(desk.tick(price), Halted) == [], "no: it counts from where it was resumed"
    desk.restart()
    desk.put(Started(fresh=False), "timer")
    assert of(desk.tick("57900"), Halted) == [], "nor after a restart"
    assert only(desk.tick("56040"), Halted).reason == reason, "but the next loss counts in full"


def test_does_a_limit_lowered_below_the_position_trap_it() -> None:
    desk = losing("60000")
    made = signed(desk, e.LimitChange, name="max_position_size", value=D("0.01"))
    only(made, LimitChanged)
    changed = only(made, ModeChanged)
    assert (changed.scope, changed.new, changed.reason) == (
        "symbol:BTCUSDT", Mode.REDUCE_ONLY, Reason.MAX_POSITION_SIZE,
    )  # fmt: skip
    assert only(desk.signal(strategy="mean"), OrderRefused).reason is Reason.MODE, "no more of it"
    exit_ = only(desk.signal("0"), OrderIntent)
    assert (exit_.qty, exit_.reduce_only) == (D("0.1"), True), "but all of it may go"


@pytest.mark.parametrize("between", ["halt", "adl", "refusal"])
def test_is_a_hedged_pair_unwound_whole(between: str) -> None:
    desk = paired()
    orders = legs(ask(desk))
    made = traded(desk, orders[SPOT])
    if between == "adl":
        made += traded(desk, orders[PERP]) + desk.adjust(Side.BUY, "0.1", "60000")
    elif between == "halt":
        halted(desk)
        made += desk.put(e.OrderRejected(order_link_id=orders[PERP].order_link_id, symbol=PERP, reason="gate"), "order")
    else:
        made += traded(desk, orders[PERP], "0.05")
    out = of(made, OrderIntent)
    assert out[0].symbol == SPOT, "the larger leg first"
    assert all(order.reduce_only for order in out)
    for order in out:
        traded(desk, order)
    assert stakes(desk) == (0, 0), "whole"


def test_is_an_exit_below_the_minimum_let_through_or_told() -> None:
    desk = opened(settings())
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D("0.001"), D(60_000))
    desk.cancelled(order, "0.001")
    desk.instrument(min_notional=D(100), min_qty=D("0.01"))
    exit_ = only(desk.signal("0"), OrderIntent)
    assert (exit_.qty, exit_.reduce_only) == (D("0.001"), True), "a perpetual's goes through: the venue waives it"

    spot = paired()
    traded(spot, only(spot.signal("1", "trend", SPOT), OrderIntent), "0.00005")
    spot.later()
    refused = only(spot.signal("0", "trend", SPOT), OrderRefused)
    assert (refused.reason, refused.detail) == (
        Reason.BELOW_MINIMUM, "dust: less than the venue trades, it stays and counts as flat",
    )  # fmt: skip


def test_is_a_market_that_falls_a_percent_a_second_still_exited() -> None:
    """The venue fills an order a second after it was sent, at the price of then, when the limit allows: a delay of 1 %."""
    desk = losing("60000", max_daily_loss=D(1), max_weekly_loss=D(1), max_drawdown=D(1))
    desk.signal("0")
    price, waiting = D(60_000), list(of([r.body for r in desk.out[-3:]], OrderIntent))
    assert waiting
    for _ in range(5):
        desk.now += SECOND
        price *= D("0.99")
        desk.tick(price.quantize(D("0.1")))
        for order in waiting:
            if order.price <= price:
                desk.fill(order, price=price.quantize(D("0.1")))
            else:
                desk.cancelled(order)
        waiting = of(desk.later(0), OrderIntent)
        if desk.state.ledger.lots("BTCUSDT") == 0:
            break
    assert desk.state.ledger.lots("BTCUSDT") == 0
    assert price >= D(60_000) * D("0.99") ** 2, "within two seconds"


@pytest.mark.parametrize("is_signed", [True, False])
def test_does_a_rolling_upgrade_with_open_positions_halt(is_signed: bool) -> None:
    desk = losing("60000")
    for service in ("marketdata", "signal", "execution", "risk"):
        desk.put(e.Heartbeat(service=service, code="old", config="c"), f"health:{service}")
    body = e.UpgradeWindow(operator="alice", nonce="u", expires_at=desk.now + MINUTE, minutes=10)
    desk.put(seal.sign(PRIVATE, body) if is_signed else body, "command")
    made: list[e.Event] = []
    for service in ("marketdata", "signal", "execution", "risk"):
        made += desk.put(e.Heartbeat(service=service, code="new", config="c"), f"health:{service}")
        desk.tick("60000")
    reasons = [halt.reason for halt in of(made, Halted)]
    assert reasons == ([] if is_signed else [Reason.HASH])
    if is_signed:
        desk.now += 11 * MINUTE
        desk.tick("60000")
        assert of(desk.later(), Halted) == [], "all are new when it ends"
    only(desk.signal("0"), OrderIntent)
