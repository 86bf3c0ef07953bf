"""Pairs: two legs that one strategy holds against each other, in together and out together.

Both legs are sized once, on the coarser lot, judged together and approved in one step, so that the second passes under the
reservation made with the first. A pair of which one leg is missing (a refusal, a halt, an ADL between the two) is unwound
whole, the larger leg first, as soon as no entry of it is open any more or `naked_ms` have passed. Its stop is on both
legs' profit together: neither leg has one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import lcm

from libs.common.events import Event, OrderRefused, Purpose, Reason, Signal
from libs.common.record import Record
from libs.common.values import Side, to_units
from services.risk import entries, exits, kernel, limits
from services.risk.cash import free_units, held_units
from services.risk.config import RiskConfig
from services.risk.draft import Draft, exposure, reserve
from services.risk.entries import Wanted, refused
from services.risk.orders import entries_of
from services.risk.state import NS_PER_MS, Hedge, Order, RiskState, Task, pair
from services.risk.verdict import ONE, Use, Verdict, guarded

SLACK = Decimal("0.002")
"""Share of a leg that may differ: the venue takes the fee of a spot purchase in coins."""


# --- learning --------------------------------------------------------------------------------------------------------


def on_signal(state: RiskState, config: RiskConfig, event: Signal) -> None:
    """Remember which legs belong together. A pair that is held keeps its legs."""
    allow, key = config.allow.get(event.strategy), pair(event.strategy, event.symbol)
    known = entries.is_wellformed(event) and event.symbol in state.markets and event.hedge in state.markets
    if (
        not known
        or event.symbol == event.hedge
        or allow is None
        or not {event.symbol, event.hedge} <= set(allow.symbols)
    ):
        return
    standing = state.hedges.get(key)
    if standing is None or not _is_held(state, standing):
        state.hedges[key] = Hedge(event.strategy, event.symbol, event.hedge, event.stop_distance)


def on_trade(state: RiskState) -> None:
    """Notice since when legs differ."""
    for hedge in state.hedges.values():
        if not is_naked(state, hedge):
            hedge.naked_at = None
        elif hedge.naked_at is None:
            hedge.naked_at = state.now


def is_naked(state: RiskState, hedge: Hedge) -> bool:
    """Whether the legs differ by a step of the coarser lot and more than what fees explain."""
    first, second = (_quantity(state, hedge.strategy, symbol) for symbol in (hedge.symbol, hedge.hedge))
    return abs(first + second) >= _step(state, hedge.symbol, hedge.hedge) + SLACK * max(abs(first), abs(second))


def _quantity(state: RiskState, strategy: str, symbol: str) -> Decimal:
    lots = exits.held(state, pair(strategy, symbol))
    return state.ledger.grids[symbol].quantity(lots) if lots else Decimal(0)


def _is_held(state: RiskState, hedge: Hedge) -> bool:
    return any(exits.held(state, pair(hedge.strategy, symbol)) for symbol in (hedge.symbol, hedge.hedge))


def _step(state: RiskState, *symbols: str) -> Decimal:
    """The least quantity that is whole in both legs' lots."""
    lots = [state.markets[symbol].step * state.ledger.grids[symbol].lot_size for symbol in symbols]
    scale = Decimal(10) ** max(-int(lot.as_tuple().exponent) for lot in lots)
    return Decimal(lcm(*(int(lot * scale) for lot in lots))) / scale


# --- deciding --------------------------------------------------------------------------------------------------------


def decided(state: RiskState, config: RiskConfig, event: Signal, record: Record) -> Iterator[Event]:
    """Both legs or none; out means both. A pair that is held is not resized."""
    if not entries.is_wellformed(event) or event.symbol == event.hedge:
        yield refused(event.strategy[: entries.NAME_LENGTH], event.symbol[: entries.NAME_LENGTH], Reason.MALFORMED)
        return
    if event.symbol not in state.markets or event.hedge not in state.markets:
        yield refused(event.strategy, event.symbol[: entries.NAME_LENGTH], Reason.UNKNOWN_SYMBOL)
        return
    hedge = state.hedges.get(pair(event.strategy, event.symbol))
    if hedge is not None and _is_held(state, hedge):
        held = _quantity(state, hedge.strategy, hedge.symbol)
        if event.target * held > 0:
            yield refused(event.strategy, event.symbol, Reason.NO_CHANGE)
        elif state.liquidating:
            yield refused(event.strategy, event.symbol, Reason.MODE, "LIQUIDATING: only risk's own orders pass")
        else:
            made = list(unwound(state, config, record, hedge))
            yield from made or [refused(event.strategy, event.symbol, Reason.IN_FLIGHT)]
    elif event.target == 0:
        yield refused(event.strategy, event.symbol, Reason.NO_CHANGE)
    elif entries.is_disabled(state, event.strategy):
        yield refused(event.strategy, event.symbol, Reason.MODE, "disabled until resumed")
    else:
        yield from _enter(state, config, event, record)


