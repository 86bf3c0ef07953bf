"""A signal's one decision: an order, sized and judged, or a refusal that names the limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from libs.common.decider import Linked
from libs.common.events import (
    CancelIntent,
    Event,
    Halted,
    OrderIntent,
    OrderRefused,
    Purpose,
    Reason,
    Signal,
    StakeTransferred,
    TimeInForce,
)
from libs.common.record import Record
from libs.common.values import Side, from_units
from services.risk import exits, halts, kernel, limits, pricing, sizing
from services.risk.config import EntryStyle, RiskConfig
from services.risk.draft import Draft, minimum_lots
from services.risk.exits import Exit
from services.risk.orders import link_id, rests
from services.risk.state import MINUTE_NS, NS_PER_MS, Pending, Repeat, RiskState, Task, pair, strategy_scope
from services.risk.verdict import ONE, ZERO, Use, Verdict, guarded

HUGE = Decimal(10) ** 12
NAME_LENGTH = 64
TAKER = EntryStyle()
"""How entries go to the book where nothing else is set."""
DISABLING = (Reason.SIGNAL_REPEATS, Reason.SIGNAL_FLOOD, Reason.FILLS_PER_MINUTE)
"""Limits whose breach disables the strategy until it is resumed."""
ANY_HORIZON_MS = 1
"""Of words that were checked already: nobody reads it."""


class Size(msgspec.Struct, frozen=True):
    """Kelly size of a whole position: lots, and the fraction of capital at risk."""

    lots: int
    kelly: Decimal


class Wanted(msgspec.Struct, frozen=True):
    """What a signal asks to add: its id and instant, lots, the Kelly fraction behind them (what leaves is no bet and has all)."""

    seed: str
    at: int
    lots: int
    kelly: Decimal = ONE


def is_wellformed(event: Signal) -> bool:
    """Finite, sane numbers in their ranges; anything else is refused MALFORMED and counted."""
    numbers = (event.target, event.p, event.payoff, event.stop_distance, event.score)
    return (
        all(map(Decimal.is_finite, numbers))
        and -ONE <= event.target <= ONE
        and ZERO < event.p < ONE
        and ZERO < event.payoff < HUGE
        and ZERO < event.stop_distance < HUGE
        and -HUGE < event.score < HUGE
        and event.horizon_ms > 0
        and 0 < len(event.strategy) <= NAME_LENGTH
    )


def is_allowed(state: RiskState, config: RiskConfig, strategy: str, symbol: str, model: str) -> bool:
    allow = config.allow.get(strategy)
    return (
        allow is not None
        and symbol in allow.symbols
        and config.is_for(state.stage)
        and state.stage.partition("-")[0] in allow.stages  # ramp-25 is a step of ramp
        and model not in state.blocked_models
    )


def on_signal(state: RiskState, config: RiskConfig, event: Signal, record: Record) -> None:
    """Remember the last words of an allowed strategy, and the second half of a reversal."""
    allow = config.allow.get(event.strategy)
    if (
        allow is None
        or event.symbol not in allow.symbols
        or event.symbol not in state.markets
        or not is_wellformed(event)
    ):
        return
    key = pair(event.strategy, event.symbol)
    words = f"{event.target}|{event.p}|{event.payoff}|{event.stop_distance}|{event.score}"
    last = state.repeats.get(key)
    if last is None or last.words != words:
        state.repeats[key] = Repeat(words, record.id, record.at, heard_since=state.now, heard=1)
    else:
        if state.now - last.heard_since >= MINUTE_NS:
            last.heard_since, last.heard = state.now, 0
        last.heard += 1
        last.is_duplicate = record.id == last.signal_id or record.at == last.at
        last.signal_id, last.at = record.id, record.at
    state.pending.pop(key, None)
    held, direction = state.ledger.stake_lots(event.strategy, event.symbol), (event.target > 0) - (event.target < 0)
    if kernel.closes(held, direction) and not event.hedge:
        state.pending[key] = Pending(
            event.strategy, event.symbol, event.target, event.p, event.payoff, event.stop_distance, event.model,
            record.id, record.at, record.seq, record.correlation,
        )  # fmt: skip
    task = state.tasks.get(key)
    if held * direction > 0 and task is not None and task.purpose is Purpose.EXIT:
        del state.tasks[key]


def on_refused(state: RiskState, event: OrderRefused) -> None:
    state.refusals[event.reason] = state.refusals.get(event.reason, 0) + 1
    state.pending.pop(pair(event.strategy, event.symbol), None)


def ttl_ms(state: RiskState, config: RiskConfig) -> int:
    return max(config.signal_ttl_ms, 3 * state.window_ns // NS_PER_MS)


# --- deciding --------------------------------------------------------------------------------------------------------


def decided(state: RiskState, config: RiskConfig, event: Signal, record: Record) -> Iterator[Event]:
    """Exactly one order or refusal (cancels and a halt may come with it)."""
    if not is_wellformed(event):
        yield refused(event.strategy[:NAME_LENGTH], event.symbol[:NAME_LENGTH], Reason.MALFORMED)
        return
    if event.symbol not in state.markets:
        yield refused(event.strategy, event.symbol[:NAME_LENGTH], Reason.UNKNOWN_SYMBOL)
        return
    held = state.ledger.stake_lots(event.strategy, event.symbol)
    direction = (event.target > 0) - (event.target < 0)
    is_reversal = kernel.closes(held, direction)
    if direction == 0 or is_reversal:
        yield from _cancel_resting(state, event.strategy, event.symbol)
    if is_reversal or (held != 0 and direction == 0):
        yield from _leave(state, config, event, record, abs(held))
    elif direction == 0:
        yield refused(event.strategy, event.symbol, Reason.NO_CHANGE)
    else:
        yield from _resize(state, config, event, record, abs(held))


def pending_entries(state: RiskState, config: RiskConfig) -> Iterator[Event | Linked]:
    """Second halves of reversals whose first half is done: flat, nothing under way, signal unexpired."""
    for key, pending in list(state.pending.items()):
        busy = any(o.strategy == pending.strategy and o.symbol == pending.symbol for o in state.orders.values())
        if busy or exits.held(state, key) != 0:
            continue
        signal = Signal(
            strategy=pending.strategy, symbol=pending.symbol, target=pending.target, p=pending.p, payoff=pending.payoff,
            stop_distance=pending.stop_distance, horizon_ms=ANY_HORIZON_MS, model=pending.model,
        )  # fmt: skip
        size = guarded(sized, state, config, signal)
        if isinstance(size, Use):
            made = failed(state, config, signal, size)
        else:
            made = _enter(state, config, signal, Wanted(pending.signal_id, pending.at, size.lots, size.kelly))
        for event in made:
            yield Linked(event, ("signal", pending.seq), pending.correlation)


def drop_expired(state: RiskState, config: RiskConfig) -> None:
    """Forget reversals whose signal is too old to enter on."""
    oldest = state.now - ttl_ms(state, config) * NS_PER_MS
    for key in [k for k, p in state.pending.items() if p.at <= oldest]:
        del state.pending[key]


def _cancel_resting(state: RiskState, strategy: str, symbol: str) -> Iterator[Event]:
    for order in list(state.orders.values()):
        if order.strategy == strategy and order.symbol == symbol and not order.reduce_only and rests(order):
            yield CancelIntent(order_link_id=order.order_link_id, symbol=symbol, reason="superseded")


def _resize(state: RiskState, config: RiskConfig, event: Signal, record: Record, held: int) -> Iterable[Event]:
    """Toward the sized position, on the side that is held or from flat; a small change is left alone."""
    if is_disabled(state, event.strategy):
        return (refused(event.strategy, event.symbol, Reason.MODE, "disabled until resumed"),)
    size = guarded(sized, state, config, event)
    if isinstance(size, Use):
        return failed(state, config, event, size)
    if held and abs(size.lots - held) < config.min_resize * size.lots:
        return (refused(event.strategy, event.symbol, Reason.NO_CHANGE),)
    if 0 < size.lots < held:
        return _leave(state, config, event, record, held - size.lots)
    return _enter(state, config, event, Wanted(record.id, record.at, max(size.lots - held, 0), size.kelly))


def sized(state: RiskState, config: RiskConfig, event: Signal) -> Size | Use:
    kelly = sizing.kelly_e8(event.p, event.payoff, config.kelly_fraction)
    share = state.allocation.get(event.strategy, Decimal(0))
    drift = state.drift.get(event.strategy, ONE)
    at_risk = sizing.risk_units(state.capital_units(), share, kelly, event.target, drift)
    lots = sizing.lots_at_risk(at_risk, state.ledger.lot_units(event.symbol, event.stop_distance))
    return Size(sizing.floor_step(lots, state.markets[event.symbol].step), from_units(kelly))


def _leave(state: RiskState, config: RiskConfig, event: Signal, record: Record, lots: int) -> Iterator[Event]:
    """Close `lots` of the stake: reduce-only as far as the book holds that side, else an entry like any other."""
    strategy, symbol = event.strategy, event.symbol
    sign = kernel.against(state.ledger.stake_lots(strategy, symbol))
    task = state.tasks.get(pair(strategy, symbol))
    if state.liquidating:
        yield refused(strategy, symbol, Reason.MODE, "LIQUIDATING: only risk's own orders pass")
    elif task is not None and task.order_link_id in state.orders:
        yield refused(strategy, symbol, Reason.IN_FLIGHT)
    elif exits.is_dust(state, symbol, state.ledger.stake_lots(strategy, symbol)):
        yield refused(
            strategy, symbol, Reason.BELOW_MINIMUM, "dust: less than the venue trades, it stays and counts as flat"
        )
    elif not kernel.closes(state.ledger.lots(symbol), sign):
        yield from _leave_others(state, config, event, Wanted(record.id, record.at, lots), sign)
    else:
        possible = exits.reducible(state, symbol, lots, sign)
        order = exits.intent(state, config, record.id, Exit(strategy, symbol, Purpose.EXIT, possible, sign))
        if order is None:
            yield refused(strategy, symbol, Reason.IN_FLIGHT if possible == 0 else Reason.NO_MARKET)
            return
        yield from exits.clear_way(state, order)
        yield order


def _leave_others(state: RiskState, config: RiskConfig, event: Signal, wanted: Wanted, sign: int) -> Iterator[Event]:
    """Out of a stake that others hold the other side of: an order would grow the book's position, so it is judged like an
    entry (of no new bet: no Kelly size); what may not be ordered is handed to the others at mark."""
    made = list(_judged(state, config, event, wanted, exits.side_of(sign)))
    if any(isinstance(event_, OrderIntent | Halted) for event_ in made):
        yield from made
        return
    handed = list(exits.transfers(state, event.strategy, event.symbol, wanted.lots))
    yield from handed or made


def leave(state: RiskState, config: RiskConfig, seed: str, task: Task) -> Iterator[Event]:
    """The next step of a task toward flat: reduce-only while the book holds that side, then against the others' stakes."""
    lots = exits.held(state, pair(task.strategy, task.symbol))
    yield from exits.attempt(state, config, seed, task)
    sign = kernel.against(lots)
    busy = any(o.strategy == task.strategy and o.symbol == task.symbol for o in state.orders.values())
    if busy or lots == 0 or kernel.closes(state.ledger.lots(task.symbol), sign):
        return
    words = Signal(
        strategy=task.strategy, symbol=task.symbol, target=ZERO, p=ZERO, payoff=ZERO, stop_distance=ZERO,
        horizon_ms=ANY_HORIZON_MS,
    )  # fmt: skip
    for event in _leave_others(state, config, words, Wanted(seed, state.now, abs(lots)), sign):
        if not isinstance(event, OrderRefused):  # no signal asked: what is refused now is tried again
            yield event


