from __future__ import annotations

from decimal import Decimal

import pytest

from libs.common.events import (
    DataRejected,
    FeedDown,
    FeedUp,
    Heartbeat,
    InstrumentChanged,
    InstrumentDefined,
    RawFrame,
    Reference,
    RejectKind,
    Tick,
)
from services.marketdata.config import MarketdataConfig
from tests.market_harness import (
    CONFIG,
    MS,
    MS0,
    SECOND,
    T0,
    Desk,
    book,
    desk,
    instant,
    instrument_reply,
    live,
    of,
    snapshot,
    ticker,
    trades,
)


def rejected(desk: Desk, kind: RejectKind) -> int:
    return int(desk.core.state.firewall.counts.get(kind, 0))


# --- ticks ------------------------------------------------------------------------------------------------------------


def test_a_batch_of_frames_gives_one_tick_with_its_volume_and_best_levels_first():
    market = live()
    out = market.frames(
        book("BTCUSDT", 11, [["100.0", "5"]], []),
        trades((MS0 + 1, "100.1", "0.5"), (MS0 + 2, "100.0", "0.25")),
        book("BTCUSDT", 12, [["100.05", "1"]], [["100.2", "0"]], ts=MS0 + 7),
    )
    (tick,) = of(Tick, out)
    assert tick.last == Decimal("100.0")
    assert tick.volume == Decimal("0.75")
    assert [str(price) for price, _ in tick.bids] == ["100.05", "100.0", "99.9"]
    assert tick.asks == ((Decimal("100.1"), Decimal(3)),)
    assert tick.exchange_at == (MS0 + 7) * MS


def test_no_tick_before_a_book_and_a_price():
    market = desk()
    assert of(Tick, market.frames(trades((MS0, "100.0", "1")))) == []
    assert len(of(Tick, market.frames(snapshot()))) == 1


def test_an_unseen_change_deep_in_the_book_gives_no_tick_until_the_keepalive():
    config = MarketdataConfig(symbols=("BTCUSDT",), levels=1, warmup_bars=0)
    market = live(config)
    deep = market.frames(book("BTCUSDT", 11, [["90.0", "5"]], []), at=T0 + 10 * MS)
    later = market.frames(book("BTCUSDT", 12, [["90.0", "6"]], []), at=T0 + 1100 * MS)
    assert of(Tick, deep) == []
    assert len(of(Tick, later)) == 1


def test_at_most_five_levels_are_shown():
    market = live()
    out = market.frames(
        book("BTCUSDT", 11, [[f"9{n}.0", "1"] for n in range(8)], [[f"11{n}.0", "1"] for n in range(8)])
    )
    (tick,) = of(Tick, out)
    assert (len(tick.bids), len(tick.asks)) == (5, 5)


# --- firewall ---------------------------------------------------------------------------------------------------------


def test_a_gap_drops_the_book_says_so_and_asks_for_a_snapshot():
    market = live()
    out = market.frames(book("BTCUSDT", 13, [["100.0", "5"]], []))
    assert [event.kind for event in of(DataRejected, out)] == [RejectKind.GAP]
    assert [event.reason for event in of(FeedDown, out)] == ["gap"]
    assert [(request.method, request.target) for request in market.core.requests()] == [
        ("WS", "resubscribe:orderbook.50.BTCUSDT")
    ]
    assert of(Tick, out) == []


def test_a_snapshot_after_a_gap_brings_the_feed_up_and_ends_the_request():
    market = live()
    market.frames(book("BTCUSDT", 13, [["100.0", "5"]], []))
    out = market.frames(snapshot(update=1, ts=MS0 + 40), at=T0 + 40 * MS)
    assert [event.down_ms for event in of(FeedUp, out)] == [40]
    assert market.core.requests() == []
    assert len(of(Tick, out)) == 1


def test_a_snapshot_that_does_not_come_is_asked_for_again_under_a_new_number():
    market = live()
    market.frames(book("BTCUSDT", 13, [["100.0", "5"]], []))
    (first,) = market.core.requests()
    market.frames(ticker(ts=MS0 + 4000, markPrice="1"), at=T0 + 4 * SECOND)
    market.timer(T0 + 5 * SECOND)
    second = next(request for request in market.core.requests() if request.method == "WS")
    assert second.number > first.number


@pytest.mark.parametrize(
    ("update", "kind"), [(10, RejectKind.DUPLICATE), (9, RejectKind.OUT_OF_ORDER), (12, RejectKind.GAP)]
)
def test_book_numbers_out_of_turn_are_rejected(update, kind):
    market = live()
    out = market.frames(book("BTCUSDT", update, [["100.0", "7"]], []))
    assert [event.kind for event in of(DataRejected, out)] == [kind]


def test_a_repeated_delta_leaves_the_book_as_it_is():
    market = live()
    market.frames(book("BTCUSDT", 10, [["100.0", "7"]], []))
    (tick,) = of(Tick, market.frames(book("BTCUSDT", 11, [["99.9", "9"]], [])))
    assert tick.bids == ((Decimal("100.0"), Decimal(1)), (Decimal("99.9"), Decimal(9)))


