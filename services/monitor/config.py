"""Section [monitor] of the settings."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class MonitorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What monitor watches for, and how it archives. Spans are in the run's time (tape time on a tape)."""

    heartbeat_ms: int = 60_000
    """Between two heartbeats of any service."""
    silent_heartbeats: int = 3
    """Heartbeats missed before a service counts as silent."""
    near_limit_ratio: Decimal = Decimal("0.8")
    """Share of a loss limit from which it is announced."""
    mismatch_page_ms: int = 10_000
    """An unresolved mismatch becomes a page after this."""
    overdue_ms: int = 30_000
    """A submitted order without an answer is announced after this."""
    foreign_quiet_ms: int = 600_000
    """A foreign order's alert (and that of ignored limits) is cleared when none came for this long."""
    archive: bool = True
    archive_poll_ms: int = 500
    archive_flush_ms: int = 5_000
    """Oldest an entry may grow before it is in a segment (wall clock)."""
    archive_rows: int = 5_000
    """A segment is written at once when this many entries wait, and holds at most as many."""
    archive_key_file: str = ""
    """File with the Ed25519 key (hex, mode 0600) that signs the manifest; relative to the settings file."""
    trim: bool = False
    """Drop from Redis what the archive holds and no reader or snapshot needs."""

    def __post_init__(self) -> None:
        for name in ("heartbeat_ms", "silent_heartbeats", "archive_poll_ms", "archive_flush_ms", "archive_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, was {getattr(self, name)}")
        if not 0 < self.near_limit_ratio <= 1:
            raise ValueError(f"near_limit_ratio: expected above 0, at most 1, was {self.near_limit_ratio}")
