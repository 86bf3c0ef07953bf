"""Every limit on an order that adds risk, as one small function in a fixed order: what it measured, what is allowed, whether
that is a breach. The verdict lists all of them, those that watch the book (`standing`) among them, and the first breached one
is binding. Measures breach when they *reach* a limit; sizes (lots and exposures after the order) when they exceed it, as in the
sided rule. `CAPS` shrink a draft before it is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from libs.common.events import LimitUse, Reason
from libs.common.values import SPOT, Grid, category_of, from_units
from services.risk import kernel, standing
from services.risk.cash import free_units
from services.risk.draft import PPM, Draft, exposure, ratio
from services.risk.modes import SEVERITY, effective_mode
from services.risk.orders import rests
from services.risk.state import BOOK, MINUTE_NS, NS_PER_S, RiskState, strategy_scope, symbol_scope
from services.risk.verdict import (
    ONE,
    ZERO,
    Measured,
    Use,
    Verdict,
    counted,
    exceeded,
    flag,
    guarded,
    reached,
    units_of,
)


def assess(state: RiskState, draft: Draft) -> Verdict:
    """Shrink the draft to every cap, then judge it by every limit."""
    verdict = guarded(_assess, state, draft)
    if isinstance(verdict, Verdict):
        return verdict
    return Verdict(draft.lots, tuple(_told(state, draft, name) for name in ENTRY), verdict)


def _told(state: RiskState, draft: Draft, name: Reason) -> LimitUse:
    """One limit of a verdict in which some limit raised: that one says EXCEPTION in its place, the others are still told."""
    said = guarded(ENTRY[name], state, draft)
    return said.use if isinstance(said, Use) else LimitUse(name, *said[:2])


def _assess(state: RiskState, draft: Draft) -> Verdict:
    draft.exposure = exposure(state, draft.symbol)
    if draft.lots > draft.least_lots:
        # Never below the minimum: there the limit that left no room shows itself breached by the smallest order.
        capped = most(state, draft)
        draft.lots = max(capped - capped % state.markets[draft.symbol].step, draft.least_lots)
    return judge(state, draft)


def most(state: RiskState, draft: Draft) -> int:
    """Lots of the draft that every cap leaves; its exposure must be known."""
    return min([draft.lots, *[cap(state, draft) for cap in CAPS]])


def judge(state: RiskState, draft: Draft) -> Verdict:
    """Every limit in its fixed order, at the draft's present size."""
    uses: list[LimitUse] = []
    binding = None
    draft.worst_units = _worst_units(draft)
    for name, limit in ENTRY.items():
        measured, allowed, is_breached = limit(state, draft)
        use = LimitUse(name, measured, allowed)
        uses.append(use)
        if is_breached and binding is None:
            binding = Use(use, True, why(state, draft) if name is Reason.MODE else "")
    return Verdict(draft.lots, tuple(uses), binding)


# --- entry limits: permission ----------------------------------------------------------------------------------------


def allow_list(state: RiskState, draft: Draft) -> Measured:
    """Default deny: symbols x strategies x stages, and the strategy's model not blocked."""
    return flag(not draft.is_allowed)


def mode(state: RiskState, draft: Draft) -> Measured:
    return counted(SEVERITY[effective_mode(state, draft.strategy, draft.symbol)], ONE)


def why(state: RiskState, draft: Draft) -> str:
    """What holds the draft's scopes below NORMAL, for people."""
    scopes = (BOOK, symbol_scope(draft.symbol), strategy_scope(draft.strategy))
    return ", ".join(f"{b.scope} {b.mode} {b.reason}" for b in state.blocks.values() if b.scope in scopes)


def not_reconciled(state: RiskState, draft: Draft) -> Measured:
    return flag(not state.reconciled)


def expired(state: RiskState, draft: Draft) -> Measured:
    return reached(Decimal(draft.age_ms), Decimal(draft.ttl_ms))


def duplicate(state: RiskState, draft: Draft) -> Measured:
    return flag(draft.repeat is not None and draft.repeat.is_duplicate)


