"""Every limit on an order that adds risk, as one small function in a fixed order: what it measured, what is allowed, whether
that is a breach. The verdict lists all of them, those that watch the book (`standing`) among them, and the first breached one
is binding. Measures breach when they *reach* a limit; sizes (lots and exposures after the order) when they exceed it, as in the
sided rule. `CAPS` shrink a draft before it is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache, partial

from libs.common.events import LimitUse, Mode, Reason
from libs.common.values import SPOT, Grid, Side, category_of, from_units
from services.risk import kernel, standing
from services.risk.cash import free_units
from services.risk.draft import PPM, Draft, exposure, minimum_lots, ratio
from services.risk.modes import SEVERITY, effective_mode
from services.risk.orders import rests
from services.risk.state import BOOK, MINUTE_NS, NS_PER_S, RiskState, pair, strategy_scope, symbol_scope
from services.risk.verdict import ONE, ZERO, Use, Verdict, calm, counted, exceeded, flag, guarded, reached, units_of


def assess(state: RiskState, draft: Draft) -> Verdict:
    """Shrink the draft to every cap, then judge it by every limit."""
    verdict = guarded(partial(_assess, state, draft))
    if isinstance(verdict, Verdict):
        return verdict
    # One limit raised: the others are still told, it by the word EXCEPTION in its place.
    return Verdict(draft.lots, tuple(guarded(partial(limit, state, draft)).use for limit in ENTRY), verdict)


def _assess(state: RiskState, draft: Draft) -> Verdict:
    draft.exposure = exposure(state, draft.symbol)
    least = minimum_lots(state.markets[draft.symbol], draft.lot_units)
    if draft.lots > least:
        # Never below the minimum: there the limit that left no room shows itself breached by the smallest order.
        capped = most(state, draft)
        draft.lots = max(capped - capped % state.markets[draft.symbol].step, least)
    return judge(state, draft)


def most(state: RiskState, draft: Draft) -> int:
    """Lots of the draft that every cap leaves; its exposure must be known."""
    return min(draft.lots, *(cap(state, draft) for cap in CAPS))


def judge(state: RiskState, draft: Draft) -> Verdict:
    """Every limit in its fixed order, at the draft's present size."""
    uses: list[LimitUse] = []
    binding = None
    for limit in ENTRY:
        judged = limit(state, draft)
        uses.append(judged.use)
        if binding is None and judged.breached:
            binding = judged
    return Verdict(draft.lots, tuple(uses), binding)


# --- entry limits: permission ----------------------------------------------------------------------------------------


def allow_list(state: RiskState, draft: Draft) -> Use:
    """Default deny: symbols x strategies x stages, and the strategy's model not blocked."""
    return flag(Reason.ALLOW_LIST, not draft.is_allowed)


def mode(state: RiskState, draft: Draft) -> Use:
    current = effective_mode(state, draft.strategy, draft.symbol)
    if current is Mode.NORMAL:
        return NORMAL
    return Use(LimitUse(Reason.MODE, Decimal(SEVERITY[current]), Decimal(1)), True, why(state, draft))


def why(state: RiskState, draft: Draft) -> str:
    """What holds the draft's scopes below NORMAL, for people."""
    scopes = (BOOK, symbol_scope(draft.symbol), strategy_scope(draft.strategy))
    return ", ".join(f"{b.scope} {b.mode} {b.reason}" for b in state.blocks.values() if b.scope in scopes)


def not_reconciled(state: RiskState, draft: Draft) -> Use:
    return flag(Reason.NOT_RECONCILED, not state.reconciled)


def expired(state: RiskState, draft: Draft) -> Use:
    return reached(Reason.EXPIRED, Decimal(draft.age_ms), Decimal(draft.ttl_ms))


def duplicate(state: RiskState, draft: Draft) -> Use:
    repeat = state.repeats.get(pair(draft.strategy, draft.symbol))
    return flag(Reason.DUPLICATE, repeat is not None and repeat.is_duplicate)


def no_market(state: RiskState, draft: Draft) -> Use:
    """A price to trade at, a mark to value with, an instrument that trades."""
    market = state.markets[draft.symbol]
    usable = market.trading and not market.down and market.mark_units > 0 and draft.touch > 0 and draft.lot_units > 0
    return flag(Reason.NO_MARKET, not usable)


def in_flight(state: RiskState, draft: Draft) -> Use:
    """One order at a time for a strategy in a symbol."""
    mine = sum(1 for o in state.orders.values() if o.strategy == draft.strategy and o.symbol == draft.symbol)
    return counted(Reason.IN_FLIGHT, mine, Decimal(1))


def no_edge(state: RiskState, draft: Draft) -> Use:
    return Use(LimitUse(Reason.NO_EDGE, draft.kelly, ZERO), draft.kelly <= 0)


