"""Where the soak stands in for others: risk's sealed approvals, and an eye on the exchange's own books."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from libs.common import seal
from libs.common.events import OrderIntent, Purpose, TimeInForce
from libs.common.values import Side
from sim.engine.account import Account
from sim.exchange import Exchange
from tests.soak.tally import Tally

MS = 1_000_000
ACCOUNT = "sim"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
MOST_LOTS = 300
PRIVATE_KEY, PUBLIC_KEY = seal.generate()


def listen(account: Account, tally: Tally) -> None:
    """Hear of every order and trade from the exchange's books themselves, not from what it sends."""
    add = account.add

    def placed(order: Any) -> None:
        tally.placed(order.link_id)
        add(order)

    class Fills(deque[Any]):
        def append(self, fill: Any) -> None:
            if fill.exec_type == "Trade":
                tally.traded(fill.exec_id)
            super().append(fill)

    account.add = placed  # type: ignore[method-assign]
    account.fills = Fills(maxlen=account.fills.maxlen)


def entry(exchange: Exchange, dice: random.Random, link: str, now: int) -> OrderIntent:
    """One that trades at once or rests, near the market; against what is held when that is much."""
    symbol = dice.choice(SYMBOLS)
    market = exchange.desk.markets[symbol]
    lots = exchange.desk.accounts[ACCOUNT].position(symbol).lots
    side = dice.choice((Side.BUY, Side.SELL))
    if abs(lots) > MOST_LOTS:
        side = Side.SELL if lots > 0 else Side.BUY
    rests = dice.random() < 0.25
    ticks = market.last + side.sign * (-1 if rests else 1) * dice.randrange(1, max(2, market.last // 500))
    return _sealed(
        exchange,
        link,
        symbol,
        side,
        dice.randrange(3, 20),
        ticks,
        TimeInForce.GTC if rests else TimeInForce.IOC,
        Purpose.ENTRY,
        now,
    )


def exit_of(exchange: Exchange, symbol: str, now: int) -> OrderIntent:
    """Reduce-only, through the market, all of it: flat, wallets compare to the last digit in whatever order fills were booked."""
    market, lots = exchange.desk.markets[symbol], exchange.desk.accounts[ACCOUNT].position(symbol).lots
    side = Side.SELL if lots > 0 else Side.BUY
    ticks = market.last + side.sign * (market.last // 100)
    link = f"tg-flat-{now // MS}-{symbol}"
    return _sealed(exchange, link, symbol, side, abs(lots), ticks, TimeInForce.IOC, Purpose.FLATTEN, now)


def _sealed(
    exchange: Exchange,
    link: str,
    symbol: str,
    side: Side,
    lots: int,
    ticks: int,
    style: TimeInForce,
    purpose: Purpose,
    now: int,
) -> OrderIntent:
    grid = exchange.desk.markets[symbol].instrument.grid
    intent = OrderIntent(
        order_link_id=link, strategy="soak", symbol=symbol, side=side, qty=grid.quantity(lots), price=grid.price(ticks),
        time_in_force=style, reduce_only=purpose is not Purpose.ENTRY, purpose=purpose, expires_at=now + 2_000 * MS,
        limits_version=1, key_id="k",
    )  # fmt: skip
    return seal.sign(PRIVATE_KEY, intent)
