"""Everything execution remembers. Bounded: what is closed is forgotten, oldest first, only ids are kept for longer."""

from __future__ import annotations

from collections.abc import MutableMapping
from decimal import Decimal
from typing import Any

import msgspec

from libs.bybit import wire
from libs.common.events import Event, Fill, FundingPaid, Mode, OrderSubmitted, PositionAdjusted
from libs.common.portfolio import Ledger
from libs.common.record import Record
from services.execution.calls import Calls
from services.execution.config import LONGEST_APPROVAL_MS
from services.execution.orders import Order, add_fill, advance, order_from
from services.execution.spot import Coins

KEEP_CLOSED = 1_000
KEEP_IDS = 10_000
LONGEST_APPROVAL_NS = LONGEST_APPROVAL_MS * 1_000_000


class Stop(msgspec.Struct):
    """A stop that the venue made out of an entry's attached one: its fills are booked under `link_id`."""

    link_id: str
    strategy: str
    qty: Decimal
    cum_qty: Decimal = Decimal(0)


class Difference(msgspec.Struct, frozen=True):
    """Something on which our log and the venue disagree. `kind`: position, wallet, order, setup, key."""

    kind: str
    symbol: str
    ours: str
    venue: str


class Round(msgspec.Struct):
    """One reconciliation poll: what the venue answered so far."""

    number: int
    started_at: int
    waiting: list[int] = []
    failed: bool = False
    positions: list[wire.Position] = []
    orders: list[wire.Order] = []
    executions: list[wire.Execution] = []
    wallet: wire.Wallet | None = None
    wallet_ms: int = 0
    """Exchange time of the wallet's answer."""
    moves: list[wire.LogRow] = []
    """Of the transaction log, where it was asked for."""
    incarnation: str = ""


class Reconciliation(msgspec.Struct):
    """Where the three-way comparison stands. `differences` are of the last poll, `confirmed` of the last two alike."""

    round: Round | None = None
    rounds: int = 0
    due_at: int = 0
    due_instant: int = 0
    differences: list[Difference] = []
    confirmed: list[Difference] = []
    reported: list[Difference] = []
    opened: bool = False
    """The opening balance is booked."""
    born_ms: int = 0
    """When this book began: executions before are none of its own."""
    known_ms: int = 0
    """execTime of the last execution known."""
    heal_from_ms: int = 0
    """After a mismatch executions are read again from here; 0: from the last known."""
    incarnation: str = ""
    silent_exec: str = ""
    """An execution that the private stream kept from us, "" while it tells everything."""
    flat_wanted: bool = False
    flat_after: int = 0
    """Only a poll with a higher number may confirm that the account is flat."""


class Cash(msgspec.Struct):
    """Money that came or went by itself: read from the venue's transaction log when the wallets differ."""

    wanted: bool = False
    from_ms: int = 0
    """The opening balance holds everything up to here."""
    agreed_ms: int = 0
    """When both sides' wallets were last the same."""
    ids: dict[str, int] = {}
    """Rows that are booked -> their time in ms."""


class Rates(msgspec.Struct):
    """Fee rates of a symbol as the venue tells them, fractions of the value."""

    taker: Decimal
    maker: Decimal


class Terms(msgspec.Struct):
    """On what terms we trade: what was asserted, what was read, what the key may do."""

    said: dict[str, str] = {}
    """What was asserted -> "ok", "" while it is being asked for, or the venue's refusal."""
    rates: dict[str, Rates] = {}
    read_at: int = 0
    """When fees and key were last asked for; again a day later."""
    alarmed: dict[str, Decimal] = {}
    """`symbol taker|maker` -> the rate that was charged against what was read, and reported."""
    key_known: bool = False
    """The key in use was looked at."""
    key_faults: list[str] = []
    key_created_ms: int = 0
    dcp: str = ""
    """Disconnection protection: "" not asked, `asked`, `none` where it is not offered, `armed`."""


class Vitals(msgspec.Struct):
    """Figures of the heartbeat. `window` rows are [second, requests, errors]."""

    acks_ms: list[int] = []
    window: list[list[int]] = []
    clock_offset_ms: int = 0
    beat: int = -1
    silent: bool = False
    """As the last heartbeat told it; so are `told_at` (ns) and `told_offset_ms`."""
    told_at: int = 0
    told_offset_ms: int = 0
    untold_errors: bool = False
    """Calls have failed since."""


