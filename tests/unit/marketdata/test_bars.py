from __future__ import annotations

from decimal import Decimal

from services.marketdata.bars import Bars, Candle, Gap, Series, floor
from tests.market_harness import MINUTE, SECOND, T0

GRACE = 2 * SECOND
FIVE = floor(T0, 5 * MINUTE)


def bars(begun_at: int = FIVE, *spans: int) -> Bars:
    made = Bars("X", [Series(span) for span in spans or (MINUTE, 5 * MINUTE)])
    made.begin(begun_at, 0)
    while (gap := made.gap(begun_at)) is not None:
        made.filled(gap, [])
    return made


def candle(start: int, price: int, volume: int = 1) -> Candle:
    value = Decimal(price)
    return Candle(start, value, value, value, value, Decimal(volume))


def starts(made: Bars, span: int = MINUTE) -> list[int]:
    return [(bar.start_at - FIVE) // MINUTE for bar in made.ready if bar.interval_ms * 1_000_000 == span]


def test_a_trade_on_the_boundary_belongs_to_the_next_candle():
    made = bars()
    made.trade(FIVE + MINUTE - 1, Decimal(5), Decimal(1))
    made.trade(FIVE + MINUTE, Decimal(6), Decimal(2))
    made.elapse(FIVE + MINUTE + GRACE, GRACE)
    assert [(bar.close, bar.volume) for bar in made.ready] == [(5, 1)]


def test_a_trade_for_a_published_candle_is_counted_as_late():
    made = bars()
    made.offer(candle(FIVE, 1))
    made.trade(FIVE + 1, Decimal(5), Decimal(1))
    assert (made.late_trades, made.live) == (1, [])


def test_a_long_candle_that_misses_its_first_minute_is_not_published():
    made = bars(FIVE + MINUTE)
    for n in range(1, 10):
        made.offer(candle(FIVE + n * MINUTE, n))
    assert starts(made, 5 * MINUTE) == [5]


def test_a_long_candle_that_misses_its_last_minute_comes_late():
    made = bars()
    for n in (0, 1, 2, 3):
        made.offer(candle(FIVE + n * MINUTE, n + 1))
    made.offer(candle(FIVE + 5 * MINUTE, 9))
    made.filled(Gap(MINUTE, FIVE + 4 * MINUTE, FIVE + 5 * MINUTE), [])
    assert starts(made) == [0, 1, 2, 3, 5]
    assert starts(made, 5 * MINUTE) == [0]


def test_our_trades_are_not_trusted_for_a_candle_in_which_the_feed_came_back():
    made = bars()
    made.offer(candle(FIVE, 1))
    made.distrust(FIVE + MINUTE + 30 * SECOND)
    made.trade(FIVE + MINUTE + 40 * SECOND, Decimal(5), Decimal(1))
    made.elapse(FIVE + 2 * MINUTE + GRACE, GRACE)
    assert starts(made) == [0]
    assert made.gap(FIVE + 2 * MINUTE + GRACE) == Gap(MINUTE, FIVE + MINUTE, FIVE + 2 * MINUTE)


def test_a_hole_wider_than_one_reply_asks_history_of_every_interval():
    made = bars()
    made.offer(candle(FIVE, 1))
    made.offer(candle(FIVE + 3000 * MINUTE, 1))
    assert made.filling == [5 * MINUTE, MINUTE]


def test_history_longer_than_a_reply_is_asked_for_in_parts():
    made = bars(FIVE, MINUTE)
    made.offer(candle(FIVE, 1))
    now = FIVE + 1501 * MINUTE
    made.offer(candle(now, 1))
    first = made.gap(now)
    assert first is not None
    made.filled(first, [candle(FIVE + n * MINUTE, n) for n in range(1, 1001)])
    second = made.gap(now)
    assert second is not None
    assert (first.end_at - first.start_at, second.start_at) == (1000 * MINUTE, first.end_at)
    made.filled(second, [candle(FIVE + n * MINUTE, n) for n in range(1001, 1501)])
    assert starts(made) == list(range(1502))


def test_nothing_older_than_ten_replies_is_asked_for():
    made = Bars("X", [Series(MINUTE)])
    made.begin(0, 0)
    gap = made.gap(T0)
    assert gap is not None
    assert gap.start_at == T0 - 10_000 * MINUTE
