"""What is held against what may be held: by the clock, at every mark, and when limits change."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from libs.common.events import Reason
from libs.common.values import from_units
from services.risk import modes
from services.risk.draft import ratio
from services.risk.state import RiskState, symbol_scope
from services.risk.verdict import ONE, units_of


def check(state: RiskState, symbols: Iterable[str]) -> None:
    """Holdings that outgrew a limit, because the price moved or the limit was lowered, may only shrink: a transient cause.

    Only what is held counts, not what may still fill: an order that was approved within its limits is not stopped by a tick.
    """
    held = {name: position.lots for name, position in state.ledger.positions.items() if position.lots}
    values = {name: lots * state.markets[name].mark_units for name, lots in held.items() if name in state.markets}
    gross, net, limits = sum(map(abs, values.values())), abs(sum(values.values())), state.limits
    for symbol in symbols:
        if symbol in values:
            _check_size(state, symbol)
            _check_value(state, symbol, Reason.POSITION_LIMIT_USD, abs(values[symbol]), limits.position_limit_usd)
            _check_value(state, symbol, Reason.MAX_GROSS_USD, gross, limits.max_gross_usd)
            _check_value(state, symbol, Reason.MAX_NET_USD, net, limits.max_net_usd)
            _check_leverage(state, symbol, gross)


def _check_size(state: RiskState, symbol: str) -> None:
    lots, grid, limit = abs(state.ledger.lots(symbol)), state.ledger.grids[symbol], state.limits.max_position_size
    if lots > grid.lots(limit):
        modes.note(state, symbol_scope(symbol), Reason.MAX_POSITION_SIZE, grid.quantity(lots), limit)


def _check_value(state: RiskState, symbol: str, reason: Reason, units: int, limit: Decimal) -> None:
    if units > units_of(limit):
        modes.note(state, symbol_scope(symbol), reason, from_units(units), limit)


def _check_leverage(state: RiskState, symbol: str, gross: int) -> None:
    capital, limit = state.capital_units(), state.limits.max_leverage
    if gross > int(limit * capital):
        modes.note(state, symbol_scope(symbol), Reason.MAX_LEVERAGE, ratio(gross, capital, ONE), limit)
