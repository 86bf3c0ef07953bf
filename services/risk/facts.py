"""What risk learns from each type of record: one function a type, changing the state and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from libs.common import events as e
from libs.common.events import Event, Reason
from libs.common.record import Record, Started, Timer
from libs.common.streams import RISK
from services.risk import commands, entries, exits, hedges, holdings, markets, modes, orders, valuation
from services.risk.config import Limits, RiskConfig
from services.risk.state import BOOK, MINUTE_NS, NS_PER_MS, RiskState, pair

Learn = Callable[[RiskState, RiskConfig, Any, Record], None]

BLOCKED_MODELS = 64


def advance(state: RiskState, config: RiskConfig, at: int) -> None:
    """The book's time moves on: loss windows roll before anything else is learnt."""
    state.steps += 1
    if at <= state.now:
        return
    state.now = at
    valuation.on_time(state)
    if state.pending:
        entries.drop_expired(state, config)


def _simply(function: Callable[[RiskState, Any], None]) -> Learn:
    """A function of (state, event)."""
    return lambda state, config, body, record: function(state, body)


def on_price(state: RiskState, config: RiskConfig, body: e.Tick | e.Reference, record: Record) -> None:
    if isinstance(body, e.Tick):
        markets.on_tick(state, body)
    else:
        markets.on_reference(state, body)
    valuation.on_equity(state)
    holdings.check(state, (body.symbol,))


def on_instant(state: RiskState, config: RiskConfig, body: e.Instant, record: Record) -> None:
    state.window_ns = body.window_ms * NS_PER_MS
    on_timer(state, config, body, record)


def on_timer(state: RiskState, config: RiskConfig, body: Event, record: Record) -> None:
    minute = state.now // MINUTE_NS
    state.is_new_minute, state.minute = minute != state.minute, minute
    markets.on_time(state)


def on_instrument(state: RiskState, config: RiskConfig, body: e.InstrumentDefined, record: Record) -> None:
    before = state.ledger.grids.get(body.symbol)
    state.ledger.apply(record)
    after = state.ledger.grids[body.symbol]
    if before is not None and before.lot_size != after.lot_size:
        orders.requantise(state, body.symbol, before.lot_size / after.lot_size)
    markets.on_instrument(state, body)


def on_signal(state: RiskState, config: RiskConfig, body: e.Signal, record: Record) -> None:
    entries.on_signal(state, config, body, record)
    if body.hedge:
        hedges.on_signal(state, config, body)


def on_account(state: RiskState, config: RiskConfig, body: e.AccountSnapshot, record: Record) -> None:
    """A margin ratio that is no number counts as all of it; a balance that is none is not known."""
    state.balances_at = state.now
    state.balances = {coin: free for coin, free in body.balances.items() if free.is_finite()}
    limit = state.limits.max_margin_ratio
    used = body.margin_ratio if body.margin_ratio.is_finite() else Decimal(1)
    if used >= limit:
        modes.note(state, BOOK, Reason.MAX_MARGIN_RATIO, used, limit)


def on_transfer(state: RiskState, config: RiskConfig, body: e.StakeTransferred, record: Record) -> None:
    state.ledger.apply(record)
    _settled(state)


def on_intent(state: RiskState, config: RiskConfig, body: e.OrderIntent, record: Record) -> None:
    orders.on_intent(state, body)
    if body.reduce_only:
        exits.on_exit_intent(state, body, record)
    else:
        state.pending.pop(pair(body.strategy, body.symbol), None)


def on_cash(state: RiskState, config: RiskConfig, body: e.CashMoved, record: Record) -> None:
    state.ledger.apply(record)
    valuation.on_cash(state, body.amount)


def on_trade(
    state: RiskState, config: RiskConfig, body: e.Fill | e.FundingPaid | e.PositionAdjusted, record: Record
) -> None:
    """The ledger first, then everything that hangs on it."""
    before, grid = state.ledger.lots(body.symbol), state.ledger.grids.get(body.symbol)
    state.ledger.apply(record)
    if grid is not None:
        _follow_lot(state, body.symbol, grid.lot_size)
    if isinstance(body, e.Fill):
        orders.on_fill(state, body)
    if state.ledger.losing_streak < state.streak_forgiven:
        state.streak_forgiven = 0
    markets.on_trade(state, body.symbol)
    valuation.on_position(state, body.symbol, before)
    valuation.on_equity(state)
    _settled(state)


def _follow_lot(state: RiskState, symbol: str, before: Decimal) -> None:
    """A trade that is no whole lots made the ledger's lot finer: open orders and the venue's rules are as many more lots."""
    ratio = before / state.ledger.grids[symbol].lot_size
    if ratio != 1:
        orders.requantise(state, symbol, ratio)
        markets.on_finer_lot(state, symbol, ratio)


def _settled(state: RiskState) -> None:
    """After stakes moved: what is done, and which legs stand alone."""
    exits.drop_done(state)
    if state.hedges:
        hedges.on_trade(state)


def on_flat(state: RiskState, config: RiskConfig, body: e.FlatConfirmed, record: Record) -> None:
    state.ledger.apply(record)
    _settled(state)


def on_reconciled(state: RiskState, config: RiskConfig, body: e.Reconciled, record: Record) -> None:
    state.reconciled, state.reconciled_at = True, state.now


