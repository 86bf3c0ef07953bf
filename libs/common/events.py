"""Every fact and every command that crosses a stream: the schema of Tidegate.

Rules of this file:
1. An event is a frozen struct of values. Its name is its `type` on the wire, in the past tense for facts.
2. Prices, quantities, rates and amounts are Decimal (decimal strings in JSON); instants are `_at`, integer
   nanoseconds since 1970 UTC; spans carry their unit last (`horizon_ms`).
3. Fields are only ever added, with a default. Anything else is a new version: raise `VERSION` and write an
   upcaster in `upcast.py`. An event that was ever written stays readable.
4. The envelope (id, seq, at, cause, correlation) is not here: `record.Record` carries it.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

import msgspec

from libs.common.values import Side


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of everything that is written to a stream."""

    VERSION: ClassVar[int] = 1


# --- enums -------------------------------------------------------------------------------------------------------


class Mode(StrEnum):
    """What a scope may do; the worst of what is active counts. Order of severity: as listed."""

    NORMAL = "NORMAL"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"
    LIQUIDATING = "LIQUIDATING"


class Reason(StrEnum):
    """Why a scope left NORMAL, or why an order was refused. Limits carry the limit's own name."""

    BORN = "BORN"
    MAX_DAILY_LOSS = "max_daily_loss"
    MAX_WEEKLY_LOSS = "max_weekly_loss"
    MAX_DRAWDOWN = "max_drawdown"
    MAX_CONSECUTIVE_LOSSES = "max_consecutive_losses"
    MAX_POSITION_SIZE = "max_position_size"
    POSITION_LIMIT_USD = "position_limit_usd"
    MAX_GROSS_USD = "max_gross_usd"
    MAX_NET_USD = "max_net_usd"
    MAX_LEVERAGE = "max_leverage"
    MAX_ORDER_USD = "max_order_usd"
    MAX_ORDER_QTY = "max_order_qty"
    ENTRY_COLLAR = "entry_collar"
    EXIT_COLLAR = "exit_collar"
    MAX_LATENCY_MS = "max_latency_ms"
    FEED_DELAY_MS = "feed_delay_ms"
    FEED_SILENCE = "feed_silence"
    MAX_ERROR_RATE = "max_error_rate"
    ORDER_RATE = "order_rate"
    RATE_LIMIT = "rate_limit"
    SIGNAL_REPEATS = "signal_repeats"
    FILLS_PER_MINUTE = "fills_per_minute"
    VELOCITY = "velocity"
    SPREAD = "spread"
    CLOCK_OFFSET_MS = "clock_offset_ms"
    MAINTENANCE = "MAINTENANCE"
    ALLOW_LIST = "allow_list"
    MAX_MARGIN_RATIO = "max_margin_ratio"
    SIGNAL_FLOOD = "signal_flood"
    SPOT_SHORT = "SPOT_SHORT"
    SPOT_CASH = "SPOT_CASH"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    NO_EDGE = "NO_EDGE"
    NO_MARKET = "NO_MARKET"
    NO_CHANGE = "NO_CHANGE"
    SELF_MATCH = "SELF_MATCH"
    DUPLICATE = "DUPLICATE"
    EXPIRED = "EXPIRED"
    MALFORMED = "MALFORMED"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    NOT_RECONCILED = "NOT_RECONCILED"
    IN_FLIGHT = "IN_FLIGHT"
    MODE = "MODE"
    MISMATCH = "MISMATCH"
    FOREIGN_ORDER = "FOREIGN_ORDER"
    STALE_LOG = "STALE_LOG"
    GAP = "GAP"
    VENUE_RESET = "VENUE_RESET"
    OPERATOR = "OPERATOR"
    HASH = "HASH"
    EXCEPTION = "EXCEPTION"


FLOORS = (Reason.NO_EDGE, Reason.BELOW_MINIMUM)
"""Limits that bind from below."""


