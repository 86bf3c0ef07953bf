"""The edges of limits as a desk sees them: what an order's verdict says was used and allowed, at the limit and one step beyond."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import pytest

from libs.common import events as e
from libs.common.events import Event, Halted, LimitUse, ModeChanged, OrderIntent, OrderRefused, Reason
from services.risk import limitfile, limits, sizing
from services.risk.draft import Draft, exposure
from tests.unit.risk.desk import SECOND, D, Desk, Side, config, of, only, opened


def arming(**changes: Decimal) -> Desk:
    return opened(config(auto_arm=True, **changes))


def uses(made: Iterable[Event]) -> dict[Reason, LimitUse]:
    """The verdict on a signal, by limit."""
    (told,) = [event for event in made if isinstance(event, OrderIntent | OrderRefused)]
    return {use.name: use for use in told.limits}


# --- permission and price --------------------------------------------------------------------------------------------


def test_a_coin_of_half_a_dollar_has_a_market() -> None:
    desk = opened(price="0.5")
    told = uses(desk.signal(stop_distance=D("0.005")))[Reason.NO_MARKET]
    assert (told.measured, told.limit) == (0, 1)


@pytest.mark.parametrize("target", ["1", "-1"])
def test_a_touch_before_the_first_mark_is_no_market_and_halts_nothing(target: str) -> None:
    """Every limit is computed, also where there is nothing yet to divide by."""
    desk = opened()
    desk.instrument("ETHUSDT", "0.01")
    book = ((D(3000), D(1)),)
    desk.put(e.Tick(symbol="ETHUSDT", last=D(0), bids=book, asks=book), "tick")
    made = desk.signal(target, symbol="ETHUSDT")
    assert only(made, OrderRefused).reason is Reason.NO_MARKET
    assert of(made, Halted) == []


def test_a_perpetual_takes_no_cash() -> None:
    told = uses(opened().signal())[Reason.SPOT_CASH]
    assert (told.measured, told.limit) == (0, 0)


Cause = Callable[[Desk], list[Event]]

CAUSES: dict[Reason, tuple[Cause, Decimal, Decimal]] = {
    Reason.FEED_DELAY_MS: (
        lambda desk: desk.tick("60000", exchange_at=desk.now - SECOND, received_at=desk.now), D(1000), D(1000)
    ),
    Reason.FEED_SILENCE: (lambda desk: desk.later(15 * SECOND), D(15_000), D(15_000)),
    Reason.CLOCK_OFFSET_MS: (
        lambda desk: desk.put(e.Heartbeat(service="execution", clock_offset_ms=-500), "health:execution"), D(500), D(500)
    ),
    Reason.MAX_MARGIN_RATIO: (
        lambda desk: desk.put(e.AccountSnapshot(wallet=D(2), equity=D(2), available=D(1), margin_ratio=D("0.5")), "account"),
        D("0.5"), D("0.5"),
    ),
    Reason.VELOCITY: (lambda desk: desk.tick("61200"), D(10), D(10)),
    Reason.SPREAD: (lambda desk: [m for s in range(6) for m in _watched(desk, "2" if s == 5 else "0.1")], D(20), D(20)),
}  # fmt: skip


def _watched(desk: Desk, width: str) -> list[Event]:
    desk.now += SECOND
    return desk.tick("60000", width=width)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_transient_cause_is_told_in_every_verdict_while_it_lasts(cause: Reason) -> None:
    """It is breached by itself, not only through the mode that it made; of another symbol's market it says nothing."""
    desk = opened()
    desk.instrument("ETHUSDT", "0.01")
    limit = limits.ENTRY[cause]
    draft = Draft("trend", "BTCUSDT", Side.BUY, 1, D(60_000), D(60_000), 1)
    assert limit(desk.state, draft) == (0, getattr(desk.state.limits, cause.value), False)
    bring, measured, allowed = CAUSES[cause]
    assert only(bring(desk), ModeChanged).reason is cause
    told = uses(desk.signal())[cause]
    assert (told.measured, told.limit) == (measured, allowed)
    assert limit(desk.state, draft) == (measured, allowed, True)
    is_book_wide = cause not in (Reason.VELOCITY, Reason.SPREAD)
    draft.symbol = "ETHUSDT"
    assert limit(desk.state, draft)[2] is is_book_wide


