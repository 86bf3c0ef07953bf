"""Marketdata and signal on the simulator's own wire frames, in process: a tape in, candles and signals out."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from libs.common.events import (
    Bar,
    DataRejected,
    Event,
    FeedDown,
    Instant,
    InstrumentDefined,
    RawFrame,
    Reference,
    Signal,
    Tick,
)
from libs.common.record import Started
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore
from services.signal.config import SignalConfig, StrategyConfig
from services.signal.core import SignalCore
from sim.config import SimConfig
from sim.exchange import Exchange
from sim.tapes.tape import open_tape
from sim.wiretypes import WireRequest
from tests.market_harness import MS, Desk, of


def candle_file(
    folder: Path, minutes: int
) -> tuple[Path, list[tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]]]:
    chance = random.Random(5)
    start, price, rows = 1_700_000_040_000, 30_000.0, []
    for n in range(minutes):
        close = price * (1 + chance.gauss(0, 0.001))
        high, low = max(price, close) * 1.0005, min(price, close) * 0.9995
        row = [Decimal(f"{value:.1f}") for value in (price, high, low, close)]
        rows.append((start + n * 60_000, *row, Decimal(chance.randrange(1, 9000)) / 1000))
        price = float(row[3])
    path = folder / "BTCUSDT_1m.csv"
    lines = ["ts,open,high,low,close,volume", *(",".join(str(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines))
    return path, rows  # type: ignore[return-value]


def played(
    spec: str, config: MarketdataConfig, window_ms: int, minutes: int, signal: SignalCore | None = None
) -> list[Event]:
    """Everything marketdata (and signal) writes while the tape plays, in lockstep as the driver would batch it."""
    tape = open_tape([spec], seed=7)
    exchange = Exchange(SimConfig(), tape, seed=7)
    desk = Desk(MarketdataCore(config), at=tape.start_at)
    follower = Desk(signal, at=tape.start_at) if signal else None
    for topic in config.topics():
        exchange.watch(topic)
    out = desk.send(Started(fresh=True))
    sent: set[int] = set()
    for number in range(1, minutes * 60_000 // window_ms + 5):
        for request in desk.core.requests():
            if request.number not in sent and request.method == "GET":
                sent.add(request.number)
                path, _, query = request.target.partition("?")
                exchange.submit(
                    WireRequest(
                        method="GET",
                        path=path,
                        query=query,
                        body="",
                        client="marketdata",
                        request_id=f"marketdata-{request.number}",
                    )
                )
        at = tape.start_at + number * window_ms * MS
        exchange.advance(at)
        box = exchange.collect()
        replies = [
            RawFrame(channel="reply", payload=reply.body, request=int(reply.request_id.rpartition("-")[2]))
            for reply in box.replies
        ]
        frames = [RawFrame(channel="public", payload=frame.text) for frame in box.frames if not frame.account]
        batch = desk.send(Instant(number=number, window_ms=window_ms), *replies, *frames, at=at)
        out += batch
        if follower:
            out += follower.send(*(body for body in batch if isinstance(body, Tick | Bar | InstrumentDefined)), at=at)
    return out


@pytest.mark.parametrize("window_ms", [1000, 7000, 60_000])
def test_candles_equal_those_of_a_one_minute_tape(tmp_path, window_ms):
    path, rows = candle_file(tmp_path, 25)
    config = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1m", "5m"), warmup_bars=10)
    out = played(f"BTCUSDT={path}", config, window_ms, 25)
    bars = of(Bar, out)
    ones = [bar for bar in bars if bar.interval_ms == 60_000]
    figures = [(bar.start_at // MS, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in ones]
    assert len(figures) >= 24
    assert figures[:25] == rows[: len(figures)]
    assert all(volume == 0 for *_, volume in figures[25:])
    fives = [bar for bar in bars if bar.interval_ms == 300_000]
    inside = {
        bar.start_at: [row for row in rows if bar.start_at // MS <= row[0] < bar.start_at // MS + 300_000]
        for bar in fives
    }
    assert len(fives) >= 4
    assert all(bar.volume == sum(row[5] for row in inside[bar.start_at]) for bar in fives)
    assert all(bar.close == inside[bar.start_at][-1][4] for bar in fives)
    assert of(DataRejected, out) == []
    assert of(FeedDown, out) == []


def test_a_synthetic_tape_gives_every_kind_of_event_and_threshold_trades_it():
    config = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1m",), warmup_bars=50)
    strategies = SignalConfig(strategies={"threshold": StrategyConfig(symbols=("BTCUSDT",))})
    out = played("synthetic:seed=7,minutes=40,symbols=BTCUSDT,crash=0", config, 1000, 40, SignalCore(strategies))
    assert of(DataRejected, out) == []
    assert len(of(Tick, out)) > 1000
    assert of(Reference, out)
    assert len(of(InstrumentDefined, out)) == 1
    assert len(of(Bar, out)) >= 80
    changes = [signal.target for signal in of(Signal, out)]
    assert len(changes) >= 4
    assert all(abs(target) <= 1 for target in changes)