class Purpose(StrEnum):
    """Why an approved order exists. ENTRY adds risk; the others only reduce it."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP = "stop"
    FLATTEN = "flatten"


class TimeInForce(StrEnum):
    IOC = "IOC"
    GTC = "GTC"
    POST_ONLY = "PostOnly"


class RejectKind(StrEnum):
    """What the data-quality firewall of marketdata found wrong with a message."""

    GAP = "gap"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    STALE = "stale"
    CROSSED = "crossed"
    SPIKE = "spike"
    MALFORMED = "malformed"


# --- {md}: market data ----------------------------------------------------------------------------------------------

Level = tuple[Decimal, Decimal]
"""(price, quantity) of one book level."""


class Tick(Event, frozen=True, kw_only=True):
    """Last trade and the top of the book of one symbol; best level first, at most five a side."""

    symbol: str
    last: Decimal
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    volume: Decimal = Decimal(0)
    """Base quantity traded since the symbol's previous Tick."""
    exchange_at: int = 0
    received_at: int = 0


class FeedDown(Event, frozen=True, kw_only=True):
    symbol: str
    reason: str
    """`silence`, `gap`, `disconnected`."""
    silent_ms: int = 0


class FeedUp(Event, frozen=True, kw_only=True):
    symbol: str
    down_ms: int = 0


class DataRejected(Event, frozen=True, kw_only=True):
    """A message the firewall kept out of the book; counted by kind."""

    symbol: str
    kind: RejectKind
    expected: str = ""
    got: str = ""


class Bar(Event, frozen=True, kw_only=True):
    """A closed candle. `start_at` is its open time."""

    symbol: str
    interval_ms: int
    start_at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Reference(Event, frozen=True, kw_only=True):
    """Mark and index price, and the funding that is next."""

    symbol: str
    mark: Decimal
    index: Decimal
    funding_rate: Decimal = Decimal(0)
    next_funding_at: int = 0


class InstrumentDefined(Event, frozen=True, kw_only=True):
    """The venue's rules for one symbol. `status` is Bybit's: Trading, PreLaunch, Delivering, Closed."""

    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    min_qty: Decimal
    max_qty: Decimal
    min_notional: Decimal
    max_leverage: Decimal = Decimal(100)
    price_limit_ratio: Decimal = Decimal("0.01")
    funding_interval_min: int = 480
    category: str = "linear"
    status: str = "Trading"
    effective_from_at: int = 0


class InstrumentChanged(InstrumentDefined, frozen=True, kw_only=True):
    """The same, replacing what was defined before."""


class MaintenancePlanned(Event, frozen=True, kw_only=True):
    """The exchange says when it will be down; again when that changes. `is_over`: completed, or called off."""

    window: str
    """The exchange's id of it."""
    title: str
    begin_at: int
    end_at: int
    """As expected; ns UTC."""
    is_over: bool = False


class RawFrame(Event, frozen=True, kw_only=True):
    """One frame (or reply) as received from the public side, before anything looked at it."""

    channel: str
    """`public` a WebSocket frame; `reply` a REST body; `connected`/`disconnected`/`started` a local fact; `lost` a
    request whose outcome is unknown."""
    payload: str
    request: int = 0
    """Number of the request a reply belongs to; 0 for frames."""
    received_at: int = 0
    category: str = ""
    """`spot` for a frame of the spot stream, whose topics are named like those of the perpetuals."""
    status: int = 0
    """Of HTTP, of a reply."""


class Instant(Event, frozen=True, kw_only=True):
    """Tape time moves on. `number` counts from 1; the envelope's `at` is the end of the window."""

    number: int
    window_ms: int


# --- {book}: signal ---------------------------------------------------------------------------------------------------


class Signal(Event, frozen=True, kw_only=True):
    """A strategy's forecast, quantised to 1e-6 where it enters the log."""

    strategy: str
    symbol: str
    target: Decimal
    """Wanted exposure in [-1, 1]; 0 means flat."""
    p: Decimal
    """Prior probability that the trade wins, in (0, 1)."""
    payoff: Decimal
    """Average win over average loss, > 0."""
    stop_distance: Decimal
    """Price distance at which the trade is wrong, > 0."""
    horizon_ms: int
    score: Decimal = Decimal(0)
    model: str = ""
    hedge: str = ""
    """The other leg of an arbitrage: the symbol held against this one, other side, same base quantity; both legs or none."""


# --- {book}: risk -----------------------------------------------------------------------------------------------------


