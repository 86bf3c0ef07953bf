"""What happens to an account whose balance no longer covers its maintenance margin, and who pays for what it cannot.

1. its orders are cancelled (CancelByPrepareLiq);
2. positions above the first risk tier are reduced to the tier below, at the market (CreateByLiq), again and again;
3. what is left is taken over at its bankruptcy price: the price at which its part of the balance is gone (BustTrade);
4. the insurance fund sells what it took over at the market; what it has no money for is closed against the accounts on
   the other side at that bankruptcy price, the best ranked first (AdlTrade).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sim.engine import booking
from sim.engine.account import Account, fee_of
from sim.engine.book import walk
from sim.engine.instruments import RATE_SCALE
from sim.engine.margin import margin_of, position_margin
from sim.engine.market import Market
from sim.engine.orders import Position

if TYPE_CHECKING:
    from sim.engine.desk import Desk

ADL_STEPS = (0, 1_000, 2_500, 5_000)
"""Leveraged return (1e-4) from which on a position stands in the second, third, fourth and fifth place."""


def watch(desk: Desk, account: Account, at: int) -> None:
    """Liquidate when the balance does not cover the maintenance margin any more."""
    if account.isolated:
        for position in list(account.positions.values()):
            if position.lots and _lost(desk, account, position):
                _cancel(desk, account, at, position.symbol)
                _take_over(desk, account, position, _set_aside(desk, account, position), at)
        return
    if _solvent(desk, account):
        return
    _cancel(desk, account, at, "")
    while not _solvent(desk, account) and _reduce_one(desk, account, at):
        pass
    if not _solvent(desk, account):
        _take_over_all(desk, account, at)


def _solvent(desk: Desk, account: Account) -> bool:
    margin = margin_of(account, desk.markets)
    return margin.balance > margin.maintenance or not any(position.lots for position in account.positions.values())


def _lost(desk: Desk, account: Account, position: Position) -> bool:
    """Isolated: its own margin does not cover the maintenance margin any more."""
    market = desk.markets[position.symbol]
    own = position_margin(position, market, account.taker_e8, isolated=True)
    return market.mark > 0 and own.initial + own.unrealised <= own.maintenance


def _set_aside(desk: Desk, account: Account, position: Position) -> int:
    return position_margin(position, desk.markets[position.symbol], account.taker_e8, isolated=True).initial


def _cancel(desk: Desk, account: Account, at: int, symbol: str) -> None:
    """Orders must go first: those of perpetuals, of one symbol when it is named."""
    for order in list(account.open_orders.values()):
        if not order.spot and (not symbol or order.symbol == symbol):
            desk.cancel(order, at, "EC_NoError", "CancelByPrepareLiq")


def _by_need(desk: Desk, account: Account) -> list[Position]:
    """Open positions, the one that needs most margin first."""
    held = [position for position in account.positions.values() if position.lots]
    return sorted(held, key=lambda p: (-_needs(desk, account, p), p.symbol, p.idx))


def _needs(desk: Desk, account: Account, position: Position) -> int:
    return position_margin(position, desk.markets[position.symbol], account.taker_e8).maintenance


def _reduce_one(desk: Desk, account: Account, at: int) -> bool:
    """Bring one position down by a tier, as far as the book takes it. False when nothing could be reduced."""
    for position in _by_need(desk, account):
        market = desk.markets[position.symbol]
        unit = market.mark * market.instrument.units
        tier = market.tiers.of(abs(position.lots) * unit) if unit else market.tiers.rows[0]
        if tier.number == 1:
            continue
        lots = abs(position.lots) - market.tiers.rows[tier.number - 2].limit // unit
        limit = market.limit(-position.side)
        order = booking.closing_order(desk, account, position, limit, lots, at, "CreateByLiq")
        desk.execute(account, order, at)
        if order.cum_lots:
            return True
    return False


def _take_over_all(desk: Desk, account: Account, at: int) -> None:
    """Each position with its part of the balance, by what it needs; the last gets what is left."""
    positions = _by_need(desk, account)
    needs = [_needs(desk, account, position) for position in positions]
    balance = margin_of(account, desk.markets).balance
    whole = max(1, sum(needs))
    for position, need in zip(positions, needs, strict=True):
        _take_over(desk, account, position, _mark_share(desk, position, balance * need // whole), at)
    floor = -margin_of(account, desk.markets).collateral
    if account.wallet < floor:
        # A price is a whole tick: what the takeover left below nothing is the fund's.
        missing = floor - account.wallet
        account.wallet = floor
        desk.counters.insurance -= missing
        booking.log(desk, account, account.fills[-1], "LIQUIDATION", cash_flow=missing)


def _mark_share(desk: Desk, position: Position, balance: int) -> int:
    """What the position may lose from its entry on: its part of the balance at mark, less what it has lost already."""
    market = desk.markets[position.symbol]
    return balance - position.unrealised(market.mark, market.instrument.units)


def bankruptcy_ticks(position: Position, margin: int, units: int, taker_e8: int) -> int:
    """The price at which the position has lost `margin` (1e-8 USDT, from its entry on), the fee of closing it included."""
    lots, side = abs(position.lots), position.side
    value = position.cost - side * margin
    value += side * fee_of(max(0, value), taker_e8)
    ticks, rest = divmod(value, lots * units)
    return max(1, ticks + (1 if rest and side > 0 else 0))


def _take_over(desk: Desk, account: Account, position: Position, margin: int, at: int) -> None:
    """The fund takes the position at its bankruptcy price and gets rid of it."""
    market, side, lots = desk.markets[position.symbol], position.side, abs(position.lots)
    ticks = bankruptcy_ticks(position, margin, market.instrument.units, account.taker_e8)
    order = booking.closing_order(desk, account, position, ticks, lots, at, "CreateByTakeOver_PassThrough")
    booking.fill(desk, account, order, ticks, lots, False, at, "BustTrade")
    market.liquidations.append((at, side, lots, ticks))
    _unwind(desk, account, market, side, lots, ticks, at)


def _unwind(desk: Desk, account: Account, market: Market, side: int, lots: int, ticks: int, at: int) -> None:
    """The fund sells (a long) or buys back what it took over: at the market while it can pay the difference."""
    units, fund = market.instrument.units, desk.counters.insurance
    for price, part in walk(market.book.side(-side), -side, market.limit(-side), lots):
        gain = (price - ticks) * part * units * side
        if fund + gain < 0:
            break
        fund += gain
        lots -= part
    desk.counters.insurance = fund
    market.touch(at)
    if lots:
        lots -= _deleverage_others(desk, account, market, side, lots, ticks, at)
    # Nobody is on the other side here: the fund holds it, and books it at mark.
    desk.counters.insurance += (market.mark - ticks) * lots * units * side


def _deleverage_others(desk: Desk, account: Account, market: Market, side: int, lots: int, ticks: int, at: int) -> int:
    """Close positions on the other side at `ticks`, the best ranked first; gives the lots that were closed."""
    others = [
        (other, position)
        for other in desk.accounts.values()
        for position in other.positions_of(market.instrument.symbol)
        if other is not account and position.side == -side
    ]
    others.sort(key=lambda pair: (-_return_e4(pair[1], market), pair[0].uid, pair[1].idx))
    done = 0
    for other, position in others:
        part = min(lots - done, abs(position.lots))
        if part:
            close(desk, other, position, part, ticks, at)
            done += part
    return done


def close(desk: Desk, account: Account, position: Position, lots: int, ticks: int, at: int) -> None:
    """Deleverage: the position's orders go, then so many of its lots, at a price that is not the market's."""
    for order in [o for o in account.open_orders.values() if o.symbol == position.symbol]:
        desk.cancel(order, at, "EC_NoError", "CancelAllBeforeAdl")
    order = booking.closing_order(desk, account, position, ticks, lots, at, "CreateByAdl_PassThrough")
    booking.fill(desk, account, order, ticks, lots, False, at, "AdlTrade")


def deleverage(desk: Desk, account: Account, market: Market, lots: int, at: int) -> int:
    """Close (up to `lots` of, 0: all of) the positions of a symbol at mark, against somebody who is not seen here."""
    closed = 0
    for position in account.positions_of(market.instrument.symbol):
        part = min(lots or abs(position.lots), abs(position.lots))
        if part:
            close(desk, account, position, part, market.mark, at)
            closed += part
    return closed


def rank(position: Position, market: Market) -> int:
    """adlRankIndicator: 0 flat, 5 the first to be deleveraged."""
    if not position.lots:
        return 0
    return 1 + sum(_return_e4(position, market) > step for step in ADL_STEPS)


def _return_e4(position: Position, market: Market) -> int:
    """Return on the margin put in, 1e-4."""
    profit = position.unrealised(market.mark, market.instrument.units)
    return profit * position.leverage_e2 * 100 // max(1, position.cost)


def liquidation_ticks(position: Position, markets: Mapping[str, Market], account: Account) -> int:
    """The mark at which the position's margin (cross: with what the account has left beside) is down to what it must keep,
    if nothing else moves; <= 0 when no price does that."""
    market = markets[position.symbol]
    lots, units = abs(position.lots), market.instrument.units
    if account.isolated:
        own = position_margin(position, market, account.taker_e8, isolated=True)
        spare = own.initial + own.unrealised - own.maintenance
    else:
        margin = margin_of(account, markets)
        spare = margin.balance - margin.maintenance
    rate = market.tiers.of(lots * market.mark * units).rate_e8
    # A move of the mark by one changes the profit by the size and the maintenance margin by the size times its rate.
    steep = lots * units * (RATE_SCALE - position.side * rate) // RATE_SCALE
    return market.mark - position.side * spare // max(1, steep)
