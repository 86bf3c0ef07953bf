"""What a trade, a funding stamp or a transfer does to an account: balances, positions, execution rows, log rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from libs.common.values import SPOT
from sim.chance import identifier
from sim.engine.account import Account, fee_of, trade
from sim.engine.market import NS_PER_MS, Market
from sim.engine.orders import Entry, Fill, Order, Position

if TYPE_CHECKING:
    from sim.engine.desk import Desk

FREE_OF_FEE = ("AdlTrade", "Settle")
LOG_KIND = {"Trade": "TRADE", "AdlTrade": "ADL", "BustTrade": "LIQUIDATION", "Settle": "DELIVERY"}
"""Execution type -> type in the transaction log."""
FIRST_SPOT_EXECUTION = 2_100_000_000_000_000_000
"""Spot execution ids are decimal numbers."""


def fill(
    desk: Desk, account: Account, order: Order, ticks: int, lots: int, maker: bool, at: int, kind: str = "Trade"
) -> None:
    """An order trades `lots` at `ticks`; once filled it is retired."""
    market = desk.markets[order.symbol]
    value = ticks * lots * market.instrument.units
    order.cum_lots += lots
    order.cum_value += value
    order.fills += 1
    order.updated_at = at
    order.status = "Filled" if order.cum_lots == order.lots else "PartiallyFilled"
    if order.spot:
        _exchange(desk, account, market, order, ticks, lots, maker, at)
    else:
        _contract(desk, account, market, order, ticks, lots, maker, at, kind)
    if order.status == "Filled":
        desk.retire(order)
    else:
        desk.touch(order)


def _contract(
    desk: Desk, account: Account, market: Market, order: Order, ticks: int, lots: int, maker: bool, at: int, kind: str
) -> None:
    """A perpetual's position changes."""
    units = market.instrument.units
    rate = 0 if kind in FREE_OF_FEE else account.maker_e8 if maker else account.taker_e8
    fee = fee_of(ticks * lots * units, rate)
    position = account.position(order.symbol, order.idx)
    held, opened = abs(position.lots), not position.lots
    closed, pnl, released = trade(position, order.side * lots, ticks * units)
    close_fee = fee * closed // lots
    open_fee = position.open_fee * closed // held if closed else 0
    position.open_fee += fee - close_fee - open_fee
    account.wallet += pnl - fee
    account.realised += pnl
    position.realised += pnl - fee
    position.realised_current = pnl - fee if opened else position.realised_current + pnl - fee
    order.cum_fee += fee
    order.open_fee += open_fee
    order.close_fee += close_fee
    order.closed_pnl += pnl - close_fee - open_fee
    order.closed_lots += closed
    order.entry_value += released
    order.exit_value += closed * ticks * units
    row = execution(
        desk, account, market, side=order.side, kind=kind, ticks=ticks, lots=lots, fee=fee, rate=rate, at=at,
        order=order, maker=maker, closed=closed, pnl=pnl,
    )  # fmt: skip
    log(desk, account, row, LOG_KIND[kind], cash_flow=pnl, fee=fee)


def _exchange(
    desk: Desk, account: Account, market: Market, order: Order, ticks: int, lots: int, maker: bool, at: int
) -> None:
    """Two coins change hands; the fee is taken from the one received."""
    base, coins = market.instrument.base_coin, lots * market.instrument.lot_e8
    value = ticks * lots * market.instrument.units
    flows = {"USDT": -value, base: coins} if order.side > 0 else {base: -coins, "USDT": value}
    received = base if order.side > 0 else "USDT"
    fee = fee_of(flows[received], account.spot_e8)
    order.cum_fee += fee
    row = execution(
        desk, account, market, side=order.side, kind="Trade", ticks=ticks, lots=lots, fee=fee, rate=account.spot_e8,
        at=at, order=order, maker=maker, coin=received,
    )  # fmt: skip
    for coin, flow in flows.items():
        charged = fee if coin == received else 0
        account.credit(coin, flow - charged)
        log(desk, account, row, "TRADE", cash_flow=flow, fee=charged, currency=coin)


