"""Everything that only reduces: a strategy's exit, its software stop, the retries of both, and the liquidation of the book."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from libs.common.events import CancelIntent, Event, OrderIntent, Purpose, StakeTransferred, TimeInForce
from libs.common.portfolio import OWN
from libs.common.record import Record
from libs.common.values import SPOT, Side, base_coin, category_of, to_units
from services.risk import kernel, pricing
from services.risk.config import RiskConfig
from services.risk.draft import minimum_lots
from services.risk.orders import link_id, reduce_open, rests
from services.risk.sizing import floor_step
from services.risk.state import NS_PER_MS, NS_PER_S, RiskState, Task, pair


def side_of(sign: int) -> Side:
    return Side.BUY if sign > 0 else Side.SELL


def reducible(state: RiskState, symbol: str, wanted: int, sign: int) -> int:
    """Lots of `wanted` that a reduce-only order of `sign` may take now: the net position, what is being closed, the venue.

    At least one step is left possible when the venue's maximum allows it; the venue waives its minimum for reduce-only.
    On spot there is no reduce-only: at most the free balance is sold, where one was told since the last trade.
    """
    market = state.markets[symbol]
    lots = min(wanted, kernel.closable(state.ledger.lots(symbol), reduce_open(state, symbol, sign), sign))
    free = state.balances.get(base_coin(symbol)) if is_spot(symbol) else None
    if free is not None and state.balances_at > market.traded_at:
        lots = min(lots, state.ledger.grids[symbol].lots(free))
    if market.max_lots > 0:
        lots = min(lots, market.max_lots)
    return floor_step(lots, market.step)


class Exit(msgspec.Struct, frozen=True):
    """A reduce-only order to be made: `lots` of `symbol` on the side of `sign`, for `owner`."""

    owner: str
    symbol: str
    purpose: Purpose
    lots: int
    sign: int
    tries: int = 0


def intent(state: RiskState, config: RiskConfig, seed: str, wanted: Exit) -> OrderIntent | None:
    """A reduce-only IOC at the exit collar; None without a price to name (no mark was ever seen)."""
    market, side = state.markets[wanted.symbol], side_of(wanted.sign)
    price = pricing.exit_price(market, side, state.limits.exit_collar, wanted.tries)
    if price <= 0 or wanted.lots <= 0:
        return None
    return OrderIntent(
        order_link_id=link_id(seed, wanted.purpose, pair(wanted.owner, wanted.symbol)),
        strategy=wanted.owner,
        symbol=wanted.symbol,
        side=side,
        qty=state.ledger.grids[wanted.symbol].quantity(wanted.lots),
        price=price,
        time_in_force=TimeInForce.IOC,
        reduce_only=True,
        purpose=wanted.purpose,
        expires_at=state.now + config.intent_ttl_ms * NS_PER_MS,
        limits_version=state.limits_version,
    )


def clear_way(state: RiskState, order: OrderIntent) -> Iterator[Event]:
    """Own resting orders that an exit would trade with go first."""
    for other in list(state.orders.values()):
        meets = other.price <= order.price if order.side.is_buy else other.price >= order.price
        opposes = other.symbol == order.symbol and other.sign != order.side.sign
        if opposes and meets and rests(other) and not other.reduce_only:
            yield CancelIntent(order_link_id=other.order_link_id, symbol=other.symbol, reason="self_match")


# --- tasks: exits under way ------------------------------------------------------------------------------------------


def on_exit_intent(state: RiskState, event: OrderIntent, record: Record) -> None:
    """Remember an exit that is to go on until nothing is held. A partial one (a smaller target) is tried once."""
    key = pair(event.strategy, event.symbol)
    task = state.tasks.get(key)
    if task is not None:
        task.order_link_id = event.order_link_id
        return
    lots = state.ledger.grids[event.symbol].lots(event.qty)
    whole = min(abs(held(state, key)), abs(state.ledger.lots(event.symbol)))
    if event.purpose is not Purpose.FLATTEN and lots < whole and lots != state.markets[event.symbol].max_lots:
        return
    stream, seq = record.cause[0]
    state.tasks[key] = Task(
        event.strategy, event.symbol, event.purpose, 0, event.order_link_id, stream, seq, record.correlation
    )


def drop_done(state: RiskState) -> None:
    """Forget tasks and stops of what is not held any more."""
    for key in [k for k in state.tasks if held(state, k) == 0]:
        del state.tasks[key]
    for key in [k for k in state.stops if held(state, k) == 0 and not _has_entry(state, k)]:
        del state.stops[key]


def held(state: RiskState, key: str) -> int:
    """Lots of a strategy|symbol; what risk itself closes is the book's position. Dust on spot is nothing."""
    owner, _, symbol = key.partition("|")
    lots = state.ledger.lots(symbol) if owner == OWN else state.ledger.stake_lots(owner, symbol)
    return 0 if is_dust(state, symbol, lots) else lots


def is_spot(symbol: str) -> bool:
    return category_of(symbol) == SPOT


