"""What follows from each type of record: one generator a type, yielding events and changing nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from libs.common import events as e
from libs.common.decider import Linked
from libs.common.events import Event, Mode, Purpose, Reason
from libs.common.record import GapFound, Record, Started, Timer
from libs.common.streams import RISK
from services.risk import (
    commands,
    entries,
    exits,
    halts,
    hedges,
    limitfile,
    limits,
    markets,
    modes,
    standing,
    valuation,
)
from services.risk.config import STAGE_SHARES, RiskConfig
from services.risk.state import BOOK, NS_PER_S, RiskState, pair, strategy_scope
from services.risk.verdict import counted, named

Outputs = Iterator[Event | Linked]
React = Callable[[RiskState, RiskConfig, Any, Record], Outputs]

VENUE_RESETS = ("venue_reset", "incarnation")
"""Kinds of Mismatch that say the venue lost its state."""

BEAT_NS = 5 * NS_PER_S


def _halt(state: RiskState, config: RiskConfig, reason: Reason, detail: str) -> Outputs:
    yield from halts.halt(state, config, halts.fact(reason, detail))


def on_price(state: RiskState, config: RiskConfig, body: e.Tick | e.Reference, record: Record) -> Outputs:
    if standing.loss_reached(state):
        yield from halts.watched(state, config)
    if state.conditions:
        yield from halts.transients(state, config)
    if state.stops:
        yield from exits.stops(state, config, record, body.symbol)
    if state.hedges:
        yield from hedges.watched(state, config, record)
    if config.auto_arm:
        yield from _armed(state, config)


def on_time(state: RiskState, config: RiskConfig, body: Event, record: Record) -> Outputs:
    if state.conditions:
        yield from halts.transients(state, config)
    if state.blocks:
        yield from halts.clearings(state, config)
    if state.orders:
        yield from halts.sweeps(state)
    yield from entries.retries(state, config, record)
    yield from exits.slices(state, config, record)
    if state.hedges:
        yield from hedges.watched(state, config, record)
    if state.pending:
        yield from entries.pending_entries(state, config)
    if state.is_new_minute:
        yield from _strangers(state, config)
        yield valuation.marked(state)
    if state.is_new_minute or (isinstance(body, Timer) and state.now - state.beat_at >= BEAT_NS):
        yield e.Heartbeat(service=RISK, commits=state.steps)


def on_order_ended(state: RiskState, config: RiskConfig, body: Event, record: Record) -> Outputs:
    if state.liquidating:
        yield from exits.next_slices(state, config, record)
    if state.hedges:
        yield from hedges.watched(state, config, record)
    if state.pending:
        yield from entries.pending_entries(state, config)


def on_ledger(state: RiskState, config: RiskConfig, body: Any, record: Record) -> Outputs:
    """After the ledger moved: losses, the strategy's pace, the second half of a reversal, a mark."""
    yield from halts.watched(state, config)
    if isinstance(body, e.Fill) and body.purpose is Purpose.ENTRY:
        count, limit = limits.orders_filled(state, body.strategy), state.limits.fills_per_minute
        if count >= limit:
            use = named(Reason.FILLS_PER_MINUTE, counted(count, limit))
            yield from halts.halt(state, config, use, strategy_scope(body.strategy))
    if state.hedges:
        yield from hedges.watched(state, config, record)
    if state.pending:
        yield from entries.pending_entries(state, config)
    if state.liquidating:
        yield from exits.next_slices(state, config, record)
    yield valuation.marked(state)


def on_reconciled(state: RiskState, config: RiskConfig, body: e.Reconciled, record: Record) -> Outputs:
    yield from halts.clearings(state, config)
    yield from _armed(state, config)


def _armed(state: RiskState, config: RiskConfig) -> Outputs:
    """Resume a fresh book by itself: simulator only, once, when it is reconciled and has a market."""
    born = state.blocks.get(f"{BOOK}/{Reason.BORN}")
    if not config.auto_arm or born is None or not (state.reconciled and state.funded):
        return
    silence = markets.silence_ns(state)
    if any(m.mark_units and m.tick_at and state.now - m.tick_at < silence for m in state.markets.values()):
        yield modes.resumption(state, born, "auto_arm")
        yield valuation.marked(state)


def on_mismatch(state: RiskState, config: RiskConfig, body: e.Mismatch, record: Record) -> Outputs:
    detail = f"{body.kind} {body.symbol}: ours {body.ours}, venue {body.venue}"
    if body.kind in VENUE_RESETS:
        yield from _halt(state, config, Reason.VENUE_RESET, detail)
    elif not body.healed:
        yield from _halt(state, config, Reason.MISMATCH, detail)


def on_foreign(state: RiskState, config: RiskConfig, body: e.ForeignOrder, record: Record) -> Outputs:
    yield from _halt(state, config, Reason.FOREIGN_ORDER, f"{body.symbol} {body.side} {body.qty} {body.order_id}")


def on_flat(state: RiskState, config: RiskConfig, body: e.FlatConfirmed, record: Record) -> Outputs:
    """The exchange is flat; liquidation ends when the ledger agrees."""
    if state.liquidating and exits.is_flat(state):
        yield modes.liquidated(state)
        yield valuation.marked(state)


