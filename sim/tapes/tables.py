"""Rows of candle and trade files, Parquet or CSV, checked; every complaint names file, row and column.

Files are read twice: once to check every row before anything is played, once to play. Memory stays flat: one batch.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from libs.common.errors import TapeError

CANDLE_COLUMNS = ("ts", "open", "high", "low", "close", "volume")
TRADE_COLUMNS = ("ts", "price", "qty", "side")
_SIDES = {"buy": 1, "sell": -1, "b": 1, "s": -1}
_BATCH = 4096


class CandleRow(msgspec.Struct, frozen=True, gc=False):
    """A bar as the file has it; `ts` is the open time in ms UTC."""

    ts: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class TradeRow(msgspec.Struct, frozen=True, gc=False):
    ts: int
    price: Decimal
    qty: Decimal
    side: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What the check found. `interval_ms` is the smallest distance of two bars; 0 for trades."""

    rows: int
    first_ms: int
    last_ms: int
    interval_ms: int
    first_price: Decimal


class TableFile:
    """One candle or trade file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parquet = path.suffix.lower() in (".parquet", ".pq")
        columns = self._columns()
        self.candles = "open" in columns or "close" in columns
        self.wanted = CANDLE_COLUMNS if self.candles else TRADE_COLUMNS
        missing = [name for name in self.wanted if name not in columns]
        if missing:
            kind = "candles" if self.candles else "trades (or candles)"
            raise TapeError(
                f"{path}: column {missing[0]!r} is missing: expected the columns {','.join(self.wanted)} of {kind}, "
                f"was {','.join(columns) or 'nothing'}"
            )

    def candle_rows(self) -> Iterator[CandleRow]:
        for number, values in self._rows():
            ts = self._stamp(number, values[0])
            prices = [
                self._number(number, name, value) for name, value in zip(CANDLE_COLUMNS[1:5], values[1:5], strict=True)
            ]
            volume = self._number(number, "volume", values[5], zero=True)
            if prices[1] < max(prices[0], prices[3]) or prices[2] > min(prices[0], prices[3]):
                raise TapeError(
                    f"{self.path}: row {number}, column high: expected low <= open, close <= high, "
                    f"was open {prices[0]}, high {prices[1]}, low {prices[2]}, close {prices[3]}"
                )
            yield CandleRow(ts, prices[0], prices[1], prices[2], prices[3], volume)

    def trade_rows(self) -> Iterator[TradeRow]:
        for number, values in self._rows():
            side = _SIDES.get(str(values[3]).strip().lower())
            if side is None:
                raise TapeError(f"{self.path}: row {number}, column side: expected buy or sell, was {values[3]!r}")
            price, qty = self._number(number, "price", values[1]), self._number(number, "qty", values[2])
            yield TradeRow(self._stamp(number, values[0]), price, qty, side)

    def check(self) -> Summary:
        """Read every row; raises TapeError at the first that cannot be played."""
        count, first, last, interval, price = 0, 0, 0, 0, Decimal(0)
        rows: Iterator[Any] = self.candle_rows() if self.candles else self.trade_rows()
        for row in rows:
            count += 1
            if count == 1:
                first, price = row.ts, row.open if self.candles else row.price
            elif row.ts < last or (self.candles and row.ts == last):
                fault = "duplicate" if row.ts == last else "unsorted"
                raise TapeError(
                    f"{self.path}: row {count}, column ts: {fault} timestamp: expected more than {last}, was {row.ts}; "
                    f"sort the file by ts and drop duplicates"
                )
            elif self.candles:
                interval = min(interval or row.ts - last, row.ts - last)
            last = row.ts
        if not count:
            raise TapeError(f"{self.path}: expected rows, the file has none")
        if self.candles:
            interval = interval or 60_000
        return Summary(rows=count, first_ms=first, last_ms=last, interval_ms=interval, first_price=price)

    def _stamp(self, number: int, value: Any) -> int:
        try:
            stamp = int(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TapeError(
                f"{self.path}: row {number}, column ts: expected ms since 1970 UTC, was {value!r}"
            ) from error
        if not 10**11 <= stamp < 10**13:
            raise TapeError(
                f"{self.path}: row {number}, column ts: expected ms since 1970 UTC (13 digits), was {value!r}"
            )
        return stamp

    def _number(self, number: int, column: str, value: Any, zero: bool = False) -> Decimal:
        try:
            # repr of a float is the shortest text that gives it back: the same Decimal on every machine.
            result = Decimal(value.strip() if isinstance(value, str) else repr(value))
        except InvalidOperation as error:
            raise TapeError(f"{self.path}: row {number}, column {column}: expected a number, was {value!r}") from error
        if not result.is_finite() or result < 0 or (result == 0 and not zero):
            wanted = "a number >= 0" if zero else "a positive number"
            raise TapeError(f"{self.path}: row {number}, column {column}: expected {wanted}, was {value!r}")
        return result

    def _columns(self) -> list[str]:
        if self.parquet:
            return list(_open_parquet(self.path).schema_arrow.names)
        header = next(_csv_lines(self.path), [])
        return [name.strip().lower() for name in header]

    def _rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """(row number from 1, the wanted values) of every row."""
        return self._parquet_rows() if self.parquet else self._csv_rows()

    def _parquet_rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        number = 0
        try:
            for batch in _open_parquet(self.path).iter_batches(batch_size=_BATCH, columns=list(self.wanted)):
                table = batch.to_pydict()
                for values in zip(*(table[name] for name in self.wanted), strict=True):
                    number += 1
                    yield number, values
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise TapeError(
                f"{self.path}: row {number + 1}: expected readable Parquet, was corrupt: {_first(error)}"
            ) from error

    def _csv_rows(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        lines = _csv_lines(self.path)
        header = [name.strip().lower() for name in next(lines)]
        places = [header.index(name) for name in self.wanted]
        width = max(places) + 1
        for number, line in enumerate(filter(None, lines), 1):
            if len(line) < width:
                raise TapeError(f"{self.path}: row {number}: expected {len(header)} columns, was {len(line)}")
            yield number, tuple(line[place] for place in places)


def _open_parquet(path: Path) -> Any:
    # Imported here: only whoever plays a Parquet tape needs pyarrow.
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise TapeError(f"{path}: expected a readable Parquet file, was not: {_first(error)}") from error


def _csv_lines(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TapeError(f"{path}: expected a readable CSV file, was not: {_first(error)}") from error


def _first(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
