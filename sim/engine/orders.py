"""Orders, fills and positions of the simulated exchange, in ticks, lots and 1e-8 USDT."""

from __future__ import annotations

import msgspec

OPEN_STATES = frozenset({"New", "PartiallyFilled", "Untriggered"})


class Order(msgspec.Struct, kw_only=True):
    """One order. `side` is 1 for Buy, -1 for Sell; `kind` Limit or Market; `number` counts orders of the exchange."""

    account: str
    number: int
    order_id: str
    link_id: str
    symbol: str
    side: int
    kind: str
    ticks: int
    lots: int
    tif: str
    created_at: int
    updated_at: int
    reduce_only: bool = False
    close_on_trigger: bool = False
    status: str = "New"
    reject_reason: str = "EC_NoError"
    cancel_type: str = "UNKNOWN"
    create_type: str = "CreateByUser"
    stop_type: str = ""
    cum_lots: int = 0
    cum_value: int = 0
    cum_fee: int = 0
    closed_pnl: int = 0
    closed_lots: int = 0
    open_fee: int = 0
    """Of the opening fees of what it closed."""
    close_fee: int = 0
    entry_value: int = 0
    exit_value: int = 0
    fills: int = 0
    queue_ahead: int = 0
    """Lots that were at this price before us and must trade first."""
    trigger_ticks: int = 0
    trigger_direction: int = 0
    trigger_by: str = ""
    trail: int = 0
    """Trailing stop: its distance from the best price, ticks; `active`: the price it waits for first, 0 once reached."""
    active: int = 0
    take_profit: int = 0
    stop_loss: int = 0
    profit_by: str = "LastPrice"
    stop_by: str = "LastPrice"
    """Which price triggers them: LastPrice, MarkPrice or IndexPrice."""
    parent_link_id: str = ""
    last_on_created: int = 0
    smp: str = "None"
    """smpType: what happens when it would trade with its own account."""
    idx: int = 0
    """positionIdx: 0 one-way, 1 and 2 the long and the short side in hedge mode."""
    spot: bool = False
    budget: int = 0
    """Spot market buy by value (marketUnit quoteCoin): what may be spent, 1e-8 USDT; `lots` follows from the book."""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    @property
    def leaves(self) -> int:
        """Lots still to trade; 0 once the order is closed."""
        return self.lots - self.cum_lots if self.status in OPEN_STATES else 0


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution row: a trade of an order, or funding or takeover of a position. `fee` > 0 was paid."""

    account: str
    number: int
    exec_id: str
    order_id: str
    link_id: str
    symbol: str
    side: int
    kind: str
    exec_type: str
    ticks: int
    lots: int
    value: int
    fee: int
    fee_rate_e8: int
    is_maker: bool
    closed_lots: int
    pnl: int
    mark_ticks: int
    order_ticks: int
    order_lots: int
    leaves: int
    at: int
    stop_type: str = ""
    create_type: str = "CreateByUser"
    fee_coin: str = "USDT"
    """A spot buyer pays the fee in the coin that was bought, then `fee` is 1e-8 of that."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the transaction log: a change of the balance of `currency`, in 1e-8 of it. `funding` > 0 was received."""

    account: str
    number: int
    kind: str
    symbol: str
    side: int
    lots: int
    ticks: int
    cash_flow: int
    funding: int
    fee: int
    fee_rate_e8: int
    balance: int
    position_lots: int
    trade_id: str
    order_id: str
    link_id: str
    at: int
    currency: str = "USDT"

    @property
    def change(self) -> int:
        return self.cash_flow + self.funding - self.fee


class Position(msgspec.Struct, kw_only=True):
    """A position: `lots` signed, `cost` the entry value in 1e-8 USDT. One-way mode has one a symbol (idx 0), hedge mode a long
    (1) and a short one (2)."""

    symbol: str
    idx: int = 0
    lots: int = 0
    cost: int = 0
    leverage_e2: int = 1000
    realised: int = 0
    """All-time, fees and funding included."""
    realised_current: int = 0
    """Of the current holding."""
    created_at: int = 0
    updated_at: int = 0
    seq: int = -1
    take_profit: int = 0
    stop_loss: int = 0
    profit_by: str = "LastPrice"
    stop_by: str = "LastPrice"
    trailing: int = 0
    active: int = 0
    open_fee: int = 0
    """Fees paid to open what is held now."""

    def unrealised(self, mark_ticks: int, units: int) -> int:
        """(mark - entry) x size, 1e-8 USDT."""
        return self.lots * mark_ticks * units - self.cost * self.side

    @property
    def side(self) -> int:
        return (self.lots > 0) - (self.lots < 0)
