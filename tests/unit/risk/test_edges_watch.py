"""What is unusual about a market, against a second opinion: the spread's median and the move's deviation, in floats and sums."""

from __future__ import annotations

import math
import random
from statistics import median_high

import pytest

from libs.common import events as e
from libs.common.events import ModeChanged, Reason
from services.risk import markets
from services.risk.state import Market
from tests.unit.risk.desk import SECOND, D, Desk, of, only, opened

SPREAD, VELOCITY = "symbol:BTCUSDT/spread", "symbol:BTCUSDT/velocity"


def market(desk: Desk) -> Market:
    return desk.state.markets["BTCUSDT"]


# --- spread ----------------------------------------------------------------------------------------------------------


def spread_of(desk: Desk, ticks: int, after_ns: int = SECOND) -> float | None:
    """A book `ticks` wide (of 0.1): how many medians risk found too wide, None when it found nothing."""
    desk.state.conditions.clear()
    desk.state.now += after_ns
    bid, ask = D(60_000), D(60_000) + D(ticks) / 10
    markets.on_tick(desk.state, e.Tick(symbol="BTCUSDT", last=D(60_000), bids=((bid, D(1)),), asks=((ask, D(1)),)))
    seen = desk.state.conditions.get(SPREAD)
    return None if seen is None else float(seen.measured)


