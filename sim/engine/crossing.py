"""Orders of accounts that trade with each other; in between them stands what the market has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.engine import booking
from sim.engine.account import Account
from sim.engine.book import depth_within, walk
from sim.engine.orders import Order

if TYPE_CHECKING:
    from sim.engine.desk import Desk

SELF_MATCH = "EC_BySelfMatch"


def trade(desk: Desk, account: Account, order: Order, against: list[Order], at: int) -> None:
    """Let an arriving order walk through the market's levels and the resting orders, best price first; at one price what
    stood in the market before a resting order goes first."""
    book = desk.markets[order.symbol].book
    if order.tif == "FOK":
        offered = depth_within(book.side(order.side), order.side, order.ticks) + sum(o.leaves for o in against)
        if offered < order.lots:
            return
    for maker in against:
        _market(desk, account, order, maker.ticks - order.side, order.leaves, at)
        _market(desk, account, order, maker.ticks, maker.queue_ahead, at)
        if not desk.room(order):
            return
        if maker.is_open and not _same(desk, order, maker, at):
            _meet(desk, account, order, maker, at)
        if not order.is_open:
            return
    _market(desk, account, order, order.ticks, order.leaves, at)


def _market(desk: Desk, account: Account, order: Order, limit: int, lots: int, at: int) -> None:
    """Take from the market up to a price; a FOK order has been looked after."""
    lots = min(lots, desk.room(order))
    if lots <= 0 or (limit - order.ticks) * order.side > 0:
        return
    for ticks, part in walk(desk.markets[order.symbol].book.side(order.side), order.side, limit, lots):
        booking.fill(desk, account, order, ticks, part, False, at)


def _same(desk: Desk, order: Order, maker: Order, at: int) -> bool:
    """Self-match prevention, as the taker asks for it: is this maker not to be traded with?"""
    if maker.account != order.account or order.smp == "None":
        return False
    if order.smp in ("CancelMaker", "CancelBoth"):
        desk.cancel(maker, at, SELF_MATCH, "CancelBySmp")
    if order.smp in ("CancelTaker", "CancelBoth"):
        desk.cancel(order, at, SELF_MATCH, "CancelBySmp")
    return True


def _meet(desk: Desk, account: Account, order: Order, maker: Order, at: int) -> None:
    owner = desk.accounts[maker.account]
    if maker.reduce_only and not desk.fits(owner, maker, at):
        return
    lots = min(desk.room(order), desk.room(maker))
    if lots:
        booking.fill(desk, owner, maker, maker.ticks, lots, True, at)
        booking.fill(desk, account, order, maker.ticks, lots, False, at)
        desk.after_fill(owner, maker, at)
