"""Instants of a tape run: how long one is, when the last one ends, how it is announced."""

from __future__ import annotations

from libs.common.events import Instant
from libs.common.record import Record, event_id
from sim.tapes.tape import Tape

NS_PER_MS = 1_000_000
FLAT_WITHIN = 2000
"""Instants after the end of the tape within which the exchange must be flat."""
CLOSING_NS = 60_000_000_000
"""The last minute of a tape is kept for flattening, while there is still a market."""
CANDLE_PARTS = 1
"""Instants a candle is played in when the settings do not say: what is known of it is one bar."""


def instant_record(number: int, at: int, window_ms: int) -> Record:
    """The `Instant` that ends window `number` at `at` (ns)."""
    identity = event_id((), "clock", "Instant", number)
    body = Instant(number=number, window_ms=window_ms)
    return Record("clock", (at // NS_PER_MS, 0), identity, number, at, (), identity, body)


def window_of(tape: Tape, instant_ms: int) -> int:
    """Tape time of one instant, ms: as set, or the shortest candle, or a second for ticks."""
    native = [ms for ms in tape.native_ms.values() if ms]
    return instant_ms or (min(native) // CANDLE_PARTS if native else 1000)


def end_of(tape: Tape, duration_ms: int) -> int:
    """Tape time (ns) at which to stop trading: a little before the market falls silent, or sooner."""
    last = tape.end_at - min(CLOSING_NS, (tape.end_at - tape.start_at) // 10)
    return min(last, tape.start_at + duration_ms * NS_PER_MS) if duration_ms else last