class LimitUse(msgspec.Struct, frozen=True, gc=False):
    """One limit in a verdict: what was measured against what is allowed."""

    name: Reason
    measured: Decimal
    limit: Decimal

    @property
    def headroom(self) -> Decimal:
        """What is left until it binds, in its own unit; never negative."""
        left = self.measured - self.limit if self.name in FLOORS else self.limit - self.measured
        return max(left, Decimal(0))


class OrderIntent(Event, frozen=True, kw_only=True):
    """An approved, sized and sealed order. `order_link_id` is derived from the signal's id: the idempotency key.

    `seal` (Ed25519, hex) and `key_id` are written by risk's shell over `seal.sealed_bytes(intent)`; `epoch` is the
    writer's fencing epoch, `book` its trading book, also from the shell. The four are verified in a replay, not compared.
    """

    order_link_id: str
    strategy: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    time_in_force: TimeInForce
    reduce_only: bool
    purpose: Purpose
    expires_at: int
    limits_version: int
    stop_distance: Decimal = Decimal(0)
    cancel_after_ms: int = 0
    """For resting orders: risk cancels the rest after this span; 0 for IOC."""
    limits: tuple[LimitUse, ...] = ()
    book: str = ""
    epoch: int = 0
    key_id: str = ""
    seal: str = ""


class AmendIntent(Event, frozen=True, kw_only=True):
    """Change a resting order: `qty` is its new total. Sealed like an approval, and void after `expires_at`."""

    order_link_id: str
    symbol: str
    qty: Decimal | None = None
    price: Decimal | None = None
    expires_at: int = 0
    book: str = ""
    epoch: int = 0
    key_id: str = ""
    seal: str = ""


class CancelIntent(Event, frozen=True, kw_only=True):
    """Cancel one order (`order_link_id`) or, when it is empty, every entry of `symbol` ("" = of the book)."""

    order_link_id: str = ""
    symbol: str = ""
    reason: str = ""


class OrderRefused(Event, frozen=True, kw_only=True):
    """A signal that became no order; `reason` names the binding limit."""

    strategy: str
    symbol: str
    reason: Reason
    measured: Decimal = Decimal(0)
    limit: Decimal = Decimal(0)
    side: Side | None = None
    qty: Decimal = Decimal(0)
    detail: str = ""
    limits: tuple[LimitUse, ...] = ()


class Halted(Event, frozen=True, kw_only=True):
    """A scope stopped taking risk. The event's envelope id is the halt's id. `scope`: `book`, `symbol:X`, `strategy:Y`."""

    reason: Reason
    measured: Decimal
    limit: Decimal
    scope: str = "book"
    mode: Mode = Mode.HALTED
    detail: str = ""


class ModeChanged(Event, frozen=True, kw_only=True):
    """Any change of a scope's mode that is not a halt or its resume (REDUCE_ONLY and back, LIQUIDATING)."""

    scope: str
    old: Mode
    new: Mode
    reason: Reason
    detail: str = ""
    cleared: bool = False
    """The reason no longer holds; `new` is what remains. False: it holds from now on."""


class Rebase(msgspec.Struct, frozen=True, gc=False):
    """One base a resume moved, old and new figure."""

    name: str
    old: Decimal
    new: Decimal


class Resumed(Event, frozen=True, kw_only=True):
    """An operator took responsibility: names the halt and what was re-based."""

    halt_id: str
    scope: str
    operator: str
    rebased: tuple[Rebase, ...] = ()
    mode: Mode = Mode.NORMAL
    """Of the scope, after it: worse than NORMAL while another halt of the same scope stands."""
    requested_by: str = ""
    """The first of the two operators where two had to sign."""
    why: str = ""


class CommandRefused(Event, frozen=True, kw_only=True):
    """A command that was not obeyed. `reason`: DUPLICATE, EXPIRED, SEAL, UNKNOWN_HALT, LIQUIDATING, ..."""

    nonce: str
    operator: str
    reason: str


class PositionMark(msgspec.Struct, frozen=True, gc=False):
    symbol: str
    qty: Decimal
    """Signed: negative is short."""
    entry_price: Decimal
    mark: Decimal
    unrealised: Decimal


