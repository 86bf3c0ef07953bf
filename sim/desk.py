"""The desk: owns markets, accounts and resting orders, lets them meet, and books what trades.

Everything that changed since it was last asked is kept in `touched`, by account: the exchange turns it into frames.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sim import matching, stops
from sim.account import Account, fee_of, trade
from sim.book import walk
from sim.chance import identifier
from sim.margin import margin_of
from sim.market import NS_PER_MS, Market
from sim.orders import Entry, Fill, Order
from sim.prints import BookChange, MarketEvent, Print

UNFILLED = "EC_NoImmediateQtyToFill"
REMAINDER = "EC_CancelForNoFullFill"


class Touched(msgspec.Struct):
    """What changed for one account."""

    orders: dict[str, Order] = {}
    fills: list[Fill] = []
    entries: list[Entry] = []
    positions: dict[str, None] = {}
    wallet: bool = False


class Counters(msgspec.Struct):
    """Kept over restarts, so that no id is given twice."""

    orders: int = 0
    fills: int = 0
    entries: int = 0
    seq: int = 0


class Desk:
    def __init__(self, markets: dict[str, Market], incarnation: str) -> None:
        self.markets = markets
        self.accounts: dict[str, Account] = {}
        self.incarnation = incarnation
        self.counters = Counters()
        self.resting: dict[str, list[Order]] = {symbol: [] for symbol in markets}
        self.conditional: dict[str, list[Order]] = {symbol: [] for symbol in markets}
        self.touched: dict[str, Touched] = {}

    # --- what an account may do -----------------------------------------------------------------------------------

    def new_order_id(self) -> tuple[int, str]:
        self.counters.orders += 1
        return self.counters.orders, identifier(self.incarnation, "order", self.counters.orders)

    def place(self, order: Order, at: int) -> None:
        """Let a valid order into the engine."""
        account = self.accounts[order.account]
        if order.trigger_ticks:
            order.status = "Untriggered"
        account.add(order)
        self.touch(order)
        if order.trigger_ticks:
            self.conditional[order.symbol].append(order)
        else:
            self._work(account, order, at)

    def cancel(self, order: Order, at: int, reject_reason: str, cancel_type: str = "UNKNOWN") -> None:
        """Close an open order; what it filled stays."""
        order.status = "Deactivated" if order.status == "Untriggered" else "Cancelled"
        order.reject_reason, order.cancel_type, order.updated_at = reject_reason, cancel_type, at
        self._retire(order)

    def amend(self, order: Order, ticks: int, lots: int, trigger_ticks: int, at: int) -> None:
        """New price, total quantity, trigger. A worse place in the queue unless only the quantity fell."""
        account = self.accounts[order.account]
        moved = ticks != order.ticks or lots > order.lots
        order.ticks, order.lots, order.trigger_ticks, order.updated_at = ticks, lots, trigger_ticks, at
        self.touch(order)
        if order.status == "Untriggered":
            return
        if order.lots == order.cum_lots:
            order.status = "Filled"
            self._retire(order)
        elif moved:
            self.resting[order.symbol].remove(order)
            self._work(account, order, at)

    def touch(self, order: Order) -> None:
        self._touched(order.account).orders[order.order_id] = order

    def touch_account(self, account: Account) -> None:
        """Settings of the account changed: they are kept, nobody is told."""
        self._touched(account.uid)

    def touch_position(self, account: Account, symbol: str) -> None:
        self._touched(account.uid).positions[symbol] = None

    # --- what the market does --------------------------------------------------------------------------------------

    def on_event(self, event: MarketEvent) -> None:
        market = self.markets[event.symbol]
        if isinstance(event, Print):
            market.on_print(event)
        else:
            market.on_change(event)
        if self.resting[event.symbol]:
            self._meet(market, event)
        if self.conditional[event.symbol]:
            self._trigger(market, event.at)
        for account in self.accounts.values():
            position = account.positions.get(event.symbol)
            if position is not None and position.lots:
                self._watch(account, event.at)

    def charge_funding(self, stamp_ms: int) -> None:
        """Everybody who holds a position at the stamp pays or receives value at mark x rate."""
        at = stamp_ms * NS_PER_MS
        for account in self.accounts.values():
            for symbol, position in account.positions.items():
                market = self.markets[symbol]
                if not position.lots or (stamp_ms // 60_000) % market.instrument.rules.funding_interval_min:
                    continue
                rate = market.funding_e8(stamp_ms) * position.side
                value = abs(position.lots) * market.mark * market.instrument.units
                fee = fee_of(value, rate)
                fill = self._fill_row(
                    account, market, position.side, "Funding", market.mark, abs(position.lots), fee, rate, at
                )
                account.wallet -= fee
                position.realised -= fee
                position.realised_current -= fee
                self._log(account, fill, "SETTLEMENT", cash_flow=0, funding=-fee, fee=0)

    # --- matching --------------------------------------------------------------------------------------------------

    def _work(self, account: Account, order: Order, at: int) -> None:
        """An order arrives at the book (new, amended or triggered)."""
        book = self.markets[order.symbol].book
        if order.tif == "PostOnly" and matching.crosses(book, order.side, order.ticks):
            self.cancel(order, at, "EC_PostOnlyWillTakeLiquidity")
            return
        if order.reduce_only and not self._fit(account, order, at):
            return
        for ticks, lots in matching.take(book, order, order.ticks, order.leaves):
            self._fill(account, order, ticks, lots, False, at)
        if order.leaves and order.tif in ("IOC", "FOK"):
            self.cancel(order, at, REMAINDER if order.cum_lots else UNFILLED)
        elif order.leaves:
            matching.join(book, order)
            self.resting[order.symbol].append(order)
        if order.cum_lots:
            self._after_fill(account, order, at)

    def _meet(self, market: Market, event: MarketEvent) -> None:
        """A print or a new book meets the resting orders, oldest first."""
        left = event.lots if isinstance(event, Print) else 0
        for order in list(self.resting[event.symbol]):
            if not order.is_open:
                continue
            filled = 0
            if isinstance(event, Print):
                filled, left = matching.printed(order, event, left)
            if not filled and (filled := matching.swept(market.book, order)):
                walk(market.book.side(order.side), order.side, order.ticks, filled)
            account = self.accounts[order.account]
            if not filled or (order.reduce_only and not self._fit(account, order, event.at)):
                continue
            self._fill(account, order, order.ticks, min(filled, order.leaves), True, event.at)
            self._after_fill(account, order, event.at)

    def _trigger(self, market: Market, at: int) -> None:
        for order in list(self.conditional[market.instrument.symbol]):
            if not order.is_open or not matching.triggered(order, market.last, market.mark):
                continue
            self.conditional[order.symbol].remove(order)
            order.status, order.updated_at = "New", at
            if order.kind == "Market":
                order.ticks = protected(market, order.side)
            account = self.accounts[order.account]
            margin = margin_of(account, self.markets)
            self.touch(order)
            if not order.reduce_only and margin.initial > margin.balance:
                self.cancel(order, at, "EC_PerCancelRequest", "CancelByAdmin")
            else:
                self._work(account, order, at)

    def _fit(self, account: Account, order: Order, at: int) -> bool:
        """Cut a reduce-only order down to the position; without one it is cancelled."""
        position = account.position(order.symbol)
        reducible = abs(position.lots) if position.side == -order.side else 0
        if not reducible:
            self.cancel(order, at, "EC_NoError", "CancelByReduceOnly")
            return False
        if order.leaves > reducible:
            order.lots = order.cum_lots + reducible
            self.touch(order)
        return True

    def _after_fill(self, account: Account, order: Order, at: int) -> None:
        """Reduce-only orders and stops of the symbol follow the position."""
        for other in list(account.open_orders.values()):
            if other.symbol == order.symbol and other.reduce_only and other.status != "Untriggered":
                self._fit(account, other, at)
        stops.follow(self, account, order, at)

    def _retire(self, order: Order) -> None:
        for orders in (self.resting[order.symbol], self.conditional[order.symbol]):
            if order in orders:
                orders.remove(order)
        self.accounts[order.account].close(order)
        self.touch(order)

    # --- booking ---------------------------------------------------------------------------------------------------

    def _fill(
        self, account: Account, order: Order, ticks: int, lots: int, maker: bool, at: int, kind: str = "Trade"
    ) -> None:
        market = self.markets[order.symbol]
        units = market.instrument.units
        value = ticks * lots * units
        rate = account.maker_e8 if maker else account.taker_e8
        fee = fee_of(value, rate)
        position = account.position(order.symbol)
        opened = not position.lots
        closed, pnl, released = trade(position, order.side * lots, ticks * units)
        account.wallet += pnl - fee
        account.realised += pnl
        position.realised += pnl - fee
        position.realised_current = pnl - fee if opened else position.realised_current + pnl - fee
        order.cum_lots += lots
        order.cum_value += value
        order.cum_fee += fee
        order.closed_pnl += pnl - (fee if closed else 0)
        order.closed_lots += closed
        order.entry_value += released
        order.exit_value += closed * ticks * units
        order.fills += 1
        order.updated_at = at
        order.status = "Filled" if order.cum_lots == order.lots else "PartiallyFilled"
        fill = self._fill_row(account, market, order.side, kind, ticks, lots, fee, rate, at, order, maker, closed, pnl)
        self._log(account, fill, "TRADE", cash_flow=pnl, funding=0, fee=fee)
        if order.status == "Filled":
            self._retire(order)
        else:
            self.touch(order)

    def _fill_row(
        self, account: Account, market: Market, side: int, kind: str, ticks: int, lots: int, fee: int, rate: int, at: int,
        order: Order | None = None, maker: bool = False, closed: int = 0, pnl: int = 0,
    ) -> Fill:  # fmt: skip
        self.counters.fills += 1
        self.counters.seq += 1
        symbol, number = market.instrument.symbol, self.counters.fills
        position = account.position(symbol)
        position.seq, position.updated_at = self.counters.seq, at
        fill = Fill(
            account=account.uid, number=number, exec_id=identifier(self.incarnation, "exec", number),
            order_id=order.order_id if order else identifier(self.incarnation, kind, number),
            link_id=order.link_id if order else "", symbol=symbol, side=side, kind=order.kind if order else "UNKNOWN",
            exec_type=kind, ticks=ticks, lots=lots, value=ticks * lots * market.instrument.units, fee=fee,
            fee_rate_e8=rate, is_maker=maker, closed_lots=closed, pnl=pnl, mark_ticks=market.mark,
            order_ticks=order.ticks if order else 0, order_lots=order.lots if order else 0,
            leaves=order.leaves if order else 0, at=at, stop_type=order.stop_type if order else "",
            create_type=order.create_type if order else "",
        )  # fmt: skip
        account.fills.append(fill)
        touched = self._touched(account.uid)
        touched.fills.append(fill)
        touched.positions[symbol] = None
        touched.wallet = True
        return fill

    def _log(self, account: Account, fill: Fill, kind: str, cash_flow: int, funding: int, fee: int) -> None:
        self.counters.entries += 1
        entry = Entry(
            account=account.uid, number=self.counters.entries, kind=kind, symbol=fill.symbol, side=fill.side,
            lots=fill.lots, ticks=fill.ticks, cash_flow=cash_flow, funding=funding, fee=fee, fee_rate_e8=fill.fee_rate_e8,
            balance=account.wallet, position_lots=abs(account.position(fill.symbol).lots), trade_id=fill.exec_id,
            order_id=fill.order_id, link_id=fill.link_id, at=fill.at,
        )  # fmt: skip
        account.log.append(entry)
        self._touched(account.uid).entries.append(entry)

    def _touched(self, uid: str) -> Touched:
        touched = self.touched.get(uid)
        if touched is None:
            touched = self.touched[uid] = Touched()
        return touched

    # --- liquidation -----------------------------------------------------------------------------------------------

    def _watch(self, account: Account, at: int) -> None:
        """Take the account over when its balance no longer covers the maintenance margin."""
        margin = margin_of(account, self.markets)
        if margin.balance > margin.maintenance:
            return
        for order in list(account.open_orders.values()):
            self.cancel(order, at, "EC_NoError", "CancelAllBeforeLiq")
        for symbol, position in account.positions.items():
            if not position.lots:
                continue
            market = self.markets[symbol]
            number, order_id = self.new_order_id()
            order = Order(
                account=account.uid, number=number, order_id=order_id, link_id="", symbol=symbol, side=-position.side,
                kind="Market", ticks=market.mark, lots=abs(position.lots), tif="IOC", created_at=at, updated_at=at,
                reduce_only=True, create_type="CreateByTakeOver_PassThrough", last_on_created=market.last,
            )  # fmt: skip
            account.add(order)
            self._fill(account, order, market.mark, order.lots, False, at, "BustTrade")
        if account.wallet < 0:
            # The insurance fund takes what is below zero: a takeover ends at bankruptcy, never under it.
            last = account.fills[-1]
            missing, account.wallet = -account.wallet, 0
            self._log(account, last, "LIQUIDATION", cash_flow=missing, funding=0, fee=0)

    def restore_orders(self, orders: Iterable[Order]) -> None:
        """Orders of a store, in order of their number."""
        for order in orders:
            self.accounts[order.account].add(order)
            if order.status == "Untriggered":
                self.conditional[order.symbol].append(order)
            elif order.is_open:
                self.resting[order.symbol].append(order)


def protected(market: Market, side: int) -> int:
    """The limit price of a market order: mark moved by the symbol's price limit ratio X."""
    return market.instrument.ratio_ticks(market.mark, market.instrument.rules.price_limit_ratio_x, side)


__all__ = ["BookChange", "Counters", "Desk", "Touched", "protected"]
