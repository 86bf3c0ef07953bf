"""Tapes: time-ordered market events of one or more symbols, streamed.

tape = open_tape(["BTCUSDT=bars.parquet", "trades.csv"], seed=7)
tape.window(at_ns)  # every event up to and with that instant that was not given before
"""

from __future__ import annotations

import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from libs.common.errors import TapeError
from libs.common.values import Grid
from sim.engine.instruments import Instrument, Rules, rules_of
from sim.prints import BookChange, MarketEvent, Print
from sim.tapes import candles, synthetic
from sim.tapes.candles import NS_PER_MS, Candle
from sim.tapes.tables import TableFile
from sim.tapes.wiretape import FrameDecoder, WireFile

SYNTHETIC = "synthetic:"
DEFAULT = "synthetic:seed=7"
_SYMBOL = re.compile(r"(?<![A-Z0-9])([A-Z0-9]{2,15}(?:USDT|USDC))(?![A-Z0-9])")


class Source(ABC):
    """The events of one file or generator. Instants in ns; `native_ms` is the bar length of candles, 0 otherwise."""

    rules: dict[str, Rules]
    start_at: int
    end_at: int
    native_ms: int = 0

    @abstractmethod
    def events(self) -> Iterator[MarketEvent]:
        """Everything in time order, from the beginning."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What it is, for people."""


class SyntheticSource(Source):
    def __init__(self, spec: synthetic.SyntheticSpec, symbol: str) -> None:
        self._spec, self._symbol = spec, symbol
        self._opening = Decimal(synthetic.OPENINGS.get(symbol, "100"))
        self.rules = {symbol: rules_of(symbol, self._opening)}
        self.start_at = spec.start_ms * NS_PER_MS
        self.end_at = self.start_at + spec.minutes * 60 * synthetic.NS

    def events(self) -> Iterator[MarketEvent]:
        grid = _grid(self.rules[self._symbol])
        scale = max(1, grid.lots(Decimal(2000) / self._opening))
        return synthetic.prints(self._spec, self._symbol, grid.ticks(self._opening), scale)

    def opening_ticks(self) -> dict[str, int]:
        """Where the walk begins: what was before it can be made up."""
        return {self._symbol: _grid(self.rules[self._symbol]).ticks(self._opening)}

    def describe(self) -> dict[str, Any]:
        return {"kind": "synthetic", "symbol": self._symbol, "seed": self._spec.seed, "minutes": self._spec.minutes}


class CandleSource(Source):
    def __init__(self, file: TableFile, symbol: str, seed: int, steps: int | None) -> None:
        self._file, self._symbol, self._seed = file, symbol, seed
        self._summary = file.check()
        self.native_ms = self._summary.interval_ms
        self._steps = steps or candles.default_steps(self.native_ms)
        self.rules = {symbol: rules_of(symbol, self._summary.first_price)}
        self.start_at = self._summary.first_ms * NS_PER_MS
        self.end_at = (self._summary.last_ms + self.native_ms) * NS_PER_MS

    def events(self) -> Iterator[MarketEvent]:
        grid = _grid(self.rules[self._symbol])
        lot, ticks = grid.lot_size, grid.ticks
        for row in self._file.candle_rows():
            lots = int((row.volume / lot).to_integral_value())
            prices = [max(1, ticks(price)) for price in (row.open, row.high, row.low, row.close)]
            bar = Candle(row.ts, prices[0], prices[1], prices[2], prices[3], lots)
            yield from candles.path(self._symbol, bar, self.native_ms, self._steps, self._seed)

    def describe(self) -> dict[str, Any]:
        return {"kind": "candles", "symbol": self._symbol, "file": str(self._file.path), "rows": self._summary.rows,
                "interval_ms": self.native_ms}  # fmt: skip


class TradeSource(Source):
    def __init__(self, file: TableFile, symbol: str) -> None:
        self._file, self._symbol = file, symbol
        self._summary = file.check()
        self.rules = {symbol: rules_of(symbol, self._summary.first_price)}
        self.start_at = self._summary.first_ms * NS_PER_MS
        self.end_at = (self._summary.last_ms + 1) * NS_PER_MS

    def events(self) -> Iterator[MarketEvent]:
        grid = _grid(self.rules[self._symbol])
        for row in self._file.trade_rows():
            ticks, lots = max(1, grid.ticks(row.price)), max(1, grid.lots(row.qty))
            yield Print(row.ts * NS_PER_MS, self._symbol, ticks, lots, row.side)

    def describe(self) -> dict[str, Any]:
        return {"kind": "trades", "symbol": self._symbol, "file": str(self._file.path), "rows": self._summary.rows}


class WireSource(Source):
    def __init__(self, file: WireFile) -> None:
        self._file = file
        self.rules = file.rules
        self.start_at, self.end_at = file.first_at, file.last_at + NS_PER_MS

    def events(self) -> Iterator[MarketEvent]:
        return self._file.events()

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "frames",
            "symbol": "+".join(self.rules),
            "file": str(self._file.path),
            "rows": self._file.frames,
        }


