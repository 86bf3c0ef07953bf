"""Modes: what each scope may do, who changed it, and what a resume re-bases. Pure bookkeeping over `RiskState.blocks`."""

from __future__ import annotations

from decimal import Decimal

from libs.common.events import Event, Halted, Mode, ModeChanged, Reason, Rebase, Resumed
from libs.common.values import from_units
from services.risk.config import LIVE_STAGES
from services.risk.state import BOOK, NS_PER_MS, Block, Condition, RiskState, Window, strategy_scope, symbol_scope

SEVERITY: dict[Mode, int] = {mode: rank for rank, mode in enumerate(Mode)}

LOSS_REASONS = (Reason.MAX_DAILY_LOSS, Reason.MAX_WEEKLY_LOSS, Reason.MAX_DRAWDOWN, Reason.MAX_CONSECUTIVE_LOSSES)


def worst(*modes: Mode) -> Mode:
    return max(modes, key=SEVERITY.__getitem__, default=Mode.NORMAL)


def gate_changes(event: Event) -> dict[str, str]:
    """What the commit that writes `event` must set in the gate: scope -> `open` or the mode that closes it.

    Only NORMAL is open. A gate without `book` counts as closed, one without a symbol or strategy as open.
    """
    match event:
        case Halted(scope=scope, mode=mode) | ModeChanged(scope=scope, new=mode) | Resumed(scope=scope, mode=mode):
            return {scope: "open" if mode is Mode.NORMAL else mode.value}
        case _:
            return {}


# --- reading ---------------------------------------------------------------------------------------------------------


def scope_mode(state: RiskState, scope: str) -> Mode:
    """Mode of one scope alone: the worst of its blocks."""
    mode = worst(*(block.mode for block in state.blocks.values() if block.scope == scope))
    return Mode.LIQUIDATING if state.liquidating and scope == BOOK else mode


def effective_mode(state: RiskState, strategy: str, symbol: str) -> Mode:
    """Worst mode of book, symbol and strategy."""
    if not state.blocks and not state.liquidating:
        return Mode.NORMAL
    scopes = (BOOK, symbol_scope(symbol), strategy_scope(strategy))
    return worst(*(scope_mode(state, scope) for scope in scopes))


def liquidated(state: RiskState) -> ModeChanged:
    """The end of LIQUIDATING: never better than HALTED."""
    blocks = [block for block in state.blocks.values() if block.scope == BOOK]
    reason = next((b.reason for b in blocks if b.halt_id), Reason.OPERATOR)
    new = worst(Mode.HALTED, *(block.mode for block in blocks))
    return ModeChanged(scope=BOOK, old=Mode.LIQUIDATING, new=new, reason=reason, detail="flat confirmed")


def halt_named(state: RiskState, halt_id: str) -> Block | None:
    return next((b for b in state.blocks.values() if b.halt_id and b.halt_id == halt_id), None)


def is_halted_for(state: RiskState, scope: str, reason: Reason) -> bool:
    """Whether a standing halt of the scope has this reason already: it is not raised twice."""
    block = state.blocks.get(f"{scope}/{reason}")
    return block is not None and block.halt_id != ""


# --- transient causes ------------------------------------------------------------------------------------------------


def note(state: RiskState, scope: str, reason: Reason, measured: Decimal, limit: Decimal) -> None:
    """A transient cause was just seen bad."""
    state.conditions[f"{scope}/{reason}"] = Condition(scope, reason, state.now, measured, limit)


def raised(state: RiskState, key: str, clears_a_day: int) -> Event | None:
    """The event that a condition gives: REDUCE_ONLY, HALTED when it had its chances today, None when blocked already."""
    condition = state.conditions[key]
    if key in state.blocks:
        return None
    old, scope = scope_mode(state, condition.scope), condition.scope
    detail = f"measured {condition.measured}, limit {condition.limit}"
    if state.clears_today.get(scope, 0) >= clears_a_day:
        return Halted(
            reason=condition.reason,
            measured=condition.measured,
            limit=condition.limit,
            scope=scope,
            mode=worst(old, Mode.HALTED),
            detail=f"cleared itself {clears_a_day} times today",
        )
    return ModeChanged(scope=scope, old=old, new=worst(old, Mode.REDUCE_ONLY), reason=condition.reason, detail=detail)


def cleared(state: RiskState, key: str, quiet_ms: int) -> Event | None:
    """The event that ends a transient block, when it was quiet long enough and reconciled since."""
    block, condition = state.blocks.get(key), state.conditions.get(key)
    if block is None or block.halt_id:
        return None
    bad_at = condition.bad_at if condition is not None else block.at
    if state.now - bad_at < quiet_ms * NS_PER_MS or not state.reconciled or state.reconciled_at <= bad_at:
        return None
    rest = worst(*(b.mode for k, b in state.blocks.items() if b.scope == block.scope and k != key))
    old = scope_mode(state, block.scope)
    new = Mode.LIQUIDATING if old is Mode.LIQUIDATING else rest
    return ModeChanged(scope=block.scope, old=old, new=new, reason=block.reason, cleared=True)