def retries(state: RiskState, config: RiskConfig, record: Record) -> Iterator[Event | Linked]:
    """The next try of each exit whose last one is proven dead. Not while liquidating: then only risk's own pass."""
    if state.liquidating:
        return
    for task in list(state.tasks.values()):
        if task.order_link_id in state.orders:
            continue
        for event in leave(state, config, record.id, task):
            is_chained = isinstance(event, OrderIntent | StakeTransferred)
            yield Linked(event, (task.stream, task.seq), task.correlation) if is_chained else event


def _enter(state: RiskState, config: RiskConfig, event: Signal, wanted: Wanted) -> Iterator[Event]:
    """Judge an order that adds risk."""
    side = Side.BUY if event.target > 0 else Side.SELL
    return _judged(state, config, event, wanted, side)


def _judged(state: RiskState, config: RiskConfig, event: Signal, wanted: Wanted, side: Side) -> Iterator[Event]:
    draft = guarded(drafted, state, config, event, wanted, side)
    if isinstance(draft, Use):
        yield from failed(state, config, event, draft)
        return
    verdict = limits.assess(state, draft)
    use = verdict.binding
    if use is None:
        yield entry(state, config, wanted.seed, draft, verdict)
        return
    yield OrderRefused(
        strategy=event.strategy,
        symbol=event.symbol,
        reason=use.use.name,
        measured=use.use.measured,
        limit=use.use.limit,
        side=side,
        qty=state.ledger.grids[event.symbol].quantity(wanted.lots),
        detail=use.detail,
        limits=verdict.uses,
    )
    if use.use.name is Reason.EXCEPTION:
        yield from halts.halt(state, config, use)
    yield from disabled(state, config, event.strategy, use)