# --- entry limits: rates ---------------------------------------------------------------------------------------------


def spot_short(state: RiskState, draft: Draft) -> Use:
    """Coins that are not owned cannot be sold: on spot there is no entry by selling."""
    return flag(Reason.SPOT_SHORT, draft.side is Side.SELL and category_of(draft.symbol) == SPOT)


def spot_cash(state: RiskState, draft: Draft) -> Use:
    """Coins are paid for at once, with what no margin holds: nothing is borrowed for them."""
    cost, cash = (draft.lots * draft.lot_units, free_units(state)) if category_of(draft.symbol) == SPOT else (0, 0)
    return Use(LimitUse(Reason.SPOT_CASH, from_units(cost), from_units(cash)), cost > cash)


def order_rate(state: RiskState, draft: Draft) -> Use:
    """Entries approved in the last second. Cancels and exits are never counted: their budget is reserved."""
    return counted(Reason.ORDER_RATE, kernel.recent(state.entries_at, state.now - NS_PER_S), state.limits.order_rate)


def signal_repeats(state: RiskState, draft: Draft) -> Use:
    """Entries approved on exactly these words of the strategy within a minute."""
    repeat = state.repeats.get(pair(draft.strategy, draft.symbol))
    count = kernel.recent(repeat.approved_at, state.now - MINUTE_NS) if repeat is not None else 0
    return counted(Reason.SIGNAL_REPEATS, count, state.limits.signal_repeats)


def signal_flood(state: RiskState, draft: Draft) -> Use:
    """How often exactly these words came within a minute, whatever became of them."""
    repeat = state.repeats.get(pair(draft.strategy, draft.symbol))
    return counted(Reason.SIGNAL_FLOOD, repeat.heard if repeat is not None else 0, state.limits.signal_flood)


def fills_per_minute(state: RiskState, draft: Draft) -> Use:
    return counted(Reason.FILLS_PER_MINUTE, orders_filled(state, draft.strategy), state.limits.fills_per_minute)


def orders_filled(state: RiskState, strategy: str) -> int:
    """Orders of a strategy that began to fill within the last minute."""
    return kernel.recent(state.fills_at.get(strategy, []), state.now - MINUTE_NS)


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
    limit = state.limits.entry_collar
    measured = (beyond / reference).quantize(PPM) if reference > 0 and beyond > 0 else ZERO
    return Use(LimitUse(Reason.ENTRY_COLLAR, measured, limit), beyond > limit * reference)


def self_match(state: RiskState, draft: Draft) -> Use:
    """Own open orders on the other side that this one would trade with. Two that never rest cannot meet."""
    others = (o for o in state.orders.values() if o.symbol == draft.symbol and (draft.rests or rests(o)))
    crossing = sum(1 for other in others if crosses(draft, other.sign, other.price))
    return counted(Reason.SELF_MATCH, crossing, Decimal(1))


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
    return exceeded(Reason.POSITION_LIMIT_USD, _worst_after(draft), state.limits.position_limit_usd)


def max_order_usd(state: RiskState, draft: Draft) -> Use:
    return exceeded(Reason.MAX_ORDER_USD, draft.lots * draft.lot_units, state.limits.max_order_usd)


def max_order_qty(state: RiskState, draft: Draft) -> Use:
    lot = state.ledger.grids[draft.symbol].lot_size
    most = largest_order(state, draft.symbol)
    return Use(LimitUse(Reason.MAX_ORDER_QTY, lot * draft.lots, lot * most), draft.lots > most)


def max_gross_usd(state: RiskState, draft: Draft) -> Use:
    gross = draft.exposure.gross_others_units + _worst_after(draft)
    return exceeded(Reason.MAX_GROSS_USD, gross, state.limits.max_gross_usd)


def max_net_usd(state: RiskState, draft: Draft) -> Use:
    added = draft.lots * draft.lot_units
    after_long = draft.exposure.net_long_units + (added if draft.side is Side.BUY else 0)
    after_short = draft.exposure.net_short_units + (added if draft.side is Side.SELL else 0)
    return exceeded(Reason.MAX_NET_USD, max(after_long, after_short), state.limits.max_net_usd)


def max_leverage(state: RiskState, draft: Draft) -> Use:
    """Gross exposure after the order over capital; no capital allows none."""
    gross, capital = draft.exposure.gross_others_units + _worst_after(draft), state.capital_units()
    limit = state.limits.max_leverage
    return Use(LimitUse(Reason.MAX_LEVERAGE, ratio(gross, capital, ONE), limit), gross > int(limit * capital))


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
        most.append(_lots(state.ledger.grids[symbol], ours))
    return min(most, default=0)


def _cap_position(state: RiskState, draft: Draft) -> int:
    return kernel.room(_position_lots(state, draft), _used(draft))


