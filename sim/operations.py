"""What an operator of the exchange can make happen: transfers, delistings, maintenance, wicks, deleveraging, and more.

    operations.apply({"do": "deposit", "amount": "500"})   # at once
    operations.schedule(at_ns, {"do": "wick", ...})        # when time gets there

An operation is one JSON object; `do` names it, the struct of that name below says what else it takes. What ends by itself
(a wick, a maintenance) schedules its own end, so a run is a function of tape, seed and operations with their instants.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Literal

import msgspec

from libs.common.errors import UsageError
from libs.common.values import LINEAR, symbol_of, to_units
from sim.chance import identifier
from sim.engine import booking, liquidation, settlement
from sim.engine.account import Account
from sim.engine.instruments import RATE_SCALE
from sim.engine.market import NS_PER_MS, Market
from sim.routes import trade
from sim.state import VenueState, Window
from sim.venue import Venue
from sim.wiretypes import RefusalError

SECOND_NS = 1_000_000_000
Answer = dict[str, Any]


class _Operation(msgspec.Struct, tag_field="do", forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class _OfAccount(_Operation, frozen=True, kw_only=True):
    account: str = ""
    """Empty: the first one."""


class _OfMarket(_Operation, frozen=True, kw_only=True):
    symbol: str
    category: Literal["linear", "spot"] = "linear"


class Deposit(_OfAccount, tag="deposit", frozen=True, kw_only=True):
    """Money comes in: wallet, and TRANSFER_IN in the transaction log."""

    amount: Decimal
    coin: str = "USDT"


class Withdraw(_OfAccount, tag="withdraw", frozen=True, kw_only=True):
    """Money leaves, at most what margin and open orders can spare."""

    amount: Decimal
    coin: str = "USDT"


class Order(_OfAccount, tag="order", frozen=True, kw_only=True):
    """An order that another client of the account places; `body` as for /v5/order/create."""

    body: dict[str, Any]


class Deleverage(_OfAccount, tag="adl", frozen=True, kw_only=True):
    """The account's position is closed against an opposite one, all of it or `qty`."""

    symbol: str
    qty: Decimal | None = None


class Instrument(_OfMarket, tag="instrument", frozen=True, kw_only=True):
    """New rules. Tick and lot must be multiples of the tape's own."""

    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    min_qty: Decimal | None = None
    min_notional: Decimal | None = None
    max_qty: Decimal | None = None
    max_market_qty: Decimal | None = None
    max_leverage: Decimal | None = None


class Status(_OfMarket, tag="status", frozen=True, kw_only=True):
    """The market's status. `refuse`: the retCode for orders that could grow a position, otherwise by status. Delivering ends
    `settle_after_s` later in a settlement at mark (or `price`): positions closed, market Closed."""

    status: Literal["PreLaunch", "Trading", "Delivering", "Closed"] = "Trading"
    refuse: Literal[0, 110023, 110042, 110063, 110066, 110074, 30228] = 0
    settle_after_s: int = 0


class Settle(_OfMarket, tag="settle", frozen=True, kw_only=True):
    """Positions are closed at mark or `price`, orders cancelled, the market is Closed."""

    price: Decimal | None = None


class Funding(_OfMarket, tag="funding", frozen=True, kw_only=True):
    """Rate of the next stamp, or how many minutes lie between two."""

    rate: Decimal | None = None
    interval_min: Literal[60, 120, 240, 480] | None = None


class Maintenance(_Operation, tag="maintenance", frozen=True, kw_only=True):
    """Services are down from `begin_in_s` on, for `for_s`."""

    for_s: int
    begin_in_s: int = 0
    title: str = "maintenance"
    services: tuple[Literal[1, 2, 3, 4, 5], ...] = (1, 2, 3, 4, 5)
    products: tuple[Literal[1, 2], ...] = (1, 2)
    kind: Literal[1, 2, 3] = 1


