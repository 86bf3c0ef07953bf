"""The limits that watch the book itself and halt it: losses, latency, errors. Breached when the measure *reaches* the limit.

They judge every draft too, like any other limit, and look at nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from libs.common.events import Reason
from services.risk import kernel
from services.risk.draft import PPM, ratio
from services.risk.state import RiskState
from services.risk.verdict import ZERO, Measured, Use, counted, guarded, named, reached

ACKS = 20
MIN_REQUESTS = 10

Standing = Callable[[RiskState, object], Measured]


def loss_reached(state: RiskState) -> bool:
    """Whether any loss limit is reached; integers only, for every tick."""
    equity, ratios = state.equity_units, state.ratios_e16
    return (
        kernel.reaches(state.day.base_units - equity, ratios[0], state.day.base_units)
        or kernel.reaches(state.week.base_units - equity, ratios[1], state.week.base_units)
        or kernel.reaches(state.peak_units - equity, ratios[2], state.peak_units)
    )


def daily_loss(state: RiskState, _: object = None) -> Measured:
    return _loss(state, state.day.base_units, 0, state.limits.max_daily_loss)


def weekly_loss(state: RiskState, _: object = None) -> Measured:
    return _loss(state, state.week.base_units, 1, state.limits.max_weekly_loss)


def drawdown(state: RiskState, _: object = None) -> Measured:
    return _loss(state, state.peak_units, 2, state.limits.max_drawdown)


def _loss(state: RiskState, base: int, index: int, limit: Decimal) -> Measured:
    loss = base - state.equity_units
    if loss <= 0:
        return ZERO, limit, False
    return ratio(loss, base, state.share), limit, kernel.reaches(loss, state.ratios_e16[index], base)


def consecutive_losses(state: RiskState, _: object = None) -> Measured:
    return counted(state.streak, state.limits.max_consecutive_losses)


def latency(state: RiskState, _: object = None) -> Measured:
    """p95 of the last 20 order acknowledgements, the second slowest; silent before there are 20."""
    measured = sorted(state.acks_ms)[-2] if len(state.acks_ms) >= ACKS else 0
    return counted(measured, state.limits.max_latency_ms)


def error_rate(state: RiskState, _: object = None) -> Measured:
    """API errors over requests of the last minute, at least 10 requests."""
    known = state.requests >= MIN_REQUESTS
    measured = (Decimal(state.errors) / state.requests).quantize(PPM) if known else ZERO
    return reached(measured, state.limits.max_error_rate)


STANDING: dict[Reason, Standing] = {
    Reason.MAX_DAILY_LOSS: daily_loss,
    Reason.MAX_WEEKLY_LOSS: weekly_loss,
    Reason.MAX_DRAWDOWN: drawdown,
    Reason.MAX_CONSECUTIVE_LOSSES: consecutive_losses,
    Reason.MAX_LATENCY_MS: latency,
    Reason.MAX_ERROR_RATE: error_rate,
}


def judged(state: RiskState) -> tuple[Use, ...]:
    """Every standing limit; one that raises is breached."""
    return tuple(guarded(_named, state, name, limit) for name, limit in STANDING.items())


def _named(state: RiskState, name: Reason, limit: Standing) -> Use:
    return named(name, limit(state, None))


def breached(state: RiskState) -> list[Use]:
    """Every standing limit that is breached now."""
    return [use for use in judged(state) if use.breached]