def test_a_crossed_book_is_thrown_away():
    market = live()
    out = market.frames(book("BTCUSDT", 11, [["100.3", "1"]], []))
    assert [event.kind for event in of(DataRejected, out)] == [RejectKind.CROSSED]
    assert len(of(FeedDown, out)) == 1


@pytest.mark.parametrize(
    "payload",
    [
        "{not json",
        '{"topic":"orderbook.50.NOPEUSDT","type":"snapshot","ts":1,"data":{"u":1,"b":[],"a":[]}}',
        '{"topic":"liquidation.BTCUSDT","type":"snapshot","ts":1,"data":{}}',
        '{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"u":11,"b":[["NaN","1"]],"a":[]}}',
        '{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"u":11,"b":[["100","-1"]],"a":[]}}',
        '{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"u":11,"b":[["1e99","1"]],"a":[]}}',
        '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{"T":1,"p":"-5","v":"1","i":"x"}]}',
        '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{"T":1,"p":"sNaN","v":"1","i":"x"}]}',
        '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{"T":1,"p":"abc","v":"1","i":"x"}]}',
        '{"topic":"tickers.BTCUSDT","type":"delta","ts":9999999999999,"data":{"markPrice":"NaN"}}',
        '{"topic":"tickers.BTCUSDT","type":"delta","ts":9999999999999,"data":{"markPrice":"x"}}',
        '{"topic":"kline.1.BTCUSDT","ts":1,"data":[{"start":60000,"interval":"1","open":"5","high":"4","low":"3","close":"4","volume":"1"}]}',
        '{"success":false,"ret_msg":"error:handler not found","op":"subscribe"}',
        '{"topic":7}',
        "[]",
    ],
)
def test_what_makes_no_sense_is_rejected_as_malformed_and_changes_nothing(payload):
    market = live()
    before = market.core.state.markets["BTCUSDT"].book.top(50)
    out = market.frames(payload)
    assert [event.kind for event in of(DataRejected, out)] == [RejectKind.MALFORMED]
    assert of(Tick, out) == []
    assert market.core.state.markets["BTCUSDT"].book.top(50) == before


def test_acks_and_pongs_are_no_data():
    market = live()
    out = market.frames('{"success":true,"ret_msg":"pong","op":"ping","req_id":""}')
    assert out == []


