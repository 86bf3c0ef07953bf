"""Every limit as one small function, in a fixed order: what it measured, what is allowed, whether that is a breach.

Two families. `STANDING` limits watch the book and halt it. `ENTRY` limits judge one draft of an order that adds risk; the
verdict lists all of them and the first breached one is binding. Measures breach when they *reach* a limit; sizes (lots and
exposures after the order) when they exceed it, as in the sided rule. `caps` shrinks a draft before it is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import TypeVar

import msgspec

from libs.common.events import LimitUse, Mode, Reason
from libs.common.values import Side, from_units, to_units
from services.risk import kernel
from services.risk.draft import PPM, Draft, Use, exposure, minimum_lots, ratio
from services.risk.modes import SEVERITY, effective_mode
from services.risk.orders import rests
from services.risk.state import BOOK, NS_PER_S, RiskState, pair, strategy_scope, symbol_scope

ACKS = 20
MIN_REQUESTS = 10


Result = TypeVar("Result")


class Verdict(msgspec.Struct, frozen=True):
    lots: int
    uses: tuple[LimitUse, ...]
    binding: Use | None
    """The first breached limit; None approves."""


def assess(state: RiskState, draft: Draft) -> Verdict:
    """Shrink the draft to every cap, then judge it by every limit."""
    return guarded(lambda: _assess(state, draft), lambda use: Verdict(0, (use.use,), use))


def guarded(check: Callable[[], Result], failed: Callable[[Use], Result]) -> Result:
    """Run a check; one that raises counts as breached."""
    try:
        return check()
    # A limit that cannot be computed must refuse and halt, whatever went wrong; it never lets the order or the process go.
    except Exception as error:  # noqa: BLE001
        return failed(Use(LimitUse(Reason.EXCEPTION, Decimal(1), Decimal(0)), True, f"{type(error).__name__}: {error}"))


def _assess(state: RiskState, draft: Draft) -> Verdict:
    draft.exposure = exposure(state, draft.symbol)
    least = minimum_lots(state.markets[draft.symbol], draft.lot_units)
    if draft.lots > least:
        # Never below the minimum: there the limit that left no room shows itself breached by the smallest order.
        market = state.markets[draft.symbol]
        capped = min(draft.lots, *(cap(state, draft) for cap in CAPS))
        draft.lots = max(capped - capped % market.step, least)
    judged = [limit(state, draft) for limit in ENTRY]
    return Verdict(draft.lots, tuple(j.use for j in judged), next((j for j in judged if j.breached), None))


# --- standing limits: the book ---------------------------------------------------------------------------------------


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
    measured = ratio(loss, base, state.share)
    return Use(LimitUse(reason, measured, limit), kernel.reaches(loss, state.ratios_e16[index], base))


def consecutive_losses(state: RiskState) -> Use:
    return reached(Reason.MAX_CONSECUTIVE_LOSSES, Decimal(state.streak), state.limits.max_consecutive_losses)


def latency(state: RiskState) -> Use:
    """p95 of the last 20 order acknowledgements; silent before there are 20."""
    acks = state.acks_ms
    measured = sorted(acks)[kernel.ceil_div(95 * len(acks), 100) - 1] if len(acks) >= ACKS else 0
    return reached(Reason.MAX_LATENCY_MS, Decimal(measured), state.limits.max_latency_ms)


def error_rate(state: RiskState) -> Use:
    """API errors over requests of the last minute, at least 10 requests."""
    known = state.requests >= MIN_REQUESTS
    measured = (Decimal(state.errors) / state.requests).quantize(PPM) if known else Decimal(0)
    return reached(Reason.MAX_ERROR_RATE, measured, state.limits.max_error_rate)


# --- entry limits: permission ----------------------------------------------------------------------------------------


def allow_list(state: RiskState, draft: Draft) -> Use:
    """Default deny: symbols x strategies x stages, and the strategy's model not blocked."""
    return _flag(Reason.ALLOW_LIST, not draft.is_allowed)


def mode(state: RiskState, draft: Draft) -> Use:
    current = effective_mode(state, draft.strategy, draft.symbol)
    return Use(
        LimitUse(Reason.MODE, Decimal(SEVERITY[current]), Decimal(1)), current is not Mode.NORMAL, why(state, draft)
    )


def why(state: RiskState, draft: Draft) -> str:
    """What holds the draft's scopes below NORMAL, for people."""
    scopes = (BOOK, symbol_scope(draft.symbol), strategy_scope(draft.strategy))
    return ", ".join(f"{b.scope} {b.mode} {b.reason}" for b in state.blocks.values() if b.scope in scopes)


def not_reconciled(state: RiskState, draft: Draft) -> Use:
    return _flag(Reason.NOT_RECONCILED, not state.reconciled)


def expired(state: RiskState, draft: Draft) -> Use:
    return reached(Reason.EXPIRED, Decimal(draft.age_ms), Decimal(draft.ttl_ms))


def duplicate(state: RiskState, draft: Draft) -> Use:
    repeat = state.repeats.get(pair(draft.strategy, draft.symbol))
    return _flag(Reason.DUPLICATE, repeat is not None and repeat.is_duplicate)


