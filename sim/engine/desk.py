"""The desk: owns markets, accounts and resting orders, lets them meet, and books what trades.

Everything that changed since it was last asked is kept in `touched`, by account: the exchange turns it into frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from libs.common.values import UNITS_PER_COIN
from sim.chance import identifier
from sim.engine import booking, crossing, liquidation, matching, stops
from sim.engine.account import Account
from sim.engine.book import walk
from sim.engine.margin import margin_of, spends, spot_free
from sim.engine.market import NS_PER_MS, Market
from sim.engine.orders import Entry, Fill, Order
from sim.engine.spot import Twin
from sim.prints import BookChange, MarketEvent, Print

UNFILLED = "EC_NoImmediateQtyToFill"
REMAINDER = "EC_CancelForNoFullFill"


class Touched(msgspec.Struct):
    """What changed for one account."""

    orders: dict[str, Order] = {}
    fills: list[Fill] = []
    entries: list[Entry] = []
    positions: dict[tuple[str, int], None] = {}
    wallet: bool = False


class Counters(msgspec.Struct):
    """Kept over restarts, so that no id is given twice."""

    orders: int = 0
    fills: int = 0
    entries: int = 0
    seq: int = 0
    insurance: int = 1_000_000 * UNITS_PER_COIN
    """The insurance fund, 1e-8 USDT."""


class Desk:
    def __init__(self, markets: dict[str, Market], incarnation: str, twins: Mapping[str, Twin] | None = None) -> None:
        self.markets = markets
        self.twins = twins or {}
        """Spot markets by the symbol of the perpetual they follow."""
        self.accounts: dict[str, Account] = {}
        self.incarnation = incarnation
        self.counters = Counters()
        self.resting: dict[str, list[Order]] = {symbol: [] for symbol in markets}
        self.conditional: dict[str, list[Order]] = {symbol: [] for symbol in markets}
        self.touched: dict[str, Touched] = {}
        self.pieces: Callable[[Order], list[int] | None] = _whole
        """Lots that an order may have filled after each step, when something makes it fill in steps."""
        self._steps: dict[str, list[int]] = {}

    # --- what an account may do -----------------------------------------------------------------------------------

    def new_order_id(self) -> tuple[int, str]:
        self.counters.orders += 1
        return self.counters.orders, identifier(self.incarnation, "order", self.counters.orders)

    def new_spot_id(self, at: int) -> tuple[int, str, str]:
        """(number, order id, order link id for who gave none): decimal numbers that rise with time, as spot has them."""
        self.counters.orders += 1
        serial = (at // NS_PER_MS << 20) + 2 * self.counters.orders % (1 << 20)
        return self.counters.orders, str(serial), str(serial + 1)

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
            self._enter(account, order, at)

    def execute(self, account: Account, order: Order, at: int) -> None:
        """An order of the exchange itself meets the book; `account` knows it already."""
        self._work(account, order, at)

    def cancel(self, order: Order, at: int, reject_reason: str, cancel_type: str = "UNKNOWN") -> None:
        """Close an open order; what it filled stays."""
        if order.status == "Untriggered":
            order.status = "Deactivated"
        else:
            order.status = "PartiallyFilledCanceled" if order.spot and order.cum_lots else "Cancelled"
        order.reject_reason, order.cancel_type, order.updated_at = reject_reason, cancel_type, at
        self.retire(order)

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
            self.retire(order)
        elif moved:
            if order in self.resting[order.symbol]:
                self.resting[order.symbol].remove(order)
            self._work(account, order, at)

    def touch(self, order: Order) -> None:
        """The order changed; its position is told with it, changed or not, as the exchange does."""
        touched = self.touched_of(order.account)
        touched.orders[order.order_id] = order
        if not order.spot:
            touched.positions[order.symbol, order.idx] = None

    def touch_account(self, account: Account) -> None:
        """Settings of the account changed: they are kept, nobody is told."""
        self.touched_of(account.uid)

    def touch_position(self, account: Account, symbol: str, idx: int = 0) -> None:
        self.touched_of(account.uid).positions[symbol, idx] = None

    # --- what the market does --------------------------------------------------------------------------------------

    def on_event(self, event: MarketEvent) -> None:
        """The tape says something of a perpetual; its spot market hears of it, too."""
        self._on_market(event)
        if self.twins and (twin := self.twins.get(event.symbol)) and (quote := twin.event(event)):
            self._on_market(quote)

    def see(self, event: MarketEvent) -> None:
        """The markets alone learn of it: nobody trades on it."""
        self.markets[event.symbol].take(event)
        if (twin := self.twins.get(event.symbol)) and (quote := twin.event(event)):
            twin.spot.take(quote)

    def _on_market(self, event: MarketEvent) -> None:
        market = self.markets[event.symbol]
        market.take(event)
        if self.resting[event.symbol]:
            self._meet(market, event)
        if self.conditional[event.symbol]:
            self._trigger(market, event.at)
        for account in self.accounts.values():
            if account.holds(event.symbol):
                liquidation.watch(self, account, event.at)

    # --- matching --------------------------------------------------------------------------------------------------

    def _enter(self, account: Account, order: Order, at: int) -> None:
        """An order is at the book for the first time; one that waited for its trigger has no steps before."""
        if (steps := self.pieces(order)) is not None:
            self._steps[order.order_id] = steps
        self._work(account, order, at)

    def _work(self, account: Account, order: Order, at: int) -> None:
        """An order arrives at the book (new, amended or triggered)."""
        book = self.markets[order.symbol].book
        if order.budget and not order.lots:
            order.lots = matching.affordable(book, order, self.markets[order.symbol].instrument.units)
        crosses = order.tif == "PostOnly" and (
            matching.crosses(book, order.side, order.ticks) or matching.opponents(self.resting[order.symbol], order)
        )
        if crosses:
            self.cancel(order, at, "EC_PostOnlyWillTakeLiquidity")
            return
        if order.reduce_only and not self.fits(account, order, at):
            return
        self.markets[order.symbol].touch(at)
        against = matching.opponents(self.resting[order.symbol], order)
        if against:
            crossing.trade(self, account, order, against, at)
            if not order.is_open and not order.cum_lots:
                return
        else:
            for ticks, lots in matching.take(book, order, order.ticks, self.room(order)):
                booking.fill(self, account, order, ticks, lots, False, at)
        if order.leaves and order.tif in ("IOC", "FOK") and len(self._steps.get(order.order_id, ())) > 1:
            pass  # the next step takes more
        elif order.is_open and (order.leaves or not order.lots) and order.tif in ("IOC", "FOK"):
            self.cancel(order, at, REMAINDER if order.cum_lots else UNFILLED)
        elif order.leaves:
            matching.join(book, order)
            self.resting[order.symbol].append(order)
        if order.cum_lots:
            self.after_fill(account, order, at)

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
            if not filled or (order.reduce_only and not self.fits(account, order, event.at)):
                continue
            if not (filled := min(filled, order.leaves, self.room(order))):
                continue
            booking.fill(self, account, order, order.ticks, filled, True, event.at)
            self.after_fill(account, order, event.at)

    def room(self, order: Order) -> int:
        """Lots that may fill now."""
        steps = self._steps.get(order.order_id)
        return order.leaves if steps is None else min(order.leaves, max(0, steps[0] - order.cum_lots))

    def proceed(self, order: Order, at: int, whole: bool) -> None:
        """The next step of an order that fills in steps; or all of it at its price, whatever the market has."""
        account = self.accounts[order.account]
        if whole:
            booking.fill(self, account, order, order.ticks, order.leaves, True, at)
            self.after_fill(account, order, at)
            return
        del self._steps[order.order_id][0]
        if order in self.resting[order.symbol]:
            self.resting[order.symbol].remove(order)
        self._work(account, order, at)

    def _trigger(self, market: Market, at: int) -> None:
        for order in list(self.conditional[market.instrument.symbol]):
            if order.trail:
                stops.trail(order, market.last)
            if not order.is_open or order.active or not matching.triggered(order, market.last, market.mark):
                continue
            self.conditional[order.symbol].remove(order)
            order.status, order.updated_at = "New", at
            if order.kind == "Market":
                order.ticks = protected(market, order.side)
            account = self.accounts[order.account]
            margin = margin_of(account, self.markets)
            self.touch(order)
            if order.spot:
                coin, amount = spends(order, market)
                short = amount > spot_free(account, coin, self.markets, but=order)
            else:
                short = not order.reduce_only and margin.initial > margin.balance
            if short:
                self.cancel(order, at, "EC_PerCancelRequest", "CancelByAdmin")
            else:
                self._enter(account, order, at)

    def fits(self, account: Account, order: Order, at: int) -> bool:
        """Cut a reduce-only order down to the position; without one it is cancelled."""
        position = account.position(order.symbol, order.idx)
        reducible = abs(position.lots) if position.side == -order.side else 0
        if not reducible:
            self.cancel(order, at, "EC_NoError", "CancelByReduceOnly")
            return False
        if order.leaves > reducible:
            order.lots = order.cum_lots + reducible
            self.touch(order)
        return True

    def after_fill(self, account: Account, order: Order, at: int) -> None:
        """Reduce-only orders and stops of the symbol follow the position."""
        if order.spot:
            return
        for other in list(account.open_orders.values()):
            if (
                other.symbol == order.symbol
                and other.idx == order.idx
                and other.reduce_only
                and other.status != "Untriggered"
            ):
                self.fits(account, other, at)
        stops.follow(self, account, order, at)

    def retire(self, order: Order) -> None:
        """An order that is closed leaves the books."""
        for orders in (self.resting[order.symbol], self.conditional[order.symbol]):
            if order in orders:
                orders.remove(order)
        self.markets[order.symbol].touch(order.updated_at)
        self._steps.pop(order.order_id, None)
        self.accounts[order.account].close(order)
        self.touch(order)

    def touched_of(self, uid: str) -> Touched:
        """What changed for an account since the exchange last asked."""
        touched = self.touched.get(uid)
        if touched is None:
            touched = self.touched[uid] = Touched()
        return touched

    def restore_orders(self, orders: Iterable[Order]) -> None:
        """Orders of a store, in order of their number."""
        for order in orders:
            self.accounts[order.account].add(order)
            if order.status == "Untriggered":
                self.conditional[order.symbol].append(order)
            elif order.is_open:
                self.resting[order.symbol].append(order)
                if order.tif in ("IOC", "FOK"):  # it filled in steps, and those are forgotten
                    self.cancel(order, order.updated_at, REMAINDER if order.cum_lots else UNFILLED)


def _whole(order: Order) -> None:
    """Orders fill as they meet the market."""


def protected(market: Market, side: int) -> int:
    """The limit price of a market order: mark moved by the symbol's price limit ratio X."""
    return market.instrument.ratio_ticks(market.mark, market.instrument.rules.price_limit_ratio_x, side)


__all__ = ["BookChange", "Counters", "Desk", "Touched", "protected"]
