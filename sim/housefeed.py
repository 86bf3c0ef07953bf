"""Public topics that belong to no symbol: system.status."""

from __future__ import annotations

import msgspec

from sim.market import NS_PER_MS
from sim.operations import Operations
from sim.trading import status_rows
from sim.venue import Venue
from sim.wiretypes import Frame

STATUS = "system.status"
HOUSE_TOPICS = frozenset({STATUS})
_JSON = msgspec.json.Encoder()


class HouseFeed:
    """Watch topics; `publish` gives what changed."""

    def __init__(self, venue: Venue, operations: Operations) -> None:
        self._venue, self._operations = venue, operations
        self.watched: set[str] = set()

    def watch(self, topic: str) -> None:
        self.watched.add(topic)

    def unwatch(self, topic: str) -> None:
        self.watched.discard(topic)

    def snapshot(self, topic: str) -> str | None:
        """What a subscriber is told first: what is not over yet."""
        rows = [row for row in status_rows(self._venue) if row["state"] in ("scheduled", "ongoing")]
        return self._text(topic, rows, self._venue.now) if rows else None

    def publish(self, at: int) -> list[Frame]:
        """The frames of the window that ends at `at`."""
        if not self._operations.statuses_changed:
            return []
        self._operations.statuses_changed = False
        rows = status_rows(self._venue)
        return [Frame(STATUS, "", self._text(STATUS, rows, at), at)] if STATUS in self.watched else []

    def _text(self, topic: str, rows: list[dict[str, object]], at: int) -> str:
        return _JSON.encode({"topic": topic, "ts": at // NS_PER_MS, "data": rows}).decode()