def disabled(state: RiskState, config: RiskConfig, strategy: str, use: Use) -> Iterator[Event]:
    """Some limits stop the strategy itself, until somebody resumes it; the others trade on."""
    if use.use.name in DISABLING:
        yield from halts.halt(state, config, use, strategy_scope(strategy))


def is_disabled(state: RiskState, strategy: str) -> bool:
    """Whether a strategy went wild: its entries are not even drafted, so that a flood costs the others nothing."""
    return bool(state.blocks) and any(f"{strategy_scope(strategy)}/{reason}" in state.blocks for reason in DISABLING)


def failed(state: RiskState, config: RiskConfig, event: Signal, use: Use) -> Iterator[Event]:
    """The draft itself could not be computed: no order, and the book halts."""
    yield refused(event.strategy, event.symbol, Reason.EXCEPTION, use.detail)
    yield from halts.halt(state, config, use)


def drafted(state: RiskState, config: RiskConfig, event: Signal, wanted: Wanted, side: Side, leg: str = "") -> Draft:
    """An entry as it would be sent; `leg`: one symbol of a pair, which goes in at once or not at all."""
    symbol, style = leg or event.symbol, TAKER if leg else style_of(config, event.strategy)
    market, rests = state.markets[symbol], style.rests
    price = pricing.entry_price(market, side, rests, config.slippage, state.limits.entry_collar)
    lot_units = max(state.ledger.lot_units(symbol, price), market.mark_units)
    return Draft(
        strategy=event.strategy,
        symbol=symbol,
        side=side,
        lots=wanted.lots,
        price=price,
        touch=pricing.touch(market, side),
        lot_units=lot_units,
        least_lots=minimum_lots(market, lot_units),
        age_ms=(state.now - wanted.at) // NS_PER_MS,
        ttl_ms=ttl_ms(state, config),
        is_allowed=is_allowed(state, config, event.strategy, symbol, event.model),
        repeat=state.repeats.get(pair(event.strategy, symbol)),
        rests=rests,
        kelly=wanted.kelly,
        # A pair has one stop for both of its legs.
        stop_distance=Decimal(0) if leg else event.stop_distance,
        cancel_after_ms=style.ttl_ms if rests else 0,
    )


def entry(state: RiskState, config: RiskConfig, seed: str, draft: Draft, verdict: Verdict) -> OrderIntent:
    """The approval of a draft."""
    return OrderIntent(
        order_link_id=link_id(seed, Purpose.ENTRY, pair(draft.strategy, draft.symbol)),
        strategy=draft.strategy,
        symbol=draft.symbol,
        side=draft.side,
        qty=state.ledger.grids[draft.symbol].quantity(verdict.lots),
        price=draft.price,
        time_in_force=TimeInForce.POST_ONLY if draft.rests else TimeInForce.IOC,
        reduce_only=False,
        purpose=Purpose.ENTRY,
        expires_at=state.now + config.intent_ttl_ms * NS_PER_MS,
        limits_version=state.limits_version,
        stop_distance=draft.stop_distance,
        cancel_after_ms=draft.cancel_after_ms,
        limits=verdict.uses,
    )


def style_of(config: RiskConfig, strategy: str) -> EntryStyle:
    return config.entry.get(strategy, TAKER)


def refused(strategy: str, symbol: str, reason: Reason, detail: str = "") -> OrderRefused:
    return OrderRefused(strategy=strategy, symbol=symbol, reason=reason, detail=detail)