# --- evolving --------------------------------------------------------------------------------------------------------


def on_halted(state: RiskState, event: Halted, halt_id: str) -> None:
    mode: Mode = Mode.HALTED if event.mode is Mode.LIQUIDATING else event.mode
    key = f"{event.scope}/{event.reason}"
    old = state.blocks.get(key)
    if old is not None and old.halt_id:
        # Two causes of one kind (a pause, then a halt): the newest is named, the worse mode stays.
        mode = worst(mode, old.mode)
    state.blocks[key] = Block(event.scope, event.reason, mode, state.now, halt_id, event.measured, event.limit)


def on_mode_changed(state: RiskState, event: ModeChanged) -> None:
    key = f"{event.scope}/{event.reason}"
    starts, ends = event.new is Mode.LIQUIDATING, event.old is Mode.LIQUIDATING
    if starts and not ends:
        state.liquidating = True
    elif ends and not starts:
        state.liquidating = False
        state.tasks.clear()
    elif event.cleared:
        state.blocks.pop(key, None)
        state.conditions.pop(key, None)
        state.clears_today[event.scope] = state.clears_today.get(event.scope, 0) + 1
    else:
        state.blocks[key] = Block(event.scope, event.reason, Mode.REDUCE_ONLY, state.now)


def resumption(state: RiskState, block: Block, operator: str) -> Resumed:
    """The event that lifts one halt, with what it re-bases."""
    rest = worst(*(b.mode for b in state.blocks.values() if b.scope == block.scope and b is not block))
    return Resumed(
        halt_id=block.halt_id, scope=block.scope, operator=operator, rebased=rebases(state, block.reason), mode=rest
    )


def rebases(state: RiskState, reason: Reason) -> tuple[Rebase, ...]:
    """Old and new figure of what a halt of this reason was measured against."""
    equity = from_units(state.equity_units)
    match reason:
        case Reason.MAX_DAILY_LOSS:
            return (Rebase("day_base", from_units(state.day.base_units), equity),)
        case Reason.MAX_WEEKLY_LOSS:
            return (Rebase("week_base", from_units(state.week.base_units), equity),)
        case Reason.MAX_DRAWDOWN:
            return (Rebase("peak", from_units(state.peak_units), equity),)
        case Reason.MAX_CONSECUTIVE_LOSSES:
            return (Rebase("losing_streak", Decimal(state.streak), Decimal(0)),)
        case Reason.MAX_LATENCY_MS:
            return (Rebase("acks", Decimal(len(state.acks_ms)), Decimal(0)),)
        case Reason.MAX_ERROR_RATE:
            return (Rebase("api_errors", Decimal(state.errors), Decimal(0)),)
        case _:
            return ()


def on_resumed(state: RiskState, event: Resumed) -> None:
    block = halt_named(state, event.halt_id)
    if block is None:
        return
    key = f"{block.scope}/{block.reason}"
    del state.blocks[key]
    state.conditions.pop(key, None)
    state.clears_today.pop(block.scope, None)
    equity = state.equity_units
    match block.reason:
        case Reason.MAX_DAILY_LOSS:
            state.day = Window(state.day.number, equity, equity)
        case Reason.MAX_WEEKLY_LOSS:
            state.week = Window(state.week.number, equity, equity)
        case Reason.MAX_DRAWDOWN:
            state.peak_units = equity
        case Reason.MAX_CONSECUTIVE_LOSSES:
            state.streak_forgiven = state.ledger.losing_streak
        case Reason.MAX_LATENCY_MS:
            state.acks_ms.clear()
        case Reason.MAX_ERROR_RATE:
            state.requests = state.errors = 0
        case Reason.FILLS_PER_MINUTE | Reason.SIGNAL_REPEATS | Reason.SIGNAL_FLOOD:
            _forget(state, block.scope.removeprefix("strategy:"))
        case _:
            pass
    if block.reason in LOSS_REASONS:
        state.rebases_today += 1


def may_rebase(state: RiskState, block: Block) -> bool:
    """In live stages one loss re-base a day, no more."""
    return block.reason not in LOSS_REASONS or state.stage not in LIVE_STAGES or state.rebases_today == 0


def _forget(state: RiskState, strategy: str) -> None:
    state.fills_at.pop(strategy, None)
    for key in [k for k in state.repeats if k.startswith(f"{strategy}|")]:
        del state.repeats[key]
