"""Spot markets: what is bought is held as a coin, what is held is collateral, and the perpetual beside it hedges it."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sim.config import SimConfig
from sim.engine.market import Market
from sim.engine.spot import Basis
from sim.exchange import Exchange
from sim.store import Store
from sim.tapes.tape import open_tape
from tests.simbench import BTC, PRICE, SECOND, Bench, ScriptedTape

SPOT = "BTCUSDT-SPOT"
D = Decimal


def spot_bench(usdt: str = "10000") -> Bench:
    bench = Bench(SimConfig(rate_factor=1000, spot=True))
    bench.print(PRICE, 5, 1)
    bench.play()
    bench.account.wallet = int(D(usdt) * 10**8)
    return bench


def market(bench: Bench) -> Market:
    return bench.exchange.venue.markets[SPOT]


def spot(bench: Bench, side: str, qty: str, price: str = "", **more: Any) -> dict[str, Any]:
    return bench.create(side, qty, price, category="spot", **more)


def coins(bench: Bench) -> dict[str, dict[str, str]]:
    row = bench.ask("GET", "/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0]
    return {coin["coin"]: coin for coin in row["coin"]}


def test_the_basis_is_small_smooth_and_seeded() -> None:
    basis, same, other = Basis(7, BTC), Basis(7, BTC), Basis(8, BTC)
    points = [basis.at_e8(minute * 60 * SECOND) for minute in range(2000)]
    assert all(-20_000 <= point <= 60_000 for point in points)
    assert max(abs(a - b) for a, b in pairwise(points)) < 1_500
    assert points == [same.at_e8(minute * 60 * SECOND) for minute in range(2000)]
    assert points != [other.at_e8(minute * 60 * SECOND) for minute in range(2000)]


def test_the_spot_price_follows_the_perpetual() -> None:
    bench = spot_bench()
    for ticks in (PRICE + 500, PRICE - 3000):
        bench.print(ticks, 5, 1)
        bench.play()
        assert abs(market(bench).last - ticks) <= ticks * 7 // 10_000
        assert market(bench).book.bids[0][0] < market(bench).book.asks[0][0]


def test_a_buyer_gets_the_coin_less_the_fee_in_the_coin() -> None:
    bench = spot_bench()
    answer = spot(bench, "Buy", "0.01", "60300", timeInForce="IOC")
    assert answer["result"]["orderId"].isdigit()
    assert answer["result"]["orderLinkId"].isdigit(), "spot invents one"
    rows = bench.rows("execution")
    assert {(row["category"], row["feeCurrency"], row["feeRate"]) for row in rows} == {("spot", "BTC", "0.001")}
    paid = sum(D(row["execValue"]) for row in rows)
    held = coins(bench)
    assert D(held["BTC"]["walletBalance"]) == D("0.01") - D("0.00001")
    assert D(held["USDT"]["walletBalance"]) == 10_000 - paid
    sold = spot(bench, "Sell", "0.009", "59700", timeInForce="IOC")
    assert sold["retCode"] == 0
    rows = [row for row in bench.rows("execution") if row["side"] == "Sell"]
    got = sum(D(row["execValue"]) for row in rows)
    assert {row["feeCurrency"] for row in rows} == {"USDT"}
    held = coins(bench)
    assert D(held["USDT"]["walletBalance"]) == 10_000 - paid + got - sum(D(row["execFee"]) for row in rows)
    assert D(held["BTC"]["walletBalance"]) == D("0.00099")
    log = bench.ask("GET", "/v5/account/transaction-log", "accountType=UNIFIED&category=spot&limit=50")["result"][
        "list"
    ]
    for coin in ("USDT", "BTC"):
        newest = next(row for row in log if row["currency"] == coin)
        assert newest["cashBalance"] == held[coin]["walletBalance"]
    assert bench.position() == 0
    assert all(row["category"] == "spot" for row in bench.rows("order"))


def test_a_market_buy_spends_an_amount() -> None:
    bench = spot_bench()
    order = bench.order(spot(bench, "Buy", "250"))
    spent = 10_000 - D(coins(bench)["USDT"]["walletBalance"])
    assert order.status == "Filled"
    step = D(market(bench).last) / 10 * D("0.000001")
    assert 0 <= 250 - spent < step * 2, "all but less than the smallest quantity"
    row = bench.rows("order")[-1]
    assert (row["qty"], row["marketUnit"]) == ("250", "quoteCoin")


def test_a_market_buy_that_empties_the_book_is_partially_filled_and_cancelled() -> None:
    bench = spot_bench("9000000")
    order = bench.order(spot(bench, "Buy", "4000000"))
    assert order.status == "PartiallyFilledCanceled"
    assert 0 < order.cum_value < 4_000_000 * 10**8
    by_quantity = bench.order(spot(bench, "Buy", "0.001", marketUnit="baseCoin"))
    assert (by_quantity.status, bench.rows("order")[-1]["marketUnit"]) in (
        ("Filled", "baseCoin"),
        ("Cancelled", "baseCoin"),
    )


def test_open_orders_lock_what_they_will_spend() -> None:
    bench = spot_bench()
    assert spot(bench, "Buy", "0.1", "59500")["retCode"] == 0
    assert coins(bench)["USDT"]["locked"] == "5950"
    assert spot(bench, "Buy", "0.1", "59500")["retCode"] == 170131
    amended = bench.ask("POST", "/v5/order/amend", body={"category": "spot", "symbol": BTC, "qty": "0.16",
                        "orderId": next(iter(bench.account.open_orders))})  # fmt: skip
    assert amended["retCode"] == 0
    assert coins(bench)["USDT"]["locked"] == "9520"
    cancelled = bench.ask("POST", "/v5/order/cancel-all", body={"category": "spot"})
    assert len(cancelled["result"]["list"]) == 1
    assert coins(bench)["USDT"]["locked"] == "0"


def test_a_resting_order_is_filled_by_the_market() -> None:
    bench = spot_bench()
    order = bench.order(spot(bench, "Buy", "0.01", "59900", timeInForce="PostOnly"))
    bench.print(PRICE - 3000, 50, -1)
    bench.play()
    assert order.status == "Filled"
    assert bench.rows("execution")[-1]["isMaker"] is True


def test_a_conditional_order_locks_nothing_until_it_triggers() -> None:
    bench = spot_bench()
    order = bench.order(spot(bench, "Buy", "0.01", "60900", triggerPrice="60500", orderFilter="StopOrder"))
    assert (order.status, coins(bench)["USDT"]["locked"]) == ("Untriggered", "0")
    bench.print(PRICE + 6000, 5, 1)
    bench.play()
    assert order.status == "Filled"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NOPEUSDT"}, 170121),
        ({"side": "buy"}, 170116),
        ({"orderType": "Stop"}, 170115),
        ({"timeInForce": "GTX"}, 170117),
        ({"price": "60000.05"}, 170134),
        ({"price": "61000"}, 170193),
        ({"side": "Sell", "price": "59000"}, 170194),
        ({"qty": "0.0000001"}, 170137),
        ({"qty": "0"}, 170136),
        ({"qty": "5000"}, 170135),
        ({"qty": "0.00005", "price": "59900"}, 170140),
        ({"qty": "200"}, 170124),
        ({"side": "Sell"}, 170131),
        ({"qty": "0.5"}, 170131),
        ({"orderFilter": "StopOrder"}, 170130),
        ({"orderLinkId": "taken"}, 170141),
    ],
)
def test_refusals(change: dict[str, Any], code: int) -> None:
    bench = spot_bench()
    spot(bench, "Buy", "0.001", "59800", orderLinkId="taken")
    body = {"category": "spot", "symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59900"}
    answer = bench.ask("POST", "/v5/order/create", body=body | change)
    assert answer["retCode"] == code, answer
    assert len(bench.account.by_id) == 1


def test_gone_spot_orders() -> None:
    bench = spot_bench()
    for path in ("cancel", "amend"):
        body = {"category": "spot", "symbol": BTC, "orderId": "123", "price": "59000"}
        assert bench.ask("POST", f"/v5/order/{path}", body=body)["retCode"] == 170213


def test_coins_and_a_short_perpetual_in_one_account_hedge_each_other() -> None:
    bench = spot_bench("700")
    assert spot(bench, "Buy", "0.01", "60300", timeInForce="IOC")["retCode"] == 0
    assert bench.create("Sell", "0.01", "59990", timeInForce="IOC")["retCode"] == 0, "the coin is collateral"

    def equity() -> Decimal:
        row = bench.ask("GET", "/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0]
        return D(row["totalEquity"])

    before = equity()
    for step in range(1, 31):
        bench.print(PRICE + 6000 * step, 5, 1)
        bench.book(middle=PRICE + 6000 * step)
        bench.play(5)
    assert bench.position() == -10, "a third higher and not liquidated"
    assert abs(equity() - before) < 3, "of 180 that each leg moved"
    row = bench.ask("GET", "/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0]
    assert D(row["totalMarginBalance"]) < D(row["totalEquity"]), "a coin counts with a haircut"


def test_without_the_coin_the_same_short_is_liquidated() -> None:
    bench = spot_bench("100")
    bench.create("Sell", "0.01", "59990", timeInForce="IOC")
    for step in range(1, 31):
        bench.print(PRICE + 6000 * step, 5, 1)
        bench.book(middle=PRICE + 6000 * step)
        bench.play(5)
    assert bench.position() == 0


def test_public_routes_and_topics_of_spot() -> None:
    bench = spot_bench()
    (info,) = bench.ask("GET", "/v5/market/instruments-info", "category=spot")["result"]["list"]
    assert info["lotSizeFilter"]["basePrecision"] == "0.000001"
    assert "leverageFilter" not in info
    (ticker,) = bench.ask("GET", "/v5/market/tickers", "category=spot")["result"]["list"]
    assert "fundingRate" not in ticker
    assert D(ticker["bid1Price"]) < D(ticker["ask1Price"])
    assert len(bench.ask("GET", "/v5/market/tickers", "category=linear")["result"]["list"]) == 1
    assert bench.ask("GET", "/v5/market/kline", f"category=spot&symbol={BTC}&interval=1")["retCode"] == 0
    assert bench.ask("GET", "/v5/market/funding/history", f"category=spot&symbol={BTC}")["retCode"] == 10001
    rates = bench.ask("GET", "/v5/account/fee-rate", f"category=spot&symbol={BTC}")["result"]["list"]
    assert rates == [{"symbol": BTC, "takerFeeRate": "0.001", "makerFeeRate": "0.001"}]
    for topic in ("orderbook.50", "publicTrade", "tickers", "kline.1"):
        bench.exchange.watch(f"{topic}.{SPOT}")
    for step in range(70):
        bench.print(PRICE + step, 400, 1)
        bench.play()
    frames = [json.loads(frame.text) for frame in bench.frames if frame.topic.endswith(SPOT)]
    assert {frame["topic"] for frame in frames} == {
        f"{t}.{BTC}" for t in ("orderbook.50", "publicTrade", "tickers", "kline.1")
    }
    assert {frame["type"] for frame in frames if frame["topic"].startswith("tickers")} == {"snapshot"}


def test_a_restart_keeps_the_coins(tmp_path: Path) -> None:
    bench = spot_bench()
    exchange = Exchange(SimConfig(rate_factor=1000, spot=True), bench.tape, 7, journal=True)
    bench.exchange = exchange
    bench.print(PRICE, 5, 1)
    bench.play()
    spot(bench, "Buy", "0.01", "60300", timeInForce="IOC")
    spot(bench, "Sell", "0.005", "60500")
    store = Store(tmp_path, 7)
    store.save(exchange.changes())
    fresh = Exchange(SimConfig(spot=True), ScriptedTape(), 7)
    fresh.restore(store.load())
    store.close()
    ours, theirs = exchange.desk.accounts["sim"], fresh.desk.accounts["sim"]
    assert (theirs.coins, theirs.wallet, theirs.spot_orders) == (ours.coins, ours.wallet, 1)
    assert list(theirs.open_orders.values()) == list(ours.open_orders.values())


def test_same_tape_and_seed_give_the_same_spot_prices() -> None:
    def run() -> list[int]:
        tape = open_tape(["synthetic:seed=3,minutes=2,symbols=BTCUSDT"], 3)
        exchange = Exchange(SimConfig(spot=True), tape, 3)
        seen = []
        for second in range(1, 121):
            exchange.advance(tape.start_at + second * SECOND)
            seen.append(exchange.venue.markets[SPOT].last)
        return seen

    assert run() == run()
