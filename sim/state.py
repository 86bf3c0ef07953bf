"""What a store keeps of the exchange, and what changed since it last wrote."""

from __future__ import annotations

from typing import Any

import msgspec

from sim.engine.account import Account
from sim.engine.desk import Counters
from sim.engine.market import MarketState
from sim.engine.orders import Entry, Fill, Order, Position


class AccountState(msgspec.Struct, kw_only=True):
    uid: str
    opening: int
    wallet: int
    realised: int
    positions: list[Position]
    margin_mode: str = "REGULAR_MARGIN"
    dcp_s: dict[str, int] = {}
    coins: dict[str, int] = {}
    hedge: list[str] = []


def state_of(account: Account) -> AccountState:
    """For a store: a copy."""
    positions = [msgspec.structs.replace(position) for position in account.positions.values()]
    return AccountState(
        uid=account.uid, opening=account.opening, wallet=account.wallet, realised=account.realised, positions=positions,
        margin_mode=account.margin_mode, dcp_s=dict(account.dcp_s), coins=dict(account.coins),
        hedge=sorted(account.hedge),
    )  # fmt: skip


class Window(msgspec.Struct, kw_only=True, frozen=True):
    """A maintenance: when (ns), what is down. `services`: 1 trading, 2 over HTTP, 3 over WebSocket, 4 private streams, 5 market
    data; `products`: 1 derivatives, 2 spot; `kind`: 1 planned, 2 temporary, 3 incident."""

    id: str
    title: str
    begin: int
    end: int
    services: tuple[int, ...] = (1, 2, 3, 4, 5)
    products: tuple[int, ...] = (1, 2)
    kind: int = 1
    canceled: bool = False


class VenueState(msgspec.Struct, kw_only=True):
    """What operators decided; `applied` counts their operations, `at` is the instant of the last, `scheduled` what is still
    to come as (ns, operation)."""

    applied: int = 0
    at: int = 0
    markets: dict[str, MarketState] = {}
    windows: list[Window] = []
    scheduled: list[tuple[int, dict[str, Any]]] = []


class Changes(msgspec.Struct):
    """By order id and account name: the latest state of each."""

    orders: dict[str, Order] = {}
    fills: list[Fill] = []
    entries: list[Entry] = []
    accounts: dict[str, AccountState] = {}
    counters: Counters = msgspec.field(default_factory=Counters)
    venue: VenueState | None = None

    def __bool__(self) -> bool:
        return bool(self.orders or self.fills or self.entries or self.accounts or self.venue)


class Saved(msgspec.Struct, kw_only=True):
    """Everything of a store, each list in order of its numbers."""

    incarnation: str
    counters: Counters
    accounts: list[AccountState]
    orders: list[Order]
    fills: list[Fill]
    entries: list[Entry]
    venue: VenueState | None = None
