"""The book valued: loss windows over midnight, peak, cash; and PortfolioMarked."""

from __future__ import annotations

from decimal import Decimal

from libs.common.events import PortfolioMarked, PositionMark
from libs.common.values import from_units, to_units
from services.risk import kernel, standing
from services.risk.draft import ratio
from services.risk.modes import scope_mode
from services.risk.state import BOOK, DAY_NS, RiskState, Window


def on_cash(state: RiskState, amount: Decimal) -> None:
    """Money came or went (the ledger has it): peak and bases keep their ratio to equity. The first sets them."""
    after = state.equity_units
    if not state.funded:
        state.funded = True
        state.peak_units = after
        state.day = Window(state.day.number, after, after)
        state.week = Window(state.week.number, after, after)
        return
    before = after - to_units(amount)
    state.peak_units = kernel.rescaled(state.peak_units, before, after)
    for window in (state.day, state.week):
        window.base_units = kernel.rescaled(window.base_units, before, after)
        window.opened_units = kernel.rescaled(window.opened_units, before, after)


def on_time(state: RiskState) -> None:
    """Roll the loss windows: UTC days, weeks from Monday. A loss carried over midnight ended with the last position that bore it."""
    for window in (state.day, state.week):
        if not window.carried:
            _settle(window)
    day = state.now // DAY_NS
    if day != state.day.number:
        state.rebases_today = 0
        state.clears_today.clear()
        state.day = _rolled(state, state.day, day)
    week = (day + 3) // 7  # 1970-01-01 was a Thursday
    if week != state.week.number:
        state.week = _rolled(state, state.week, week)


def _rolled(state: RiskState, window: Window, number: int) -> Window:
    equity = state.equity_units
    losing = [name for name, market in state.markets.items() if market.unrealised_units < 0]
    if losing and equity < window.base_units:
        return Window(number, window.base_units, equity, losing)
    return Window(number, equity, equity)


def on_equity(state: RiskState) -> None:
    """Equity changed: the peak follows it up, and a loss carried over midnight ends when it is over."""
    equity = state.equity_units
    state.peak_units = max(state.peak_units, equity)
    for window in (state.day, state.week):
        if window.carried and equity >= window.base_units:
            _settle(window)


def on_position(state: RiskState, symbol: str, before: int) -> None:
    """A position moved from `before` lots: flat or turned, it carries no old loss any more. What the last move of it cost is
    still judged against the old base, which gives way when time goes on."""
    if before * state.ledger.lots(symbol) > 0:
        return
    for window in (state.day, state.week):
        if symbol in window.carried:
            window.carried.remove(symbol)


def _settle(window: Window) -> None:
    window.carried = []
    window.base_units = window.opened_units


def set_ratios(state: RiskState) -> None:
    """Loss limits as integers, for every tick."""
    loss = (state.limits.max_daily_loss, state.limits.max_weekly_loss, state.limits.max_drawdown)
    state.ratios_e16 = [int(limit * state.share * 10**16) for limit in loss]


def marked(state: RiskState) -> PortfolioMarked:
    """The book at mark."""
    equity, peak = state.equity_units, state.peak_units
    values = {name: state.ledger.lots(name) * m.mark_units for name, m in state.markets.items()}
    uses = tuple(judged.use for judged in standing.judged(state))
    positions = tuple(
        PositionMark(
            name,
            state.ledger.quantity(name),
            state.ledger.entry_price(name),
            market.mark,
            from_units(market.unrealised_units),
        )
        for name, market in state.markets.items()
        if state.ledger.lots(name)
    )
    return PortfolioMarked(
        wallet=from_units(state.ledger.wallet_units),
        unrealised=from_units(state.unrealised_units),
        equity=from_units(equity),
        peak=from_units(peak),
        drawdown=ratio(peak - equity, peak, Decimal(1)),
        daily_loss=ratio(state.day.base_units - equity, state.day.base_units, state.share),
        weekly_loss=ratio(state.week.base_units - equity, state.week.base_units, state.share),
        consecutive_losses=state.streak,
        gross_usd=from_units(sum(abs(value) for value in values.values())),
        net_usd=from_units(sum(values.values())),
        mode=scope_mode(state, BOOK),
        positions=positions,
        pnl_by_strategy=state.ledger.pnl_by_strategy(),
        limits=uses,
    )
