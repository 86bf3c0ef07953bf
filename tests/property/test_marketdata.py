from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.events import Bar
from services.marketdata.bars import Bars, Series, floor
from services.marketdata.book import Book
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore
from services.marketdata.frames import BookData
from tests.market_harness import (
    MINUTE,
    MS,
    SECOND,
    T0,
    Desk,
    book,
    history,
    instrument_reply,
    kline,
    of,
    snapshot,
    ticker,
    trades,
)

MS0 = T0 // MS
level = st.tuples(st.integers(1, 40), st.integers(0, 3))
side = st.lists(level, max_size=6, unique_by=lambda one: one[0])


def as_data(update: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> BookData:
    """Bids below 100, asks above, so that no draw is crossed."""
    return BookData(
        update=update,
        bids=[(Decimal(100 - price), Decimal(qty)) for price, qty in bids],
        asks=[(Decimal(100 + price), Decimal(qty)) for price, qty in asks],
    )


@settings(max_examples=100, deadline=None)
@given(st.tuples(side, side), st.lists(st.tuples(side, side), max_size=25))
def test_a_book_equals_a_naive_rebuild_under_any_deltas(first, deltas):
    kept = Book()
    naive: list[dict[Decimal, Decimal]] = [{}, {}]
    for update, (bids, asks) in enumerate([first, *deltas], start=1):
        data = as_data(update, bids, asks)
        assert (kept.snapshot(data) if update == 1 else kept.delta(data)) is None
        for known, levels in zip(naive, (data.bids, data.asks), strict=True):
            known.update(dict(levels))
    bids, asks = kept.top(100)
    assert bids == tuple(sorted(((p, q) for p, q in naive[0].items() if q), reverse=True))
    assert asks == tuple(sorted((p, q) for p, q in naive[1].items() if q))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 200), st.integers(1, 9)), min_size=1, max_size=80))
def test_candles_of_our_trades_conserve_volume_at_every_interval(steps):
    start = floor(T0, 15 * MINUTE)
    bars = Bars("X", [Series(MINUTE), Series(5 * MINUTE), Series(15 * MINUTE)])
    bars.begin(start, 0)
    while (gap := bars.gap(start)) is not None:
        bars.filled(gap, [])
    at, total = start, Decimal(0)
    bars.trade(at, Decimal(100), Decimal(1))
    for wait_ms, price, qty in steps:
        at += wait_ms * MS
        bars.elapse(at, 2 * SECOND)
        bars.trade(at, Decimal(price), Decimal(qty))
        total += qty
    bars.elapse(floor(at, 15 * MINUTE) + 15 * MINUTE + 2 * SECOND, 2 * SECOND)
    for span in (MINUTE, 5 * MINUTE, 15 * MINUTE):
        series = [bar for bar in bars.ready if bar.interval_ms * MS == span]
        assert sum(bar.volume for bar in series) == total + 1
        assert [bar.start_at for bar in series] == list(range(start, series[-1].start_at + 1, span))
        assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in series)


def a_day_at_the_market(seed: int) -> list[tuple[int, str | int, dict | None]]:
    """A seeded mix of everything that can come in: (at, "frame" | "timer" | request number, payload)."""
    chance = random.Random(seed)
    steps: list[tuple[int, str | int, dict | None]] = []
    update, at = 10, T0
    for n in range(900):
        at += chance.choice((10, 200, 900, 2500)) * MS
        ms = at // MS
        match chance.randrange(8):
            case 0 | 1:
                update += 1 if chance.random() < 0.97 else 2
                steps.append((at, "frame", book("BTCUSDT", update, [[f"{chance.randrange(90, 100)}", "1"]], [], ts=ms)))
            case 2 | 3:
                price = f"{100 + chance.gauss(0, 0.1):.2f}" if chance.random() < 0.95 else "160"
                steps.append((at, "frame", trades((ms, price, "1"), tag=str(n))))
            case 4:
                steps.append((at, "frame", ticker(ts=ms, markPrice=f"{chance.randrange(99, 101)}", indexPrice="100")))
            case 5:
                update = chance.randrange(1, 50)
                steps.append((at, "frame", snapshot(update=update, ts=ms)))
            case 6:
                start = floor(at, MINUTE) // MS - 60_000
                steps.append((at, "frame", kline(start, ("100", "101", "99", "100"), "3")))
            case 7:
                steps.append((at, "timer", None))
    return steps


def play(desk: Desk, steps) -> list:
    outputs = []
    for at, kind, payload in steps:
        outputs += desk.timer(at) if kind == "timer" else desk.frames(payload, at=at)
        for request in desk.core.requests():
            if request.method == "GET":
                outputs += desk.reply(request.number, history() if "kline" in request.target else instrument_reply())
    return outputs


@pytest.mark.parametrize("seed", range(4))
def test_a_core_restored_at_any_point_goes_on_as_if_nothing_had_happened(seed):
    config = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1m", "5m"), warmup_bars=2)
    steps = a_day_at_the_market(seed)
    whole = Desk(MarketdataCore(config))
    whole.start()
    written = 0
    for cut in range(0, len(steps), 37):
        twin = Desk(MarketdataCore(config), at=whole.at)
        twin.core.restore(whole.core.snapshot())
        twin.stepper.position = whole.stepper.position.copy()
        expected = play(whole, steps[cut : cut + 37])
        assert play(twin, steps[cut : cut + 37]) == expected
        assert twin.core.snapshot() == whole.core.snapshot()
        written += len(expected)
    assert written > 100


@pytest.mark.parametrize("seed", range(4))
def test_candles_are_published_in_order_and_once_whatever_comes(seed):
    config = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1m", "5m"), warmup_bars=2)
    desk = Desk(MarketdataCore(config))
    desk.start()
    bars = of(Bar, play(desk, a_day_at_the_market(seed)))
    for interval in (60_000, 300_000):
        starts = [bar.start_at for bar in bars if bar.interval_ms == interval]
        assert starts == sorted(set(starts))
        assert starts