# --- size ------------------------------------------------------------------------------------------------------------


def leverage(desk: Desk, draft: Draft) -> tuple[Decimal, bool]:
    """What the verdict measures, and whether that binds."""
    draft.exposure = exposure(desk.state, draft.symbol)
    verdict = limits.judge(desk.state, draft)
    told = next(use for use in verdict.uses if use.name is Reason.MAX_LEVERAGE)
    return told.measured, limits.max_leverage(desk.state, draft)[2]


def test_an_order_at_the_leverage_itself_passes() -> None:
    """Ten lots of 6,000 cents against a capital of 600 USD: 1.0 to the unit, and one unit of capital less is too little."""
    desk = arming(max_leverage=D(1))
    draft = Draft("trend", "BTCUSDT", Side.BUY, 10, D(60_000), D(60_000), 60 * 10**8)
    desk.state.ledger.wallet_units = 600 * 10**8
    assert leverage(desk, draft) == (1, False)
    desk.state.ledger.wallet_units -= 1
    assert leverage(desk, draft) == (1, True)


@pytest.mark.parametrize(("target", "other"), [("1", "-1"), ("-1", "1")])
def test_net_exposure_is_that_of_the_heavier_side(target: str, other: str) -> None:
    """Held against the order, the position itself is what counts: to the unit, without what would shrink it."""
    desk = arming(max_daily_loss=D(1), max_drawdown=D(1))
    held = desk.hold(other).qty
    told = uses(desk.signal(target, strategy="mean", stop_distance=D(6000)))[Reason.MAX_NET_USD]
    assert told.measured == held * 60_000


def test_what_is_below_the_minimum_is_told_in_coins() -> None:
    """The venue's least of 0.004 counts, not the five dollars that a quarter of a lot is worth."""
    desk = opened()
    desk.instrument(min_qty=D("0.004"))
    told = uses(desk.signal("0.001"))[Reason.BELOW_MINIMUM]
    assert (told.measured, told.limit) == (0, D("0.004"))


def test_a_venue_that_names_no_maximum_leaves_ours() -> None:
    desk = arming(max_order_qty=D("0.05"))
    desk.instrument(max_qty=D(0))
    assert only(desk.signal(), OrderIntent).qty == D("0.05")


@pytest.mark.parametrize(("lots_held", "qty"), [("0.001", "0.120"), ("0.003", "0.120")])
def test_an_order_is_in_the_venues_lots_where_the_book_keeps_finer_ones(lots_held: str, qty: str) -> None:
    """The venue's lot grew to 0.01 over a position that is none of it: 0.125 of room is 0.12."""
    desk = arming(max_order_qty=D("0.125"), order_rate=D(100))
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D(lots_held))
    desk.cancelled(order, lots_held)
    desk.instrument(lot="0.01")
    assert desk.state.ledger.grids["BTCUSDT"].lot_size == D("0.001")
    assert desk.state.markets["BTCUSDT"].step == 10
    assert only(desk.signal(strategy="mean"), OrderIntent).qty == D(qty)


@pytest.mark.parametrize("capital", [-(10**14), -1, 0])
def test_without_capital_the_surest_bet_risks_nothing(capital: int) -> None:
    assert sizing.risk_units(capital, D(1), 10**8, D(1), D(1)) == 0


# --- moving limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "is_looser"),
    [
        ("max_daily_loss", "0.02", "0.02", False),
        ("max_daily_loss", "0.02", "0.0200001", True),
        ("max_daily_loss", "0.02", "0", False),
        ("max_daily_loss", "0", "0.02", True),
        ("max_order_qty", "0", "0", False),
        ("max_order_qty", "5", "0", True),
        ("max_order_qty", "0", "5", False),
        ("max_order_qty", "5", "5", False),
        ("max_order_qty", "5", "5.1", True),
    ],
)
def test_looser_is_what_lets_more_through_and_the_same_is_not(name: str, old: str, new: str, is_looser: bool) -> None:
    """0 of an order's quantity is none of ours, which is the loosest; 0 of anything else allows nothing."""
    assert limitfile.is_looser(name, D(old), D(new)) is is_looser
