"""How a symbol's market is learnt: instruments, ticks, references; its valuation; and what is unusual about it."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from libs.common.events import FeedDown, FeedUp, InstrumentDefined, MaintenancePlanned, Reason, Reference, Tick
from libs.common.values import to_units
from services.risk import holdings, modes
from services.risk.state import BOOK, MINUTE_NS, NS_PER_MS, NS_PER_S, Market, RiskState, symbol_scope

SPREADS_KEPT = 101
SPREADS_LEAST = 5
"""Seconds until a spread's median counts. Before that the entry collar bounds what an unknown spread can cost."""
VELOCITY_NS = 5 * NS_PER_S
VELOCITY_LEAST = 60
HOUR_WINDOWS = 720
"""Windows of 5 s in the hour that the EWMA remembers."""
MAINTENANCE_LEAD_NS = 5 * MINUTE_NS
E9 = 10**9
HUGE = Decimal(10) ** 12
NONE = Decimal(0)
PRIOR_E18 = 2_000_000**2
"""Variance of 5 s that is assumed until the hour is known by VELOCITY_LEAST windows: 0.2 %, so that ten of it, 2 %, breach."""
STILL_E9 = 5_000_000
"""A move below 0.5 % in 5 s is never a velocity breach, however quiet the hour was."""


def on_instrument(state: RiskState, event: InstrumentDefined) -> None:
    """Take the venue's rules. The ledger has the grid already and may keep finer lots than the venue."""
    market = state.markets.get(event.symbol)
    if market is None:
        market = state.markets[event.symbol] = Market(event.symbol)
    grid = state.ledger.grids[event.symbol]
    if market.tick_size != event.tick_size:  # spreads of another tick say nothing of this one's
        market.spreads = []
    market.tick_size = event.tick_size
    market.step = max(int(event.lot_size / grid.lot_size), 1)
    market.min_lots = int((event.min_qty / grid.lot_size).to_integral_value(ROUND_CEILING))
    market.max_lots = grid.lots(event.max_qty)
    market.min_notional_units = to_units(event.min_notional)
    market.price_limit_ratio = event.price_limit_ratio
    market.trading = event.status == "Trading"
    _relotted(state, market)


def on_finer_lot(state: RiskState, symbol: str, ratio: Decimal) -> None:
    """A trade made the book's lot finer by `ratio` (old / new): the venue's rules are as many more lots."""
    market = state.markets.get(symbol)
    if market is None:
        return
    market.step, market.min_lots, market.max_lots = (
        int(lots * ratio) for lots in (market.step, market.min_lots, market.max_lots)
    )
    _relotted(state, market)


def _relotted(state: RiskState, market: Market) -> None:
    """Value the market in its present lots. The window under way began at a price, not at what another lot was worth."""
    before_units = market.mark_units
    _value(state, market, market.mark)
    if before_units:
        market.velocity_units = market.velocity_units * market.mark_units // before_units


def sane(price: Decimal) -> Decimal:
    """The price itself; 0 when it is no number, not positive, or beyond all reason."""
    return price if price.is_finite() and 0 < price < HUGE else NONE


def on_tick(state: RiskState, event: Tick) -> None:
    """Touch, freshness, spread and, until a reference price comes, the mark."""
    market = state.markets.get(event.symbol)
    if market is None:
        return
    market.bid = sane(event.bids[0][0]) if event.bids else NONE
    market.ask = sane(event.asks[0][0]) if event.asks else NONE
    market.tick_at = state.tick_at = state.now
    if event.received_at and event.exchange_at:
        delay_ms = (event.received_at - event.exchange_at) // NS_PER_MS
        if delay_ms >= state.limits.feed_delay_ms:
            modes.note(state, BOOK, Reason.FEED_DELAY_MS, Decimal(delay_ms), state.limits.feed_delay_ms)
    if not market.has_reference and sane(event.last):
        _value(state, market, event.last)
        market.index = event.last
        _watch_velocity(state, market)
    if market.bid > 0 and market.ask > 0:
        _watch_spread(state, market)


def on_reference(state: RiskState, event: Reference) -> None:
    market = state.markets.get(event.symbol)
    if market is None or not sane(event.mark):
        return
    market.has_reference = True
    market.index = sane(event.index)
    _value(state, market, event.mark)
    _watch_velocity(state, market)


def on_feed_down(state: RiskState, event: FeedDown) -> None:
    """A feed that never ticked is no fault: nothing trades on it."""
    market = state.markets.get(event.symbol)
    if market is None or market.tick_at == 0:
        return
    market.down = True
    modes.note(state, BOOK, Reason.FEED_SILENCE, Decimal(event.silent_ms), state.limits.feed_silence)


def on_feed_up(state: RiskState, event: FeedUp) -> None:
    if event.symbol in state.markets:
        state.markets[event.symbol].down = False


