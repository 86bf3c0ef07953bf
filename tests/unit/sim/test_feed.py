"""Public frames: a follower who only sees frames knows the book; candles are those of the tape."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from sim.config import SimConfig
from sim.engine.klines import Candle, Klines
from sim.exchange import Exchange
from sim.tapes.tape import open_tape
from tests.simbench import BTC, PRICE, Bench

MINUTE = 60_000


def test_deltas_rebuild_the_book_and_u_rises_by_one() -> None:
    tape = open_tape(["synthetic:seed=5,minutes=5,symbols=BTCUSDT"], 5)
    exchange = Exchange(SimConfig(), tape, 5)
    exchange.watch("orderbook.50.BTCUSDT")
    book: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    last_u = 0
    for second in range(1, 301):
        exchange.advance(tape.start_at + second * 1_000_000_000)
        frames = [json.loads(f.text) for f in exchange.collect().frames]
        assert len(frames) <= 1, "at most one delta a window"
        for frame in frames:
            data = frame["data"]
            assert frame["type"] == ("delta" if last_u else "snapshot")
            assert not last_u or data["u"] == last_u + 1
            last_u = data["u"]
            for side in ("b", "a"):
                for price, size in data[side]:
                    if size == "0":
                        del book[side][price]
                    else:
                        book[side][price] = size
        market = exchange.venue.markets[BTC]
        text = market.instrument.price_text
        assert set(book["b"]) == {text(ticks) for ticks, _ in market.book.bids}
        assert set(book["a"]) == {text(ticks) for ticks, _ in market.book.asks}
        assert max(map(float, book["b"])) < min(map(float, book["a"])), "never crossed"
    late = exchange.snapshot("orderbook.50.BTCUSDT")
    assert late is not None
    snapshot = json.loads(late)
    assert (snapshot["type"], snapshot["data"]["u"]) == ("snapshot", last_u)
    assert dict(snapshot["data"]["b"]) == book["b"]


def test_ticker_deltas_carry_only_what_changed() -> None:
    bench = Bench()
    bench.exchange.watch("tickers.BTCUSDT")
    bench.print(PRICE, 1, 1)
    bench.play()
    bench.print(PRICE + 5, 1, 1)
    bench.play()
    first, second = [json.loads(f.text) for f in bench.frames if f.topic.startswith("tickers")]
    assert (first["type"], second["type"]) == ("snapshot", "delta")
    assert first["data"]["lastPrice"] == "60000.00"
    assert second["data"]["lastPrice"] == "60000.50"
    assert "fundingRate" in first["data"]
    assert "fundingRate" not in second["data"]


def test_nothing_is_produced_for_unwatched_topics() -> None:
    bench = Bench()
    bench.print(PRICE, 1, 1)
    bench.play()
    assert [frame for frame in bench.frames if not frame.account] == []
    bench.exchange.watch("publicTrade.BTCUSDT")
    bench.play()
    assert [frame for frame in bench.frames if not frame.account] == [], "no trades from before the subscription"


def test_candles_of_the_tape_come_back_confirmed(tmp_path: Path) -> None:
    start = 1_704_067_200_000
    rows = [(start + i * MINUTE, 100 + i, 104 + i, 98 + i, 101 + i, 5 + i) for i in range(11)]
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (tmp_path / "BTCUSDT.csv").write_text(f"ts,open,high,low,close,volume\n{text}\n")
    tape = open_tape([str(tmp_path / "BTCUSDT.csv")], 7)
    exchange = Exchange(SimConfig(), tape, 7)
    for topic in ("kline.1.BTCUSDT", "kline.5.BTCUSDT"):
        exchange.watch(topic)
    seen: dict[str, list[tuple[float, ...]]] = {"1": [], "5": []}
    at = tape.start_at
    while at < tape.end_at:
        at += 15_000_000_000
        exchange.advance(at)
        for frame in exchange.collect().frames:
            (row,) = json.loads(frame.text)["data"]
            assert row["confirm"] is True
            seen[row["interval"]].append(
                (row["start"], *(float(row[name]) for name in ("open", "high", "low", "close", "volume")))
            )
    assert seen["1"] == [tuple(map(float, row)) for row in rows]
    for index, candle in enumerate(seen["5"]):
        part = rows[index * 5 : index * 5 + 5]
        assert candle == (part[0][0], part[0][1], max(r[2] for r in part), min(r[3] for r in part), part[-1][4],
                          sum(r[5] for r in part))  # fmt: skip
    assert len(seen["5"]) == 2


def test_a_silent_minute_is_a_flat_candle() -> None:
    closed: list[tuple[str, Candle]] = []
    klines = Klines(1, 0, lambda name, candle: closed.append((name, candle)))
    klines.on_print(MINUTE + 5, 100, 3)
    klines.on_print(MINUTE + 9, 105, 2)
    klines.roll(4 * MINUTE)
    assert [(c.start, c.open, c.close, c.lots) for name, c in closed if name == "1"] == [
        (MINUTE, 100, 105, 5), (2 * MINUTE, 105, 105, 0), (3 * MINUTE, 105, 105, 0),
    ]  # fmt: skip
    klines.on_print(4 * MINUTE + 1, 90, 1)
    klines.roll(5 * MINUTE)
    five = [c for name, c in closed if name == "5"]
    assert [(c.start, c.open, c.high, c.low, c.close, c.lots) for c in five] == [(0, 100, 105, 90, 90, 6)]


def test_hourly_bars_give_hourly_candles_only() -> None:
    closed: list[str] = []
    klines = Klines(1, 60 * MINUTE, lambda name, _: closed.append(name))
    klines.on_print(5, 100, 3)
    klines.roll(240 * MINUTE)
    assert set(closed) == {"60", "120", "240"}
    assert closed.count("60") == 4


@pytest.mark.parametrize(("stream", "suffix"), [("", ""), ("spot:", "-SPOT")])
def test_a_book_that_is_asked_for_anew_comes_whole_and_goes_on_counting(stream: str, suffix: str) -> None:
    bench = Bench(SimConfig(rate_factor=1000, spot=True), book=False)
    topic = f"orderbook.50.{BTC}{suffix}"
    bench.exchange.watch(topic)
    told = []

    def play(ask: str = "") -> None:
        if ask:
            query = f"ask={quote(ask)}"
            bench.exchange.submit(bench.request("GET", "/sim/stream", query=query))
        replies = bench.play()
        assert [json.loads(reply.body)["retCode"] for reply in replies] == [0] * bool(ask)
        told.extend(json.loads(frame.text) for frame in bench.frames)
        bench.frames.clear()

    for step in range(3):
        bench.book(PRICE + 10 * step)
        play()
    play(f"resubscribe:{stream}orderbook.50.{BTC}")  # nothing changed, and it comes all the same
    bench.book(PRICE)
    play(f"resubscribe:{stream}orderbook.50.{BTC}")
    bench.book(PRICE + 20)
    play()
    assert [frame["type"] for frame in told] == ["snapshot", "delta", "delta", "snapshot", "snapshot", "delta"]
    assert [frame["data"]["u"] for frame in told] == [2, 3, 4, 5, 6, 7]
    assert min(len(frame["data"]["b"]) for frame in told if frame["type"] == "snapshot") >= 5


@pytest.mark.parametrize(
    "ask", ["resubscribe:orderbook.200.BTCUSDT", "resubscribe:x", "reconnect", "subscribe:dcp", ""]
)
def test_what_a_tape_has_no_stream_for_is_refused(ask: str) -> None:
    bench = Bench()
    bench.exchange.watch(f"orderbook.50.{BTC}")
    assert bench.ask("GET", "/sim/stream", f"ask={quote(ask)}")["retCode"] == 10001
