"""What came from the exchange, taken into the state: replies by what was asked, frames by topic.

Nothing here yields events. It updates what the venue told and collects in `News` what the core must look at next.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.bybit import rest, wire
from libs.bybit.errors import API_ERRORS, MAYBE_PLACED, REFUSED_UNREAD, Outcome
from libs.common.events import VenueMessage
from libs.common.values import category_of
from services.execution import approvals, pursuit, reconcile, terms, vitals
from services.execution.calls import TRADE, Kind, Pending
from services.execution.config import ExecutionConfig
from services.execution.orders import Order, OrderState, learn, prove
from services.execution.state import State, Stop, forget

MS = 1_000_000
KEEP_STOPS = 1_000
MOST_TRIES = 5
"""Of a cancel or an exit whose stamp or key is refused; anything else is tried twice."""
SHORT_SILENCE_MS = 1_000
"""The driver was silent before we were told: look again after this."""


class News:
    """What one message brought, for `decide`; lives no longer than that."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        """Orders of ours it said something about, by link id."""
        self.executions: list[wire.Execution] = []
        self.foreign: list[wire.Order] = []
        self.round_done = False


def take(state: State, config: ExecutionConfig, body: VenueMessage) -> News:
    """Learn one message."""
    news = News()
    match body.channel:
        case "private":
            _frame(state, config, body, news)
        case "reply" | "lost" | "unsent":
            pending = state.calls.answered(body.request)
            if pending is not None:
                _answer(state, config, pending, body, news)
        case "connected":
            state.connected, state.connected_at = True, state.now
            terms.connected(state)
            reconcile.hurry(state)
        case "disconnected":
            state.connected = False
        case "trade-connected" | "trade-disconnected":
            state.calls.trade_open = body.channel == "trade-connected"
        case "key":
            terms.changed_key(state)
            reconcile.hurry(state)
    return news


# --- frames -----------------------------------------------------------------------------------------------------------


def _frame(state: State, config: ExecutionConfig, body: VenueMessage, news: News) -> None:
    categories = {category_of(symbol) for symbol in config.symbols}
    try:
        frame = wire.frame_of(body.payload)
        topic = frame.topic.partition(".")[0]
        if topic == "order":
            for order_row in wire.decode(list[wire.OrderRow], frame.data):
                if order_row.category in categories:
                    see_order(state, config, wire.order_of(order_row), frame.sent_ms, news)
        elif topic == "execution":
            for row in wire.decode(list[wire.ExecutionRow], frame.data):
                if row.category in categories:
                    see_execution(state, wire.execution_of(row), frame.sent_ms, news)
        # position and wallet frames race with executions: the poll compares both instead.
    except msgspec.DecodeError:
        # A frame that we cannot read may hide a fill: look at everything soon.
        reconcile.hurry(state)


def see_order(state: State, config: ExecutionConfig, told: wire.Order, sent_ms: int, news: News) -> None:
    """An order as the venue tells it: ours, a stop of ours, the watchdog's, the venue's, or a stranger's."""
    order = state.find(told.link_id) if told.link_id else None
    if order is not None:
        learn(order, told, _proof_ms(state, order, sent_ms))
        news.orders[order.link_id] = order
        if order.fills_missing and not order.lookup_at:
            order.lookup_at = state.now + config.retry_ms * MS
        if order.state is OrderState.DEAD and not told.closed:
            # It arrived after the last instant at which it could: nobody wants it any more.
            pursuit.send_cancel(state, config, order)
        return
    if told.attached_stop:
        _remember_stop(state, told.order_id, told.symbol, told.parent_link_id, told.qty)
        return
    is_nobodys = told.is_venues or told.link_id.startswith(config.watchdog_prefix)
    if not is_nobodys and told.link_id not in state.used and told.order_id not in state.foreign:
        news.foreign.append(told)


def _remember_stop(state: State, order_id: str, symbol: str, parent_id: str, qty: Decimal) -> None:
    """The attached stop with this venue id; without a named parent it belongs to the last entry of the symbol."""
    if order_id not in state.stops:
        parent = state.find(parent_id or state.entries.get(symbol, ""))
        link_id = f"{parent.link_id}-sl" if parent is not None else f"stop-{order_id}"[:36]
        state.stops[order_id] = Stop(link_id, parent.strategy if parent is not None else "", qty)
        forget(state.stops, KEEP_STOPS)


