"""Recorded Bybit v5 WebSocket messages (orderbook, publicTrade) as a tape; one JSON message a line, .jsonl or .jsonl.gz.

Arrival order is the order of the tape: an exchange stamp that runs backwards is lifted to the one before.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from libs.common.errors import TapeError
from libs.common.values import Grid
from sim.engine.instruments import Rules, rules_of, rules_on_grid
from sim.prints import BookChange, MarketEvent, Print

_SIDES = {"Buy": 1, "Sell": -1}


class FrameDecoder:
    """Turns public frames into market events on the grids of known symbols; other frames give nothing."""

    def __init__(self, grids: dict[str, Grid]) -> None:
        self._grids = grids
        self._last: dict[str, int] = {}

    def events(self, frame: dict[str, Any]) -> list[MarketEvent]:
        topic = str(frame.get("topic", ""))
        if topic.startswith("orderbook."):
            return self._book(frame, topic)
        return self._trades(frame) if topic.startswith("publicTrade.") else []

    def _book(self, frame: dict[str, Any], topic: str) -> list[MarketEvent]:
        data = frame["data"]
        symbol = str(data["s"])
        if (grid := self._grids.get(symbol)) is None:
            return []
        # A level-1 stream sends snapshots only; deeper ones snapshot, then deltas.
        snapshot = frame.get("type") == "snapshot"
        at = self._stamp(symbol, int(frame.get("cts") or frame["ts"]))
        return [BookChange(at, symbol, snapshot, _levels(grid, data["b"]), _levels(grid, data["a"]))]

    def _trades(self, frame: dict[str, Any]) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        for row in frame["data"]:
            if (grid := self._grids.get(row["s"])) is None:
                continue
            at = self._stamp(row["s"], int(row["T"]))
            lots = max(1, grid.lots(Decimal(row["v"])))
            events.append(Print(at, row["s"], grid.ticks(Decimal(row["p"])), lots, _SIDES[row["S"]]))
        return events

    def _stamp(self, symbol: str, ms: int) -> int:
        at = max(self._last.get(symbol, 0), ms * 1_000_000)
        self._last[symbol] = at
        return at


class WireFile:
    """A file of frames: which symbols it holds, on which grid, from when to when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rules: dict[str, Rules] = {}
        self.first_at = 0
        self.last_at = 0
        self.frames = 0
        self._scan()

    def events(self) -> Iterator[MarketEvent]:
        decoder = FrameDecoder({name: Grid(rules.tick_size, rules.lot_size) for name, rules in self.rules.items()})
        latest = 0
        for number, frame in self._frames():
            try:
                for event in decoder.events(frame):
                    latest = max(latest, event.at)
                    yield event if event.at == latest else msgspec.structs.replace(event, at=latest)
            except (KeyError, TypeError, ValueError, ArithmeticError) as error:
                raise TapeError(
                    f"{self.path}: row {number}: expected a Bybit v5 frame, field {error} is unusable"
                ) from error

    def _scan(self) -> None:
        """Read everything once: find symbols and grids, and complain before anything is played."""
        for number, frame in self._frames():
            try:
                self._learn(frame)
            except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
                raise TapeError(
                    f"{self.path}: row {number}: expected a Bybit v5 frame, field {error} is unusable"
                ) from error
        if not self.rules:
            raise TapeError(f"{self.path}: expected frames of orderbook.* or publicTrade.*, found none")
        for event in self.events():
            self.first_at = self.first_at or event.at
            self.last_at = event.at

    def _learn(self, frame: dict[str, Any]) -> None:
        topic = str(frame.get("topic", ""))
        if topic.startswith("orderbook."):
            data = frame["data"]
            rows = [*data["b"], *data["a"]]
            symbol = data["s"]
        elif topic.startswith("publicTrade."):
            rows = [[row["p"], row["v"]] for row in frame["data"]]
            symbol = frame["data"][0]["s"]
        else:
            return
        self.frames += 1
        if symbol not in self.rules and rows:
            self.rules[symbol] = _rules(symbol, rows)

    def _frames(self) -> Iterator[tuple[int, dict[str, Any]]]:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        number = 0
        try:
            with _open(self.path) as file:
                for number, line in enumerate(file, 1):
                    if text := line.strip():
                        yield number, decode(text)
        except msgspec.DecodeError as error:
            raise TapeError(f"{self.path}: row {number}: expected one JSON object, was not: {error}") from error
        except (OSError, EOFError, zlib.error) as error:
            raise TapeError(f"{self.path}: row {number + 1}: expected a readable file, was not: {error}") from error


def _open(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")


def _rules(symbol: str, rows: list[list[str]]) -> Rules:
    """Known symbols keep their grid; others get the finest decimals that the first message shows."""
    known = rules_of(symbol, Decimal(rows[0][0]))
    prices, sizes = (max(_decimals(row[place]) for row in rows) for place in (0, 1))
    tick, lot = Decimal(1).scaleb(-prices), Decimal(1).scaleb(-sizes)
    if known.tick_size <= tick and known.lot_size <= lot:
        return known
    return rules_on_grid(tick, lot) if prices + sizes <= 8 else known


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _levels(grid: Grid, rows: list[list[str]]) -> tuple[tuple[int, int], ...]:
    return tuple((grid.ticks(Decimal(price)), grid.lots(Decimal(size))) for price, size in rows)
