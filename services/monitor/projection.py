"""How each event changes the read model: one function per type, found through `LEARN`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from libs.common import events as e
from libs.common.record import Record
from libs.common.seal import FORGERIES
from services.monitor.view import (
    RECENT,
    TERMINAL,
    ZERO,
    Alert,
    Book,
    Halt,
    Model,
    Order,
    OrderStatus,
    Service,
    Signal,
    State,
    Symbol,
)


def _tick(state: State, record: Record, body: e.Tick) -> None:
    symbol = _symbol(state, body.symbol)
    symbol.last, symbol.tick_at = body.last, record.at
    symbol.bid = body.bids[0][0] if body.bids else ZERO
    symbol.ask = body.asks[0][0] if body.asks else ZERO


def _feed_down(state: State, _record: Record, body: e.FeedDown) -> None:
    _symbol(state, body.symbol).down = body.reason or "down"


def _feed_up(state: State, _record: Record, body: e.FeedUp) -> None:
    _symbol(state, body.symbol).down = ""


def _data_rejected(state: State, _record: Record, body: e.DataRejected) -> None:
    _count(_symbol(state, body.symbol).rejected, body.kind.value)


def _reference(state: State, _record: Record, body: e.Reference) -> None:
    symbol = _symbol(state, body.symbol)
    symbol.mark, symbol.index, symbol.funding_rate = body.mark, body.index, body.funding_rate


def _signal(state: State, record: Record, body: e.Signal) -> None:
    name = f"{body.strategy}|{body.symbol}"
    state.signals[name] = Signal(body.strategy, body.symbol, body.target, body.score, record.at)
    _count(state.counters.signals, body.strategy)


def _order_intent(state: State, record: Record, body: e.OrderIntent) -> None:
    _open(state, record, body, OrderStatus.APPROVED)


def _order_submitted(state: State, record: Record, body: e.OrderSubmitted) -> None:
    _open(state, record, body, OrderStatus.SUBMITTED)
    _count(state.counters.outcomes, "submitted")


def _open(state: State, record: Record, body: e.OrderIntent | e.OrderSubmitted, status: OrderStatus) -> None:
    state.orders[body.order_link_id] = Order(
        body.order_link_id,
        body.strategy,
        body.symbol,
        body.side,
        body.qty,
        body.price,
        body.purpose,
        status,
        body.expires_at,
        record.at,
    )


def _order_refused(state: State, _record: Record, body: e.OrderRefused) -> None:
    _count(state.counters.refusals, body.reason.value)


def _order_accepted(state: State, record: Record, body: e.OrderAccepted) -> None:
    _change(state, record, body.order_link_id, OrderStatus.ACCEPTED)
    _count(state.counters.outcomes, "accepted")


def _order_rejected(state: State, record: Record, body: e.OrderRejected) -> None:
    _change(state, record, body.order_link_id, OrderStatus.REJECTED, body.reason)
    if body.reason in FORGERIES:
        _count(state.counters.forgeries, body.reason)
        state.forged_at, state.forged = record.at, f"{body.order_link_id} ({body.reason})"
    _count(state.counters.outcomes, "rejected")


def _order_cancelled(state: State, record: Record, body: e.OrderCancelled) -> None:
    _change(state, record, body.order_link_id, OrderStatus.CANCELLED, body.reason)
    _count(state.counters.outcomes, "cancelled")


def _order_unknown(state: State, record: Record, body: e.OrderUnknown) -> None:
    _change(state, record, body.order_link_id, OrderStatus.UNKNOWN, body.reason)
    _count(state.counters.outcomes, "unknown")


_RESOLVED = {
    "live": OrderStatus.ACCEPTED,
    "filled": OrderStatus.FILLED,
    "cancelled": OrderStatus.CANCELLED,
    "rejected": OrderStatus.REJECTED,
    "dead": OrderStatus.REJECTED,
}


def _order_resolved(state: State, record: Record, body: e.OrderResolved) -> None:
    _change(state, record, body.order_link_id, _RESOLVED.get(body.outcome, OrderStatus.UNKNOWN), body.outcome)


def _fill(state: State, record: Record, body: e.Fill) -> None:
    _count(state.counters.fills, f"{body.strategy}|{body.symbol}")
    state.counters.fees[body.strategy] = state.counters.fees.get(body.strategy, ZERO) + body.fee
    order = state.orders.get(body.order_link_id)
    if order is not None:
        order.filled = max(order.filled, body.cum_qty)
        if body.cum_qty >= body.order_qty:
            _change(state, record, body.order_link_id, OrderStatus.FILLED)
            _count(state.counters.outcomes, "filled")


def _change(state: State, record: Record, link: str, status: OrderStatus, detail: str = "") -> None:
    order = state.orders.get(link)
    if order is None:
        return
    order.status, order.changed_at, order.detail = status, record.at, detail
    if status in TERMINAL:
        del state.orders[link]
        _keep(state.finished, order)


def _account_snapshot(state: State, _record: Record, body: e.AccountSnapshot) -> None:
    state.venue_open_orders = body.open_orders


def _reconciled(state: State, record: Record, body: e.Reconciled) -> None:
    state.reconciled_at, state.mismatch_at, state.mismatch = record.at, 0, ""
    state.venue_open_orders = body.open_orders
    state.counters.checks += 1


def _mismatch(state: State, record: Record, body: e.Mismatch) -> None:
    _count(state.counters.mismatches, body.kind)
    state.mismatch_at = state.mismatch_at or record.at
    state.mismatch = f"{body.kind} {body.symbol}: ours {body.ours}, exchange {body.venue}"


def _fee_differs(state: State, record: Record, body: e.FeeDiffers) -> None:
    counts = state.counters.fee_differences
    counts[body.symbol] = counts.get(body.symbol, 0) + 1
    state.fee_at = record.at
    state.fee = f"{body.symbol} at {body.charged}, told {body.expected}"


def _foreign_order(state: State, record: Record, body: e.ForeignOrder) -> None:
    state.counters.foreign += 1
    state.foreign_at = record.at
    state.foreign = f"{body.side.value} {body.qty} {body.symbol} ({body.order_id})"


def _looser_limits(state: State, record: Record, body: e.LooserLimitsIgnored) -> None:
    state.looser_at = record.at
    state.looser = ", ".join(f"{move.name} {move.new} (in force: {move.old})" for move in body.ignored)


def _flat_confirmed(state: State, record: Record, _body: e.FlatConfirmed) -> None:
    state.flat_at = record.at


def _halted(state: State, record: Record, body: e.Halted) -> None:
    state.halts[record.id] = Halt(
        record.id, body.scope, body.reason, body.mode, body.measured, body.limit, record.at, body.detail
    )
    state.modes[body.scope] = body.mode


def _mode_changed(state: State, _record: Record, body: e.ModeChanged) -> None:
    if body.new is e.Mode.NORMAL:
        state.modes.pop(body.scope, None)
    else:
        state.modes[body.scope] = body.new


def _resumed(state: State, record: Record, body: e.Resumed) -> None:
    for halt in [halt for halt in state.halts.values() if halt.id == body.halt_id or halt.scope == body.scope]:
        halt.ended_at, halt.operator = record.at, body.operator
        del state.halts[halt.id]
        _keep(state.ended_halts, halt)
    state.modes.pop(body.scope, None)


def _portfolio_marked(state: State, record: Record, body: e.PortfolioMarked) -> None:
    state.book = Book(
        marked_at=record.at,
        wallet=body.wallet,
        equity=body.equity,
        peak=body.peak,
        drawdown=body.drawdown,
        daily_loss=body.daily_loss,
        weekly_loss=body.weekly_loss,
        consecutive_losses=body.consecutive_losses,
        gross_usd=body.gross_usd,
        net_usd=body.net_usd,
        mode=body.mode,
        positions=list(body.positions),
        pnl_by_strategy=dict(body.pnl_by_strategy),
        limits={use.name.value: use for use in body.limits},
    )


def _capital_allocated(state: State, _record: Record, body: e.CapitalAllocated) -> None:
    state.shares = dict(body.shares)


def _limit_changed(state: State, _record: Record, body: e.LimitChanged) -> None:
    state.limits, state.limits_version = dict(body.limits), body.version


def _stage_changed(state: State, _record: Record, body: e.StageChanged) -> None:
    state.stage = body.stage


def _model_blocked(state: State, _record: Record, body: e.ModelBlocked) -> None:
    for model in state.models.values():
        if model.model == body.model:
            model.blocked = body.reason


def _drift_measured(state: State, _record: Record, body: e.DriftMeasured) -> None:
    blocked = state.models[body.strategy].blocked if body.strategy in state.models else ""
    state.models[body.strategy] = Model(body.model, body.psi, body.rolling_sharpe, body.factor, blocked)


def _model_set(state: State, _record: Record, body: e.ModelPromoted | e.ModelRolledBack) -> None:
    state.models[body.strategy] = Model(body.model)


def _heartbeat(state: State, record: Record, body: e.Heartbeat) -> None:
    state.services[body.service] = Service(
        record.at,
        body.commits,
        body.code,
        body.config,
        body.order_ack_p95_ms,
        body.api_requests,
        body.api_errors,
        body.clock_offset_ms,
        body.feed_delay_ms,
        body.gap,
        body.key_age_days,
        body.http_silent_ms,
    )
    if body.service == "monitor":
        state.beat_at = record.at


def _watchdog_acted(state: State, _record: Record, body: e.WatchdogActed) -> None:
    state.watchdog = body.state


def _alert_raised(state: State, record: Record, body: e.AlertRaised) -> None:
    state.alerts[body.name] = Alert(body.severity, body.summary, record.at)


def _alert_cleared(state: State, _record: Record, body: e.AlertCleared) -> None:
    state.alerts.pop(body.name, None)


def _symbol(state: State, name: str) -> Symbol:
    symbol = state.symbols.get(name)
    if symbol is None:
        symbol = state.symbols[name] = Symbol()
    return symbol


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _keep(items: list[Any], item: Any) -> None:
    items.append(item)
    if len(items) > RECENT:
        del items[0]


LEARN: dict[type[e.Event], Callable[[State, Record, Any], None]] = {
    e.Tick: _tick,
    e.FeedDown: _feed_down,
    e.FeedUp: _feed_up,
    e.DataRejected: _data_rejected,
    e.Reference: _reference,
    e.Signal: _signal,
    e.OrderIntent: _order_intent,
    e.OrderRefused: _order_refused,
    e.OrderSubmitted: _order_submitted,
    e.OrderAccepted: _order_accepted,
    e.OrderRejected: _order_rejected,
    e.OrderCancelled: _order_cancelled,
    e.OrderUnknown: _order_unknown,
    e.OrderResolved: _order_resolved,
    e.Fill: _fill,
    e.AccountSnapshot: _account_snapshot,
    e.Reconciled: _reconciled,
    e.Mismatch: _mismatch,
    e.ForeignOrder: _foreign_order,
    e.FeeDiffers: _fee_differs,
    e.LooserLimitsIgnored: _looser_limits,
    e.FlatConfirmed: _flat_confirmed,
    e.Halted: _halted,
    e.ModeChanged: _mode_changed,
    e.Resumed: _resumed,
    e.PortfolioMarked: _portfolio_marked,
    e.CapitalAllocated: _capital_allocated,
    e.LimitChanged: _limit_changed,
    e.StageChanged: _stage_changed,
    e.ModelBlocked: _model_blocked,
    e.DriftMeasured: _drift_measured,
    e.ModelPromoted: _model_set,
    e.ModelRolledBack: _model_set,
    e.Heartbeat: _heartbeat,
    e.WatchdogActed: _watchdog_acted,
    e.AlertRaised: _alert_raised,
    e.AlertCleared: _alert_cleared,
}
"""Event type to what it does to the state; other events change nothing but the clock."""