def see_execution(state: State, done: wire.Execution, sent_ms: int, news: News) -> None:
    """An execution; the same one may come from the stream and from any query."""
    if state.is_booked(done.exec_id, done.exec_ms):
        return
    news.executions.append(done)
    order = state.find(done.link_id) if done.link_id else None
    if order is not None:
        prove(order, done.order_id, _proof_ms(state, order, sent_ms))
        news.orders[order.link_id] = order
    elif done.stop_type in wire.STOP_TYPES:
        _remember_stop(state, done.order_id, done.symbol, "", Decimal(0))


def _proof_ms(state: State, order: Order, sent_ms: int) -> int:
    """Submit to proof. Tape time moves in windows, so there the venue's own stamp is finer; in realtime our clock counts."""
    if state.instants:
        return sent_ms - order.submitted_at // MS
    return (state.now - order.submitted_at) // MS


# --- answers ----------------------------------------------------------------------------------------------------------


def _answer(state: State, config: ExecutionConfig, pending: Pending, body: VenueMessage, news: News) -> None:
    reply = rest.reply_of(body.status, body.payload) if body.channel == "reply" else None
    if body.channel == "unsent":
        _stayed(state, body.payload)
    elif pending.request.method != "WS":
        failed = reply is None or (reply.outcome in API_ERRORS and pending.endpoint not in rest.OPTIONAL)
        vitals.count(state.vitals, state.now, error=failed)
    if reply is not None and pending.request.method != "WS":
        _steer(state, pending, reply, body.headers)
    if _may_go_again(state, pending, body, reply):
        number = state.calls.again(pending, state.now)
        reconcile.renumbered(state, pending.request.number, number)
        return
    try:
        match pending.kind:
            case Kind.CREATE:
                _created(state, pending, body, reply, news)
            case Kind.CANCEL | Kind.AMEND:
                _changed(state, config, pending, body, reply)
            case Kind.LOOKUP:
                _looked_up(state, config, pending, reply, news)
            case Kind.SETUP | Kind.KEY | Kind.FEES | Kind.DCP:
                terms.answered(state, config, pending, reply)
            case Kind.STREAM:
                pass  # the next `connected` tells
            case _:
                reconcile.polled(state, config, pending, reply, body)
    except msgspec.DecodeError:
        # Not the shape we know: as good as no answer.
        _unreadable(state, config, pending)
    news.round_done = reconcile.finished(state)
    if news.round_done and state.reconciliation.round is not None:
        _compare_round(state, config, news)


def _stayed(state: State, why: str) -> None:
    """The driver did not send it, and knows better than we did why nothing can go that way now."""
    if why == rest.UNSENT_NO_SOCKET:
        state.calls.trade_open = False
    elif why == rest.UNSENT_SILENT and not state.calls.budgets.silent_ms(state.now):
        state.calls.budgets.silence(state.now, SHORT_SILENCE_MS)


def _steer(state: State, pending: Pending, reply: rest.Reply, headers: dict[str, str]) -> None:
    budgets, endpoint = state.calls.budgets, pending.endpoint
    if reply.outcome is Outcome.IP_LIMIT and pending.request.transport != TRADE:
        budgets.silence(state.now)
    elif reply.outcome in (Outcome.RATE_LIMIT, Outcome.IP_LIMIT):
        budgets.refuse(endpoint, state.now, headers, reply.time_ms)
    else:
        budgets.learn(endpoint, state.now, headers, reply.time_ms)


def _may_go_again(state: State, pending: Pending, body: VenueMessage, reply: rest.Reply | None) -> bool:
    """Whether the same content goes once more: it was certainly not looked at, and what was wrong is mended."""
    if pending.expires_at and state.now >= pending.expires_at:
        return False
    if reply is None:
        # It never left for want of a way: an order that reduces risk waits for one.
        return body.channel == "unsent" and body.payload != "" and pending.kind is Kind.CREATE and pending.urgent
    if reply.outcome is Outcome.CLOCK or (reply.outcome is Outcome.AUTH and rest.KEY_CHANGED_HEADER in body.headers):
        # Another stamp, or another key. An entry goes only as long as nothing has halted meanwhile.
        return not pending.again and (
            pending.kind is not Kind.CREATE or pending.urgent or _still_wanted(state, pending)
        )
    return reply.outcome in REFUSED_UNREAD and pending.kind is Kind.CREATE and pending.urgent


