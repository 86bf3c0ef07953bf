"""What people are told: the conditions that hold in a state, as alerts by name. Few are pages, the rest are tickets."""

from __future__ import annotations

from libs.common.events import Mode, Reason
from libs.common.streams import EXECUTION, MONITOR, RISK, SERVICES
from services.monitor.config import MonitorConfig
from services.monitor.view import Alert, OrderStatus, State

PAGE, TICKET = "page", "ticket"
NS_PER_MS = 1_000_000
LOSS_LIMITS = ("max_drawdown", "max_daily_loss", "max_weekly_loss")
WATCHING = "watching"
OLD_KEY_DAYS = 60
DAY_MS = 86_400_000
WAITING = (OrderStatus.SUBMITTED, OrderStatus.UNKNOWN)


def conditions(state: State, config: MonitorConfig) -> dict[str, Alert]:
    """Every alert that should stand now. Names are bounded: by scope, symbol, service and limit."""
    found: dict[str, Alert] = {}
    _halts(state, found)
    _watchdog(state, found)
    _reconciliation(state, config, found)
    _services(state, config, found)
    _losses(state, config, found)
    _orders(state, config, found)
    if state.looser_at and _ms(state.now - state.looser_at) <= config.foreign_quiet_ms:
        found["looser_limits"] = Alert(TICKET, f"the settings file is looser and ignored: {state.looser}")
    _account(state, found)
    for name, symbol in state.symbols.items():
        if symbol.down:
            found[f"feed:{name}"] = Alert(TICKET, f"no market data for {name}: {symbol.down}")
    return found


def _watchdog(state: State, found: dict[str, Alert]) -> None:
    if state.watchdog != WATCHING:
        found["watchdog"] = Alert(PAGE, f"the watchdog does not hear execution: {state.watchdog}")


def _halts(state: State, found: dict[str, Alert]) -> None:
    for halt in state.halts.values():
        if halt.reason is not Reason.BORN:  # a fresh book is born halted: nothing has happened yet
            figures = f" measured {halt.measured}, limit {halt.limit}" if halt.limit else f" {halt.detail}"
            summary = f"{halt.scope} {halt.mode.value}: {halt.reason.value}{figures}".rstrip()
            found[f"halt:{halt.scope}"] = Alert(PAGE, summary)
    for scope, mode in state.modes.items():
        if mode is Mode.REDUCE_ONLY and f"halt:{scope}" not in found:
            found[f"reduce_only:{scope}"] = Alert(TICKET, f"{scope} takes no entries: {mode.value}")


def _reconciliation(state: State, config: MonitorConfig, found: dict[str, Alert]) -> None:
    if state.mismatch_at:
        late = _ms(state.now - state.mismatch_at) > config.mismatch_page_ms
        found["mismatch"] = Alert(TICKET, state.mismatch)
        if late:
            found["mismatch_unresolved"] = Alert(PAGE, state.mismatch)
    if state.foreign_at and _ms(state.now - state.foreign_at) <= config.foreign_quiet_ms:
        found["foreign_order"] = Alert(TICKET, f"an order that is not ours: {state.foreign}")
    if state.forged_at and _ms(state.now - state.forged_at) <= config.foreign_quiet_ms:
        found["forged_approval"] = Alert(PAGE, f"an approval that risk did not make was refused: {state.forged}")


def _services(state: State, config: MonitorConfig, found: dict[str, Alert]) -> None:
    allowed_ms = config.heartbeat_ms * config.silent_heartbeats
    for name in SERVICES:
        if name == MONITOR:
            continue
        service = state.services.get(name)
        silent_ms = _ms(state.now - max(service.seen_at if service else 0, state.started_at))
        if state.started_at and silent_ms > allowed_ms:
            severity = PAGE if name in (RISK, EXECUTION) else TICKET
            found[f"silent:{name}"] = Alert(
                severity, f"no heartbeat of {name} for {config.silent_heartbeats} intervals"
            )
        if service and service.gap:
            found[f"gap:{name}"] = Alert(PAGE, f"{name} stopped at a gap in {service.gap}")


def _account(state: State, found: dict[str, Alert]) -> None:
    """What the exchange's account itself needs: its key, its fees, our address."""
    execution = state.services.get(EXECUTION)
    if execution and execution.key_age_days >= OLD_KEY_DAYS:
        found["key_old"] = Alert(TICKET, f"the API key is {execution.key_age_days} days old: make another one")
    if execution and execution.http_silent_ms:
        found["http_silent"] = Alert(TICKET, "the exchange banned our address (403): HTTP is silent, exits go on")
    if state.fee_at and _ms(state.now - state.fee_at) <= DAY_MS:
        found["fee_differs"] = Alert(TICKET, f"charged otherwise than told: {state.fee}")


def _losses(state: State, config: MonitorConfig, found: dict[str, Alert]) -> None:
    measured = {
        "max_drawdown": state.book.drawdown,
        "max_daily_loss": state.book.daily_loss,
        "max_weekly_loss": state.book.weekly_loss,
    }
    for name in LOSS_LIMITS:
        use = state.book.limits.get(name)
        limit = state.limits.get(name) or (use.limit if use else None)
        if limit and measured[name] > config.near_limit_ratio * limit:
            found[f"near:{name}"] = Alert(
                TICKET, f"{name} above {config.near_limit_ratio * 100:.0f} % of its limit {limit}"
            )


def _orders(state: State, config: MonitorConfig, found: dict[str, Alert]) -> None:
    waiting = [order for order in state.orders.values() if order.status in WAITING]
    late = sum(_ms(state.now - order.changed_at) > config.overdue_ms for order in waiting)
    if late:
        found["orders_overdue"] = Alert(TICKET, f"orders without an answer of the exchange for {config.overdue_ms} ms")


def _ms(span: int) -> int:
    return span // NS_PER_MS
