"""Candles to train on, from whatever a tape may be: a file of candles or trades, recorded frames, the synthetic market."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from libs.common.errors import UsageError
from services.signal.config import INTERVALS_MS
from services.signal.dataset import Candles, merged
from sim.prints import Print
from sim.tapes.tables import TableFile
from sim.tapes.tape import Tape, open_tape

NS_PER_MS = 1_000_000
Row = tuple[int, float, float, float, float, float]


def load_candles(spec: str, interval: str, symbol: str | None, since_ms: int = 0) -> Candles:
    """Candles of one symbol from `[SYMBOL=]FILE` or `synthetic:...`, from `since_ms` on; the last one, if incomplete, is left out.

    Raises TapeError for what cannot be read, UsageError when the symbol or the interval cannot be had.
    """
    if interval not in INTERVALS_MS:
        raise UsageError(f"--interval: expected one of {', '.join(INTERVALS_MS)}, was {interval!r}")
    span_ms = INTERVALS_MS[interval]
    tape = open_tape([spec], seed=7)
    name = symbol or (tape.symbols[0] if len(tape.symbols) == 1 else "")
    if name not in tape.symbols:
        raise UsageError(f"--symbol: expected one of {', '.join(tape.symbols)}, was {symbol!r}")
    native_ms = tape.native_ms[name]
    if native_ms and span_ms % native_ms:
        raise UsageError(
            f"--interval: expected a multiple of the file's {native_ms // 60_000} min candles, was {interval}"
        )
    rows = _file_rows(spec) if native_ms else _built(tape, name, min(span_ms, 60_000))
    candles = merged([row for row in rows if row[0] >= since_ms], name, span_ms)
    whole = len(candles) - (not native_ms and len(candles) > 0 and _is_cut(candles, tape))
    return candles if whole == len(candles) else merged(rows[: _first_of(rows, int(candles.ts[whole]))], name, span_ms)


def _file_rows(spec: str) -> list[Row]:
    path = Path(re.sub(r"^[A-Z0-9]+=", "", spec))
    return [
        (row.ts, float(row.open), float(row.high), float(row.low), float(row.close), float(row.volume))
        for row in TableFile(path).candle_rows()
    ]


def _built(tape: Tape, symbol: str, span_ms: int) -> list[Row]:
    """Short candles from the tape's prints."""
    grid = tape.instruments[symbol].grid
    tick, lot = float(grid.tick_size), float(grid.lot_size)
    rows: list[Row] = []
    at = tape.start_at // NS_PER_MS // span_ms * span_ms
    while not tape.finished:
        prints = [one for one in tape.window((at + span_ms) * NS_PER_MS - 1) if isinstance(one, Print)]
        ours = [one for one in prints if one.symbol == symbol]
        if ours:
            prices = [one.ticks * tick for one in ours]
            rows.append((at, prices[0], max(prices), min(prices), prices[-1], sum(one.lots for one in ours) * lot))
        at += span_ms
    return rows


def _is_cut(candles: Candles, tape: Tape) -> bool:
    return bool((int(candles.ts[-1]) + candles.interval_ms) * NS_PER_MS > tape.end_at)


def _first_of(rows: list[Row], ts: int) -> int:
    return next((index for index, row in enumerate(rows) if row[0] >= ts), len(rows))


def date_ms(option: str, text: str) -> int:
    """`2023-01-01` (or any ISO date and time, UTC) to ms. Raises UsageError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        raise UsageError(f"{option}: expected a date like 2023-01-01, was {text!r}") from e
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def day_of(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
