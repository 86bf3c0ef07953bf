"""How long nothing was heard of execution, and what that asks for. Pure: whoever calls says what time it is."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from services.execution.watchdog.config import WatchdogConfig

NS_PER_MS = 1_000_000


class Phase(StrEnum):
    """What the watchdog does: nothing, keep the account free of resting entries, close what is held as well."""

    WATCHING = "watching"
    CANCELLING = "cancelling"
    FLATTENING = "flattening"


class Silence(msgspec.Struct):
    """When each way was heard last, in ns of one clock that never jumps.

    Both must be silent: the bus alone may be down while execution looks after its orders. What was never heard counts
    from the watchdog's own start, so a watchdog that is started again waits the full time before it acts.
    """

    started_at: int
    direct_at: int = 0
    bus_at: int = 0
    version: int | None = None
    """Execution's commits so far, as last read from the bus."""

    def beat(self, now: int) -> None:
        """A direct beat came in."""
        self.direct_at = now

    def committed(self, version: int, now: int) -> None:
        """The bus shows this many commits. The first look proves nothing: only a change is a sign of life."""
        if self.version is not None and version != self.version:
            self.bus_at = now
        self.version = version

    def silent_ms(self, now: int) -> int:
        """Since the last sign of life by either way."""
        return (now - max(self.started_at, self.direct_at, self.bus_at)) // NS_PER_MS

    def phase(self, now: int, config: WatchdogConfig) -> Phase:
        silent_ms = self.silent_ms(now)
        if silent_ms >= config.flatten_after_ms and config.armed:
            return Phase.FLATTENING
        return Phase.CANCELLING if silent_ms >= config.cancel_after_ms else Phase.WATCHING
