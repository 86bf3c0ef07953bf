"""Execution's core: verified approvals become orders, and what the exchange says becomes facts. Pure; see decider.Core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from libs.bybit.limits import CREATE
from libs.common import seal
from libs.common.decider import Core, Linked, Request
from libs.common.events import (
    AccountSnapshot,
    AmendIntent,
    CancelIntent,
    CashMoved,
    Event,
    FeeDiffers,
    Fill,
    FlatConfirmed,
    ForeignOrder,
    FundingPaid,
    Halted,
    Heartbeat,
    Instant,
    InstrumentDefined,
    Mismatch,
    Mode,
    ModeChanged,
    OrderAccepted,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    OrderUnknown,
    PositionAdjusted,
    Purpose,
    Reconciled,
    Resumed,
    VenueMessage,
)
from libs.common.record import Record, Started, Timer
from libs.common.streams import outputs_of
from services.execution import approvals, facts, inbound, pursuit, reconcile, terms, vitals
from services.execution.calls import Kind
from services.execution.config import ExecutionConfig, tradable
from services.execution.inbound import News
from services.execution.orders import Order, next_event
from services.execution.state import KEEP_IDS, State, forget

MS = 1_000_000
OWN = frozenset(outputs_of("execution")) - {"venue"}
"""Streams of our outputs; messages of the venue are inputs, although we record them."""
TIMELESS = OWN | {"halt", "order-intent"}
"""Streams whose `at` may be an operator's: what follows from his command bears the moment that he gave it. Our own time comes from
timers, instants and the exchange, so that no clock but ours makes an exit expire."""
BOOK = "book"
CLOSED_MODES = (Mode.HALTED, Mode.LIQUIDATING)
DUPLICATE = "DUPLICATE"
RATE_LIMIT = "RATE_LIMIT"
MOST_WAITING = 32
"""Entries that may wait for their rate budget; more would expire before their turn."""
HALTED = "HALTED"

Output = Event | Linked


class ExecutionCore(Core):
    """Reads order-intent, halt, instrument, clock and what the exchange says; writes order, fill, account, health."""

    service = "execution"
    State = State

    def __init__(self, config: ExecutionConfig) -> None:
        self.config = config
        self.state: State = State()
        self._news = News()
        self._checked: tuple[OrderIntent, int, approvals.VerifiedIntent | None] | None = None

    # --- the contract ---------------------------------------------------------------------------------------------

    def evolve(self, record: Record) -> None:
        body, state = record.body, self.state
        if isinstance(body, OrderIntent):
            return  # decided before it is learnt: everything it leads to is in OrderSubmitted
        if record.stream not in TIMELESS:
            state.now = max(state.now, record.at)
        if record.stream not in OWN:
            self._news = News()
        state.ledger.apply(record)
        match body:
            case VenueMessage():
                self._news = inbound.take(state, self.config, body)
                state.calls.release(state.now)
            case Instant() | Timer():
                self._pass_time(tape=isinstance(body, Instant))
            case Started():
                self._start()
            case Halted() | ModeChanged() | Resumed():
                self._change_mode(record)
            case CancelIntent():
                self._cancel(body)
            case AmendIntent():
                self._amend(body, record.at)
            case InstrumentDefined():
                state.coins.define(body)
            case _:
                self._learn_own(record)

    def decide(self, record: Record) -> Iterator[Output]:
        body = record.body
        if isinstance(body, OrderIntent):
            yield self._answer(body, record.at)
            return
        yield from self._report(self._news)
        timed = isinstance(body, Instant | Timer)
        if (timed or isinstance(body, VenueMessage)) and vitals.due(
            self.state, self.config.heartbeat_every_ms, timed=timed
        ):
            yield vitals.heartbeat(self.state, self.config)

    def guards(self, record: Record) -> tuple[str, ...]:
        """Entries need an open gate. One that would be turned down anyway needs none: its answer is a refusal."""
        body = record.body
        if not isinstance(body, OrderIntent) or body.purpose is not Purpose.ENTRY:
            return ()
        return () if self._refusal(body, record.at) else approvals.scopes(body)

    def refused(self, record: Record) -> Iterator[Output]:
        body = record.body
        if isinstance(body, OrderIntent):
            yield OrderRejected(order_link_id=body.order_link_id, symbol=body.symbol, reason=HALTED)

    def requests(self) -> list[Request]:
        return self.state.calls.requests()

    def calls(self, outputs: list[Record]) -> int:
        """Creates that evolving these outputs would release at once."""
        submitted = [r for r in outputs if isinstance(r.body, OrderSubmitted)]
        calls, now = self.state.calls, self.state.now
        return sum(bool(calls.way(CREATE, max(now, r.at), _is_urgent(r.body))) for r in submitted)

    def expired(self, number: int, now: int) -> bool:
        """Whether a request must not be sent any more at `now` (ns); asked by the shell just before sending."""
        pending = self.state.calls.pending.get(number)
        return pending is not None and 0 < pending.expires_at <= now

    # --- approvals ------------------------------------------------------------------------------------------------

    def _answer(self, intent: OrderIntent, at: int) -> Event:
        reason = self._refusal(intent, at)
        approval = None if reason else self._verified(intent, at)
        if approval is None:
            reason = reason or seal.BAD_SEAL
            return OrderRejected(order_link_id=intent.order_link_id, symbol=intent.symbol, reason=reason)
        grid = self.state.ledger.grids.get(intent.symbol) if self.config.attach_stops else None
        return approvals.submission(approval, grid)

    def _refusal(self, intent: OrderIntent, at: int) -> str:
        """Why an approval made `at` becomes no order; "" when it may. What costs most, the seal, is looked at last."""
        now = max(self.state.now, at)
        if intent.order_link_id in self.state.used:
            return DUPLICATE
        if reason := approvals.terms_refusal(self.config, self.state.epoch, intent, at, now):
            return reason
        if not tradable(intent.symbol):
            return "UNSUPPORTED"
        if intent.purpose is Purpose.ENTRY:
            reason = self._entry_refusal(intent, now)
        else:
            reason = "" if approvals.reduces(intent) else "NOT_REDUCE_ONLY"
        return reason or ("" if self._verified(intent, at) is not None else seal.BAD_SEAL)

    def _entry_refusal(self, intent: OrderIntent, now: int) -> str:
        calls = self.state.calls
        if calls.budgets.silent_ms(now) or calls.waiting_entries() >= MOST_WAITING:
            return RATE_LIMIT
        modes = [self.state.halted[scope] for scope in approvals.scopes(intent) if scope in self.state.halted]
        return "" if not modes else HALTED if any(mode in CLOSED_MODES for mode in modes) else modes[0].value

    def _verified(self, intent: OrderIntent, at: int) -> approvals.VerifiedIntent | None:
        """The seal is checked once an approval, although its guards and its answer both ask."""
        if self._checked is None or self._checked[0] is not intent or self._checked[1] != at:
            self._checked = (intent, at, approvals.verified(self.config, intent, at))
        return self._checked[2]

    # --- learning inputs --------------------------------------------------------------------------------------------

    def _start(self) -> None:
        state = self.state
        if not state.reconciliation.born_ms:
            state.reconciliation.born_ms = state.reconciliation.known_ms = state.now // MS
        state.reconciliation.round = None
        reconcile.begin(state, self.config)

    def _pass_time(self, *, tape: bool) -> None:
        state = self.state
        state.instants += tape
        for order in pursuit.on_time(state, self.config):
            self._news.orders[order.link_id] = order
        reconcile.begin_if_due(state, self.config, tape=tape)
        state.calls.release(state.now)

    def _change_mode(self, record: Record) -> None:
        """Follow what the halt's own commit wrote to the gate: a scope is open in NORMAL alone."""
        body, halted = record.body, self.state.halted
        match body:
            case Halted(scope=scope, mode=mode) | ModeChanged(scope=scope, new=mode) | Resumed(scope=scope, mode=mode):
                pass
            case _:
                return
        if mode is Mode.NORMAL:
            halted.pop(scope, None)
        else:
            halted[scope] = mode
        # A halt on top of a liquidation does not end it; only a change of mode does.
        if mode is Mode.LIQUIDATING or not isinstance(body, Halted):
            self._want_flat(scope, mode)
        if isinstance(body, Halted) or mode in CLOSED_MODES:
            for order in pursuit.resting_entries(self.state, scope):
                self._drop(order, HALTED)

    def _want_flat(self, scope: str, mode: Mode) -> None:
        our = self.state.reconciliation
        if scope != BOOK:
            return
        wanted = mode is Mode.LIQUIDATING
        if wanted and not our.flat_wanted:
            our.flat_after = our.rounds
            reconcile.hurry(self.state)
        our.flat_wanted = wanted

    def _cancel(self, body: CancelIntent) -> None:
        if body.order_link_id:
            order = self.state.orders.get(body.order_link_id)
            if order is not None:
                self._drop(order, body.reason or "CANCELLED")
            return
        scope = f"symbol:{body.symbol}" if body.symbol else BOOK
        for order in pursuit.resting_entries(self.state, scope):
            self._drop(order, body.reason or "CANCELLED")

    def _drop(self, order: Order, reason: str) -> None:
        pursuit.cancel(self.state, self.config, order, reason)
        self._news.orders[order.link_id] = order

    def _amend(self, body: AmendIntent, at: int) -> None:
        """Only what was sealed, in time; while a scope is not NORMAL no entry changes."""
        state, order = self.state, self.state.orders.get(body.order_link_id)
        if order is None or order.venue_final or order.symbol != body.symbol:
            return
        if order.purpose is Purpose.ENTRY and any(scope in state.halted for scope in approvals.scopes(order)):
            return
        call = approvals.amend_call(self.config, state.epoch, body, at, state.now)
        if call is not None:
            state.calls.add(Kind.AMEND, call, order.link_id, state.now)

    # --- learning our own events --------------------------------------------------------------------------------------

    def _learn_own(self, record: Record) -> None:
        body, state = record.body, self.state
        match body:
            case OrderSubmitted():
                state.submit(body, record)
                state.epoch = max(state.epoch, body.epoch)
                call = approvals.create_call(body)
                state.calls.add(
                    Kind.CREATE,
                    call,
                    body.order_link_id,
                    state.now,
                    urgent=_is_urgent(body),
                    expires_at=body.expires_at,
                )
            case OrderRejected(reason=reason, order_link_id=link_id):
                if reason != DUPLICATE:  # that one is about the approval, not about the order which bears the id
                    state.use(link_id)
                    state.advance(link_id, body, record.at)
            case OrderAccepted():
                vitals.acknowledged(state.vitals, body.ack_ms)
                state.advance(body.order_link_id, body, record.at)
            case OrderCancelled() | OrderUnknown() | OrderResolved():
                state.advance(body.order_link_id, body, record.at)
            case Fill():
                state.fill(body)
            case FundingPaid() | PositionAdjusted():
                state.booked(body)
            case ForeignOrder():
                state.foreign[body.order_id] = record.at
                forget(state.foreign, KEEP_IDS)
            case AccountSnapshot() | CashMoved() | Mismatch() | Reconciled() | FlatConfirmed():
                reconcile.learn(state, self.config, body)
            case FeeDiffers():
                terms.learn_alarm(state, body)
            case Heartbeat():
                vitals.told(state, body, record.at, self.config.heartbeat_every_ms)

    # --- saying what follows --------------------------------------------------------------------------------------------

    def _report(self, news: News) -> Iterator[Output]:
        yield from self._judge(news.orders.values())
        for done in news.executions:
            if not self.state.is_booked(done.exec_id, done.exec_ms):
                yield from facts.of_execution(self.state, self.config, done)
        yield from self._judge(news.orders.values())
        for told in news.foreign:
            if told.order_id not in self.state.foreign:
                yield facts.foreign(told)
        if news.round_done:
            yield from reconcile.verdict(self.state, self.config)

    def _judge(self, orders: Iterable[Order]) -> Iterator[Output]:
        for order in orders:
            while (event := next_event(order)) is not None:
                yield facts.linked(event, order)


def _is_urgent(body: Event) -> bool:
    """Exits may use the whole create budget, entries leave a share of it for them."""
    return isinstance(body, OrderSubmitted) and body.purpose is not Purpose.ENTRY