def on_doubt(state: RiskState, config: RiskConfig, body: e.Mismatch, record: Record) -> None:
    """A difference: no entry until log and exchange are known to agree."""
    state.reconciled = False


def on_started(state: RiskState, config: RiskConfig, body: Started, record: Record) -> None:
    """A start: nothing is certain until reconciled, and the settings file may say something new."""
    state.reconciled = False
    state.file_before, state.file = state.file, config.limits


def on_heartbeat(state: RiskState, config: RiskConfig, body: e.Heartbeat, record: Record) -> None:
    state.peers[body.service] = [body.code, body.config]
    if body.service == RISK:
        state.beat_at = state.now
    if body.service == "execution":
        state.requests, state.errors = body.api_requests, body.api_errors
        if body.http_silent_ms:
            # The exchange banned our address: no entry until HTTP speaks again and the ledgers were compared.
            modes.note(state, BOOK, Reason.RATE_LIMIT, Decimal(body.http_silent_ms), Decimal(0))
    offset_ms, limit = Decimal(abs(body.clock_offset_ms)), state.limits.clock_offset_ms
    if offset_ms >= limit:
        modes.note(state, BOOK, Reason.CLOCK_OFFSET_MS, offset_ms, limit)


def on_drift(state: RiskState, config: RiskConfig, body: e.DriftMeasured, record: Record) -> None:
    """A factor that is no number counts as 0: no size."""
    factor = body.factor if body.factor.is_finite() else Decimal(0)
    state.drift[body.strategy] = min(max(factor, Decimal(0)), Decimal(1))


def on_model(state: RiskState, config: RiskConfig, body: e.ModelPromoted | e.ModelRolledBack, record: Record) -> None:
    """Another model is live: what was measured of the one before does not count for it."""
    state.drift.pop(body.strategy, None)


def on_model_blocked(state: RiskState, config: RiskConfig, body: e.ModelBlocked, record: Record) -> None:
    state.blocked_models.append(body.model)
    del state.blocked_models[:-BLOCKED_MODELS]


def on_halted(state: RiskState, config: RiskConfig, body: e.Halted, record: Record) -> None:
    modes.on_halted(state, body, record.id)


def on_resumed(state: RiskState, config: RiskConfig, body: e.Resumed, record: Record) -> None:
    modes.on_resumed(state, body)
    commands.on_obeyed(state)


def on_command_refused(state: RiskState, config: RiskConfig, body: e.CommandRefused, record: Record) -> None:
    commands.on_refused(state, config, body)


def on_limits(state: RiskState, config: RiskConfig, body: e.LimitChanged, record: Record) -> None:
    known = {name: value for name, value in body.limits.items() if name in Limits.__struct_fields__}
    state.limits = msgspec.structs.replace(state.limits, **known)
    state.limits_version = body.version
    valuation.set_ratios(state)
    commands.on_obeyed(state)
    holdings.check(state, state.markets)


def on_stage(state: RiskState, config: RiskConfig, body: e.StageChanged, record: Record) -> None:
    state.stage, state.share = body.stage, body.share
    valuation.set_ratios(state)


def on_upgrade(state: RiskState, config: RiskConfig, body: e.UpgradeOpened, record: Record) -> None:
    state.upgrade_until = body.until_at
    commands.on_obeyed(state)


def on_capital(state: RiskState, config: RiskConfig, body: e.CapitalAllocated, record: Record) -> None:
    state.allocation = dict(body.shares)


LEARN: dict[type[Event], Learn] = {
    e.Tick: on_price,
    e.Reference: on_price,
    e.FeedDown: _simply(markets.on_feed_down),
    e.FeedUp: _simply(markets.on_feed_up),
    e.InstrumentDefined: on_instrument,
    e.InstrumentChanged: on_instrument,
    e.MaintenancePlanned: _simply(markets.on_maintenance),
    e.Instant: on_instant,
    Timer: on_timer,
    Started: on_started,
    e.Signal: on_signal,
    e.OrderIntent: on_intent,
    e.CancelIntent: _simply(orders.on_cancel),
    e.OrderRefused: _simply(entries.on_refused),
    e.OrderAccepted: _simply(orders.on_order),
    e.OrderRejected: _simply(orders.on_order),
    e.OrderCancelled: _simply(orders.on_order),
    e.OrderResolved: _simply(orders.on_order),
    e.Fill: on_trade,
    e.FundingPaid: on_trade,
    e.PositionAdjusted: on_trade,
    e.CashMoved: on_cash,
    e.FlatConfirmed: on_flat,
    e.AccountSnapshot: on_account,
    e.StakeTransferred: on_transfer,
    e.Reconciled: on_reconciled,
    e.Mismatch: on_doubt,
    e.Heartbeat: on_heartbeat,
    e.DriftMeasured: on_drift,
    e.ModelPromoted: on_model,
    e.ModelRolledBack: on_model,
    e.ModelBlocked: on_model_blocked,
    e.Halted: on_halted,
    e.ModeChanged: _simply(modes.on_mode_changed),
    e.Resumed: on_resumed,
    e.CommandRefused: on_command_refused,
    e.LimitChanged: on_limits,
    e.StageChanged: on_stage,
    e.UpgradeOpened: on_upgrade,
    e.CapitalAllocated: on_capital,
    **{kind: _simply(commands.on_command) for kind in e.Command.__subclasses__()},
}