def no_market(state: RiskState, draft: Draft) -> Measured:
    """A price to trade at, a mark to value with, an instrument that trades."""
    market = state.markets[draft.symbol]
    usable = market.trading and not market.down and market.mark_units > 0 and draft.touch > 0 and draft.lot_units > 0
    return flag(not usable)


def in_flight(state: RiskState, draft: Draft) -> Measured:
    """One order at a time for a strategy in a symbol."""
    mine = [o for o in state.orders.values() if o.strategy == draft.strategy and o.symbol == draft.symbol]
    return counted(len(mine), ONE)


def no_edge(state: RiskState, draft: Draft) -> Measured:
    return draft.kelly, ZERO, draft.kelly <= 0


# --- entry limits: rates ---------------------------------------------------------------------------------------------


def spot_short(state: RiskState, draft: Draft) -> Measured:
    """Coins that are not owned cannot be sold: on spot there is no entry by selling."""
    return flag(not draft.side.is_buy and category_of(draft.symbol) == SPOT)


def spot_cash(state: RiskState, draft: Draft) -> Measured:
    """Coins are paid for at once, with what no margin holds: nothing is borrowed for them."""
    if category_of(draft.symbol) != SPOT:
        return ZERO, ZERO, False
    cost, cash = draft.lots * draft.lot_units, free_units(state)
    return from_units(cost), from_units(cash), cost > cash


def order_rate(state: RiskState, draft: Draft) -> Measured:
    """Entries approved in the last second. Cancels and exits are never counted: their budget is reserved."""
    return counted(kernel.recent(state.entries_at, state.now - NS_PER_S), state.limits.order_rate)


def signal_repeats(state: RiskState, draft: Draft) -> Measured:
    """Entries approved on exactly these words of the strategy within a minute."""
    count = kernel.recent(draft.repeat.approved_at, state.now - MINUTE_NS) if draft.repeat is not None else 0
    return counted(count, state.limits.signal_repeats)


def signal_flood(state: RiskState, draft: Draft) -> Measured:
    """How often exactly these words came within a minute, whatever became of them."""
    return counted(draft.repeat.heard if draft.repeat is not None else 0, state.limits.signal_flood)


def fills_per_minute(state: RiskState, draft: Draft) -> Measured:
    return counted(orders_filled(state, draft.strategy), state.limits.fills_per_minute)


def orders_filled(state: RiskState, strategy: str) -> int:
    """Orders of a strategy that began to fill within the last minute."""
    return kernel.recent(state.fills_at.get(strategy, []), state.now - MINUTE_NS)


# --- entry limits: price ---------------------------------------------------------------------------------------------


def entry_collar(state: RiskState, draft: Draft) -> Measured:
    """How far the touch is beyond the farther of mark and index, in the direction that hurts."""
    market = state.markets[draft.symbol]
    if draft.side.is_buy:
        reference = min(market.mark, market.index or market.mark)
        beyond = draft.touch - reference
    else:
        reference = max(market.mark, market.index)
        beyond = reference - draft.touch
    limit = state.limits.entry_collar
    measured = (beyond / reference).quantize(PPM) if reference > 0 and beyond > 0 else ZERO
    return measured, limit, beyond > limit * reference


def self_match(state: RiskState, draft: Draft) -> Measured:
    """Own open orders on the other side that this one would trade with. Two that never rest cannot meet."""
    others = [o for o in state.orders.values() if o.symbol == draft.symbol and (draft.rests or rests(o))]
    crossing = [other for other in others if crosses(draft, other.sign, other.price)]
    return counted(len(crossing), ONE)


def crosses(draft: Draft, sign: int, price: Decimal) -> bool:
    """Whether an order of `sign` at `price` and the draft would meet."""
    if sign == draft.side.sign:
        return False
    return price <= draft.price if draft.side.is_buy else price >= draft.price


# --- entry limits: size ----------------------------------------------------------------------------------------------


def max_position_size(state: RiskState, draft: Draft) -> Measured:
    """The sided rule, after the order, in base units."""
    lot = state.ledger.grids[draft.symbol].lot_size
    after = _used(draft) + draft.lots
    limit = state.limits.max_position_size
    return lot * after, limit, after > _position_lots(state, draft)


