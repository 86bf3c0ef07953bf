"""What risk remembers. Everything is bounded, plain, and round-trips through msgpack (and JSON).

Keys: a strategy in a symbol is `strategy|symbol`; a scope is `book`, `symbol:X` or `strategy:Y`; a condition is
`scope/reason`. Amounts are 1e-8 units, quantities lots of `ledger.grids`, instants ns.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.common.events import Mode, Purpose, Reason, TimeInForce
from libs.common.portfolio import Ledger
from services.risk.config import Limits

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
DAY_NS = 86_400 * NS_PER_S
MINUTE_NS = 60 * NS_PER_S

BOOK = "book"


def symbol_scope(symbol: str) -> str:
    return f"symbol:{symbol}"


def strategy_scope(strategy: str) -> str:
    return f"strategy:{strategy}"


def pair(strategy: str, symbol: str) -> str:
    return f"{strategy}|{symbol}"


class Market(msgspec.Struct):
    """One symbol as risk sees it. `*_units`: value of one lot. Prices 0 until first seen."""

    symbol: str
    tick_size: Decimal = Decimal(1)
    step: int = 1
    """The venue's lot in lots of the ledger."""
    min_lots: int = 0
    max_lots: int = 0
    min_notional_units: int = 0
    price_limit_ratio: Decimal = Decimal(0)
    trading: bool = True
    bid: Decimal = Decimal(0)
    ask: Decimal = Decimal(0)
    mark: Decimal = Decimal(0)
    index: Decimal = Decimal(0)
    mark_units: int = 0
    has_reference: bool = False
    unrealised_units: int = 0
    tick_at: int = 0
    traded_at: int = 0
    """When a fill of ours last moved the position."""
    down: bool = False
    spreads: list[int] = []
    """The last spreads in ticks, one a second, at most 101."""
    spread_at: int = 0
    spread_median: int = 0
    velocity_at: int = 0
    """Start of the running window of 5 s."""
    velocity_units: int = 0
    """Lot value at that start."""
    variance_e18: int = 0
    """EWMA of squared window returns (1e-9 each)."""
    windows: int = 0


class Order(msgspec.Struct):
    """An approval that is not proven dead."""

    order_link_id: str
    strategy: str
    symbol: str
    sign: int
    lots: int
    filled: int
    price: Decimal
    lot_units: int
    """The worse of mark and order price at approval, per lot."""
    time_in_force: TimeInForce
    reduce_only: bool
    purpose: Purpose
    at: int
    cancel_at: int = 0
    """When the rest is to be cancelled; 0 never."""
    asked_at: int = 0
    """When a cancel was last asked for."""

    @property
    def open_lots(self) -> int:
        return self.lots - self.filled


class Block(msgspec.Struct):
    """What holds a scope below NORMAL. Sticky ones are halts and carry the id that a resume must name."""

    scope: str
    reason: Reason
    mode: Mode
    at: int
    halt_id: str = ""
    measured: Decimal = Decimal(0)
    limit: Decimal = Decimal(0)


class Condition(msgspec.Struct):
    """A transient cause as last seen bad."""

    scope: str
    reason: Reason
    bad_at: int
    measured: Decimal
    limit: Decimal


class Window(msgspec.Struct):
    """A loss window. `base_units` is what a loss is measured against.

    At rollover the base becomes the equity of that moment (`opened_units`), unless the book is below its base and holds
    losing positions: then the loss is running over midnight, the base stays, and `carried` names those symbols. When
    each of them has been flat once (and what that cost was judged), or equity is back at the base, the base becomes
    `opened_units` after all.
    """

    number: int = -1
    base_units: int = 0
    opened_units: int = 0
    carried: list[str] = []


class Task(msgspec.Struct):
    """An exit under way: repeated with a wider collar until the stake is flat."""

    strategy: str
    symbol: str
    purpose: Purpose
    tries: int = 0
    order_link_id: str = ""
    stream: str = ""
    """Cause and correlation of the first try, so that later ones stay in its chain."""
    seq: int = 0
    correlation: str = ""


class Pending(msgspec.Struct):
    """The second half of a reversal: enter when flat, if the signal is unexpired."""

    strategy: str
    symbol: str
    target: Decimal
    p: Decimal
    payoff: Decimal
    stop_distance: Decimal
    model: str
    signal_id: str
    at: int
    seq: int
    correlation: str


