"""A day with ccxt, unmodified, at the address given: look, trade, be filled, reconcile. Ends with 1 at the first surprise.

Run by tests/contract/test_other_clients.py in an environment that has ccxt.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import ccxt.pro

PERPETUAL, PAIR = "BTC/USDT:USDT", "BTC/USDT"


def moved(part: Any, url: str) -> Any:
    """ccxt's addresses with the exchange's hosts replaced."""
    if isinstance(part, dict):
        return {name: moved(value, url) for name, value in part.items()}
    socket = url.replace("http", "ws")
    hosts = {"https://api.{hostname}": url, "wss://stream.{hostname}": socket, "wss://stream.bybit.com": socket}
    for host, ours in hosts.items():
        part = part.replace(host, ours)
    return part


def expect(truth: bool, what: str, was: Any) -> None:
    if not truth:
        raise SystemExit(f"expected {what}, was {was!r}")


async def look(exchange: Any) -> float:
    markets = await exchange.load_markets()
    expect({PERPETUAL, PAIR} <= set(markets), "the perpetual and the spot pair", list(markets))
    expect(markets[PERPETUAL]["precision"]["amount"] == 0.001, "a lot of 0.001", markets[PERPETUAL]["precision"])
    expect(len(await exchange.fetch_ohlcv(PERPETUAL, "1h", limit=50)) == 50, "50 candles", 0)
    book = await exchange.fetch_order_book(PERPETUAL, 50)
    expect(book["bids"][0][0] < book["asks"][0][0], "a book that is not crossed", book)
    expect((await exchange.fetch_status())["status"] == "ok", "an exchange that is up", 0)
    expect((await exchange.fetch_market_leverage_tiers(PERPETUAL))[0]["maxLeverage"] == 100, "tiers", 0)
    expect((await exchange.is_unified_enabled())[1], "a unified account", 0)
    expect((await exchange.fetch_balance())["USDT"]["free"] > 9000, "the opening balance", 0)
    return float((await exchange.fetch_ticker(PERPETUAL))["last"])


async def rest(exchange: Any, last: float) -> None:
    price = float(exchange.price_to_precision(PERPETUAL, last * 0.985))
    await exchange.set_position_mode(False)
    await exchange.set_leverage(5, PERPETUAL)
    order = await exchange.create_order(PERPETUAL, "limit", "buy", 0.01, price)
    await exchange.edit_order(order["id"], PERPETUAL, "limit", "buy", 0.02, price)
    (resting,) = await exchange.fetch_open_orders(PERPETUAL)
    expect((resting["amount"], resting["status"]) == (0.02, "open"), "0.02 open", resting)
    await exchange.cancel_order(order["id"], PERPETUAL)
    expect((await exchange.fetch_canceled_orders(PERPETUAL))[-1]["id"] == order["id"], "the cancelled order", 0)
    bought = await exchange.create_order(PERPETUAL, "market", "buy", 0.01, None, {"stopLoss": {"triggerPrice": price}})
    closed = await exchange.fetch_closed_order(bought["id"], PERPETUAL)
    expect((closed["status"], closed["filled"]) == ("closed", 0.01), "a filled order", closed)
    (trade,) = await exchange.fetch_order_trades(bought["id"], PERPETUAL)
    expect(trade["fee"]["cost"] > 0, "a fee", trade)
    position = await exchange.fetch_position(PERPETUAL)
    expect((position["contracts"], position["side"]) == (0.01, "long"), "0.01 long", position)
    (stop,) = await exchange.fetch_open_orders(PERPETUAL)
    expect(stop["info"]["stopOrderType"] == "StopLoss", "the attached stop", stop)
    made = [{"symbol": PERPETUAL, "type": "limit", "side": "buy", "amount": 0.01, "price": price}] * 3
    ids = [row["id"] for row in await exchange.create_orders(made)]
    await exchange.cancel_orders(ids[:2], PERPETUAL)
    await exchange.create_order(PERPETUAL, "market", "sell", 0.01, None, {"reduceOnly": True})
    await exchange.cancel_all_orders(PERPETUAL)
    expect(await exchange.fetch_open_orders(PERPETUAL) == [], "no open order", 0)
    expect((await exchange.fetch_positions([PERPETUAL]))[0]["contracts"] in (0, None), "no position", 0)
    expect((await exchange.fetch_positions_history([PERPETUAL]))[0]["info"]["closedSize"] == "0.01", "closed pnl", 0)
    expect(len(await exchange.fetch_ledger("USDT")) >= 2, "a ledger", 0)


async def spot(exchange: Any, last: float) -> None:
    bought = await exchange.create_order(PAIR, "market", "buy", 0.01, last, {"category": "spot"})
    order = await exchange.fetch_closed_order(bought["id"], PAIR)
    expect(order["status"] in ("closed", "canceled"), "a spot order that is done", order)
    held = (await exchange.fetch_balance())["BTC"]["free"]
    expect(held > 0.005, "bitcoin", held)
    amount = float(exchange.amount_to_precision(PAIR, held))
    await exchange.create_order(PAIR, "market", "sell", amount)
    expect(float((await exchange.fetch_balance()).get("BTC", {}).get("total") or 0) < 0.0001, "bitcoin sold", 0)


async def streams(exchange: Any, last: float) -> None:
    book = await exchange.watch_order_book(PERPETUAL, 50)
    for _ in range(3):
        book = await exchange.watch_order_book(PERPETUAL, 50)
        expect(
            book["bids"][0][0] < book["asks"][0][0], "a book that is not crossed", book["bids"][:1] + book["asks"][:1]
        )
    expect((await exchange.watch_trades(PERPETUAL))[0]["symbol"] == PERPETUAL, "a trade", 0)
    expect((await exchange.watch_ticker(PERPETUAL))["last"] > 0, "a ticker", 0)
    expect(len(await exchange.watch_ohlcv(PERPETUAL, "1m")) >= 1, "a candle", 0)
    watchers = [
        asyncio.create_task(stream)
        for stream in (exchange.watch_orders(PERPETUAL), exchange.watch_my_trades(PERPETUAL), exchange.watch_balance())
    ]
    topics = {"orders", "myTrades", "balances"}
    while not any(
        topics <= {str(name).split(":")[0] for name in client.subscriptions} for client in exchange.clients.values()
    ):
        await asyncio.sleep(0.05)
    made = await exchange.create_order_ws(PERPETUAL, "market", "buy", 0.01)
    orders, trades, balance = await asyncio.gather(*watchers)
    expect(orders[-1]["id"] == made["id"], "the order's own message", orders)
    expect(trades[-1]["order"] == made["id"], "its fill", trades)
    expect(balance["USDT"]["total"] > 0, "a balance", balance)
    price = float(exchange.price_to_precision(PERPETUAL, last * 0.985))
    resting = await exchange.create_order_ws(PERPETUAL, "limit", "buy", 0.01, price)
    await exchange.edit_order_ws(resting["id"], PERPETUAL, "limit", "buy", 0.02, price)
    await exchange.cancel_order_ws(resting["id"], PERPETUAL)
    await exchange.create_order_ws(PERPETUAL, "market", "sell", 0.01, None, {"reduceOnly": True})


async def main(url: str) -> None:
    keys = {"apiKey": "sim", "secret": "sim-secret"}
    exchange = ccxt.pro.bybit({**keys, "options": {"defaultType": "swap"}})
    exchange.urls["api"] = moved(exchange.urls["api"], url)
    try:
        last = await look(exchange)
        await rest(exchange, last)
        await spot(exchange, last)
        async with asyncio.timeout(60):
            await streams(exchange, last)
    finally:
        await exchange.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    print("all as expected")