def position_limit_usd(state: RiskState, draft: Draft) -> Measured:
    return exceeded(draft.worst_units, state.limits.position_limit_usd)


def max_order_usd(state: RiskState, draft: Draft) -> Measured:
    return exceeded(draft.lots * draft.lot_units, state.limits.max_order_usd)


def max_order_qty(state: RiskState, draft: Draft) -> Measured:
    lot = state.ledger.grids[draft.symbol].lot_size
    most = largest_order(state, draft.symbol)
    return lot * draft.lots, lot * most, draft.lots > most


def max_gross_usd(state: RiskState, draft: Draft) -> Measured:
    gross = draft.exposure.gross_others_units + draft.worst_units
    return exceeded(gross, state.limits.max_gross_usd)


def max_net_usd(state: RiskState, draft: Draft) -> Measured:
    added = draft.lots * draft.lot_units
    long, short = draft.exposure.net_long_units, draft.exposure.net_short_units
    after = max(long + added, short) if draft.side.is_buy else max(long, short + added)
    return exceeded(after, state.limits.max_net_usd)


def max_leverage(state: RiskState, draft: Draft) -> Measured:
    """Gross exposure after the order over capital; no capital allows none."""
    gross, capital = draft.exposure.gross_others_units + draft.worst_units, draft.exposure.capital_units
    limit = state.limits.max_leverage
    return ratio(gross, capital, ONE), limit, gross > int(limit * capital)


def below_minimum(state: RiskState, draft: Draft) -> Measured:
    lot = state.ledger.grids[draft.symbol].lot_size
    return lot * draft.lots, lot * draft.least_lots, draft.lots < draft.least_lots


# --- caps: the lots that each size limit leaves ----------------------------------------------------------------------


def largest_order(state: RiskState, symbol: str) -> int:
    """Lots that one order may have: the venue's maximum and ours, where set."""
    ours, venues = state.limits.max_order_qty, state.markets[symbol].max_lots
    if not ours:
        return venues
    own = _lots(state.ledger.grids[symbol], ours)
    return min(own, venues) if venues > 0 else own


def _cap_position(state: RiskState, draft: Draft) -> int:
    return kernel.room(_position_lots(state, draft), _used(draft))


def _cap_order(state: RiskState, draft: Draft) -> int:
    return min(
        kernel.lots_for(units_of(state.limits.max_order_usd), draft.lot_units), largest_order(state, draft.symbol)
    )


def gross_units(state: RiskState, capital_units: int) -> int:
    """The most that the whole book may be worth, by either of the gross limits."""
    return min(units_of(state.limits.max_gross_usd), int(state.limits.max_leverage * capital_units))


def _cap_value(state: RiskState, draft: Draft) -> int:
    """By the limit on the symbol's value and by those on the whole book's."""
    e, sign = draft.exposure, draft.side.sign
    used = kernel.side_value(e.lots, e.mark_units, e.buy_units if sign > 0 else e.sell_units, sign)
    most = min(units_of(state.limits.position_limit_usd), gross_units(state, e.capital_units) - e.gross_others_units)
    return kernel.lots_for(most - used, draft.lot_units)


def _cap_net(state: RiskState, draft: Draft) -> int:
    used = draft.exposure.net_long_units if draft.side.is_buy else draft.exposure.net_short_units
    return kernel.lots_for(units_of(state.limits.max_net_usd) - used, draft.lot_units)


def _cap_cash(state: RiskState, draft: Draft) -> int:
    return kernel.lots_for(free_units(state), draft.lot_units) if category_of(draft.symbol) == SPOT else draft.lots


def _position_lots(state: RiskState, draft: Draft) -> int:
    return _lots(state.ledger.grids[draft.symbol], state.limits.max_position_size)


@lru_cache(maxsize=256)
def _lots(grid: Grid, quantity: Decimal) -> int:
    """A limit in lots, remembered."""
    return grid.lots(quantity)


def _used(draft: Draft) -> int:
    e = draft.exposure
    return kernel.sided_use(e.lots, e.open_buys, e.open_sells, draft.side.sign)