def no_market(state: RiskState, draft: Draft) -> Use:
    """A price to trade at, a mark to value with, an instrument that trades."""
    market = state.markets[draft.symbol]
    usable = market.trading and not market.down and market.mark_units > 0 and draft.touch > 0 and draft.lot_units > 0
    return _flag(Reason.NO_MARKET, not usable)


def in_flight(state: RiskState, draft: Draft) -> Use:
    """One order at a time for a strategy in a symbol."""
    mine = sum(1 for o in state.orders.values() if o.strategy == draft.strategy and o.symbol == draft.symbol)
    return reached(Reason.IN_FLIGHT, Decimal(mine), Decimal(1))


def no_edge(state: RiskState, draft: Draft) -> Use:
    return Use(LimitUse(Reason.NO_EDGE, draft.kelly, Decimal(0)), draft.kelly <= 0)


# --- entry limits: rates ---------------------------------------------------------------------------------------------


def order_rate(state: RiskState, draft: Draft) -> Use:
    """Entries approved in the last second. Cancels and exits are never counted: their budget is reserved."""
    since = state.now - NS_PER_S
    return reached(Reason.ORDER_RATE, Decimal(sum(1 for at in state.entries_at if at > since)), state.limits.order_rate)


def signal_repeats(state: RiskState, draft: Draft) -> Use:
    """Entries approved on exactly these words of the strategy within a minute."""
    repeat = state.repeats.get(pair(draft.strategy, draft.symbol))
    since = state.now - 60 * NS_PER_S
    count = sum(1 for at in repeat.approved_at if at > since) if repeat is not None else 0
    return reached(Reason.SIGNAL_REPEATS, Decimal(count), state.limits.signal_repeats)


def fills_per_minute(state: RiskState, draft: Draft) -> Use:
    return reached(
        Reason.FILLS_PER_MINUTE, Decimal(orders_filled(state, draft.strategy)), state.limits.fills_per_minute
    )


def orders_filled(state: RiskState, strategy: str) -> int:
    """Orders of a strategy that began to fill within the last minute."""
    since = state.now - 60 * NS_PER_S
    return sum(1 for at in state.fills_at.get(strategy, ()) if at > since)


# --- entry limits: price ---------------------------------------------------------------------------------------------


def entry_collar(state: RiskState, draft: Draft) -> Use:
    """How far the touch is beyond the farther of mark and index, in the direction that hurts."""
    market = state.markets[draft.symbol]
    if draft.side is Side.BUY:
        reference = min(market.mark, market.index or market.mark)
        beyond = draft.touch - reference
    else:
        reference = max(market.mark, market.index)
        beyond = reference - draft.touch
    measured = (beyond / reference).quantize(PPM) if reference > 0 else Decimal(0)
    limit = state.limits.entry_collar
    return Use(LimitUse(Reason.ENTRY_COLLAR, max(measured, Decimal(0)), limit), beyond > limit * reference)


def self_match(state: RiskState, draft: Draft) -> Use:
    """Own open orders on the other side that this one would trade with. Two that never rest cannot meet."""
    others = (o for o in state.orders.values() if o.symbol == draft.symbol and (draft.rests or rests(o)))
    crossing = sum(1 for other in others if crosses(draft, other.sign, other.price))
    return reached(Reason.SELF_MATCH, Decimal(crossing), Decimal(1))


def crosses(draft: Draft, sign: int, price: Decimal) -> bool:
    """Whether an order of `sign` at `price` and the draft would meet."""
    if sign == draft.side.sign:
        return False
    return price <= draft.price if draft.side is Side.BUY else price >= draft.price


# --- entry limits: size ----------------------------------------------------------------------------------------------


def max_position_size(state: RiskState, draft: Draft) -> Use:
    """The sided rule, after the order, in base units."""
    lot = state.ledger.grids[draft.symbol].lot_size
    after = _used(draft) + draft.lots
    limit = state.limits.max_position_size
    return Use(LimitUse(Reason.MAX_POSITION_SIZE, lot * after, limit), after > _position_lots(state, draft))


def position_limit_usd(state: RiskState, draft: Draft) -> Use:
    return _exceed(Reason.POSITION_LIMIT_USD, _worst_after(draft), state.limits.position_limit_usd)


def max_order_usd(state: RiskState, draft: Draft) -> Use:
    return _exceed(Reason.MAX_ORDER_USD, draft.lots * draft.lot_units, state.limits.max_order_usd)


def max_order_qty(state: RiskState, draft: Draft) -> Use:
    lot = state.ledger.grids[draft.symbol].lot_size
    most = largest_order(state, draft.symbol)
    return Use(LimitUse(Reason.MAX_ORDER_QTY, lot * draft.lots, lot * most), draft.lots > most)


def max_gross_usd(state: RiskState, draft: Draft) -> Use:
    gross = draft.exposure.gross_others_units + _worst_after(draft)
    return _exceed(Reason.MAX_GROSS_USD, gross, state.limits.max_gross_usd)