class PortfolioMarked(Event, frozen=True, kw_only=True):
    """The book valued at mark. Ratios are fractions of capital or peak, positive when losing."""

    wallet: Decimal
    unrealised: Decimal
    equity: Decimal
    peak: Decimal
    drawdown: Decimal
    daily_loss: Decimal
    weekly_loss: Decimal
    consecutive_losses: int
    gross_usd: Decimal
    net_usd: Decimal
    mode: Mode
    positions: tuple[PositionMark, ...] = ()
    pnl_by_strategy: dict[str, Decimal] = {}
    limits: tuple[LimitUse, ...] = ()


class CapitalAllocated(Event, frozen=True, kw_only=True):
    """Share of capital per strategy, in [0, 1]."""

    shares: dict[str, Decimal]


class LimitChanged(Event, frozen=True, kw_only=True):
    """The limits in force from here on, all of them, by name."""

    version: int
    limits: dict[str, Decimal]
    operator: str = ""
    """Who signed last; `file` for what the settings file seeds or tightens."""
    changed: tuple[Rebase, ...] = ()
    """What differs from the version before, old and new."""
    requested_by: str = ""
    """The first of the two operators where two had to sign."""
    why: str = ""


class LooserLimitsIgnored(Event, frozen=True, kw_only=True):
    """The settings file now names looser limits than those in force (`old`: in force, `new`: in the file). They stay as they
    are: raising one is an operator's signed command."""

    ignored: tuple[Rebase, ...]


class StakeTransferred(Event, frozen=True, kw_only=True):
    """`seller` gave `qty` to `buyer` at mark, two strategies of one book: the net position is what it was. How a strategy gets
    out of what others hold the other side of, when no order may do it."""

    symbol: str
    seller: str
    buyer: str
    qty: Decimal
    price: Decimal


class StageChanged(Event, frozen=True, kw_only=True):
    stage: str
    share: Decimal
    operator: str = ""
    requested_by: str = ""
    why: str = ""


class UpgradeOpened(Event, frozen=True, kw_only=True):
    """Until then services may run on different code or settings (a rolling upgrade); afterwards a difference halts."""

    until_at: int
    operator: str
    requested_by: str = ""
    why: str = ""


class ModelBlocked(Event, frozen=True, kw_only=True):
    model: str
    reason: str


# --- {book}: execution --------------------------------------------------------------------------------------------------


class OrderSubmitted(Event, frozen=True, kw_only=True):
    """Written, guarded by the gate, before the create request leaves. Everything a restart needs to know of it."""

    order_link_id: str
    strategy: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    time_in_force: TimeInForce
    reduce_only: bool
    purpose: Purpose
    expires_at: int
    stop_loss: Decimal = Decimal(0)
    """Trigger price of the stop that travels inside the order; 0 for none."""
    epoch: int = 0
    """Of the approval: one of an earlier epoch is refused from here on."""


class OrderAccepted(Event, frozen=True, kw_only=True):
    """The venue's engine holds the order (private stream or a query said so). `ack_ms`: submit to proof."""

    order_link_id: str
    symbol: str
    order_id: str
    ack_ms: int = 0


class OrderRejected(Event, frozen=True, kw_only=True):
    """Terminal: the order never rested nor traded. `code` is Bybit's retCode, 0 when we refused it ourselves."""

    order_link_id: str
    symbol: str
    reason: str
    code: int = 0


class OrderCancelled(Event, frozen=True, kw_only=True):
    """Terminal: the rest was cancelled; `cum_qty` had traded."""

    order_link_id: str
    symbol: str
    cum_qty: Decimal
    reason: str = ""


class OrderUnknown(Event, frozen=True, kw_only=True):
    """The outcome of a request is not known; it is being asked for by `order_link_id`."""

    order_link_id: str
    symbol: str
    reason: str


class OrderResolved(Event, frozen=True, kw_only=True):
    """An unknown outcome became known. `outcome`: `live`, `filled`, `cancelled`, `rejected`, `dead` (never arrived)."""

    order_link_id: str
    symbol: str
    outcome: str
    cum_qty: Decimal = Decimal(0)


class Fill(Event, frozen=True, kw_only=True):
    """One execution of one of our orders, deduplicated by `exec_id`. `fee` > 0 was paid."""

    order_link_id: str
    order_id: str
    exec_id: str
    strategy: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    is_maker: bool
    reduce_only: bool
    purpose: Purpose
    cum_qty: Decimal
    """Filled so far, this fill included, before any fee in coins."""
    order_qty: Decimal
    exec_at: int
    dust: Decimal = Decimal(0)
    """Spot: coins that came with it beyond whole lots, in the wallet and no part of the position; a fee taken in coins is
    why, and `qty` and `fee` are after it."""


