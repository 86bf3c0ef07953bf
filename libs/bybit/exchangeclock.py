"""The exchange's clock, as far as we know it: told from a clock that never jumps, bounded by every reply.

A reply that left the exchange with the stamp S, asked for at `sent` and here at `received`, says that the offset lies between
S - received and S - sent. So a round trip bounds it without anybody's clock being right, and a step of the wall clock changes nothing.
"""

from __future__ import annotations

import msgspec

MS = 1_000_000
STAMP_NS = MS
"""Stamps are whole milliseconds, rounded down."""
DRIFT_PPM = 100
"""How fast two good clocks part: what is known grows uncertain with age."""


class ExchangeClock(msgspec.Struct):
    """All times in ns. `offset`: exchange time less the steady clock; `doubt`: how far off it may be; `known_at`: when it was learnt."""

    offset: int
    doubt: int
    known_at: int

    @classmethod
    def assumed(cls, wall: int, steady: int) -> ExchangeClock:
        """Before the first reply: our wall clock, for want of better; the first measure replaces it."""
        return cls(wall - steady, 1 << 62, steady)

    def learn(self, stamp: int, sent: int, received: int) -> None:
        """Take a reply's stamp. Kept is what bounds the offset best; a measure that contradicts it means that a clock was set."""
        doubt = (received - sent) // 2 + STAMP_NS
        offset = stamp + STAMP_NS // 2 - (sent + received) // 2
        grown = self.doubt + abs(received - self.known_at) * DRIFT_PPM // 1_000_000
        if doubt <= grown or abs(offset - self.offset) > doubt + grown:
            self.offset, self.doubt, self.known_at = offset, doubt, received

    def now(self, steady: int) -> int:
        """Exchange time at an instant of the steady clock."""
        return steady + self.offset