def silence_ns(state: RiskState) -> int:
    """How old a tick may grow before it counts for nothing: never below three instants of a tape."""
    return max(int(state.limits.feed_silence) * NS_PER_MS, 3 * state.window_ns)


def on_time(state: RiskState) -> None:
    """What is bad by going on: silence, a maintenance that comes, and holdings above a limit."""
    silence = silence_ns(state)
    if state.tick_at and state.now - state.tick_at >= silence:
        silent_ms = Decimal((state.now - state.tick_at) // NS_PER_MS)
        modes.note(state, BOOK, Reason.FEED_SILENCE, silent_ms, Decimal(silence // NS_PER_MS))
    _watch_maintenance(state)
    for market in state.markets.values():
        if market.down:
            down_ms = Decimal((state.now - market.tick_at) // NS_PER_MS)
            modes.note(state, BOOK, Reason.FEED_SILENCE, down_ms, state.limits.feed_silence)
    holdings.check(state, state.markets)


def on_maintenance(state: RiskState, event: MaintenancePlanned) -> None:
    if event.is_over:
        state.maintenance.pop(event.window, None)
    else:
        state.maintenance[event.window] = [event.begin_at, event.end_at]


def _watch_maintenance(state: RiskState) -> None:
    """No new risk from five minutes before the exchange goes down until it is back."""
    for window, (begin_at, end_at) in list(state.maintenance.items()):
        if state.now >= end_at:
            del state.maintenance[window]
        elif state.now >= begin_at - MAINTENANCE_LEAD_NS:
            ahead_ms = Decimal(max((begin_at - state.now) // NS_PER_MS, 0))
            modes.note(state, BOOK, Reason.MAINTENANCE, ahead_ms, Decimal(MAINTENANCE_LEAD_NS // NS_PER_MS))


def on_trade(state: RiskState, symbol: str) -> None:
    """A fill or an adjustment moved the position."""
    if symbol in state.markets:
        state.markets[symbol].traded_at = state.now
    revalue(state, symbol)


def revalue(state: RiskState, symbol: str) -> None:
    """The position changed: value it again at the mark it has."""
    market = state.markets.get(symbol)
    position = state.ledger.positions.get(symbol)
    if market is None or position is None:
        return
    # Before any mark the position is worth what it cost.
    unrealised = position.unrealised_units(market.mark_units) if market.mark_units else 0
    state.unrealised_units += unrealised - market.unrealised_units
    market.unrealised_units = unrealised


def _value(state: RiskState, market: Market, mark: Decimal) -> None:
    market.mark = mark
    market.mark_units = state.ledger.lot_units(market.symbol, mark)
    revalue(state, market.symbol)


def _watch_spread(state: RiskState, market: Market) -> None:
    """Sampled once a second against the median of the samples before it."""
    ticks = int((market.ask - market.bid) / market.tick_size)
    median = market.spread_median
    if len(market.spreads) >= SPREADS_LEAST and ticks >= state.limits.spread * max(median, 1):
        limit = state.limits.spread
        modes.note(state, symbol_scope(market.symbol), Reason.SPREAD, Decimal(ticks) / max(median, 1), limit)
    if state.now - market.spread_at >= NS_PER_S:
        market.spread_at = state.now
        market.spreads.append(ticks)
        del market.spreads[:-SPREADS_KEPT]
        market.spread_median = _median(market.spreads)


def _watch_velocity(state: RiskState, market: Market) -> None:
    """Move since the start of the running window against the standard deviation of such windows; integers."""
    span = max(VELOCITY_NS, state.window_ns)
    start = market.velocity_units
    if start == 0:
        market.velocity_at, market.velocity_units = state.now, market.mark_units
        return
    move_e9 = abs(market.mark_units - start) * E9 // start
    sigmas, variance_e18 = state.limits.velocity, market.variance_e18
    if market.windows < VELOCITY_LEAST:
        elapsed = max(state.now - market.velocity_at, span)
        variance_e18 = max(variance_e18, PRIOR_E18 * elapsed // VELOCITY_NS)
    if move_e9 >= STILL_E9 and _is_fast(move_e9, variance_e18, sigmas):
        measured = _sigmas(move_e9, variance_e18)
        modes.note(state, symbol_scope(market.symbol), Reason.VELOCITY, measured, sigmas)
    if state.now - market.velocity_at >= span:
        weight = min(market.windows + 1, HOUR_WINDOWS)
        market.variance_e18 += (move_e9 * move_e9 - market.variance_e18) // weight
        market.windows += 1
        market.velocity_at, market.velocity_units = state.now, market.mark_units


def _is_fast(move_e9: int, variance_e18: int, sigmas: Decimal) -> bool:
    return move_e9 * move_e9 >= sigmas * sigmas * variance_e18


def _sigmas(move_e9: int, variance_e18: int) -> Decimal:
    return (Decimal(move_e9) / Decimal(max(variance_e18, 1)).sqrt()).quantize(Decimal("0.01"))


def _median(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]
