"""Everything that stood on the bus, byte for byte, as somebody read it who takes no part; and when he first saw it."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import redis

from libs.common.codec import decode
from libs.common.events import Event
from libs.common.record import Record
from libs.common.streams import BY_NAME, SERVICES, key, service_key

BOOK = "main"
BULKY = ("raw", "venue", "tick", "reference", "bar", "clock", "instrument")
"""Kept as bytes only: nobody asks here what they say."""
E = TypeVar("E", bound=Event)
Entry = tuple[bytes, dict[bytes, bytes]]


class Seen(msgspec.Struct, frozen=True):
    """A record, and when it was first seen (monotonic, s)."""

    record: Record
    seen_s: float


class Witness:
    """Reads as a user that may do everything."""

    def __init__(self, socket: Path, user: str) -> None:
        self.server = redis.Redis(unix_socket_path=str(socket), username=user, password=user, socket_timeout=10)
        self.places = {key(name, BOOK): name for name in BY_NAME}
        self.places |= {service_key("journal", service, BOOK): f"journal:{service}" for service in SERVICES}
        self.held: dict[str, list[Entry]] = {place: [] for place in self.places}
        self.log: list[Seen] = []
        self.commits: list[tuple[float, dict[str, int]]] = []
        """Commits of each service at each look (monotonic, s)."""
        self.is_full = False
        """A server without memory takes no transaction, not even one that reads; but then nothing changes under a reader."""

    def look(self) -> None:
        """Read on, all streams at one instant of the server."""
        with self.server.pipeline(transaction=not self.is_full) as asked:
            for place, entries in self.held.items():
                asked.xrange(place, f"({entries[-1][0].decode()}" if entries else "-")
            answers = asked.execute()
        now_s = time.monotonic()
        news: list[Record] = []
        for place, answer in zip(self.held, answers, strict=True):
            self.held[place] += answer
            name = self.places[place]
            if name in BY_NAME and name not in BULKY:
                news += (decode(name, entry, [x for pair in fields.items() for x in pair]) for entry, fields in answer)
        rank = tuple(BY_NAME)
        news.sort(key=lambda record: (record.entry, rank.index(record.stream)))
        self.log += (Seen(record, now_s) for record in news)
        self.commits.append((now_s, self.versions()))

    def read_again(self) -> Iterator[str]:
        """What is not there any more as it was, and streams whose numbers have a hole or repeat."""
        for place, entries in self.held.items():
            now = self.server.xrange(place)
            if now[: len(entries)] != entries:
                yield f"{place}: what was read once stands there no more as it was"
            journal = self.places[place] not in BY_NAME
            seqs = [int(entry.partition(b"-")[0] if journal else fields[b"seq"]) for entry, fields in now]
            if seqs != list(range(1, len(now) + 1)):
                yield f"{place}: expected 1 to {len(now)}, was something else"

    def lengths(self) -> dict[str, int]:
        return {place: len(entries) for place, entries in self.held.items()}

    def versions(self) -> dict[str, int]:
        """Commits so far, by service."""
        return {service: len(self.held[service_key("journal", service, BOOK)]) for service in SERVICES}

    def next_commit_s(self, service: str, since_s: float) -> float:
        """When a service was next seen to have committed; infinite when it was not."""
        first = bisect.bisect_left(self.commits, since_s, key=lambda look: look[0])
        looks = self.commits[max(first - 1, 0) :]
        return next((at_s for at_s, commits in looks if commits[service] > looks[0][1][service]), math.inf)

    def epoch(self, service: str) -> int:
        """How often a process took the service over."""
        return int(self.server.hget(service_key("cursor", service, BOOK), "epoch") or 0)  # type: ignore[arg-type]

    def records(self, kind: type[E], since: int = 0) -> list[E]:
        """Bodies of a type, from a place of the log on."""
        return [seen.record.body for seen in self.log[since:] if type(seen.record.body) is kind]  # type: ignore[misc]