def _worst_units(draft: Draft) -> int:
    e, added = draft.exposure, draft.lots * draft.lot_units
    if draft.side.is_buy:
        return kernel.worst_value(e.lots, e.mark_units, e.buy_units + added, e.sell_units)
    return kernel.worst_value(e.lots, e.mark_units, e.buy_units, e.sell_units + added)


# --- entry limits: transient causes ----------------------------------------------------------------------------------


def feed_delay_ms(state: RiskState, draft: Draft) -> Measured:
    return _transient(state, Reason.FEED_DELAY_MS, state.limits.feed_delay_ms)


def feed_silence(state: RiskState, draft: Draft) -> Measured:
    return _transient(state, Reason.FEED_SILENCE, state.limits.feed_silence)


def clock_offset_ms(state: RiskState, draft: Draft) -> Measured:
    return _transient(state, Reason.CLOCK_OFFSET_MS, state.limits.clock_offset_ms)


def max_margin_ratio(state: RiskState, draft: Draft) -> Measured:
    return _transient(state, Reason.MAX_MARGIN_RATIO, state.limits.max_margin_ratio)


def velocity(state: RiskState, draft: Draft) -> Measured:
    return _transient(state, Reason.VELOCITY, state.limits.velocity, draft.symbol)


def spread(state: RiskState, draft: Draft) -> Measured:
    return _transient(state, Reason.SPREAD, state.limits.spread, draft.symbol)


def _transient(state: RiskState, reason: Reason, limit: Decimal, symbol: str = "") -> Measured:
    """A cause that makes its scope, a symbol or the book, REDUCE_ONLY until it is quiet: what it measured when it was last
    bad, else nothing."""
    if not state.conditions:
        return ZERO, limit, False
    seen = state.conditions.get(f"{symbol_scope(symbol) if symbol else BOOK}/{reason}")
    return (seen.measured, seen.limit, True) if seen is not None else (ZERO, limit, False)


Limit = Callable[[RiskState, Draft], Measured]
Cap = Callable[[RiskState, Draft], int]


ENTRY: dict[Reason, Limit] = {
    Reason.ALLOW_LIST: allow_list,
    Reason.EXPIRED: expired,
    Reason.DUPLICATE: duplicate,
    Reason.MODE: mode,
    Reason.NOT_RECONCILED: not_reconciled,
    Reason.NO_MARKET: no_market,
    Reason.FEED_DELAY_MS: feed_delay_ms,
    Reason.FEED_SILENCE: feed_silence,
    Reason.CLOCK_OFFSET_MS: clock_offset_ms,
    Reason.MAX_MARGIN_RATIO: max_margin_ratio,
    Reason.VELOCITY: velocity,
    Reason.SPREAD: spread,
    Reason.IN_FLIGHT: in_flight,
    **standing.STANDING,
    Reason.SIGNAL_REPEATS: signal_repeats,
    Reason.SIGNAL_FLOOD: signal_flood,
    Reason.FILLS_PER_MINUTE: fills_per_minute,
    Reason.ORDER_RATE: order_rate,
    Reason.NO_EDGE: no_edge,
    Reason.SPOT_SHORT: spot_short,
    Reason.ENTRY_COLLAR: entry_collar,
    Reason.SELF_MATCH: self_match,
    Reason.MAX_POSITION_SIZE: max_position_size,
    Reason.POSITION_LIMIT_USD: position_limit_usd,
    Reason.MAX_ORDER_USD: max_order_usd,
    Reason.MAX_ORDER_QTY: max_order_qty,
    Reason.MAX_GROSS_USD: max_gross_usd,
    Reason.MAX_NET_USD: max_net_usd,
    Reason.MAX_LEVERAGE: max_leverage,
    Reason.SPOT_CASH: spot_cash,
    Reason.BELOW_MINIMUM: below_minimum,
}
"""In the order in which they are told; the first one breached binds."""

CAPS: tuple[Cap, ...] = (_cap_position, _cap_value, _cap_order, _cap_net, _cap_cash)