class Cancelled(_Operation, tag="maintenance-cancelled", frozen=True, kw_only=True):
    """A maintenance is called off."""

    id: str


class Wick(_OfMarket, tag="wick", frozen=True, kw_only=True):
    """Trades happen `shift` (a fraction) away from the tape's for `for_s`; mark and index do not follow."""

    shift: Decimal
    for_s: int = 0


class Mark(_OfMarket, tag="mark", frozen=True, kw_only=True):
    """Mark and index stand `shift` (a fraction) away from the trades for `for_s`; 0: until told otherwise."""

    shift: Decimal
    for_s: int = 0


class Depth(_OfMarket, tag="depth", frozen=True, kw_only=True):
    """Spread and depth in percent of what they would be, for `for_s`; 0: until told otherwise."""

    spread_percent: int = 100
    depth_percent: int = 100
    for_s: int = 0


class StatusChanged(_Operation, tag="window", frozen=True, kw_only=True):
    """Inside: a maintenance begins or ends now; its subscribers are told."""


ALL: tuple[type[_Operation], ...] = (
    Deposit, Withdraw, Order, Deleverage, Instrument, Status, Settle, Funding, Maintenance, Cancelled, Wick, Mark, Depth,
    StatusChanged,
)  # fmt: skip


class Operations:
    """See the module. `script`: operations with their instants (ns), known beforehand."""

    def __init__(self, venue: Venue, script: Iterable[tuple[int, Answer]] = ()) -> None:
        self._venue = venue
        self._number = self.applied = 0
        self.scheduled: list[tuple[int, int, Answer]] = []
        self.statuses_changed = False
        """A maintenance began, ended or was announced: the topic must say so."""
        for at, document in script:
            self.parse(document)
            self.schedule(at, document)

    def parse(self, document: Answer) -> _Operation:
        """The operation of a document. Raises UsageError: expected, was."""
        try:
            parsed: _Operation = msgspec.convert(document, type=_UNION, strict=False)
        except msgspec.ValidationError as error:
            names = ", ".join(str(kind.__struct_config__.tag) for kind in ALL[:-1])
            raise UsageError(
                f"operation: expected `do` to be one of {names} with its fields, was not: {error}"
            ) from error
        return parsed

    def schedule(self, at: int, document: Answer) -> None:
        """Do it when time has got there (ns)."""
        self._number += 1
        heapq.heappush(self.scheduled, (at, self._number, document))

    def due(self, at: int) -> bool:
        """Is something scheduled for `at` or before?"""
        return bool(self.scheduled) and self.scheduled[0][0] <= at

    def next(self) -> None:
        """Apply what is scheduled next, at its own instant; one that is refused by then changes nothing."""
        at, _, document = heapq.heappop(self.scheduled)
        self._venue.now = max(self._venue.now, at)
        try:
            self.apply(document)
        except UsageError:
            self.applied += 1

    def apply(self, document: Answer) -> Answer:
        """Do it now. Raises UsageError when it cannot be done; nothing is changed then."""
        operation = self.parse(document)
        answer = self._handlers()[type(operation)](operation)
        self.applied += 1
        return {"done": document.get("do"), "at": self._venue.now, **answer}

    def state(self) -> VenueState:
        """For a store."""
        venue = self._venue
        return VenueState(
            applied=self.applied, at=venue.now, markets={name: market.state for name, market in venue.markets.items()},
            windows=list(venue.windows), scheduled=[(at, document) for at, _, document in sorted(self.scheduled, key=_order)],
        )  # fmt: skip

    def restore(self, state: VenueState) -> None:
        """Take over what a store kept. What a script had for then is done or kept already."""
        for name, kept in state.markets.items():
            if name in self._venue.markets:
                self._venue.markets[name].apply(kept)
        self._venue.windows[:] = state.windows
        self.applied, self.scheduled = state.applied, []
        for at, document in state.scheduled:
            self.schedule(at, document)

    # --- one method an operation -------------------------------------------------------------------------------------

    def _handlers(self) -> dict[type[_Operation], Callable[[Any], Answer]]:
        return {
            Deposit: lambda o: self._move(o, 1), Withdraw: lambda o: self._move(o, -1), Order: self._order,
            Deleverage: self._deleverage, Instrument: self._instrument, Status: self._status, Settle: self._settle,
            Funding: self._funding, Maintenance: self._maintenance, Cancelled: self._cancelled, Wick: self._wick,
            Mark: self._mark, Depth: self._depth, StatusChanged: self._window,
        }  # fmt: skip

    def _account(self, name: str) -> Account:
        accounts = self._venue.desk.accounts
        found = accounts.get(name or next(iter(accounts)))
        if found is None:
            raise UsageError(f"operation: expected account to be one of {', '.join(accounts)}, was {name}")
        return found

    def _market(self, symbol: str, category: str = LINEAR) -> Market:
        market = self._venue.markets.get(symbol_of(symbol, category))
        if market is None:
            raise UsageError(f"operation: expected a symbol of category {category}, was {symbol}")
        return market

    def _changed(self, market: Market, **changes: Any) -> None:
        market.apply(msgspec.structs.replace(market.state, **changes))

    def _later(self, seconds: int, document: Answer) -> None:
        if seconds > 0:
            self.schedule(self._venue.now + seconds * SECOND_NS, document)

    def _move(self, wanted: Deposit | Withdraw, way: int) -> Answer:
        account, amount = self._account(wanted.account), to_units(wanted.amount)
        if amount <= 0:
            raise UsageError(f"operation: expected an amount > 0, was {wanted.amount}")
        if way < 0:
            spare = settlement.spare(account, wanted.coin, self._venue.markets)
            if amount > spare:
                raise UsageError(f"operation: expected at most {spare / RATE_SCALE} {wanted.coin}, was {wanted.amount}")
        booking.transfer(self._venue.desk, account, wanted.coin, way * amount, self._venue.now)
        return {"balance": str(Decimal(account.balance(wanted.coin)) / RATE_SCALE)}

    def _order(self, wanted: Order) -> Answer:
        account = self._account(wanted.account)
        try:
            return {"result": trade.create(self._venue, account, wanted.body)}
        except RefusalError as error:
            raise UsageError(f"operation: the exchange refused the order with {error.code}: {error.message}") from error

    def _deleverage(self, wanted: Deleverage) -> Answer:
        market, account = self._market(wanted.symbol), self._account(wanted.account)
        lots = market.instrument.whole_lots(wanted.qty) if wanted.qty is not None else 0
        closed = liquidation.deleverage(self._venue.desk, account, market, lots, self._venue.now)
        if not closed:
            raise UsageError(f"operation: expected a position of {account.uid} in {wanted.symbol}, there is none")
        return {"qty": market.instrument.plain_qty(closed)}

    def _instrument(self, wanted: Instrument) -> Answer:
        market = self._market(wanted.symbol, wanted.category)
        fields = ("tick_size", "lot_size", "min_qty", "min_notional", "max_qty", "max_market_qty", "max_leverage")
        told = {name: value for name in fields if (value := getattr(wanted, name)) is not None}
        self._changed(market, rules=msgspec.structs.replace(market.instrument.rules, **told))
        return {"instrument": market.instrument.row()}

    def _status(self, wanted: Status) -> Answer:
        market = self._market(wanted.symbol, wanted.category)
        delivery_ms = 0
        if wanted.settle_after_s:
            delivery_ms = self._venue.now // NS_PER_MS + wanted.settle_after_s * 1000
            self._later(wanted.settle_after_s, {"do": "settle", "symbol": wanted.symbol, "category": wanted.category})
        self._changed(market, status=wanted.status, refusal=wanted.refuse, delivery_ms=delivery_ms)
        return {"status": wanted.status}

    def _settle(self, wanted: Settle) -> Answer:
        market = self._market(wanted.symbol, wanted.category)
        ticks = market.instrument.grid.ticks(wanted.price) if wanted.price is not None else market.mark
        settlement.settle(self._venue.desk, market, ticks, self._venue.now)
        self._changed(market, status="Closed", delivery_ms=self._venue.now // NS_PER_MS)
        return {"price": market.instrument.price_text(ticks)}

    def _funding(self, wanted: Funding) -> Answer:
        market = self._market(wanted.symbol)
        if wanted.interval_min is not None:
            rules = msgspec.structs.replace(market.instrument.rules, funding_interval_min=wanted.interval_min)
            self._changed(market, rules=rules)
        stamp = market.next_funding_ms(self._venue.now)
        if wanted.rate is not None:
            past = self._venue.now // NS_PER_MS - 40 * 86_400_000
            rates = {ms: rate for ms, rate in market.state.rates.items() if ms > past}
            self._changed(market, rates=rates | {stamp: int(wanted.rate * RATE_SCALE)})
        return {"next_funding_ms": stamp, "rate": str(Decimal(market.funding_e8(stamp)) / RATE_SCALE)}

    def _maintenance(self, wanted: Maintenance) -> Answer:
        if wanted.for_s <= 0 or wanted.begin_in_s < 0:
            raise UsageError("operation: expected for_s > 0 and begin_in_s >= 0")
        venue = self._venue
        begin = venue.now + wanted.begin_in_s * SECOND_NS
        window = Window(
            id=identifier(venue.incarnation, "maintenance", self.applied), title=wanted.title, begin=begin,
            end=begin + wanted.for_s * SECOND_NS, services=wanted.services, products=wanted.products, kind=wanted.kind,
        )  # fmt: skip
        venue.windows.append(window)
        for at in (window.begin, window.end):
            if at > venue.now:
                self.schedule(at, {"do": "window"})
        self.statuses_changed = True
        return {"id": window.id}

    def _cancelled(self, wanted: Cancelled) -> Answer:
        windows = self._venue.windows
        for place, window in enumerate(windows):
            if window.id == wanted.id:
                windows[place] = msgspec.structs.replace(window, canceled=True)
                self.statuses_changed = True
                return {}
        raise UsageError(f"operation: expected the id of a maintenance, was {wanted.id}")

    def _window(self, wanted: StatusChanged) -> Answer:
        self.statuses_changed = True
        return {}

    def _wick(self, wanted: Wick) -> Answer:
        return self._shifted(wanted, "wick", "wick_e8")

    def _mark(self, wanted: Mark) -> Answer:
        return self._shifted(wanted, "mark", "mark_e8")

    def _shifted(self, wanted: Wick | Mark, name: str, field: str) -> Answer:
        if not Decimal(-1) < wanted.shift <= 10:
            raise UsageError(f"operation: expected a shift above -1 and up to 10, was {wanted.shift}")
        market = self._market(wanted.symbol, wanted.category)
        self._changed(market, **{field: int(wanted.shift * RATE_SCALE)})
        self._later(wanted.for_s, {"do": name, "symbol": wanted.symbol, "category": wanted.category, "shift": 0})
        return {}

    def _depth(self, wanted: Depth) -> Answer:
        if wanted.spread_percent < 100 or wanted.depth_percent < 1:
            raise UsageError("operation: expected spread_percent >= 100 and depth_percent >= 1")
        market = self._market(wanted.symbol, wanted.category)
        self._changed(market, spread_percent=wanted.spread_percent, depth_percent=wanted.depth_percent)
        self._later(wanted.for_s, {"do": "depth", "symbol": wanted.symbol, "category": wanted.category})
        return {}


def _order(item: tuple[int, int, Answer]) -> tuple[int, int]:
    return item[:2]


_UNION: Any = ALL[0]
for _kind in ALL[1:]:
    _UNION = _UNION | _kind
