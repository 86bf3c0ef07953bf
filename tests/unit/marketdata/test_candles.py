"""Candles of the core: closed by the venue, by our trades, or by history; and what a restart makes of them."""

from __future__ import annotations

from decimal import Decimal

from libs.common.decider import Request
from libs.common.events import (
    Bar,
    FeedDown,
    RawFrame,
)
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore
from tests.market_harness import (
    CONFIG,
    MINUTE,
    MS,
    MS0,
    SECOND,
    T0,
    Desk,
    desk,
    history,
    instant,
    instrument_reply,
    kline,
    live,
    of,
    snapshot,
    ticker,
    trades,
)


def test_the_venues_closed_candle_is_published_at_once_and_ours_not_on_top():
    market = live()
    market.frames(trades((MS0 + 30_000, "101.0", "2")), at=T0 + 30 * SECOND)
    out = market.frames(kline(MS0, ("100", "102", "99", "101.5"), "7.5"), at=T0 + MINUTE)
    (bar,) = of(Bar, out)
    assert (bar.start_at, bar.interval_ms, bar.close, bar.volume) == (T0, 60_000, Decimal("101.5"), Decimal("7.5"))
    market.frames(ticker(ts=MS0 + 62_000, markPrice="1"), at=T0 + 62 * SECOND)
    assert of(Bar, market.timer(T0 + 63 * SECOND)) == []


def test_our_own_trades_close_the_candle_when_the_venues_does_not_come():
    market = live()
    market.frames(trades((MS0 + 20_000, "103.0", "2"), (MS0 + 30_000, "101.0", "2")), at=T0 + 30 * SECOND)
    market.frames(ticker(ts=MS0 + 62_000, markPrice="1"), at=T0 + 62 * SECOND)
    (bar,) = of(Bar, market.timer(T0 + 62 * SECOND))
    assert [bar.open, bar.high, bar.low, bar.close, bar.volume] == [100, 103, 100, 101, 5]


def test_a_quiet_minute_is_a_flat_candle():
    market = live()
    for second in range(2, 123, 2):
        market.frames(ticker(ts=MS0 + second * 1000, markPrice="1"), at=T0 + second * SECOND)
    bars = of(Bar, market.timer(T0 + 122 * SECOND))
    assert [(bar.start_at, bar.volume) for bar in bars] == [(T0, 1), (T0 + MINUTE, 0)]
    assert bars[1].open == bars[1].close == 100