class FundingPaid(Event, frozen=True, kw_only=True):
    """Funding of one position; `fee` > 0 was paid, < 0 received."""

    symbol: str
    exec_id: str
    qty: Decimal
    """Signed position it was charged on."""
    mark: Decimal
    rate: Decimal
    fee: Decimal
    exec_at: int


class VenueMessage(Event, frozen=True, kw_only=True):
    """One reply or frame of the exchange, or a local fact of the connection, recorded before what it causes.

    `channel`: `reply` (HTTP), `private` (WebSocket frame), `connected`, `disconnected`, `started`, `lost` (the
    request's outcome is unknown: timeout, cut connection, restart).
    """

    channel: str
    payload: str = ""
    request: int = 0
    status: int = 0
    headers: dict[str, str] = {}
    received_at: int = 0


class PositionReport(msgspec.Struct, frozen=True, gc=False):
    symbol: str
    qty: Decimal
    entry_price: Decimal


class AccountSnapshot(Event, frozen=True, kw_only=True):
    """The account as the exchange tells it."""

    wallet: Decimal
    equity: Decimal
    available: Decimal
    positions: tuple[PositionReport, ...] = ()
    open_orders: int = 0
    margin_ratio: Decimal = Decimal(0)
    """Maintenance margin over margin balance, of the account; at 1 the venue liquidates."""
    balances: dict[str, Decimal] = {}
    """Free balance by coin: what spot may sell."""


class Reconciled(Event, frozen=True, kw_only=True):
    """Log, private stream and REST agree as of this poll; clears what a restart or mismatch blocked."""

    checks: int
    wallet: Decimal
    positions: int
    open_orders: int


class Mismatch(Event, frozen=True, kw_only=True):
    """Two polls agreed on a difference. `kind`: `position`, `wallet`, `order`, `execution`."""

    kind: str
    symbol: str
    ours: str
    venue: str
    healed: bool = False


class ForeignOrder(Event, frozen=True, kw_only=True):
    order_id: str
    order_link_id: str
    symbol: str
    side: Side
    qty: Decimal


class PositionAdjusted(Event, frozen=True, kw_only=True):
    """The venue moved a position without an order of ours. `kind`: Bybit's execType (AdlTrade, BustTrade, Settle, ...)."""

    symbol: str
    exec_id: str
    kind: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    exec_at: int
    dust: Decimal = Decimal(0)
    """As on a Fill."""


class CashMoved(Event, frozen=True, kw_only=True):
    """A deposit (> 0) or withdrawal (< 0), or the opening balance of a fresh book."""

    amount: Decimal
    reference: str


class FeeDiffers(Event, frozen=True, kw_only=True):
    """A trade was charged at another rate than the exchange told for the account; rates are fractions of the value."""

    symbol: str
    exec_id: str
    is_maker: bool
    expected: Decimal
    charged: Decimal


class FlatConfirmed(Event, frozen=True, kw_only=True):
    """The exchange itself says: no orders, no positions."""

    checked_at: int
    wallet: Decimal


# --- {book}: operators ----------------------------------------------------------------------------------------------------