def max_net_usd(state: RiskState, draft: Draft) -> Use:
    added = draft.lots * draft.lot_units
    after_long = draft.exposure.net_long_units + (added if draft.side is Side.BUY else 0)
    after_short = draft.exposure.net_short_units + (added if draft.side is Side.SELL else 0)
    return _exceed(Reason.MAX_NET_USD, max(after_long, after_short), state.limits.max_net_usd)


def max_leverage(state: RiskState, draft: Draft) -> Use:
    """Gross exposure after the order over capital; no capital allows none."""
    gross, capital = draft.exposure.gross_others_units + _worst_after(draft), state.capital_units()
    limit = state.limits.max_leverage
    measured = ratio(gross, capital, Decimal(1))
    return Use(LimitUse(Reason.MAX_LEVERAGE, measured, limit), gross > _leverage_units(state))


def below_minimum(state: RiskState, draft: Draft) -> Use:
    lot = state.ledger.grids[draft.symbol].lot_size
    least = minimum_lots(state.markets[draft.symbol], draft.lot_units)
    return Use(LimitUse(Reason.BELOW_MINIMUM, lot * draft.lots, lot * least), draft.lots < least)


# --- caps: the lots that each size limit leaves ----------------------------------------------------------------------


def largest_order(state: RiskState, symbol: str) -> int:
    """Lots that one order may have: the venue's maximum and ours, where set."""
    ours = state.limits.max_order_qty
    most = [state.markets[symbol].max_lots] if state.markets[symbol].max_lots > 0 else []
    if ours > 0:
        most.append(state.ledger.grids[symbol].lots(ours))
    return min(most, default=0)


def _cap_position(state: RiskState, draft: Draft) -> int:
    return kernel.room(_position_lots(state, draft), _used(draft))


def _cap_symbol(state: RiskState, draft: Draft) -> int:
    return _value_cap(draft, to_units(state.limits.position_limit_usd))


def _cap_order(state: RiskState, draft: Draft) -> int:
    return min(
        kernel.lots_for(to_units(state.limits.max_order_usd), draft.lot_units), largest_order(state, draft.symbol)
    )


def _cap_gross(state: RiskState, draft: Draft) -> int:
    most = min(to_units(state.limits.max_gross_usd), _leverage_units(state))
    return _value_cap(draft, most - draft.exposure.gross_others_units)


def _cap_net(state: RiskState, draft: Draft) -> int:
    used = draft.exposure.net_long_units if draft.side is Side.BUY else draft.exposure.net_short_units
    return kernel.lots_for(to_units(state.limits.max_net_usd) - used, draft.lot_units)


def _value_cap(draft: Draft, most_units: int) -> int:
    return kernel.lots_for(most_units - _side(draft, draft.side.sign), draft.lot_units)


def _position_lots(state: RiskState, draft: Draft) -> int:
    return state.ledger.grids[draft.symbol].lots(state.limits.max_position_size)


def _leverage_units(state: RiskState) -> int:
    return int(state.limits.max_leverage * state.capital_units())


def _used(draft: Draft) -> int:
    e = draft.exposure
    return kernel.sided_use(e.lots, e.open_buys, e.open_sells, draft.side.sign)


def _side(draft: Draft, sign: int) -> int:
    e = draft.exposure
    return kernel.side_value(e.lots, e.mark_units, e.buy_units if sign > 0 else e.sell_units, sign)


def _worst_after(draft: Draft) -> int:
    sign = draft.side.sign
    return max(_side(draft, sign) + draft.lots * draft.lot_units, _side(draft, -sign))


def reached(name: Reason, measured: Decimal, limit: Decimal) -> Use:
    return Use(LimitUse(name, measured, limit), measured >= limit)


def _exceed(name: Reason, units: int, limit: Decimal) -> Use:
    return Use(LimitUse(name, from_units(units), limit), units > to_units(limit))


def _flag(name: Reason, is_bad: bool) -> Use:
    return Use(LimitUse(name, Decimal(int(is_bad)), Decimal(1)), is_bad)


Entry = Callable[[RiskState, Draft], Use]
Standing = Callable[[RiskState], Use]
Cap = Callable[[RiskState, Draft], int]


def _on_book(limit: Standing) -> Entry:
    return lambda state, draft: limit(state)


STANDING: tuple[Standing, ...] = (daily_loss, weekly_loss, drawdown, consecutive_losses, latency, error_rate)

ENTRY: tuple[Entry, ...] = (
    allow_list,
    expired,
    duplicate,
    mode,
    not_reconciled,
    no_market,
    in_flight,
    *(_on_book(limit) for limit in STANDING),
    signal_repeats,
    fills_per_minute,
    order_rate,
    no_edge,
    entry_collar,
    self_match,
    max_position_size,
    position_limit_usd,
    max_order_usd,
    max_order_qty,
    max_gross_usd,
    max_net_usd,
    max_leverage,
    below_minimum,
)

CAPS: tuple[Cap, ...] = (_cap_position, _cap_symbol, _cap_order, _cap_gross, _cap_net)


def standing(state: RiskState) -> list[Use]:
    """Every standing limit that is breached now."""
    judged = (guarded(partial(limit, state), lambda use: use) for limit in STANDING)
    return [use for use in judged if use.breached]