def is_dust(state: RiskState, symbol: str, lots: int) -> bool:
    """Less than the venue trades on spot: it stays, is valued, and counts as flat. A perpetual's rest always closes."""
    if lots == 0 or not is_spot(symbol) or symbol not in state.markets:
        return False
    market = state.markets[symbol]
    return abs(lots) < minimum_lots(market, market.mark_units)


def is_flat(state: RiskState) -> bool:
    """Nothing is held that could be closed."""
    held_now = ((symbol, position.lots) for symbol, position in state.ledger.positions.items())
    return all(lots == 0 or is_dust(state, symbol, lots) for symbol, lots in held_now)


def transfers(state: RiskState, strategy: str, symbol: str, lots: int) -> Iterator[Event]:
    """Hand `lots` of a stake, at mark, to strategies that hold the other side and have no order under way, largest first."""
    mark, mine = state.markets[symbol].mark, state.ledger.stake_lots(strategy, symbol)
    busy = {order.strategy for order in state.orders.values() if order.symbol == symbol}
    others = [
        s
        for s in state.ledger.stakes.values()
        if s.symbol == symbol and kernel.closes(s.lots, mine) and s.strategy not in busy
    ]
    for other in sorted(others, key=lambda s: (-abs(s.lots), s.strategy)):
        part = min(abs(other.lots), lots)
        if part <= 0 or mark <= 0:
            return
        seller, buyer = (strategy, other.strategy) if mine > 0 else (other.strategy, strategy)
        yield StakeTransferred(
            symbol=symbol, seller=seller, buyer=buyer, qty=state.ledger.grids[symbol].quantity(part), price=mark
        )
        lots -= part


def _has_entry(state: RiskState, key: str) -> bool:
    return any(pair(o.strategy, o.symbol) == key and not o.reduce_only for o in state.orders.values())


def attempt(state: RiskState, config: RiskConfig, seed: str, task: Task) -> Iterator[Event]:
    """The next order of a task, as far as the book holds that side; nothing when it holds none of it."""
    lots = held(state, pair(task.strategy, task.symbol))
    sign = kernel.against(lots)
    possible = reducible(state, task.symbol, abs(lots), sign)
    order = intent(state, config, seed, Exit(task.strategy, task.symbol, task.purpose, possible, sign, task.tries))
    if order is not None:
        yield from clear_way(state, order)
        yield order


# --- stops -----------------------------------------------------------------------------------------------------------


def stops(state: RiskState, config: RiskConfig, record: Record, symbol: str) -> Iterator[Event]:
    """Exit each stake of the symbol whose mark crossed entry minus (long) or plus (short) its stop distance."""
    market = state.markets.get(symbol)
    if market is None or not market.mark_units or not state.stops or state.liquidating:
        return
    for stake in list(state.ledger.stakes.values()):
        key = pair(stake.strategy, symbol)
        if stake.symbol != symbol or stake.lots == 0 or key not in state.stops or key in state.tasks:
            continue
        distance = state.ledger.lot_units(symbol, state.stops[key])
        if stake.unrealised_units(market.mark_units) > -distance * abs(stake.lots):
            continue
        sign = kernel.against(stake.lots)
        lots = reducible(state, symbol, abs(stake.lots), sign)
        order = intent(state, config, record.id, Exit(stake.strategy, symbol, Purpose.STOP, lots, sign))
        if order is not None:
            yield from clear_way(state, order)
            yield order


# --- liquidation -----------------------------------------------------------------------------------------------------


def next_slices(state: RiskState, config: RiskConfig, record: Record) -> Iterator[Event]:
    """What follows a slice that has just ended, without waiting for the clock. Once as many went within a second as entries
    may, the next instant or timer goes on: a venue that refuses every one of them is not flooded."""
    rate = max(state.limits.order_rate, Decimal(1))
    if kernel.recent(state.slices_at, state.now - NS_PER_S) < rate:
        yield from slices(state, config, record)


def slices(state: RiskState, config: RiskConfig, record: Record) -> Iterator[Event]:
    """One reduce-only slice per symbol that is held and has none under way; the largest position first."""
    if not state.liquidating:
        return
    for market in sorted(state.markets.values(), key=lambda m: -abs(state.ledger.lots(m.symbol)) * m.mark_units):
        symbol, key = market.symbol, pair(OWN, market.symbol)
        position = held(state, key)
        sign = kernel.against(position)
        if position == 0 or reduce_open(state, symbol, sign) > 0:
            continue
        most = kernel.lots_for(to_units(config.flatten_slice_usd), market.mark_units)
        wanted = min(abs(position), max(most, market.min_lots, market.step))
        lots = reducible(state, symbol, wanted, sign)
        tries = state.tasks[key].tries if key in state.tasks else 0
        order = intent(state, config, record.id, Exit(OWN, symbol, Purpose.FLATTEN, lots, sign, tries))
        if order is not None:
            yield from clear_way(state, order)
            yield order