def on_heartbeat(state: RiskState, config: RiskConfig, body: e.Heartbeat, record: Record) -> Outputs:
    if body.gap:
        yield from _halt(state, config, Reason.GAP, f"{body.service} misses entries of {body.gap}")
    yield from _strangers(state, config)
    yield from halts.watched(state, config)
    yield from halts.transients(state, config)


def _strangers(state: RiskState, config: RiskConfig) -> Outputs:
    """Services on different code or settings, outside an upgrade that was signed for."""
    if state.now < state.upgrade_until:
        return
    for index, name in enumerate(("code", "config")):
        found = {service: hashes[index] for service, hashes in sorted(state.peers.items()) if hashes[index]}
        if len(set(found.values())) > 1:
            yield from _halt(state, config, Reason.HASH, f"{name}: {', '.join(f'{s} {h}' for s, h in found.items())}")


def on_drift(state: RiskState, config: RiskConfig, body: e.DriftMeasured, record: Record) -> Outputs:
    if state.drift[body.strategy] == 0 and body.model and body.model not in state.blocked_models:
        yield e.ModelBlocked(model=body.model, reason="drift")


def on_started(state: RiskState, config: RiskConfig, body: Started, record: Record) -> Outputs:
    yield from _born(config) if body.fresh else _started_again(state, config)


def _born(config: RiskConfig) -> Outputs:
    """A fresh book: halted, with what the file says."""
    yield e.Halted(reason=Reason.BORN, measured=Decimal(0), limit=Decimal(0), scope=BOOK, mode=Mode.HALTED)
    yield e.LimitChanged(version=1, limits=msgspec.structs.asdict(config.limits), operator="file")
    yield e.CapitalAllocated(shares=dict(config.allocation))
    yield e.StageChanged(stage=config.stage, share=STAGE_SHARES[config.stage], operator="file")


def _started_again(state: RiskState, config: RiskConfig) -> Outputs:
    """A book takes over what the file tightens anew, and says what it ignores."""
    limits, ignored = limitfile.taken(state.limits, state.file_before, config.limits)
    if limits != state.limits:
        changed = limitfile.differences(state.limits, limits)
        values = msgspec.structs.asdict(limits)
        yield e.LimitChanged(version=state.limits_version + 1, limits=values, operator="file", changed=changed)
    if ignored:
        yield e.LooserLimitsIgnored(ignored=ignored)
    yield from halts.watched(state, config)
    yield from halts.transients(state, config)


def on_command(state: RiskState, config: RiskConfig, body: e.Command, record: Record) -> Outputs:
    yield from commands.decided(state, config, body)
    if isinstance(body, e.UpgradeWindow):
        yield from _strangers(state, config)
    if isinstance(body, e.LimitChange):
        yield from halts.watched(state, config)
        yield from halts.transients(state, config)
    yield from exits.slices(state, config, record)


def on_signal(state: RiskState, config: RiskConfig, body: e.Signal, record: Record) -> Outputs:
    yield from (hedges if body.hedge else entries).decided(state, config, body, record)
    repeat = state.repeats.get(pair(body.strategy, body.symbol))
    flooded = repeat is not None and repeat.heard >= state.limits.signal_flood
    if repeat is not None and flooded and not entries.is_disabled(state, body.strategy):
        use = named(Reason.SIGNAL_FLOOD, counted(repeat.heard, state.limits.signal_flood))
        yield from halts.halt(state, config, use, strategy_scope(body.strategy))


def on_feed_down(state: RiskState, config: RiskConfig, body: e.FeedDown, record: Record) -> Outputs:
    yield from halts.transients(state, config)


def on_accepted(state: RiskState, config: RiskConfig, body: e.OrderAccepted, record: Record) -> Outputs:
    yield from halts.watched(state, config)


def on_account(state: RiskState, config: RiskConfig, body: e.AccountSnapshot, record: Record) -> Outputs:
    yield from halts.transients(state, config)


def on_gap(state: RiskState, config: RiskConfig, body: GapFound, record: Record) -> Outputs:
    yield from _halt(state, config, Reason.GAP, body.stream)


REACT: dict[type[Event], React] = {
    e.Tick: on_price,
    e.Reference: on_price,
    e.FeedDown: on_feed_down,
    e.Instant: on_time,
    Timer: on_time,
    Started: on_started,
    GapFound: on_gap,
    e.Signal: on_signal,
    e.OrderAccepted: on_accepted,
    e.OrderRejected: on_order_ended,
    e.OrderCancelled: on_order_ended,
    e.OrderResolved: on_order_ended,
    e.Fill: on_ledger,
    e.FundingPaid: on_ledger,
    e.PositionAdjusted: on_ledger,
    e.CashMoved: on_ledger,
    e.AccountSnapshot: on_account,
    e.Reconciled: on_reconciled,
    e.Mismatch: on_mismatch,
    e.ForeignOrder: on_foreign,
    e.FlatConfirmed: on_flat,
    e.Heartbeat: on_heartbeat,
    e.DriftMeasured: on_drift,
    **dict.fromkeys(e.Command.__subclasses__(), on_command),
}