class Command(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What every operator's command carries. `seal`: Ed25519 (hex) over `seal.sealed_bytes(command)`.

    Defaults are left out of the bytes, so that a field added later does not break the seal of a command without it.
    """

    operator: str
    nonce: str
    expires_at: int
    key_id: str = ""
    seal: str = ""
    reason: str = ""
    """Why, in the operator's words; kept for the audit."""
    place: str = ""
    """The book it is for among all of a desk's, `live:main` (class of venue, book): in another its seal counts for nothing."""


class HaltRequested(Command, frozen=True, kw_only=True):
    reason: str
    flatten: bool = False
    scope: str = "book"
    cause: Reason = Reason.OPERATOR
    """STALE_LOG from the archiver, which knows more of the log than the bus does; everybody else's counts as OPERATOR."""


class ResumeRequested(Command, frozen=True, kw_only=True):
    halt_id: str


class FlattenRequested(Command, frozen=True, kw_only=True):
    """Close every position, then stay halted."""


class PauseRequested(Command, frozen=True, kw_only=True):
    """No entries of `scope` until resumed; exits go on."""

    scope: str = "book"


class LimitChange(Command, frozen=True, kw_only=True):
    name: str
    value: Decimal


class StageChange(Command, frozen=True, kw_only=True):
    stage: str


class UpgradeWindow(Command, frozen=True, kw_only=True):
    """Let services run on different code or settings for so long: a rolling upgrade."""

    minutes: int


class ModelPromote(Command, frozen=True, kw_only=True):
    """`model`: `name/sha256`, or the hash. `strategy`: who is to serve it; empty for the only one that serves models."""

    model: str
    strategy: str = ""


class ModelRollback(Command, frozen=True, kw_only=True):
    """Back to the model before."""

    strategy: str


# --- {book}: models --------------------------------------------------------------------------------------------------------


class DriftMeasured(Event, frozen=True, kw_only=True):
    """How far a model's inputs strayed from its training data, and what its trades of 30 days earned. `factor` in [0, 1]
    multiplies position sizes."""

    strategy: str
    model: str
    psi: Decimal
    """Of the worst feature, scaled so that undisturbed training data passes 0.1 in 5 of 100 cases and 0.2 in 1."""
    rolling_sharpe: Decimal
    """Annualised; 0 and without meaning while `trades` is below 10."""
    factor: Decimal
    feature: str = ""
    bars: int = 0
    trades: int = 0


class ModelPromoted(Event, frozen=True, kw_only=True):
    strategy: str
    model: str


class ModelRolledBack(Event, frozen=True, kw_only=True):
    """`model`: the one that is live again."""

    strategy: str
    model: str


class ModelRefused(Event, frozen=True, kw_only=True):
    """A model command that was not obeyed. `reason`: SEAL, EXPIRED, DUPLICATE, UNKNOWN_MODEL, UNKNOWN_STRATEGY, LIVE_ALREADY,
    OTHER_INPUTS, NOTHING_BEFORE."""

    nonce: str
    operator: str
    reason: str


class ModelEvaluated(Event, frozen=True, kw_only=True):
    strategy: str
    model: str
    metrics: dict[str, Decimal]


class ModelTrained(Event, frozen=True, kw_only=True):
    strategy: str
    model: str
    metrics: dict[str, Decimal]


class StrategyFailed(Event, frozen=True, kw_only=True):
    """A strategy raised; it is off until the book is started afresh, the others go on. `error`: type and text."""

    strategy: str
    error: str


# --- every service -----------------------------------------------------------------------------------------------------------


class Heartbeat(Event, frozen=True, kw_only=True):
    """A service is alive. `commits` counts its steps; figures it does not have are 0."""

    service: str
    commits: int = 0
    code: str = ""
    config: str = ""
    order_ack_p95_ms: int = 0
    api_requests: int = 0
    api_errors: int = 0
    clock_offset_ms: int = 0
    feed_delay_ms: int = 0
    gap: str = ""
    """The stream in which a gap was met; empty when there is none."""
    http_silent_ms: int = 0
    """HTTP to the exchange must stay silent for so long still (it answered 403); orders take the trade socket."""
    trade_socket: bool = False
    """The trade socket is open."""
    key_age_days: int = 0
    """Of the API key in use; 0 when it is not known."""


class WatchdogActed(Event, frozen=True, kw_only=True):
    """The dead man's switch of the account turned. `held`: signed quantity by symbol, as the exchange showed it last."""

    state: str
    """`watching`, `cancelling`, `cancelled` (the exchange shows no entry), `flattening`, `flat`."""
    silent_ms: int
    """Since the last sign of life of execution."""
    armed: bool = False
    held: dict[str, str] = {}


class AlertRaised(Event, frozen=True, kw_only=True):
    name: str
    severity: str
    """`page` or `ticket`."""
    summary: str


class AlertCleared(Event, frozen=True, kw_only=True):
    name: str


def _all_events() -> dict[str, type[Event]]:
    found: dict[str, type[Event]] = {}
    todo = list(Event.__subclasses__())
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        found[kind.__name__] = kind
    return dict(sorted(found.items()))


EVENTS: dict[str, type[Event]] = _all_events()
"""Every event type by its name on the wire."""