class Repeat(msgspec.Struct):
    """The last words of a strategy on a symbol, and the entries approved on them within a minute."""

    words: str
    signal_id: str = ""
    at: int = 0
    is_duplicate: bool = False
    heard_since: int = 0
    """Start (ns) of the running minute in which `heard` counts."""
    heard: int = 0
    approved_at: list[int] = []


class Hedge(msgspec.Struct):
    """Two legs that a strategy holds against each other. `stop_distance`: of both legs' prices to each other."""

    strategy: str
    symbol: str
    hedge: str
    stop_distance: Decimal
    naked_at: int | None = None
    """Since when (ns) one leg is larger than the other; None while they match."""


class Signature(msgspec.Struct):
    """The first of two operators' seals on a subject, and until when (ns) it is good."""

    operator: str
    expires_at: int


class RiskState(msgspec.Struct):
    limits: Limits = Limits()
    limits_version: int = 0
    file: Limits | None = None
    """What the settings file said at the last start, and at the one before."""
    file_before: Limits | None = None
    stage: str = "paper"
    allocation: dict[str, Decimal] = {}
    share: Decimal = Decimal(1)
    ratios_e16: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    """Day, week and drawdown limit times stage share, times 1e16."""

    now: int = 0
    window_ns: int = 0
    """Span of a tape's instant; 0 in real time."""
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    markets: dict[str, Market] = {}
    unrealised_units: int = 0
    orders: dict[str, Order] = {}

    funded: bool = False
    peak_units: int = 0
    day: Window = msgspec.field(default_factory=Window)
    week: Window = msgspec.field(default_factory=Window)
    streak_forgiven: int = 0
    rebases_today: int = 0

    blocks: dict[str, Block] = {}
    conditions: dict[str, Condition] = {}
    clears_today: dict[str, int] = {}
    liquidating: bool = False
    reconciled: bool = False
    reconciled_at: int = 0
    tick_at: int = 0
    acks_ms: list[int] = []
    """The last 20 order acknowledgements."""
    requests: int = 0
    errors: int = 0
    peers: dict[str, list[str]] = {}
    """Code and config hash by service, risk's own too."""
    upgrade_until: int = 0
    """Until then peers may differ."""

    maintenance: dict[str, list[int]] = {}
    """[begin, end] (ns) of what the exchange announced, by its id."""
    tasks: dict[str, Task] = {}
    pending: dict[str, Pending] = {}
    hedges: dict[str, Hedge] = {}
    """Pairs by strategy|symbol of the leg that signals name."""
    balances: dict[str, Decimal] = {}
    """Free balance by coin, as of `balances_at`."""
    balances_at: int = 0
    stops: dict[str, Decimal] = {}
    """Stop distance (price) by strategy|symbol."""
    repeats: dict[str, Repeat] = {}
    entries_at: list[int] = []
    """Entries approved in the last second."""
    slices_at: list[int] = []
    """Slices of a liquidation approved in the last second."""
    fills_at: dict[str, list[int]] = {}
    """First fills of orders in the last minute, by strategy."""
    drift: dict[str, Decimal] = {}
    blocked_models: list[str] = []
    refusals: dict[str, int] = {}
    nonces: dict[str, int] = {}
    """Expiry (ns) of commands by nonce."""
    subject: str = ""
    """What the last command's signature is about."""
    signatures: dict[str, Signature] = {}
    """First seal on what needs two, by subject."""
    is_replayed: bool = False
    """Whether the last command's nonce was seen before."""
    minute: int = 0
    is_new_minute: bool = False
    """Whether the last Instant or Timer began a minute."""
    beat_at: int = 0
    steps: int = 0

    @property
    def equity_units(self) -> int:
        return self.ledger.wallet_units + self.unrealised_units

    @property
    def streak(self) -> int:
        """Losing round trips in a row since the last resume of a streak halt."""
        return max(self.ledger.losing_streak - self.streak_forgiven, 0)

    def capital_units(self) -> int:
        """Stage share of equity, rounded down."""
        equity = self.equity_units
        return int(self.share * equity) if equity > 0 else 0
