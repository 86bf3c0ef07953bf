"""Liquidation: orders first, then tier by tier, then the takeover; who pays for what is missing."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from sim.config import SimConfig
from sim.engine.account import Account, AccountSpec
from sim.engine.liquidation import bankruptcy_ticks
from sim.engine.orders import Position
from sim.exchange import Exchange
from tests.simbench import BTC, PRICE, Bench

D = Decimal
COIN = 10**8


def rich(usdt: str, leverage: str = "10", lots: int = 100_000) -> Bench:
    """An account with so much money on a book that takes a lot."""
    bench = Bench()
    specs = [AccountSpec(usdt=usdt), AccountSpec(key="other", usdt="100000000")]
    bench.exchange = Exchange(SimConfig(rate_factor=1000), bench.tape, 7, specs)
    bench.book(lots=lots)
    bench.play()
    if leverage != "10":
        body = {"category": "linear", "symbol": BTC, "buyLeverage": leverage, "sellLeverage": leverage}
        assert bench.ask("POST", "/v5/position/set-leverage", body=body)["retCode"] == 0
    return bench


def fall(bench: Bench, middle: int, lots: int = 100_000) -> None:
    """The market falls and stays there until the mark has followed."""
    for _ in range(3):
        bench.book(middle=middle, lots=lots)
        bench.play(60)


@pytest.mark.parametrize("side", [1, -1])
def test_at_the_bankruptcy_price_the_margin_is_gone(side: int) -> None:
    position = Position(symbol=BTC, lots=side * 1000, cost=1000 * PRICE * 10_000)
    margin = 5_000 * COIN
    ticks = bankruptcy_ticks(position, margin, 10_000, 55_000)
    value = 1000 * ticks * 10_000
    lost = (position.cost - value) * side + value * 55_000 // COIN
    assert lost <= margin
    assert margin - lost < 1000 * 10_000 * 2


def test_orders_go_before_positions() -> None:
    bench = rich("650")
    bench.create("Buy", "0.1", "60010")
    resting = bench.order(bench.create("Sell", "0.05", "61000", reduceOnly=True))
    bench.exchange.watch(f"allLiquidation.{BTC}")
    fall(bench, PRICE - 62_500)
    assert resting.cancel_type == "CancelByPrepareLiq"
    bust = bench.rows("execution")[-1]
    assert (bust["execType"], bust["createType"], bust["orderLinkId"]) == (
        "BustTrade",
        "CreateByTakeOver_PassThrough",
        "",
    )
    assert bench.position() == 0
    assert 0 <= bench.account.wallet < COIN, "the balance is used up and not overdrawn"
    (frame,) = [json.loads(f.text) for f in bench.frames if f.topic.startswith("allLiquidation")]
    (row,) = frame["data"]
    assert (row["S"], row["v"], D(row["p"])) == ("Buy", "0.1", D(bust["execPrice"]))
    log = bench.ask("GET", "/v5/account/transaction-log", "accountType=UNIFIED")["result"]["list"]
    assert log[0]["type"] == "LIQUIDATION"


def test_a_large_position_comes_down_tier_by_tier() -> None:
    bench = rich("80000", "50")
    # 50 BTC are 3 million USDT: third tier.
    assert bench.create("Buy", "50", "60050")["retCode"] == 0
    before = bench.position()
    fall(bench, PRICE - 12_450)
    reduced = [row for row in bench.rows("execution") if row["createType"] == "CreateByLiq"]
    assert reduced
    assert {row["execType"] for row in reduced} == {"Trade"}
    assert 0 < bench.position() < before, "smaller, in a lower tier, and alive"
    (row,) = bench.ask("GET", "/v5/position/list", f"category=linear&symbol={BTC}")["result"]["list"]
    assert row["riskId"] < 3


def test_the_fund_gains_or_pays_and_then_others_are_deleveraged() -> None:
    bench = rich("6500")
    other = bench.exchange.desk.accounts["other"]
    bench.create("Buy", "1", "60010")
    body = {"category": "linear", "symbol": BTC, "side": "Sell", "qty": "2", "orderType": "Limit", "price": "59990"}
    bench.exchange.operate({"do": "order", "account": "other", "body": body})
    bench.play()
    bench.exchange.desk.counters.insurance = 5 * COIN
    fall(bench, PRICE - 100_000)
    assert bench.position() == 0
    adl = [fill for fill in other.fills if fill.exec_type == "AdlTrade"]
    bust = bench.account.fills[-1]
    assert [(fill.ticks, fill.lots, fill.fee, fill.link_id) for fill in adl] == [(bust.ticks, 1000, 0, "")]
    assert other.position(BTC).lots == -1000
    assert bench.exchange.desk.counters.insurance == 5 * COIN, "it could not pay and did not"
    assert bench.account.wallet >= 0


def test_the_fund_keeps_what_a_good_close_leaves() -> None:
    bench = rich("6500")
    bench.create("Buy", "1", "60010")
    fund = bench.exchange.desk.counters.insurance
    fall(bench, PRICE - 62_500)
    assert bench.account.fills[-1].exec_type == "BustTrade"
    assert bench.exchange.desk.counters.insurance > fund
    assert bench.exchange.venue.markets[BTC].liquidations == [], "nobody watches: nothing is kept for them"


def test_the_rank_rises_with_the_leveraged_return() -> None:
    bench = rich("100000")
    bench.create("Sell", "0.1", "59990")

    def place() -> int:
        (row,) = bench.ask("GET", "/v5/position/list", f"category=linear&symbol={BTC}")["result"]["list"]
        return int(row["adlRankIndicator"])

    seen = [place()]
    for drop in (5_000, 12_000, 20_000, 40_000):
        fall(bench, PRICE - drop)
        seen.append(place())
    assert seen == [1, 2, 3, 4, 5]


def test_two_positions_share_the_balance() -> None:
    bench = rich("1300")
    account: Account = bench.account
    post = {"category": "linear", "symbol": BTC, "mode": 3}
    assert bench.ask("POST", "/v5/position/switch-mode", body=post)["retCode"] == 0
    bench.create("Buy", "0.2", "60010", positionIdx=1)
    bench.create("Sell", "0.001", "59990", positionIdx=2)
    fall(bench, PRICE - 63_000)
    assert [position.lots for position in account.positions_of(BTC)] == [0, 0, 0]
    assert -1 < account.wallet / COIN < 10


def test_closed_profit_is_net_of_both_fees() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010", timeInForce="IOC")
    bench.create("Sell", "0.004", "59990", timeInForce="IOC")
    bench.create("Sell", "0.006", "59990", timeInForce="IOC")
    rows = bench.ask("GET", "/v5/position/closed-pnl", "category=linear")["result"]["list"]
    assert sum(D(row["closedPnl"]) for row in rows) == D(bench.account.wallet) / COIN - 10_000
    for row in rows:
        value = D(row["cumExitValue"]) - D(row["cumEntryValue"])
        assert D(row["closedPnl"]) == value - D(row["openFee"]) - D(row["closeFee"])
        assert D(row["openFee"]) > 0