class State(msgspec.Struct):
    now: int = 0
    instants: int = 0
    """Instants of the tape so far; 0 in realtime."""
    connected: bool = False
    orders: dict[str, Order] = {}
    """Open ones, by order link id."""
    closed: dict[str, Order] = {}
    used: dict[str, int] = {}
    """Order link ids that were ever submitted or refused -> when."""
    exec_ids: dict[str, int] = {}
    """Executions in the log -> execTime in ms."""
    forgotten_ms: int = 0
    """execTime up to which executions are no longer remembered one by one: what is not younger counts as booked."""
    stops: dict[str, Stop] = {}
    """Attached stops by the venue's order id."""
    entries: dict[str, str] = {}
    """Symbol -> link id of the last entry that filled: whose stop an unannounced one is."""
    foreign: dict[str, int] = {}
    """Order ids that were reported as foreign -> when."""
    epoch: int = 0
    """Of the last approval obeyed; one of an earlier epoch comes from a writer that was replaced."""
    halted: dict[str, Mode] = {}
    """Scopes that are not NORMAL, as the gate has them."""
    calls: Calls = msgspec.field(default_factory=Calls)
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    coins: Coins = msgspec.field(default_factory=Coins)
    reconciliation: Reconciliation = msgspec.field(default_factory=Reconciliation)
    cash: Cash = msgspec.field(default_factory=Cash)
    connected_at: int = 0
    """When the private stream came up."""
    terms: Terms = msgspec.field(default_factory=Terms)
    vitals: Vitals = msgspec.field(default_factory=Vitals)

    def is_booked(self, exec_id: str, exec_ms: int) -> bool:
        """Whether an execution is in the log: remembered, or as old as what was forgotten. Never booked twice."""
        return exec_id in self.exec_ids or exec_ms <= self.forgotten_ms

    def find(self, link_id: str) -> Order | None:
        """An order of ours, open or remembered."""
        return self.orders.get(link_id) or self.closed.get(link_id)

    def submit(self, body: OrderSubmitted, record: Record) -> None:
        intent_seq = record.cause[0][1] if record.cause else 0
        self.orders[body.order_link_id] = order_from(body, max(record.at, self.now), intent_seq, record.correlation)
        self.use(body.order_link_id)

    def use(self, link_id: str) -> None:
        """Remember that an approval had its answer, at least while one that lasts the longest could still be shown again."""
        self.used[link_id] = self.now
        while len(self.used) > KEEP_IDS and self.now - self.used[next(iter(self.used))] > LONGEST_APPROVAL_NS:
            del self.used[next(iter(self.used))]

    def advance(self, link_id: str, event: Event, at: int) -> None:
        """Fold an own event into its order, and move the order aside when that closed it."""
        order = self.orders.get(link_id)
        if order is not None:
            advance(order, event, at)
            self._retire(order)

    def fill(self, body: Fill) -> None:
        self._executed(body.exec_id, body.exec_at)
        self.coins.add_dust(body.symbol, body.dust)
        stop = self.stops.get(body.order_id)
        if stop is not None:
            stop.cum_qty += body.qty
            return
        order = self.find(body.order_link_id)
        if order is not None:
            add_fill(order, body.cum_qty - order.cum_qty)
            self._retire(order)
            if body.purpose == "entry":
                self.entries[body.symbol] = body.order_link_id

    def booked(self, body: FundingPaid | PositionAdjusted) -> None:
        self._executed(body.exec_id, body.exec_at)
        if isinstance(body, PositionAdjusted):
            self.coins.add_dust(body.symbol, body.dust)

    def _executed(self, exec_id: str, exec_at: int) -> None:
        exec_ms = exec_at // 1_000_000
        self.exec_ids[exec_id] = exec_ms
        while len(self.exec_ids) > KEEP_IDS:
            self.forgotten_ms = max(self.forgotten_ms, self.exec_ids.pop(next(iter(self.exec_ids))))
        self.reconciliation.known_ms = max(self.reconciliation.known_ms, exec_ms)

    def _retire(self, order: Order) -> None:
        if order.closed and order.link_id in self.orders:
            self.closed[order.link_id] = self.orders.pop(order.link_id)
            forget(self.closed, KEEP_CLOSED)


def forget(memory: MutableMapping[str, Any], keep: int) -> None:
    """Drop the oldest entries of an insertion-ordered memory beyond `keep`."""
    while len(memory) > keep:
        memory.pop(next(iter(memory)))
