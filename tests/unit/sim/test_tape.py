"""Tapes: what they play, and what they say about files that cannot be played."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from libs.common.errors import TapeError
from sim.prints import BookChange, MarketEvent, Print
from sim.tapes.candles import Candle, path
from sim.tapes.tape import LiveTape, PushTape, Tape, open_tape

START = 1_704_067_200_000
HEADER = "ts,open,high,low,close,volume\n"


def play(tape: Tape, step_ns: int = 60_000_000_000) -> list[MarketEvent]:
    events: list[MarketEvent] = []
    at = tape.start_at
    while not tape.finished:
        at += step_ns
        events.extend(tape.window(at))
    return events


def bars(count: int = 5) -> str:
    rows = [f"{START + i * 60_000},{100 + i}.5,{103 + i},{99 + i},{101 + i},{10 + i}.25" for i in range(count)]
    return HEADER + "\n".join(rows) + "\n"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str, name: str = "BTCUSDT-1m.csv") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_a_bar_touches_its_corners_and_keeps_its_volume(csv: Callable[[str], str]) -> None:
    tape = open_tape([csv(bars())], 7)
    grid = tape.instruments["BTCUSDT"].grid
    prints = [event for event in play(tape) if isinstance(event, Print)]
    for index in range(5):
        start = (START + index * 60_000) * 1_000_000
        bar = [event for event in prints if start <= event.at < start + 60_000_000_000]
        prices = [grid.price(event.ticks) for event in bar]
        assert (prices[0], prices[-1]) == (Decimal(100 + index) + Decimal("0.5"), Decimal(101 + index))
        assert (max(prices), min(prices)) == (Decimal(103 + index), Decimal(99 + index))
        assert grid.quantity(sum(event.lots for event in bar)) == Decimal(f"{10 + index}.25")
    assert [event.at for event in prints] == sorted(event.at for event in prints)


def test_another_seed_gives_another_path() -> None:
    bar = Candle(START, 100, 130, 90, 110, 1000)
    first, again, other = (list(path("X", bar, 60_000, 12, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_parquet_and_csv_of_the_same_bars_play_the_same(csv: Callable[[str], str], tmp_path: Path) -> None:
    rows = [line.split(",") for line in bars().splitlines()[1:]]
    columns = dict(zip(HEADER.strip().split(","), zip(*rows, strict=True), strict=True))
    table = pa.table({k: pa.array([int(v) if k == "ts" else float(v) for v in vs]) for k, vs in columns.items()})
    parquet.write_table(table, tmp_path / "BTCUSDT.parquet")
    assert play(open_tape([str(tmp_path / "BTCUSDT.parquet")], 7)) == play(open_tape([csv(bars())], 7))


def test_trades_keep_price_size_and_side(csv: Callable[[str], str]) -> None:
    text = f"ts,price,qty,side\n{START},100.5,0.25,buy\n{START},100.4,1,Sell\n"
    events = play(open_tape([csv(text)], 7))
    assert [(e.ticks, e.lots, e.side) for e in events if isinstance(e, Print)] == [(1005, 250, 1), (1004, 1000, -1)]


def test_recorded_frames_give_book_and_trades(tmp_path: Path) -> None:
    frames = [
        {"topic": "orderbook.50.AAAUSDT", "type": "snapshot", "ts": START + 5, "cts": START + 3,
         "data": {"s": "AAAUSDT", "b": [["1.2345", "10.5"]], "a": [["1.2346", "3"]], "u": 5, "seq": 1}},
        {"topic": "publicTrade.AAAUSDT", "type": "snapshot", "ts": START + 1,
         "data": [{"T": START + 1, "s": "AAAUSDT", "S": "Sell", "v": "2.0", "p": "1.2345"}]},
        {"op": "subscribe", "success": True},
        {"topic": "orderbook.50.AAAUSDT", "type": "delta", "ts": START + 9, "cts": START + 8,
         "data": {"s": "AAAUSDT", "b": [["1.2345", "0"]], "a": [], "u": 6, "seq": 2}},
    ]  # fmt: skip
    file = tmp_path / "capture.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, frames)).encode()))
    tape = open_tape([str(file)], 7)
    assert tape.symbols == ("AAAUSDT",)
    first, trade, delta = play(tape)
    assert isinstance(first, BookChange)
    assert (first.snapshot, first.bids, first.asks) == (True, ((12345, 105),), ((12346, 30),))
    assert isinstance(trade, Print)
    assert (trade.ticks, trade.lots, trade.side, trade.at >= first.at) == (12345, 20, -1, True)
    assert isinstance(delta, BookChange)
    assert delta.bids == ((12345, 0),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ts,open,high,low,close\n1,2,3,4,5\n", ["column 'volume' is missing"]),
        ("a,b\n1,2\n", ["column 'ts' is missing"]),
        ("", ["column 'ts' is missing"]),
        (HEADER, ["expected rows"]),
        (HEADER + f"{START},100,nan,99,100,1\n", ["row 1", "column high", "NaN or nan"]),
        (HEADER + f"{START},100,101,0,100,1\n", ["row 1", "column low", "positive"]),
        (HEADER + f"{START},100,101,99,100,-1\n", ["row 1", "column volume"]),
        (HEADER + f"{START},100,99,101,100,1\n", ["row 1", "column high", "low <= open, close <= high"]),
        (HEADER + f"{START},1,1,1,1,1\n{START},1,1,1,1,1\n", ["row 2", "column ts", "duplicate"]),
        (HEADER + f"{START + 1},1,1,1,1,1\n{START},1,1,1,1,1\n", ["row 2", "column ts", "unsorted"]),
        (HEADER + "yesterday,1,1,1,1,1\n", ["row 1", "column ts"]),
        (HEADER + "1704067200,1,1,1,1,1\n", ["row 1", "column ts", "13 digits"]),
        (HEADER + f"{START},x,1,1,1,1\n", ["row 1", "column open"]),
        (HEADER + f"{START},1,1\n", ["row 1", "columns"]),
        (f"ts,price,qty,side\n{START},1,1,up\n", ["row 1", "column side"]),
        (f"ts,price,qty,side\n{START},1,0,buy\n", ["row 1", "column qty"]),
    ],
)
def test_a_bad_file_is_one_clear_sentence(csv: Callable[[str], str], text: str, words: list[str]) -> None:
    name = csv(text)
    with pytest.raises(TapeError) as caught:
        open_tape([name], 7)
    sentence = str(caught.value)
    assert caught.value.exit_code == 2
    assert name in sentence
    assert "\n" not in sentence
    for word in words:
        assert any(part in sentence for part in word.split(" or ")), sentence


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT.parquet").write_bytes(b"PAR1 this is no parquet")
    (tmp_path / "BTCUSDT.jsonl").write_text('{"topic":\n')
    (tmp_path / "ETHUSDT.jsonl").write_text('{"op":"pong"}\n')
    (tmp_path / "BTCUSDT.jsonl.gz").write_bytes(b"not gzip")
    (tmp_path / "BTCUSDT.xls").write_text("")
    (tmp_path / "bars.csv").write_text(bars())
    cases = {
        "BTCUSDT.parquet": "Parquet", "BTCUSDT.jsonl": "row 1", "ETHUSDT.jsonl": "found none", "BTCUSDT.jsonl.gz": "readable",
        "BTCUSDT.xls": ".parquet, .csv", "nothing.csv": "found none", "bars.csv": "SYMBOL=",
    }  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(TapeError, match=words.replace(".", r"\.")):
            open_tape([str(tmp_path / name)], 7)
    assert open_tape([f"ABCUSDT={tmp_path / 'bars.csv'}"], 7).symbols == ("ABCUSDT",)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    columns = {
        "ts": list(range(START, START + 9000)),
        "price": [1.0] * 9000,
        "qty": [1.0] * 9000,
        "side": ["buy"] * 9000,
    }
    parquet.write_table(pa.table(columns), whole, row_group_size=3000, compression="zstd", use_dictionary=False)
    data = whole.read_bytes()
    for damaged in (data[:-200], data[:100] + bytes(3000) + data[3100:]):
        (tmp_path / "BTCUSDT.parquet").write_bytes(damaged)
        with pytest.raises(TapeError, match=r"BTCUSDT\.parquet.*(corrupt|readable Parquet file|row \d+)"):
            open_tape([str(tmp_path / "BTCUSDT.parquet")], 7)


def test_one_tape_a_symbol(csv: Callable[[str], str]) -> None:
    name = csv(bars())
    with pytest.raises(TapeError, match="BTCUSDT has two"):
        open_tape([name, name], 7)


def test_the_synthetic_tape_crashes_and_recovers() -> None:
    for seed in (1, 7, 42):
        tape = open_tape([f"synthetic:seed={seed}"], seed)
        assert tape.symbols == ("BTCUSDT", "ETHUSDT")
        for symbol in tape.symbols:
            prices = [(e.at - tape.start_at, e.ticks) for e in play(open_tape([f"synthetic:seed={seed}"], seed))
                      if isinstance(e, Print) and e.symbol == symbol]  # fmt: skip
            span = tape.end_at - tape.start_at
            near = [ticks for at, ticks in prices if 0.585 * span < at < 0.615 * span]
            assert min(near) < 0.88 * near[0], "at least 12 % down within minutes, around 60 % of the tape"
            after = [ticks for at, ticks in prices if at > 0.65 * span]
            assert max(after) > 1.02 * min(near)
            assert len(prices) > 10_000


def test_the_synthetic_tape_takes_parameters_and_refuses_others() -> None:
    tape = open_tape(["synthetic:seed=3,minutes=2,symbols=ETHUSDT,start=1704067200000"], 7)
    assert (tape.symbols, tape.end_at - tape.start_at) == (("ETHUSDT",), 120_000_000_000)
    assert play(tape) == play(open_tape(["synthetic:minutes=2,symbols=ETHUSDT,start=1704067200000"], 3))
    for text in ("synthetic:sed=3", "synthetic:seed=x", "synthetic:minutes=0"):
        with pytest.raises(TapeError, match="synthetic tape"):
            open_tape([text], 7)


def test_windows_neither_lose_nor_repeat() -> None:
    spec = ["synthetic:seed=7,minutes=3"]
    assert play(open_tape(spec, 7), 700_000_000) == play(open_tape(spec, 7), 10**12)


def test_a_live_tape_starts_now_and_runs_at_its_speed() -> None:
    spec = ["synthetic:seed=7,minutes=2,symbols=BTCUSDT"]
    origin = 1_800_000_000_000_000_000
    live = LiveTape(open_tape(spec, 7), origin, speed=10)
    assert (live.start_at, live.end_at) == (origin, origin + 12_000_000_000)
    events = live.window(origin + 6_000_000_000)
    original = open_tape(spec, 7)
    assert len(events) == len(original.window(original.start_at + 60_000_000_000))
    assert all(origin <= event.at <= origin + 6_000_000_000 for event in events)


def test_a_push_tape_gives_what_was_pushed() -> None:
    tape = PushTape(open_tape(["synthetic:"], 7).instruments, START * 1_000_000)
    trade = {"T": START, "s": "BTCUSDT", "S": "Buy", "v": "0.010", "p": "60000.10"}
    tape.push({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": START, "data": [trade]})
    assert tape.window(START * 1_000_000) == [Print(START * 1_000_000, "BTCUSDT", 600_001, 10, 1)]
    assert tape.window(START * 1_000_000) == []
