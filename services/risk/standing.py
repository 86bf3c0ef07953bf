"""The limits that watch the book itself and halt it: losses, latency, errors. Breached when the measure *reaches* the limit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from libs.common.events import LimitUse, Reason
from services.risk import kernel
from services.risk.draft import PPM, ratio
from services.risk.state import RiskState
from services.risk.verdict import ZERO, Use, calm, counted, guarded, reached

ACKS = 20
MIN_REQUESTS = 10

Standing = Callable[[RiskState], Use]


def loss_reached(state: RiskState) -> bool:
    """Whether any loss limit is reached; integers only, for every tick."""
    equity, ratios = state.equity_units, state.ratios_e16
    return (
        kernel.reaches(state.day.base_units - equity, ratios[0], state.day.base_units)
        or kernel.reaches(state.week.base_units - equity, ratios[1], state.week.base_units)
        or kernel.reaches(state.peak_units - equity, ratios[2], state.peak_units)
    )


def daily_loss(state: RiskState) -> Use:
    return _loss(state, Reason.MAX_DAILY_LOSS, state.day.base_units, 0, state.limits.max_daily_loss)


def weekly_loss(state: RiskState) -> Use:
    return _loss(state, Reason.MAX_WEEKLY_LOSS, state.week.base_units, 1, state.limits.max_weekly_loss)


def drawdown(state: RiskState) -> Use:
    return _loss(state, Reason.MAX_DRAWDOWN, state.peak_units, 2, state.limits.max_drawdown)


def _loss(state: RiskState, reason: Reason, base: int, index: int, limit: Decimal) -> Use:
    loss = base - state.equity_units
    if loss <= 0:
        return calm(reason, limit)
    measured = ratio(loss, base, state.share)
    return Use(LimitUse(reason, measured, limit), kernel.reaches(loss, state.ratios_e16[index], base))


def consecutive_losses(state: RiskState) -> Use:
    return counted(Reason.MAX_CONSECUTIVE_LOSSES, state.streak, state.limits.max_consecutive_losses)


def latency(state: RiskState) -> Use:
    """p95 of the last 20 order acknowledgements, the second slowest; silent before there are 20."""
    measured = sorted(state.acks_ms)[-2] if len(state.acks_ms) >= ACKS else 0
    return counted(Reason.MAX_LATENCY_MS, measured, state.limits.max_latency_ms)


def error_rate(state: RiskState) -> Use:
    """API errors over requests of the last minute, at least 10 requests."""
    known = state.requests >= MIN_REQUESTS
    measured = (Decimal(state.errors) / state.requests).quantize(PPM) if known else ZERO
    return reached(Reason.MAX_ERROR_RATE, measured, state.limits.max_error_rate)


STANDING: tuple[Standing, ...] = (daily_loss, weekly_loss, drawdown, consecutive_losses, latency, error_rate)


def judged(state: RiskState) -> tuple[Use, ...]:
    """Every standing limit; one that raises is breached."""
    return tuple(guarded(partial(limit, state)) for limit in STANDING)


def breached(state: RiskState) -> list[Use]:
    """Every standing limit that is breached now."""
    return [use for use in judged(state) if use.breached]
