"""Properties of the simulated exchange: money is conserved, a seed is a run, the wire's order does not matter."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.config import SimConfig
from sim.engine.orders import Position
from sim.exchange import Exchange
from sim.tapes.candles import Candle, path
from sim.tapes.tape import open_tape
from sim.wiretypes import WireRequest
from tests.simbench import BTC

SECOND = 1_000_000_000
SPEC = ["synthetic:seed=3,minutes=2,symbols=BTCUSDT,start=1704095940000"]
"""One minute before a funding stamp to one after it."""

ORDERS = st.lists(
    st.fixed_dictionaries(
        {
            "second": st.integers(1, 110),
            "side": st.sampled_from(["Buy", "Sell"]),
            "kind": st.sampled_from(["Market", "IOC", "GTC", "PostOnly"]),
            "lots": st.integers(1, 400),
            "offset": st.integers(-40, 40),
            "reduce": st.booleans(),
        }
    ),
    max_size=25,
)


def request(number: int, order: dict[str, Any], last: int) -> WireRequest:
    body: dict[str, Any] = {
        "category": "linear", "symbol": BTC, "side": order["side"], "qty": f"{order['lots'] / 1000:.3f}",
        "reduceOnly": order["reduce"], "orderLinkId": f"tg-{number}",
    }  # fmt: skip
    if order["kind"] == "Market":
        body["orderType"] = "Market"
    else:
        ticks = (last or 600_000) + order["offset"]
        body |= {"orderType": "Limit", "timeInForce": order["kind"], "price": f"{ticks // 10}.{ticks % 10}"}
    return WireRequest(
        method="POST", path="/v5/order/create", body=json.dumps(body), account="sim", request_id=f"execution-{number}"
    )


def run(orders: list[dict[str, Any]], backwards: bool = False, seed: int = 7) -> tuple[Exchange, list[str]]:
    tape = open_tape(SPEC, seed)
    exchange = Exchange(SimConfig(rate_factor=1000), tape, seed)
    for topic in ("orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT", "kline.1.BTCUSDT"):
        exchange.watch(topic)
    texts: list[str] = []
    for second in range(1, 122):
        due = [(n, order) for n, order in enumerate(orders) if order["second"] == second]
        last = exchange.venue.markets[BTC].last
        for number, order in reversed(due) if backwards else due:
            exchange.submit(request(number, order, last))
        exchange.advance(tape.start_at + second * SECOND)
        outbox = exchange.collect()
        texts.extend(frame.text for frame in outbox.frames)
        texts.extend(reply.request_id + reply.body for reply in outbox.replies)
    return exchange, texts


@settings(max_examples=25, deadline=None)
@given(ORDERS)
def test_the_wallet_is_opening_plus_realised_minus_fees_minus_funding(orders: list[dict[str, Any]]) -> None:
    exchange, _ = run(orders)
    account = exchange.desk.accounts["sim"]
    fees = sum(fill.fee for fill in account.fills)
    realised = sum(fill.pnl for fill in account.fills)
    assert account.wallet == account.opening + realised - fees
    assert sum(entry.change for entry in account.log) == account.wallet - account.opening
    traded = [fill for fill in account.fills if fill.exec_type == "Trade"]
    assert account.position(BTC).lots == sum(fill.side * fill.lots for fill in traded)
    for order in [*account.closed, *account.open_orders.values()]:
        own = [fill for fill in traded if fill.order_id == order.order_id]
        assert order.cum_lots == sum(fill.lots for fill in own) <= order.lots
        assert order.cum_fee == sum(fill.fee for fill in own)
        assert order.is_open == (order.order_id in account.open_orders)
        assert all((fill.ticks - order.ticks) * order.side <= 0 for fill in own), "never worse than the limit"
    assert all(order.reduce_only is False or order.closed_lots == order.cum_lots for order in account.closed)


@settings(max_examples=10, deadline=None)
@given(ORDERS)
def test_same_seed_same_bytes_in_any_order_of_submission(orders: list[dict[str, Any]]) -> None:
    _, first = run(orders)
    assert first == run(orders)[1]
    assert first == run(orders, backwards=True)[1]


def test_another_seed_gives_other_latencies() -> None:
    orders = [{"second": 5, "side": "Buy", "kind": "Market", "lots": 5, "offset": 0, "reduce": False}]
    assert run(orders, seed=7)[1] != run(orders, seed=8)[1]


@given(
    corners=st.lists(st.integers(1, 10**6), min_size=4, max_size=4),
    lots=st.integers(0, 10**9),
    steps=st.integers(4, 40),
    seed=st.integers(0, 10**6),
)
def test_a_bar_conserves_volume_and_stays_inside(corners: list[int], lots: int, steps: int, seed: int) -> None:
    low, first, second, high = sorted(corners)
    bar = Candle(1_704_067_200_000, first, high, low, second, lots)
    prints = list(path("X", bar, 60_000, steps, seed))
    assert sum(event.lots for event in prints) == lots
    assert min(event.lots for event in prints) >= 0
    prices = [event.ticks for event in prints]
    assert (prices[0], prices[-1], max(prices), min(prices)) == (first, second, high, low)
    assert all(a.at < b.at for a, b in pairwise(prints))
    start = bar.start_ms * 1_000_000
    assert start <= prints[0].at
    assert prints[-1].at < start + 60_000_000_000


@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 10**9)), max_size=60))
def test_a_position_that_ends_flat_has_realised_everything(trades: list[tuple[int, int]]) -> None:
    from sim.engine.account import trade

    position, cash, realised = Position(symbol=BTC), 0, 0
    for lots, price in trades:
        realised += trade(position, lots, price)[1]
        cash -= lots * price
    if position.lots:
        cash += position.lots * 77
        realised += trade(position, -position.lots, 77)[1]
    assert (realised, position.cost) == (cash, 0)
