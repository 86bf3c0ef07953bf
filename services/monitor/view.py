"""The read model: what the streams say about the book, the market and the services right now. Bounded in size."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from libs.common.events import LimitUse, Mode, PositionMark, Purpose, Reason
from libs.common.values import Side

RECENT = 200
"""Finished orders and ended halts that are kept for looking at."""

ZERO = Decimal(0)


class OrderStatus(StrEnum):
    APPROVED = "approved"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


TERMINAL = frozenset((OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED))


class Service(msgspec.Struct):
    """What a service's last heartbeat said. `seen_at` is the record's time; 0 before the first."""

    seen_at: int = 0
    commits: int = 0
    code: str = ""
    config: str = ""
    order_ack_p95_ms: int = 0
    api_requests: int = 0
    api_errors: int = 0
    clock_offset_ms: int = 0
    feed_delay_ms: int = 0
    gap: str = ""
    key_age_days: int = 0
    http_silent_ms: int = 0


class Symbol(msgspec.Struct):
    last: Decimal = ZERO
    bid: Decimal = ZERO
    ask: Decimal = ZERO
    mark: Decimal = ZERO
    index: Decimal = ZERO
    funding_rate: Decimal = ZERO
    tick_at: int = 0
    down: str = ""
    """Why the feed is down; empty while it is up."""
    rejected: dict[str, int] = {}


class Order(msgspec.Struct):
    order_link_id: str
    strategy: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    purpose: Purpose
    status: OrderStatus
    expires_at: int
    changed_at: int
    filled: Decimal = ZERO
    detail: str = ""


class Halt(msgspec.Struct):
    """`ended_at` is 0 while it stands."""

    id: str
    scope: str
    reason: Reason
    mode: Mode
    measured: Decimal
    limit: Decimal
    at: int
    detail: str = ""
    ended_at: int = 0
    operator: str = ""


class Book(msgspec.Struct):
    """The last PortfolioMarked."""

    marked_at: int = 0
    wallet: Decimal = ZERO
    equity: Decimal = ZERO
    peak: Decimal = ZERO
    drawdown: Decimal = ZERO
    daily_loss: Decimal = ZERO
    weekly_loss: Decimal = ZERO
    consecutive_losses: int = 0
    gross_usd: Decimal = ZERO
    net_usd: Decimal = ZERO
    mode: Mode = Mode.HALTED
    positions: list[PositionMark] = []
    pnl_by_strategy: dict[str, Decimal] = {}
    limits: dict[str, LimitUse] = {}


class Model(msgspec.Struct):
    """The model a strategy runs, and its last drift measurement."""

    model: str = ""
    psi: Decimal = ZERO
    rolling_sharpe: Decimal = ZERO
    factor: Decimal = Decimal(1)
    blocked: str = ""


class Signal(msgspec.Struct):
    strategy: str
    symbol: str
    target: Decimal
    score: Decimal
    at: int


class Alert(msgspec.Struct):
    severity: str
    summary: str
    at: int = 0


class Counters(msgspec.Struct):
    """Totals since the book began."""

    signals: dict[str, int] = {}
    outcomes: dict[str, int] = {}
    refusals: dict[str, int] = {}
    fills: dict[str, int] = {}
    """By `strategy|symbol`."""
    fees: dict[str, Decimal] = {}
    mismatches: dict[str, int] = {}
    foreign: int = 0
    fee_differences: dict[str, int] = {}
    forgeries: dict[str, int] = {}
    """Approvals that execution refused as none of risk's, by reason."""
    checks: int = 0


class State(msgspec.Struct):
    now: int = 0
    started_at: int = 0
    steps: int = 0
    beat_at: int = 0
    stage: str = ""
    limits_version: int = 0
    services: dict[str, Service] = {}
    symbols: dict[str, Symbol] = {}
    orders: dict[str, Order] = {}
    """Those without a terminal outcome, by order_link_id."""
    finished: list[Order] = []
    book: Book = msgspec.field(default_factory=Book)
    limits: dict[str, Decimal] = {}
    shares: dict[str, Decimal] = {}
    modes: dict[str, Mode] = {}
    """Scopes that are not NORMAL."""
    halts: dict[str, Halt] = {}
    """Those that stand, by id."""
    ended_halts: list[Halt] = []
    signals: dict[str, Signal] = {}
    """By `strategy|symbol`."""
    models: dict[str, Model] = {}
    alerts: dict[str, Alert] = {}
    reconciled_at: int = 0
    mismatch_at: int = 0
    """When the oldest unresolved mismatch was found; 0 when all is equal."""
    mismatch: str = ""
    foreign_at: int = 0
    foreign: str = ""
    fee_at: int = 0
    fee: str = ""
    """The last trade that was charged otherwise than told."""
    forged_at: int = 0
    forged: str = ""
    looser_at: int = 0
    looser: str = ""
    """What of the settings file risk ignored at its last start."""
    watchdog: str = "watching"
    """What the dead man's switch does, as it told last."""
    flat_at: int = 0
    venue_open_orders: int = 0
    counters: Counters = msgspec.field(default_factory=Counters)
