"""Going down: a halt with its cancels and, where wanted, the liquidation; transient causes; and what watches the book."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from libs.common.events import CancelIntent, Event, Halted, LimitUse, Mode, ModeChanged, Reason
from services.risk import modes, standing
from services.risk.config import RiskConfig
from services.risk.modes import scope_mode, worst
from services.risk.orders import entries_of, is_due, rests
from services.risk.state import BOOK, RiskState
from services.risk.valuation import marked
from services.risk.verdict import Use


def halt(
    state: RiskState, config: RiskConfig, use: Use, scope: str = BOOK, *, flatten: bool | None = None
) -> Iterator[Event]:
    """Halt a scope, cancel its entries, liquidate if so configured (or told). A halt that stands is not raised twice."""
    if modes.is_halted_for(state, scope, use.use.name):
        return
    yield Halted(
        reason=use.use.name,
        measured=use.use.measured,
        limit=use.use.limit,
        scope=scope,
        mode=worst(scope_mode(state, scope), Mode.HALTED),
        detail=use.detail,
    )
    yield from after(state, config, scope, use.use.name, config.flatten_on_halt if flatten is None else flatten)


def after(state: RiskState, config: RiskConfig, scope: str, reason: Reason, flatten: bool) -> Iterator[Event]:
    """What follows any halt: cancels, liquidation, a mark."""
    yield from cancels(state, scope, reason)
    if flatten and scope == BOOK and not state.liquidating:
        old = scope_mode(state, BOOK)
        yield ModeChanged(scope=BOOK, old=old, new=Mode.LIQUIDATING, reason=reason)
    yield marked(state)


def cancels(state: RiskState, scope: str, reason: Reason) -> Iterator[Event]:
    """Every entry that a scope covers: in one sweep where the venue can, one by one for a strategy."""
    kind, _, name = scope.partition(":")
    if scope == BOOK or kind == "symbol":
        yield CancelIntent(symbol=name, reason=reason.value)
    else:
        for order in entries_of(state, name):
            yield CancelIntent(order_link_id=order.order_link_id, symbol=order.symbol, reason=reason.value)


def fact(reason: Reason, detail: str, measured: Decimal = Decimal(1)) -> Use:
    """A cause that is not a measure: one of it is too many."""
    return Use(LimitUse(reason, measured, Decimal(0)), True, detail)


def watched(state: RiskState, config: RiskConfig) -> Iterator[Event]:
    """Halt on every standing limit that is breached now."""
    for use in standing.breached(state):
        yield from halt(state, config, use)


def transients(state: RiskState, config: RiskConfig) -> Iterator[Event]:
    """REDUCE_ONLY for causes seen bad; HALTED for one that has cleared itself too often today."""
    for key in list(state.conditions):
        event = modes.raised(state, key, config.clears_a_day)
        if event is None:
            continue
        yield event
        if isinstance(event, Halted):
            yield from after(state, config, event.scope, event.reason, config.flatten_on_halt)


def clearings(state: RiskState, config: RiskConfig) -> Iterator[Event]:
    for key in list(state.blocks):
        event = modes.cleared(state, key, config.quiet_ms)
        if event is not None:
            yield event


def sweeps(state: RiskState) -> Iterator[Event]:
    """Cancel resting entries whose time is over or whose scope left NORMAL, until they are proven dead."""
    for order in list(state.orders.values()):
        if order.reduce_only or not rests(order) or not is_due(order, state.now):
            continue
        is_old = order.cancel_at != 0 and order.cancel_at <= state.now
        mode = modes.effective_mode(state, order.strategy, order.symbol)
        if is_old or mode is not Mode.NORMAL:
            reason = "ttl" if is_old else mode.value
            yield CancelIntent(order_link_id=order.order_link_id, symbol=order.symbol, reason=reason)