def test_five_candles_of_a_minute_make_one_of_five():
    start = T0 + MINUTE  # 22:15
    market = Desk(MarketdataCore(CONFIG), at=start)
    market.start()
    while pending := market.core.requests():
        market.reply(pending[0].number, history() if "kline" in pending[0].target else instrument_reply())
    bars = []
    for n in range(5):
        prices = (str(100 + n), str(110 + n), str(90 - n), str(101 + n))
        bars += of(Bar, market.frames(kline(start // MS + n * 60_000, prices, "2"), at=start + (n + 1) * MINUTE))
    five = [bar for bar in bars if bar.interval_ms == 300_000]
    assert [(bar.start_at, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in five] == [
        (start, 100, 114, 86, 105, 10)
    ]


def test_warm_up_asks_the_longest_interval_first_and_live_candles_wait_for_it():
    config = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1m", "5m"), warmup_bars=3)
    market = desk(config, filled=False)
    (call,) = [request for request in market.core.requests() if "kline" in request.target]
    assert call.target == (
        "/v5/market/kline?category=linear&symbol=BTCUSDT&interval=5&start=1699999500000&end=1700000099999&limit=1000"
        if T0 // MS % 300_000 == 0
        else f"/v5/market/kline?category=linear&symbol=BTCUSDT&interval=5&start={MS0 - MS0 % 300_000 - 900_000}"
        f"&end={MS0 - MS0 % 300_000 - 1}&limit=1000"
    )
    five = MS0 - MS0 % 300_000
    out = market.reply(call.number, history(*((five - n * 300_000, "1", "2", "1", "2", "5") for n in (3, 2, 1))))
    assert [(bar.interval_ms, bar.start_at // MS) for bar in of(Bar, out)] == [
        (300_000, five - n * 300_000) for n in (3, 2, 1)
    ]
    early = market.frames(kline(MS0, ("2", "3", "2", "3"), "1"), at=T0 + MINUTE)
    (call,) = [request for request in market.core.requests() if "kline" in request.target]
    rows = [(ms, "1", "2", "1", "2", "1") for ms in range(min(five, MS0 - 180_000), MS0, 60_000)]
    late = of(Bar, market.reply(call.number, history(*rows), at=T0 + MINUTE))
    assert of(Bar, early) == []
    ones = [bar.start_at // MS for bar in late if bar.interval_ms == 60_000]
    assert ones == [*(row[0] for row in rows), MS0]


def test_candles_missed_while_the_feed_was_down_come_from_history_in_order():
    market = live()
    market.frames(kline(MS0, ("100", "101", "99", "100"), "1"), at=T0 + MINUTE)
    market.timer(T0 + 2 * MINUTE)
    back = T0 + 4 * MINUTE + 30 * SECOND
    market.frames(ticker(ts=back // MS, markPrice="1"), at=back)
    out = market.frames(kline(MS0 + 240_000, ("5", "5", "5", "5"), "1"), at=T0 + 5 * MINUTE)
    assert of(Bar, out) == []
    market.timer(T0 + 5 * MINUTE)
    (call,) = [request for request in market.core.requests() if "kline" in request.target]
    rows = [(MS0 + n * 60_000, "1", "2", "1", "2", "1") for n in (1, 2, 3, 4)]
    bars = of(Bar, market.reply(call.number, history(*rows)))
    assert [bar.start_at for bar in bars if bar.interval_ms == 60_000] == [T0 + n * MINUTE for n in (1, 2, 3, 4)]


def history_calls(market: Desk) -> list[Request]:
    return [request for request in market.core.requests() if "kline" in request.target]


def test_history_that_fails_is_asked_for_later_each_time_and_given_up_in_the_end():
    market = desk(filled=False)
    asked_at = []
    for second in range(200):
        market.timer(T0 + second * SECOND)
        for request in history_calls(market):
            asked_at.append(second)
            market.send(RawFrame(channel="lost", payload="", request=request.number))
    assert asked_at == [0, 5, 15, 30, 50, 75]


def test_the_market_goes_on_without_a_history_that_was_given_up():
    market = desk(filled=False)
    second = 0
    while market.core.state.markets["BTCUSDT"].bars.filling:
        market.timer(T0 + second * SECOND)
        for request in history_calls(market):
            market.send(RawFrame(channel="lost", payload="", request=request.number))
        second += 5
        assert second < 3_600
    now = market.at
    start_ms = now // MS // 60_000 * 60_000
    market.frames(snapshot(ts=now // MS), trades((now // MS, "100.0", "1")))
    late = kline(start_ms, ("100", "101", "99", "100"), "1")
    assert len(of(Bar, market.frames(late, at=(start_ms + 60_000) * MS))) >= 1


def test_history_that_answers_again_is_taken_at_once():
    market = desk(filled=False)
    (call,) = history_calls(market)
    market.send(RawFrame(channel="lost", payload="", request=call.number))
    assert history_calls(market) == []
    market.timer(T0 + 5 * SECOND)
    (call,) = history_calls(market)
    market.reply(call.number, history())
    found = market.core.state.markets["BTCUSDT"]
    assert (found.history_failures, found.history_after, found.bars.filling) == (0, 0, [])


def test_a_restart_asks_anew_and_repeats_no_candle():
    market = live()
    market.frames(kline(MS0, ("100", "101", "99", "100"), "1"), at=T0 + MINUTE)
    numbers = {request.number for request in market.core.requests()}
    market.at = T0 + 3 * MINUTE
    market.start(fresh=False)
    assert not numbers & {request.number for request in market.core.requests()}
    again = market.frames(kline(MS0, ("100", "101", "99", "100"), "1"))
    assert of(Bar, again) == []


def test_a_restart_under_other_settings_keeps_what_still_fits():
    market = live()
    config = MarketdataConfig(symbols=("ETHUSDT", "BTCUSDT"), intervals=("1m", "15m"), warmup_bars=0)
    other = MarketdataCore(config)
    other.restore(market.core.snapshot())
    assert list(other.state.markets) == ["ETHUSDT", "BTCUSDT"]
    kept = other.state.markets["BTCUSDT"]
    assert kept.book == market.core.state.markets["BTCUSDT"].book
    assert [series.span for series in kept.bars.series] == config.interval_spans
    assert not kept.bars.begun
    alone = MarketdataCore(MarketdataConfig(symbols=("ETHUSDT",)))
    alone.restore(market.core.snapshot())
    assert list(alone.state.markets) == ["ETHUSDT"]


def test_in_a_tape_run_a_candle_waits_for_the_frames_of_the_window_in_which_it_ends():
    market = live()
    market.send(instant(1, window_ms=7000), at=T0 + 56 * SECOND)
    early = market.send(instant(2, window_ms=7000), at=T0 + 63 * SECOND)
    (bar,) = of(Bar, market.frames(kline(MS0, ("100", "102", "99", "101.5"), "7.5"), at=T0 + 63 * SECOND))
    assert of(Bar, early) == []
    assert bar.volume == Decimal("7.5")


def test_a_tape_may_be_quiet_for_longer_than_a_live_feed():
    market = live()
    out = [event for n in range(1, 61) for event in market.send(instant(n), at=T0 + n * SECOND)]
    assert of(FeedDown, out) == []
    assert len(of(FeedDown, market.send(instant(61), at=T0 + 61 * SECOND))) == 1
