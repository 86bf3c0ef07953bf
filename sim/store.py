"""`--state-dir`: orders, executions, wallets and positions in SQLite, written before anything leaves the exchange.

One transaction for everything an advance changed. WAL without a sync a commit survives the death of the process (not of
the machine). A directory that was wiped gets a new incarnation: clients see that the venue lost its state.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from libs.common.errors import UsageError
from sim.chance import identifier
from sim.engine.account import KEPT
from sim.engine.desk import Counters
from sim.engine.orders import Entry, Fill, Order
from sim.state import AccountState, Changes, Saved, VenueState

SCHEMA = """
create table if not exists meta (name text primary key, value text not null);
create table if not exists accounts (name text primary key, data blob not null);
create table if not exists orders (number integer primary key, account text not null, open integer not null, data blob not null);
create table if not exists fills (number integer primary key, account text not null, data blob not null);
create table if not exists entries (number integer primary key, account text not null, data blob not null);
create index if not exists open_orders on orders (open);
"""
TRIM_EVERY = 10_000
"""Transactions between two times that old rows are dropped."""

_ENCODE = msgspec.json.Encoder().encode
T = TypeVar("T")


class Store:
    """The state of one exchange in one directory; one process at a time."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.path = directory / "exchange.sqlite3"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{directory}: expected a directory that can be made, was not: {error.strerror}; choose another --state-dir"
            ) from error
        try:
            self._db = sqlite3.connect(self.path, timeout=2, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma locking_mode=exclusive")
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=normal")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise UsageError(
                f"{self.path}: expected a state directory no other simulator uses, was: {error}; choose another --state-dir"
            ) from error
        self.incarnation = self._meta("incarnation")
        if not self.incarnation:
            self.incarnation = identifier("incarnation", seed, directory.resolve(), time.time_ns())
            self._db.execute("insert into meta values ('incarnation', ?)", (self.incarnation,))
        self._saves = 0
        self._trim()

    def load(self) -> Saved:
        counters, venue = self._meta("counters"), self._meta("venue")
        accounts = [row[0] for row in self._db.execute("select data from accounts order by name")]
        return Saved(
            incarnation=self.incarnation,
            counters=msgspec.json.decode(counters, type=Counters) if counters else Counters(),
            accounts=[msgspec.json.decode(data, type=AccountState) for data in accounts],
            orders=self._rows("orders", Order),
            fills=self._rows("fills", Fill),
            entries=self._rows("entries", Entry),
            venue=msgspec.json.decode(venue, type=VenueState) if venue else None,
        )

    def save(self, changes: Changes) -> None:
        """Write everything or nothing."""
        if not changes:
            return
        execute, many = self._db.execute, self._db.executemany
        execute("begin immediate")
        try:
            many(
                "insert or replace into orders values (?, ?, ?, ?)",
                [(o.number, o.account, o.is_open, _ENCODE(o)) for o in changes.orders.values()],
            )
            many(
                "insert or replace into fills values (?, ?, ?)",
                [(f.number, f.account, _ENCODE(f)) for f in changes.fills],
            )
            many(
                "insert or replace into entries values (?, ?, ?)",
                [(e.number, e.account, _ENCODE(e)) for e in changes.entries],
            )
            many(
                "insert or replace into accounts values (?, ?)", [(n, _ENCODE(s)) for n, s in changes.accounts.items()]
            )
            if changes.venue is not None:
                execute("insert or replace into meta values ('venue', ?)", (_ENCODE(changes.venue).decode(),))
            execute("insert or replace into meta values ('counters', ?)", (_ENCODE(changes.counters).decode(),))
            execute("commit")
        finally:
            if self._db.in_transaction:
                execute("rollback")
        self._saves += 1
        if self._saves % TRIM_EVERY == 0:
            self._trim()

    def close(self) -> None:
        self._db.close()

    def _meta(self, name: str) -> str:
        row = self._db.execute("select value from meta where name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _rows(self, table: str, kind: type[T]) -> list[T]:
        cursor: Any = self._db.execute(f"select data from {table} order by number")  # noqa: S608 (a constant name)
        return [msgspec.json.decode(data, type=kind) for (data,) in cursor]

    def _trim(self) -> None:
        """Forget what the exchange would forget: all but the newest closed orders, fills and log entries."""
        for table, condition in (("orders", "open = 0 and"), ("fills", ""), ("entries", "")):
            self._db.execute(
                f"delete from {table} where {condition} number <= (select max(number) from {table}) - ?",  # noqa: S608
                (KEPT * 2,),
            )