def _enter(state: RiskState, config: RiskConfig, event: Signal, record: Record) -> Iterator[Event]:
    size = guarded(entries.sized, state, config, event)
    if isinstance(size, Use):
        yield from entries.failed(state, config, event, size)
        return
    wanted = Wanted(record.id, record.at, size.lots, size.kelly)
    judged = guarded(_judged, state, config, event, wanted)
    if isinstance(judged, Use):
        yield from entries.failed(state, config, event, judged)
        return
    for draft, verdict in judged:
        use = verdict.binding
        if use is not None:
            yield OrderRefused(
                strategy=event.strategy, symbol=event.symbol, reason=use.use.name, measured=use.use.measured,
                limit=use.use.limit, side=draft.side, qty=state.ledger.grids[draft.symbol].quantity(draft.lots),
                detail=f"leg {draft.symbol}: {use.detail}".rstrip(": "), limits=verdict.uses,
            )  # fmt: skip
            yield from entries.disabled(state, config, event.strategy, use)
            return
    for draft, verdict in judged:
        yield entries.entry(state, config, wanted.seed, draft, verdict)


Judged = tuple[tuple[Draft, Verdict], tuple[Draft, Verdict]]


def _judged(state: RiskState, config: RiskConfig, event: Signal, wanted: Wanted) -> Judged:
    """The hedge's leg, then the signal's own, at one quantity; the second with the first one's reservation in its exposure."""
    side, step = Side.BUY if event.target > 0 else Side.SELL, _step(state, event.symbol, event.hedge)
    hedge = entries.drafted(state, config, event, wanted, side.opposite, event.hedge)
    own = entries.drafted(state, config, event, wanted, side, event.symbol)
    quantity = state.ledger.grids[event.symbol].quantity(wanted.lots)
    least = max(_least(state, hedge), _least(state, own))
    least += (step - least % step) % step
    for draft in (hedge, own):
        draft.lots = state.ledger.grids[draft.symbol].lots(quantity)
        draft.exposure = exposure(state, draft.symbol)
    if quantity > least:
        # Never below the minimum: there the limit that left no room shows itself breached.
        most = min(_quantity_of(state, draft, limits.most(state, draft)) for draft in (hedge, own))
        quantity = max(min(most, _room(state, hedge, own)), least)
    for draft in (hedge, own):
        draft.lots = state.ledger.grids[draft.symbol].lots(quantity - quantity % step)
    first = limits.judge(state, hedge)
    reserve(own, hedge)
    return (hedge, first), (own, limits.judge(state, own))


def _quantity_of(state: RiskState, draft: Draft, lots: int) -> Decimal:
    return state.ledger.grids[draft.symbol].quantity(lots)


def _least(state: RiskState, draft: Draft) -> Decimal:
    return _quantity_of(state, draft, draft.least_lots)


def _room(state: RiskState, hedge: Draft, own: Draft) -> Decimal:
    """The quantity of which both legs together fit under the gross limits and into the free cash."""
    sizes = [(d, state.ledger.grids[d.symbol].lot_size) for d in (hedge, own)]
    value = sum((d.lot_units / lot for d, lot in sizes), Decimal(0))
    cash = sum((held_units(state, d.symbol, d.lot_units) / lot for d, lot in sizes), Decimal(0))
    e = own.exposure
    used = e.gross_others_units + kernel.worst_value(e.lots, e.mark_units, e.buy_units, e.sell_units)
    gross = Decimal(max(limits.gross_units(state, e.capital_units) - used, 0)) / max(value, ONE)
    return min(gross, free_units(state) / max(cash, ONE))


# --- watching --------------------------------------------------------------------------------------------------------


def watched(state: RiskState, config: RiskConfig, record: Record) -> Iterator[Event]:
    """Unwind every pair that lost a leg, or its stop."""
    if state.liquidating:
        return
    for hedge in list(state.hedges.values()):
        if _is_broken(state, config, hedge) or _is_stopped(state, hedge):
            yield from unwound(state, config, record, hedge)


def _is_broken(state: RiskState, config: RiskConfig, hedge: Hedge) -> bool:
    if hedge.naked_at is None:
        return False
    return state.now - hedge.naked_at >= config.naked_ms * NS_PER_MS or not _entries(state, hedge)


def _is_stopped(state: RiskState, hedge: Hedge) -> bool:
    """Whether both legs together have lost the stop distance."""
    legs = [state.ledger.stake(hedge.strategy, symbol) for symbol in (hedge.symbol, hedge.hedge)]
    marks = [state.markets[symbol].mark_units for symbol in (hedge.symbol, hedge.hedge)]
    if any(leg is None or leg.lots == 0 for leg in legs) or not all(marks):
        return False
    profit = sum(leg.unrealised_units(mark) for leg, mark in zip(legs, marks, strict=True) if leg is not None)
    return profit <= -to_units(hedge.stop_distance * abs(_quantity(state, hedge.strategy, hedge.symbol)))


def unwound(state: RiskState, config: RiskConfig, record: Record, hedge: Hedge) -> Iterator[Event]:
    """Out of both legs, the larger first. A leg that is on its way out goes on as it is."""
    legs = sorted((hedge.symbol, hedge.hedge), key=lambda symbol: -abs(_quantity(state, hedge.strategy, symbol)))
    for symbol in legs:
        key = pair(hedge.strategy, symbol)
        if key not in state.tasks and exits.held(state, key):
            yield from entries.leave(state, config, record.id, Task(hedge.strategy, symbol, Purpose.EXIT))


def _entries(state: RiskState, hedge: Hedge) -> list[Order]:
    legs = (hedge.symbol, hedge.hedge)
    return [order for order in entries_of(state, hedge.strategy) if order.symbol in legs]
