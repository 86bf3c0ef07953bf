"""Public topics that belong to no symbol: system.status, insurance.USDT, adlAlert.USDT."""

from __future__ import annotations

from typing import Any

import msgspec

from sim.engine.market import NS_PER_MS
from sim.operations import Operations
from sim.routes import stats
from sim.trading import status_rows
from sim.venue import Venue
from sim.wiretypes import Frame

STATUS, INSURANCE, ADL = "system.status", "insurance.USDT", "adlAlert.USDT"
HOUSE_TOPICS = frozenset({STATUS, INSURANCE, ADL})
SECOND_NS = 1_000_000_000
_JSON = msgspec.json.Encoder()


class HouseFeed:
    """Watch topics; `publish` gives what changed."""

    def __init__(self, venue: Venue, operations: Operations) -> None:
        self._venue, self._operations = venue, operations
        self.watched: set[str] = set()
        self._fund = -1
        self._due = 0

    def watch(self, topic: str) -> None:
        self.watched.add(topic)

    def unwatch(self, topic: str) -> None:
        self.watched.discard(topic)

    def snapshot(self, topic: str) -> str | None:
        """What a subscriber is told first: of maintenance what is not over yet."""
        now = self._venue.now
        if topic != STATUS:
            return self._fund_text(topic, now, "snapshot")
        rows = [row for row in status_rows(self._venue) if row["state"] in ("scheduled", "ongoing")]
        return _text({"topic": STATUS, "ts": now // NS_PER_MS, "data": rows}) if rows else None

    def publish(self, at: int) -> list[Frame]:
        """The frames of the window that ends at `at`."""
        texts: dict[str, str] = {}
        if self._operations.statuses_changed:
            self._operations.statuses_changed = False
            texts[STATUS] = _text({"topic": STATUS, "ts": at // NS_PER_MS, "data": status_rows(self._venue)})
        if at >= self._due:
            self._due = at + SECOND_NS
            texts[ADL] = self._fund_text(ADL, at, "snapshot")
            if self._fund != (fund := self._venue.desk.counters.insurance):
                kind, self._fund = ("snapshot" if self._fund < 0 else "delta"), fund
                texts[INSURANCE] = self._fund_text(INSURANCE, at, kind)
        return [Frame(topic, "", text, at) for topic, text in texts.items() if topic in self.watched]

    def _fund_text(self, topic: str, at: int, kind: str) -> str:
        if topic == ADL:
            data: list[dict[str, Any]] = stats.adl_rows(self._venue)
        else:
            row = stats.insurance_row(self._venue)
            data = [{"coin": row["coin"], "symbols": row["symbols"], "balance": row["balance"],
                     "updateTime": str(at // NS_PER_MS)}]  # fmt: skip
        return _text({"topic": topic, "type": kind, "ts": at // NS_PER_MS, "data": data})


def _text(message: dict[str, Any]) -> str:
    return _JSON.encode(message).decode()