def _cap_symbol(state: RiskState, draft: Draft) -> int:
    return _value_cap(draft, units_of(state.limits.position_limit_usd))


def _cap_order(state: RiskState, draft: Draft) -> int:
    return min(
        kernel.lots_for(units_of(state.limits.max_order_usd), draft.lot_units), largest_order(state, draft.symbol)
    )


def gross_units(state: RiskState) -> int:
    """The most that the whole book may be worth, by either of the gross limits."""
    return min(units_of(state.limits.max_gross_usd), int(state.limits.max_leverage * state.capital_units()))


def _cap_gross(state: RiskState, draft: Draft) -> int:
    return _value_cap(draft, gross_units(state) - draft.exposure.gross_others_units)


def _cap_net(state: RiskState, draft: Draft) -> int:
    used = draft.exposure.net_long_units if draft.side is Side.BUY else draft.exposure.net_short_units
    return kernel.lots_for(units_of(state.limits.max_net_usd) - used, draft.lot_units)


def _cap_cash(state: RiskState, draft: Draft) -> int:
    return kernel.lots_for(free_units(state), draft.lot_units) if category_of(draft.symbol) == SPOT else draft.lots


def _value_cap(draft: Draft, most_units: int) -> int:
    return kernel.lots_for(most_units - _side(draft, draft.side.sign), draft.lot_units)


def _position_lots(state: RiskState, draft: Draft) -> int:
    return _lots(state.ledger.grids[draft.symbol], state.limits.max_position_size)


@lru_cache(maxsize=256)
def _lots(grid: Grid, quantity: Decimal) -> int:
    """A limit in lots, remembered."""
    return grid.lots(quantity)


def _used(draft: Draft) -> int:
    e = draft.exposure
    return kernel.sided_use(e.lots, e.open_buys, e.open_sells, draft.side.sign)


def _side(draft: Draft, sign: int) -> int:
    e = draft.exposure
    return kernel.side_value(e.lots, e.mark_units, e.buy_units if sign > 0 else e.sell_units, sign)


def _worst_after(draft: Draft) -> int:
    sign = draft.side.sign
    return max(_side(draft, sign) + draft.lots * draft.lot_units, _side(draft, -sign))


# --- entry limits: transient causes ----------------------------------------------------------------------------------


def feed_delay_ms(state: RiskState, draft: Draft) -> Use:
    return _transient(state, BOOK, Reason.FEED_DELAY_MS)


def feed_silence(state: RiskState, draft: Draft) -> Use:
    return _transient(state, BOOK, Reason.FEED_SILENCE)


def clock_offset_ms(state: RiskState, draft: Draft) -> Use:
    return _transient(state, BOOK, Reason.CLOCK_OFFSET_MS)


def max_margin_ratio(state: RiskState, draft: Draft) -> Use:
    return _transient(state, BOOK, Reason.MAX_MARGIN_RATIO)


def velocity(state: RiskState, draft: Draft) -> Use:
    return _transient(state, symbol_scope(draft.symbol), Reason.VELOCITY)


def spread(state: RiskState, draft: Draft) -> Use:
    return _transient(state, symbol_scope(draft.symbol), Reason.SPREAD)


def _transient(state: RiskState, scope: str, reason: Reason) -> Use:
    """A cause that makes its scope REDUCE_ONLY until it is quiet: what it measured when it was last bad, else nothing."""
    seen = state.conditions.get(f"{scope}/{reason}") if state.conditions else None
    if seen is None:
        return calm(reason, getattr(state.limits, reason.value))
    return Use(LimitUse(reason, seen.measured, seen.limit), True)


Entry = Callable[[RiskState, Draft], Use]
Cap = Callable[[RiskState, Draft], int]

NORMAL = Use(LimitUse(Reason.MODE, ZERO, Decimal(1)), False)


def _on_book(limit: standing.Standing) -> Entry:
    return lambda state, draft: limit(state)


ENTRY: tuple[Entry, ...] = (
    allow_list,
    expired,
    duplicate,
    mode,
    not_reconciled,
    no_market,
    feed_delay_ms,
    feed_silence,
    clock_offset_ms,
    max_margin_ratio,
    velocity,
    spread,
    in_flight,
    *(_on_book(limit) for limit in standing.STANDING),
    signal_repeats,
    signal_flood,
    fills_per_minute,
    order_rate,
    no_edge,
    spot_short,
    entry_collar,
    self_match,
    max_position_size,
    position_limit_usd,
    max_order_usd,
    max_order_qty,
    max_gross_usd,
    max_net_usd,
    max_leverage,
    spot_cash,
    below_minimum,
)

CAPS: tuple[Cap, ...] = (_cap_position, _cap_symbol, _cap_order, _cap_gross, _cap_net, _cap_cash)
