"""What a store keeps of the exchange, and what changed since it last wrote."""

from __future__ import annotations

import msgspec

from sim.desk import Counters
from sim.orders import Entry, Fill, Order, Position


class AccountState(msgspec.Struct, kw_only=True):
    uid: str
    opening: int
    wallet: int
    realised: int
    positions: list[Position]
    margin_mode: str = "REGULAR_MARGIN"
    dcp_s: dict[str, int] = {}
    coins: dict[str, int] = {}


class Changes(msgspec.Struct):
    """By order id and account name: the latest state of each."""

    orders: dict[str, Order] = {}
    fills: list[Fill] = []
    entries: list[Entry] = []
    accounts: dict[str, AccountState] = {}
    counters: Counters = msgspec.field(default_factory=Counters)

    def __bool__(self) -> bool:
        return bool(self.orders or self.fills or self.entries or self.accounts)


class Saved(msgspec.Struct, kw_only=True):
    """Everything of a store, each list in order of its numbers."""

    incarnation: str
    counters: Counters
    accounts: list[AccountState]
    orders: list[Order]
    fills: list[Fill]
    entries: list[Entry]