def test_a_stale_frame_is_applied_to_the_book_but_gives_no_tick():
    market = live()
    late = T0 + 20 * SECOND
    out = market.frames(book("BTCUSDT", 11, [["100.0", "5"]], []), at=late)
    fresh = market.frames(book("BTCUSDT", 12, [["99.8", "5"]], [], ts=late // MS), at=late)
    assert [event.kind for event in of(DataRejected, out)] == [RejectKind.STALE]
    assert of(Tick, out) == []
    assert of(Tick, fresh)[0].bids[0] == (Decimal("100.0"), Decimal(5))


def test_trades_come_once_and_in_order():
    market = live()
    message = trades((MS0 + 5, "100.1", "1"))
    (tick,) = of(Tick, market.frames(message, message, trades((MS0 + 1, "100.1", "1"), tag="old")))
    assert tick.volume == 1
    assert (rejected(market, RejectKind.DUPLICATE), rejected(market, RejectKind.OUT_OF_ORDER)) == (1, 1)


def calm(market: Desk) -> None:
    market.frames(*(trades((MS0 + n, "100.0" if n % 2 else "100.1", "1")) for n in range(1, 41)))


def test_a_lone_price_jump_is_held_back_and_dropped():
    market = live()
    calm(market)
    (tick,) = of(Tick, market.frames(trades((MS0 + 50, "150.0", "1")), book("BTCUSDT", 11, [["100.0", "5"]], [])))
    out = market.frames(trades((MS0 + 51, "100.1", "1")))
    assert tick.last == Decimal("100.1") or tick.last == Decimal("100.0")
    assert [event.kind for event in of(DataRejected, out)] == [RejectKind.SPIKE]
    assert of(Tick, out)[0].volume == 1


def test_a_jump_that_the_next_trade_confirms_is_believed_whole():
    market = live()
    calm(market)
    market.frames(trades((MS0 + 50, "150.0", "3")))
    (tick,) = of(Tick, market.frames(trades((MS0 + 51, "150.1", "1"))))
    assert (tick.last, tick.volume) == (Decimal("150.1"), 4)
    assert rejected(market, RejectKind.SPIKE) == 0


def test_the_log_is_spared_but_the_counts_are_exact():
    market = live()
    out = market.frames(*["{"] * 50)
    again = market.frames("{", at=T0 + SECOND)
    assert len(of(DataRejected, out)) == CONFIG.rejects_per_second
    assert len(of(DataRejected, again)) == 1
    assert rejected(market, RejectKind.MALFORMED) == 51


# --- feed ---------------------------------------------------------------------------------------------------------------


def test_silence_of_three_cadences_brings_the_feed_down_once_and_data_up_again():
    market = live()
    assert of(FeedDown, market.timer(T0 + 3 * SECOND)) == []
    (down,) = of(FeedDown, market.timer(T0 + 3 * SECOND + MS))
    assert (down.reason, down.silent_ms) == ("silence", 3001)
    assert of(FeedDown, market.timer(T0 + 9 * SECOND)) == []
    (up,) = of(FeedUp, market.frames(ticker(ts=MS0 + 10_000, markPrice="1"), at=T0 + 10 * SECOND))
    assert up.down_ms == 6999


def test_in_a_tape_run_the_window_of_an_instant_is_the_least_cadence():
    market = live()
    out = market.send(instant(window_ms=60_000), at=T0 + 60 * SECOND)
    assert of(FeedDown, out) == []


def test_a_cut_connection_needs_a_new_snapshot():
    market = live()
    (down,) = of(FeedDown, market.send(RawFrame(channel="disconnected", payload=""), at=T0 + MS))
    market.send(RawFrame(channel="connected", payload=""), at=T0 + 2 * MS)
    nothing = market.frames(book("BTCUSDT", 11, [["100.0", "5"]], []), at=T0 + 3 * MS)
    back = market.frames(snapshot(update=50), at=T0 + 4 * MS)
    assert down.reason == "disconnected"
    assert nothing == []
    assert len(of(FeedUp, back)) == 1


def test_a_heartbeat_each_minute_with_the_worst_delay():
    market = live()
    market.frames(ticker(ts=MS0 - 700, markPrice="1", indexPrice="1"))
    (beat,) = of(Heartbeat, market.timer(T0 + SECOND))
    assert (beat.service, beat.feed_delay_ms) == ("marketdata", 700)
    assert of(Heartbeat, market.timer(T0 + 2 * SECOND)) == []
    assert of(Heartbeat, market.timer(T0 + 60 * SECOND))[0].feed_delay_ms == 0


# --- reference and instruments ------------------------------------------------------------------------------------------


def test_references_merge_deltas_and_come_only_when_changed():
    market = live()
    full = ticker(
        kind="snapshot", markPrice="100.5", indexPrice="100.4", fundingRate="0.0001", nextFundingTime="1700006400000"
    )
    (first,) = of(Reference, market.frames(full))
    later = T0 + SECOND
    unchanged = market.frames(ticker(ts=MS0 + 1000, bid1Price="1", fundingRate=""), at=later)
    (second,) = of(Reference, market.frames(ticker(ts=MS0 + 1001, markPrice="100.6"), at=later))
    assert (first.mark, first.index, first.funding_rate) == (Decimal("100.5"), Decimal("100.4"), Decimal("0.0001"))
    assert first.next_funding_at == 1_700_006_400_000 * MS
    assert of(Reference, unchanged) == []
    assert (second.mark, second.index) == (Decimal("100.6"), Decimal("100.4"))


def test_references_are_throttled_but_never_lost():
    market = live()
    market.frames(ticker(markPrice="1", indexPrice="1"))
    early = market.frames(ticker(ts=MS0 + 1, markPrice="2"), at=T0 + MS)
    (late,) = of(Reference, market.timer(T0 + SECOND))
    assert of(Reference, early) == []
    assert late.mark == 2


def test_instruments_are_asked_for_defined_once_and_again_only_when_changed():
    market = desk(filled=False)
    number = next(request.number for request in market.core.requests() if "instruments-info" in request.target)
    (defined,) = market.reply(number, instrument_reply())
    assert type(defined) is InstrumentDefined
    assert (defined.tick_size, defined.min_notional, defined.price_limit_ratio) == (Decimal("0.10"), 5, Decimal("0.02"))
    for at, tick, expected in ((1, "0.10", []), (2, "0.50", [InstrumentChanged])):
        market.timer(T0 + at * 3600 * SECOND)
        number = next(request.number for request in market.core.requests() if "instruments-info" in request.target)
        out = market.reply(number, instrument_reply(tick=tick))
        assert [type(event) for event in out if isinstance(event, InstrumentDefined)] == expected


@pytest.mark.parametrize(
    "payload",
    ['{"retCode":10006,"retMsg":"Too many visits!","result":{}}', "<html>", '{"retCode":0,"result":{"list":[]}}'],
)
def test_a_failed_instrument_request_is_made_again(payload):
    market = desk(filled=False)
    number = next(request.number for request in market.core.requests() if "instruments-info" in request.target)
    out = market.reply(number, payload)
    market.timer(T0 + 5 * SECOND)
    again = [request.number for request in market.core.requests() if "instruments-info" in request.target]
    assert [event.kind for event in of(DataRejected, out)] == [RejectKind.MALFORMED]
    assert len(again) == 1
    assert again[0] > number
