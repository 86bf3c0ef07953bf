"""The ledger of one account: wallet, positions by average entry, fees, funding, cross margin.

Every rounding is `divide_half_even` to 1e-8 USDT, one per fill and kind of amount, so another ledger that follows the same
fills arrives at the same wallet to the last digit:
    fee      = value * rate
    released = cost * closed / size          (all of the cost when the position closes)
    realised = (closed value - released) * sign of the position
    wallet  += realised - fee                at each fill
    wallet  -= value at mark * rate * sign   at each funding stamp
"""

from __future__ import annotations

from collections import deque

import msgspec

from libs.common.values import divide_half_even
from sim.engine.instruments import RATE_SCALE
from sim.engine.orders import Entry, Fill, Order, Position

KEPT = 20_000
"""Closed orders, fills, log entries an account remembers; older ones are forgotten."""


class AccountSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A key of `--accounts FILE`: API key and secret, opening balance in USDT, fee rates as 1e-8.

    Keys that name the same `account` (default: the key itself) open the same one; its first key's money counts.
    """

    account: str = ""
    key: str = "sim"
    secret: str = "sim-secret"  # noqa: S105 (the documented default of the simulator)
    usdt: str = "10000"
    uid: int = 0
    taker_e8: int = 55_000
    maker_e8: int = 20_000
    spot_e8: int = 100_000
    """Spot fee rate, taker and maker alike."""
    permissions: tuple[str, ...] = ("Order", "Position", "SpotTrade")
    """Bybit's names, of all groups; see `sim.routes.keys.GROUPS`."""
    read_only: bool = False
    ips: tuple[str, ...] = ()
    """Addresses the key is bound to; "*" is bound to none. Empty: any may use it, and each is told it is bound to it."""
    expires_ms: int | None = None
    """In an accounts file: expires_at, a date and time with its zone."""
    parent_uid: int = 1
    """Of the master account; 0 makes this one the master."""
    rsa_public_key: str = ""
    """PEM; then requests are signed with RSA and there is no secret."""
    dcp: bool = False
    """Is disconnection protection offered? At Bybit to institutions only."""
    kyc_region: str = ""
    note: str = "simulator"

    @property
    def name(self) -> str:
        return self.account or self.key

    def __repr__(self) -> str:
        return f"AccountSpec(account={self.name!r}, key={self.key!r}, secret='***')"