@pytest.mark.parametrize("seed", range(3))
def test_a_spread_is_too_wide_at_twenty_medians_of_the_last_hundred_and_one_seconds(seed: int) -> None:
    """Asked at the edge itself on every tick, with several ticks a second, in a market that widens and narrows."""
    chance, desk = random.Random(seed), opened()
    kept, sampled_at = list(market(desk).spreads), market(desk).spread_at
    found = 0
    for step in range(600):
        usual = max(median_high(kept), 1) if kept else 1
        is_probe = chance.random() < 0.3
        regime = (0, 1, 3, 40)[step // 150]
        ticks = 20 * usual + chance.choice((-1, 0, 1)) if is_probe else regime + chance.choice((0, 1))
        measured = spread_of(desk, ticks, SECOND // 4 if is_probe else chance.choice((SECOND, 3 * SECOND)))
        is_wide = len(kept) >= 5 and ticks >= 20 * usual
        assert measured == (pytest.approx(ticks / usual) if is_wide else None), step
        found += is_wide
        if desk.state.now - sampled_at >= SECOND:
            kept, sampled_at = [*kept, ticks][-101:], desk.state.now
    assert found > 50


def test_a_market_that_stays_wide_is_the_usual_one_after_fifty_one_seconds() -> None:
    desk = opened()
    for _ in range(150):
        spread_of(desk, 2)
    for _ in range(50):
        assert spread_of(desk, 40) == 20
    assert spread_of(desk, 40) == 20
    assert spread_of(desk, 40) is None
    assert spread_of(desk, 799) is None
    assert spread_of(desk, 800) == 20


def test_another_tick_size_forgets_the_spreads_that_were_counted_in_the_old_one() -> None:
    """The same book of a dollar is 10 ticks of 0.1 and 100 of 0.01: nothing about it became unusual."""
    desk = opened()
    for _ in range(10):
        spread_of(desk, 2)
    desk.instrument(tick_size=D("0.001"))
    assert spread_of(desk, 2) is None
    assert market(desk).spreads == [200]


def test_rules_that_leave_the_tick_leave_the_spreads() -> None:
    desk = opened()
    for _ in range(10):
        spread_of(desk, 2)
    desk.instrument(min_notional=D(10))
    assert spread_of(desk, 40) == 20


# --- velocity --------------------------------------------------------------------------------------------------------


class SecondOpinion:
    """The deviation of moves over windows of 5 s, weighted over an hour, in floats."""

    def __init__(self, at: int, price: float) -> None:
        self.at, self.price, self.variance, self.count = at, price, 0.0, 0

    def edge(self, now: int) -> float:
        """The least move that is too fast."""
        variance = self.variance
        if self.count < 60:
            variance = max(variance, 0.002**2 * max((now - self.at) / (5 * SECOND), 1))
        return max(0.005, 10 * math.sqrt(variance))

    def learn(self, now: int, price: float) -> None:
        if now - self.at < 5 * SECOND:
            return
        move = abs(price - self.price) / self.price
        self.count += 1
        self.variance += (move**2 - self.variance) / min(self.count, 720)
        self.at, self.price = now, price


@pytest.mark.parametrize(("seed", "windows"), [(0, 90), (1, 90), (2, 900)])
def test_a_move_is_too_fast_at_ten_deviations_of_the_hour(seed: int, windows: int) -> None:
    """Within each window prices are tried just inside and just beyond the edge that the second opinion gives; now and then
    a window ends on such a price, and all of the last ones in a wilder hour."""
    chance, desk = random.Random(seed), opened(price="60000")
    other = SecondOpinion(desk.state.now, 60_000.0)
    told: dict[bool, int] = {True: 0, False: 0}

    def tried(after_s: int, move: float) -> None:
        desk.state.now += after_s * SECOND
        edge = other.edge(desk.state.now)
        price = round(other.price * (1 + move * edge), 4)
        desk.state.conditions.clear()
        desk.mark(str(price))
        size = abs(price - other.price) / other.price / edge
        assert abs(size - 1) > 1e-5, "too near to tell in floats"
        assert (VELOCITY in desk.state.conditions) is (size > 1), (other.count, size)
        told[size > 1] += 1
        other.learn(desk.state.now, price)

    for window in range(windows):
        toward = -1 if other.price > 60_000 else 1
        for _ in range(2):
            tried(1, toward * chance.choice((0.999, 1.001)))
        usual = (0.05 if window < windows * 2 // 3 else 0.15) * chance.random()
        tried(chance.choice((3, 3, 7)), toward * (chance.choice((0.999, 1.001)) if chance.random() < 0.02 else usual))
    assert min(told.values()) > windows // 2


def test_a_jump_after_an_hour_without_any_move_is_measured_and_stops_entries() -> None:
    desk = opened()
    for _ in range(61):
        desk.now += 5 * SECOND
        desk.tick("60000")
    assert of(desk.tick("60299"), ModeChanged) == []
    assert only(desk.tick("60300"), ModeChanged).reason is Reason.VELOCITY
    assert desk.state.conditions[VELOCITY].measured == 5_000_000, (
        "half a percent in deviations of the least move there is"
    )


@pytest.mark.parametrize("lot", ["0.01", "0.0001"])
@pytest.mark.parametrize(("price", "is_fast"), [("61199", False), ("61200", True), ("58800", True)])
def test_a_new_lot_ends_no_window_in_which_the_price_runs(lot: str, price: str, is_fast: bool) -> None:
    desk = opened()
    desk.instrument(lot=lot)
    assert (of(desk.tick(price), ModeChanged) != []) is is_fast


@pytest.mark.parametrize(("lot", "price"), [("0.01", "60000"), ("0.01", "60010"), ("0.0001", "60000")])
def test_a_new_lot_is_no_move_of_the_price(lot: str, price: str) -> None:
    """The window under way compares prices, whatever a lot is worth now; nor is the hour's deviation spoilt."""
    desk = opened()
    desk.instrument(lot=lot)
    desk.now += 5 * SECOND
    assert of(desk.tick(price), ModeChanged) == []
    assert market(desk).variance_e18 <= 200_000**2
    assert of(desk.tick("61300"), ModeChanged) != []


@pytest.mark.parametrize("lots", ["0.001", "1"])
def test_the_cheapest_coin_that_can_be_valued_is_watched(lots: str) -> None:
    """A lot worth the least unit of money: its double is a fast move."""
    desk = opened()
    desk.instrument("DUSTUSDT", lots, tick_size=D("0.00000001"))
    price = D("0.00000001") / D(lots)
    tick = e.Tick(symbol="DUSTUSDT", last=price, bids=(), asks=())
    desk.put(tick, "tick")
    assert desk.state.markets["DUSTUSDT"].mark_units == 1
    changed = only(desk.put(e.Tick(symbol="DUSTUSDT", last=2 * price, bids=(), asks=()), "tick"), ModeChanged)
    assert (changed.scope, changed.reason) == ("symbol:DUSTUSDT", Reason.VELOCITY)