class Tape:
    """Several sources merged by time; ties go in the order of the sources."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources
        self.instruments: dict[str, Instrument] = {}
        self.native_ms: dict[str, int] = {}
        for source in sources:
            for symbol, rules in source.rules.items():
                if symbol in self.instruments:
                    raise TapeError(f"expected one tape a symbol, {symbol} has two; drop one of them")
                self.instruments[symbol] = Instrument(symbol, rules)
                self.native_ms[symbol] = source.native_ms
        self.start_at = min((source.start_at for source in sources), default=0)
        self.end_at = max((source.end_at for source in sources), default=0)
        streams = [source.events() for source in sources]
        self._merged = streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_instant)
        self._next: MarketEvent | None = next(self._merged, None)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.instruments)

    @property
    def finished(self) -> bool:
        return self._next is None

    def window(self, until_at: int) -> list[MarketEvent]:
        """The events up to and with `until_at` (ns) that were not given before."""
        event = self._next
        if event is None or event.at > until_at:
            return []
        events, merged = [event], self._merged
        for event in merged:
            if event.at > until_at:
                self._next = event
                return events
            events.append(event)
        self._next = None
        return events

    def describe(self) -> dict[str, Any]:
        """The tape for people and reports: symbols, span, sources."""
        return {
            "symbols": list(self.symbols),
            "start_at": self.start_at,
            "end_at": self.end_at,
            "sources": [source.describe() for source in self.sources],
        }


class LiveTape(Tape):
    """A tape played now: its start falls on `origin_at` of the wall clock, `speed` tape seconds pass in one second."""

    def __init__(self, tape: Tape, origin_at: int, speed: int = 1) -> None:
        super().__init__([])
        self._tape, self._origin, self._speed = tape, origin_at, max(1, speed)
        self._shift = tape.start_at
        self.sources, self.instruments = tape.sources, tape.instruments
        self.native_ms = {symbol: ms // self._speed for symbol, ms in tape.native_ms.items()}
        self.start_at, self.end_at = origin_at, origin_at + (tape.end_at - tape.start_at) // self._speed

    @property
    def finished(self) -> bool:
        return self._tape.finished

    def window(self, until_at: int) -> list[MarketEvent]:
        events = self._tape.window(self._shift + (until_at - self._origin) * self._speed)
        return [_moved(event, self._origin + (event.at - self._shift) // self._speed) for event in events]


class PushTape(Tape):
    """A tape fed from outside, frame by frame: paper trading on the exchange's own public stream."""

    def __init__(self, instruments: dict[str, Instrument], start_at: int) -> None:
        super().__init__([])
        self.instruments = instruments
        self.native_ms = dict.fromkeys(instruments, 0)
        self.start_at = self.end_at = start_at
        self._decoder = FrameDecoder({name: item.grid for name, item in instruments.items()})
        self._waiting: list[MarketEvent] = []
        self._played_at = start_at

    @property
    def finished(self) -> bool:
        return False

    def push(self, frame: dict[str, Any]) -> None:
        """Take one public frame (orderbook or publicTrade) as decoded JSON."""
        self._waiting.extend(self._decoder.events(frame))

    def clear(self, symbol: str) -> None:
        """The book of a symbol is not known any more: there is nothing to trade against until its next snapshot."""
        self._waiting.append(BookChange(self._played_at, symbol, True, (), ()))

    def window(self, until_at: int) -> list[MarketEvent]:
        # What has arrived lies between the last window and this one, whatever the exchange's clock says against ours.
        events, self._waiting = self._waiting, []
        moved = []
        for event in events:
            self._played_at = min(max(event.at, self._played_at), until_at)
            moved.append(_moved(event, self._played_at))
        self._played_at = until_at
        return moved


def open_tape(specs: list[str], seed: int, steps: int | None = None) -> Tape:
    """Open `[SYMBOL=]FILE` and `synthetic:...` specs as one tape; no spec: the default synthetic one.

    `steps`: prints a candle (default: by its length). Raises TapeError for whatever cannot be played.
    """
    sources: list[Source] = []
    for spec in specs or [DEFAULT]:
        if spec.startswith(SYNTHETIC) or spec == "synthetic":
            text = spec.partition(":")[2]
            parsed = synthetic.parse(text if "seed=" in text else f"seed={seed},{text}")
            sources.extend(SyntheticSource(parsed, symbol) for symbol in parsed.symbols)
        else:
            sources.append(_file_source(spec, seed, steps))
    return Tape(sources)


def _file_source(spec: str, seed: int, steps: int | None) -> Source:
    match = re.match(r"([A-Z0-9]+)=(.+)", spec)
    symbol, name = (match[1], match[2]) if match else ("", spec)
    path = Path(name)
    if not path.is_file():
        raise TapeError(f"{path}: expected a tape file, found none; give --tape [SYMBOL=]FILE")
    if re.search(r"\.(jsonl|ndjson)(\.gz)?$", path.name.lower()):
        return WireSource(WireFile(path))
    if path.suffix.lower() not in (".parquet", ".pq", ".csv"):
        raise TapeError(f"{path}: expected .parquet, .csv, .jsonl or .jsonl.gz, was {path.suffix or 'no suffix'!r}")
    file = TableFile(path)
    found = symbol or _guess(path)
    return CandleSource(file, found, seed, steps) if file.candles else TradeSource(file, found)


def _guess(path: Path) -> str:
    match = _SYMBOL.search(path.name.upper())
    if match is None:
        raise TapeError(
            f"{path}: expected a symbol like BTCUSDT in the file name, found none; give --tape SYMBOL={path}"
        )
    return match[1]


def _grid(rules: Rules) -> Grid:
    return Grid(rules.tick_size, rules.lot_size)


def _instant(event: MarketEvent) -> int:
    return event.at


def _moved(event: MarketEvent, at: int) -> MarketEvent:
    if isinstance(event, BookChange):
        return BookChange(at, event.symbol, event.snapshot, event.bids, event.asks)
    return Print(at, event.symbol, event.ticks, event.lots, event.side)
