"""The settle coin that is free: a purchase of spot is paid for at once, with what no margin holds."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from libs.common.values import SPOT, category_of
from services.risk.state import RiskState

SPARE_PPM = 10_000
"""Kept back for fees and for what prices do until the orders arrive."""


def margin_units(state: RiskState, value_units: int) -> int:
    """What a perpetual worth `value_units` holds: the account trades at the leverage that the limit allows."""
    return int((value_units / max(state.limits.max_leverage, Decimal(1))).to_integral_value(ROUND_CEILING))


def held_units(state: RiskState, symbol: str, value_units: int) -> int:
    """What an order worth `value_units` takes of the settle coin: all of it on spot, a perpetual's margin else."""
    return value_units if category_of(symbol) == SPOT else margin_units(state, value_units)


def free_units(state: RiskState) -> int:
    """Wallet less what coins cost, less margin of positions and of orders under way, less `SPARE_PPM`; never below 0."""
    free = state.ledger.wallet_units
    for symbol, position in state.ledger.positions.items():
        if category_of(symbol) == SPOT:
            free -= position.cost_units
        elif (market := state.markets.get(symbol)) is not None:
            free -= margin_units(state, abs(position.lots) * market.mark_units)
    for order in state.orders.values():
        if not order.reduce_only:
            free -= held_units(state, order.symbol, order.open_lots * order.lot_units)
    return max(0, free - free * SPARE_PPM // 1_000_000)