class Account:
    """State of one account. `uid` is its name inside the exchange."""

    def __init__(self, uid: str, opening: int, taker_e8: int, maker_e8: int, created_at: int) -> None:
        self.uid = uid
        self.opening = opening
        self.wallet = opening
        self.realised = 0
        self.taker_e8, self.maker_e8 = taker_e8, maker_e8
        self.spot_e8 = 100_000
        self.coins: dict[str, int] = {}
        """Balances of coins other than USDT, in 1e-8 of the coin; what is zero is not there."""
        self.created_at = created_at
        self.margin_mode = "REGULAR_MARGIN"
        self.hedge: set[str] = set()
        """Symbols in hedge mode."""
        self.dcp_offered = False
        self.dcp_s: dict[str, int] = {}
        """Disconnection protection: product -> seconds without a connection after which its orders are cancelled."""
        self.positions: dict[str, Position] = {}
        self.open_orders: dict[str, Order] = {}
        self.spot_orders = 0
        """How many of them are spot orders."""
        self.closed: deque[Order] = deque()
        self.by_id: dict[str, Order] = {}
        self.by_link: dict[str, Order] = {}
        self.fills: deque[Fill] = deque(maxlen=KEPT)
        self.log: deque[Entry] = deque(maxlen=KEPT)

    @property
    def isolated(self) -> bool:
        return self.margin_mode == "ISOLATED_MARGIN"

    @property
    def has_exposure(self) -> bool:
        """Is there anything that needs margin?"""
        return len(self.open_orders) > self.spot_orders or any(position.lots for position in self.positions.values())

    def holds(self, symbol: str) -> bool:
        """Is there a position of the symbol?"""
        position = self.positions.get(symbol)
        if position is not None and position.lots:
            return True
        return bool(self.hedge) and any(p.lots for p in self.positions.values() if p.symbol == symbol)

    def balance(self, coin: str) -> int:
        """1e-8 of a coin."""
        return self.wallet if coin == "USDT" else self.coins.get(coin, 0)

    def credit(self, coin: str, amount: int) -> None:
        """Add to a balance, 1e-8 of the coin."""
        if coin == "USDT":
            self.wallet += amount
        elif balance := self.coins.get(coin, 0) + amount:
            self.coins[coin] = balance
        else:
            self.coins.pop(coin, None)

    def restore(self, position: Position) -> None:
        """A position that a store kept."""
        self.positions[_key(position.symbol, position.idx)] = position

    def position(self, symbol: str, idx: int = 0) -> Position:
        key = _key(symbol, idx)
        position = self.positions.get(key)
        if position is None:
            position = self.positions[key] = Position(symbol=symbol, idx=idx, created_at=self.created_at)
            if idx and symbol in self.positions:
                position.leverage_e2 = self.positions[symbol].leverage_e2
        return position

    def sides(self, symbol: str) -> list[Position]:
        """The positions that the mode of a symbol has, flat or not."""
        return [self.position(symbol, idx) for idx in ((1, 2) if symbol in self.hedge else (0,))]

    def positions_of(self, symbol: str) -> list[Position]:
        """Every position of a symbol."""
        return [position for position in self.positions.values() if position.symbol == symbol]

    def add(self, order: Order) -> None:
        self.by_id[order.order_id] = order
        if order.link_id:
            self.by_link[order.link_id] = order
        if order.is_open:
            self.open_orders[order.order_id] = order
            self.spot_orders += order.spot
        else:
            self._bury(order)

    def close(self, order: Order) -> None:
        """Move an order that has just closed to the history."""
        if self.open_orders.pop(order.order_id, None) is not None:
            self.spot_orders -= order.spot
            self._bury(order)

    def find(self, order_id: str, link_id: str) -> Order | None:
        """Open or remembered order; `order_id` wins."""
        return self.by_id.get(order_id) if order_id else self.by_link.get(link_id)

    def _bury(self, order: Order) -> None:
        self.closed.append(order)
        while len(self.closed) > KEPT:
            old = self.closed.popleft()
            self.by_id.pop(old.order_id, None)
            if self.by_link.get(old.link_id) is old:
                del self.by_link[old.link_id]


def _key(symbol: str, idx: int) -> str:
    return f"{symbol}/{idx}" if idx else symbol


def fee_of(value: int, rate_e8: int) -> int:
    """Fee of a trade of `value` (1e-8 USDT) at a rate of 1e-8, half-even; also funding."""
    return divide_half_even(value * rate_e8, RATE_SCALE)


def trade(position: Position, signed_lots: int, value_per_lot: int) -> tuple[int, int, int]:
    """Apply a fill to a position; gives (lots closed, realised pnl, entry value released), pnl before fees."""
    lots, held = abs(signed_lots), abs(position.lots)
    sign = position.side
    if sign == 0 or sign * signed_lots > 0:
        position.lots += signed_lots
        position.cost += lots * value_per_lot
        return 0, 0, 0
    closed = min(lots, held)
    released = position.cost if closed == held else divide_half_even(position.cost * closed, held)
    realised = (closed * value_per_lot - released) * sign
    position.cost -= released
    position.lots -= sign * closed
    if rest := lots - closed:
        position.lots = -sign * rest
        position.cost = rest * value_per_lot
    return closed, realised, released


def exposure(position: Position, buys: int, sells: int) -> int:
    """Lots that must be margined: the larger side if every opening order filled."""
    return max(abs(position.lots + buys), abs(position.lots - sells))