def execution(
    desk: Desk, account: Account, market: Market, *, side: int, kind: str, ticks: int, lots: int, fee: int, rate: int,
    at: int, order: Order | None = None, maker: bool = False, closed: int = 0, pnl: int = 0, coin: str = "USDT", idx: int = 0,
) -> Fill:  # fmt: skip
    """One row of the execution list; `order` is None for what is nobody's order, as funding."""
    counters = desk.counters
    counters.fills += 1
    counters.seq += 1
    instrument, number = market.instrument, counters.fills
    symbol, spot = instrument.symbol, instrument.category == SPOT
    row = Fill(
        account=account.uid, number=number,
        exec_id=str(FIRST_SPOT_EXECUTION + number) if spot else identifier(desk.incarnation, "exec", number),
        order_id=order.order_id if order else identifier(desk.incarnation, kind, number),
        link_id=order.link_id if order else "", symbol=symbol, side=side, kind=order.kind if order else "UNKNOWN",
        exec_type=kind, ticks=ticks, lots=lots, value=ticks * lots * instrument.units, fee=fee,
        fee_rate_e8=rate, is_maker=maker, closed_lots=closed, pnl=pnl, mark_ticks=market.mark,
        order_ticks=order.ticks if order else 0, order_lots=order.lots if order else 0,
        leaves=order.leaves if order else 0, at=at, stop_type=order.stop_type if order else "",
        create_type=order.create_type if order else "", fee_coin=coin,
    )  # fmt: skip
    account.fills.append(row)
    touched = desk.touched_of(account.uid)
    touched.fills.append(row)
    touched.wallet = True
    if not spot:
        position = account.position(symbol, order.idx if order else idx)
        position.seq, position.updated_at = counters.seq, at
        touched.positions[symbol, position.idx] = None
    return row


def log(
    desk: Desk, account: Account, row: Fill, kind: str, *, cash_flow: int = 0, funding: int = 0, fee: int = 0,
    currency: str = "USDT",
) -> None:  # fmt: skip
    """One row of the transaction log; the balance has changed already."""
    desk.counters.entries += 1
    held = sum(abs(position.lots) for position in account.positions_of(row.symbol))
    entry = Entry(
        account=account.uid, number=desk.counters.entries, kind=kind, symbol=row.symbol, side=row.side,
        lots=row.lots, ticks=row.ticks, cash_flow=cash_flow, funding=funding, fee=fee, fee_rate_e8=row.fee_rate_e8,
        balance=account.balance(currency), position_lots=held, trade_id=row.exec_id,
        order_id=row.order_id, link_id=row.link_id, at=row.at, currency=currency,
    )  # fmt: skip
    account.log.append(entry)
    desk.touched_of(account.uid).entries.append(entry)


def transfer(desk: Desk, account: Account, coin: str, amount: int, at: int) -> None:
    """Money comes in (or, below 0, leaves): no trade and no profit."""
    account.credit(coin, amount)
    if coin == "USDT":
        account.opening += amount
    desk.counters.entries += 1
    number = desk.counters.entries
    entry = Entry(
        account=account.uid, number=number, kind="TRANSFER_IN" if amount > 0 else "TRANSFER_OUT", symbol="", side=0, lots=0,
        ticks=0, cash_flow=amount, funding=0, fee=0, fee_rate_e8=0, balance=account.balance(coin), position_lots=0,
        trade_id=identifier(desk.incarnation, "transfer", number), order_id="", link_id="", at=at, currency=coin,
    )  # fmt: skip
    account.log.append(entry)
    touched = desk.touched_of(account.uid)
    touched.entries.append(entry)
    touched.wallet = True


def closing_order(
    desk: Desk, account: Account, position: Position, ticks: int, lots: int, at: int, create_type: str
) -> Order:
    """An order of the exchange itself that closes (part of) a position."""
    number, order_id = desk.new_order_id()
    order = Order(
        account=account.uid, number=number, order_id=order_id, link_id="", symbol=position.symbol, side=-position.side,
        kind="Market", ticks=ticks, lots=lots, tif="IOC", created_at=at, updated_at=at, reduce_only=True, idx=position.idx,
        create_type=create_type, last_on_created=desk.markets[position.symbol].last,
    )  # fmt: skip
    account.add(order)
    return order


def charge_funding(desk: Desk, stamp_ms: int) -> None:
    """Everybody who holds a position at the stamp pays or receives value at mark x rate."""
    at = stamp_ms * NS_PER_MS
    for account in desk.accounts.values():
        for position in list(account.positions.values()):
            market = desk.markets[position.symbol]
            if not position.lots or (stamp_ms // 60_000) % market.instrument.rules.funding_interval_min:
                continue
            rate = market.funding_e8(stamp_ms) * position.side
            lots = abs(position.lots)
            fee = fee_of(lots * market.mark * market.instrument.units, rate)
            row = execution(
                desk, account, market, side=position.side, kind="Funding", ticks=market.mark, lots=lots, fee=fee,
                rate=rate, at=at, idx=position.idx,
            )  # fmt: skip
            account.wallet -= fee
            position.realised -= fee
            position.realised_current -= fee
            log(desk, account, row, "SETTLEMENT", funding=-fee)