def _still_wanted(state: State, pending: Pending) -> bool:
    order = state.orders.get(pending.key)
    return order is not None and not any(scope in state.halted for scope in approvals.scopes(order))


def _created(state: State, pending: Pending, body: VenueMessage, reply: rest.Reply | None, news: News) -> None:
    """A good ack proves nothing; a refusal is final unless the stream has shown the order already."""
    order = state.orders.get(pending.key)
    if order is None:
        return
    news.orders[order.link_id] = order
    if body.channel == "unsent":
        order.refusal = "RATE_LIMIT" if body.payload else "EXPIRED"
    elif reply is None:
        order.doubt = "lost"
    elif reply.outcome in MAYBE_PLACED:
        order.doubt = f"{reply.outcome.value} {reply.code if reply.code is not None else body.status}"
    elif not reply.ok:
        order.refusal, order.refusal_code = reply.message or reply.outcome.value, reply.code or 0


def _changed(
    state: State, config: ExecutionConfig, pending: Pending, body: VenueMessage, reply: rest.Reply | None
) -> None:
    """A cancel or amend was answered. Whatever it says, the order's end shows on the stream or in a lookup."""
    order = state.orders.get(pending.key)
    if order is None:
        return
    unread = body.channel == "unsent" or (reply is not None and reply.outcome in REFUSED_UNREAD)
    # What nobody read goes again as soon as its budget and a way allow.
    order.cancel_at = state.now if unread else state.now + config.retry_ms * MS
    if not unread and (reply is None or not reply.ok):
        order.lookup_at = order.lookup_at or state.now


def _looked_up(state: State, config: ExecutionConfig, pending: Pending, reply: rest.Reply | None, news: News) -> None:
    order = state.find(pending.key)
    if order is None:
        return
    step, order.lookup_step = order.lookup_step, 0
    if reply is None or not reply.ok:
        order.lookup_at = state.now + config.retry_ms * MS
        return
    page = rest.page_of(reply.result)
    found = 0
    if step == 3:
        rows = [row for row in rest.executions_of(page) if row.link_id == order.link_id]
        found = len(rows)
        for done in sorted(rows, key=lambda row: (row.exec_ms, row.seq, row.exec_id)):
            see_execution(state, done, done.exec_ms, news)
    else:
        for told in rest.orders_of(page):
            if told.link_id == order.link_id:
                found += 1
                learn(order, told, _proof_ms(state, order, told.updated_ms))
    news.orders[order.link_id] = order
    _next_step(state, config, order, step, found > 0)


def _next_step(state: State, config: ExecutionConfig, order: Order, step: int, found: bool) -> None:
    """Realtime, history, executions; then again later, or the order is dead."""
    if step == 3:
        unsettled = order.fills_missing or order.state is OrderState.UNKNOWN
        order.lookup_at = state.now + config.retry_ms * MS if unsettled else 0
        deadline = order.unknown_at + (config.recv_window_ms + config.dead_after_ms) * MS
        order.absent = order.state is OrderState.UNKNOWN and not order.proved and order.lookup_from >= deadline
    elif not found or order.fills_missing:
        # Where the row is, fills may still be missing: the executions tell.
        pursuit.look_up(state, order, 3 if found else step + 1)
    else:
        order.lookup_at = 0


def _unreadable(state: State, config: ExecutionConfig, pending: Pending) -> None:
    order = state.orders.get(pending.key)
    if order is not None:
        order.lookup_step, order.lookup_at = 0, state.now + config.retry_ms * MS
    if state.reconciliation.round is not None:
        state.reconciliation.round.failed = True


def _compare_round(state: State, config: ExecutionConfig, news: News) -> None:
    """A complete poll: its rows are seen like frames, so that what the stream lost is healed here."""
    current = state.reconciliation.round
    if current is None:
        return
    reconcile.watch_stream(state, current)
    for told in current.orders:
        see_order(state, config, told, told.updated_ms, news)
    for done in sorted(current.executions, key=lambda row: (row.exec_ms, row.seq, row.exec_id)):
        see_execution(state, done, done.exec_ms, news)
