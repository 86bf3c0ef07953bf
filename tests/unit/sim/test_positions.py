"""Hedge mode, isolated margin, trailing stops, self-match prevention, orders of accounts that meet."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sim.config import SimConfig
from sim.engine.account import Account, AccountSpec
from sim.exchange import Exchange
from sim.store import Store
from tests.simbench import BTC, PRICE, Bench, ScriptedTape

D = Decimal
POSITIONS = "/v5/position/list"


def post(bench: Bench, path: str, **body: Any) -> int:
    return int(bench.ask("POST", path, body={"category": "linear", "symbol": BTC, **body})["retCode"])


def rows(bench: Bench) -> list[dict[str, Any]]:
    return list(bench.ask("GET", POSITIONS, f"category=linear&symbol={BTC}")["result"]["list"])


def hedged() -> Bench:
    bench = Bench()
    assert post(bench, "/v5/position/switch-mode", mode=3) == 0
    return bench


def two_accounts() -> tuple[Bench, Account]:
    """Account `sim` and, beside it, `other`."""
    bench = Bench()
    specs = [AccountSpec(), AccountSpec(key="other")]
    bench.exchange = Exchange(SimConfig(rate_factor=1000), bench.tape, 7, specs)
    bench.book()
    bench.play()
    return bench, bench.exchange.desk.accounts["other"]


def by_other(bench: Bench, side: str, qty: str, price: str, **more: Any) -> dict[str, Any]:
    body = {"category": "linear", "symbol": BTC, "side": side, "qty": qty, "orderType": "Limit", "price": price, **more}
    return bench.exchange.operate({"do": "order", "account": "other", "body": body})


# --- hedge mode ------------------------------------------------------------------------------------------------------


def test_both_sides_are_held_at_once() -> None:
    bench = hedged()
    assert bench.create("Buy", "0.02", "60020", positionIdx=1)["retCode"] == 0
    assert bench.create("Sell", "0.01", "59990", positionIdx=2)["retCode"] == 0
    long, short = rows(bench)
    assert (long["positionIdx"], long["side"], long["size"]) == (1, "Buy", "0.02")
    assert (short["positionIdx"], short["side"], short["size"]) == (2, "Sell", "0.01")
    assert {row["positionIdx"] for row in bench.rows("position")} == {1, 2}
    assert bench.create("Sell", "0.05", "59980", positionIdx=1, timeInForce="IOC")["retCode"] == 0
    long, short = rows(bench)
    assert (long["size"], short["size"]) == ("0", "0.01"), "closes its own side and no more"
    (closed,) = bench.ask("GET", "/v5/position/closed-pnl", "category=linear")["result"]["list"]
    assert (closed["side"], closed["closedSize"]) == ("Sell", "0.02")


def test_an_index_must_fit_the_mode() -> None:
    bench = Bench()
    assert bench.create("Buy", "0.01", "59000", positionIdx=1)["retCode"] == 10001
    bench = hedged()
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 10001
    assert bench.create("Sell", "0.01", "60500", positionIdx=1)["retCode"] == 110017, "nothing to close"
    assert post(bench, "/v5/position/switch-mode", mode=3) == 110025
    order = bench.order(bench.create("Buy", "0.01", "59000", positionIdx=1))
    assert post(bench, "/v5/position/switch-mode", mode=0) == 110028
    post(bench, "/v5/order/cancel", orderId=order.order_id)
    bench.create("Buy", "0.01", "60010", positionIdx=1)
    assert post(bench, "/v5/position/switch-mode", mode=0) == 110024
    assert (
        bench.ask("POST", "/v5/position/switch-mode", body={"category": "linear", "coin": "USDT", "mode": 3})["retCode"]
        == 0
    )


def test_funding_and_margin_count_each_side() -> None:
    bench = hedged()
    bench.create("Buy", "0.02", "60020", positionIdx=1)
    bench.create("Sell", "0.01", "59990", positionIdx=2)
    bench.play(2 * 3600)
    paid = [D(row["execFee"]) for row in bench.rows("execution") if row["execType"] == "Funding"]
    assert len(paid) == 2
    assert paid[0] == -2 * paid[1]
    wallet = bench.ask("GET", "/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0]
    held = [D(row["positionIM"]) for row in rows(bench)]
    assert D(wallet["coin"][0]["totalPositionIM"]) == sum(held)


def test_stops_belong_to_their_side() -> None:
    bench = hedged()
    bench.create("Buy", "0.01", "60010", positionIdx=1)
    bench.create("Sell", "0.01", "59990", positionIdx=2)
    assert post(bench, "/v5/position/trading-stop", positionIdx=1, stopLoss="59500", tpslMode="Full") == 0
    assert [(row["positionIdx"], row["stopLoss"]) for row in rows(bench)] == [(1, "59500"), (2, "")]
    bench.book(middle=PRICE - 6000)
    bench.print(PRICE - 6000, 1, -1)
    bench.play()
    assert [row["size"] for row in rows(bench)] == ["0", "0.01"]


def test_a_restart_keeps_both_sides(tmp_path: Path) -> None:
    bench = hedged()
    bench.exchange = Exchange(SimConfig(rate_factor=1000), bench.tape, 7, journal=True)
    bench.book()
    bench.play()
    post(bench, "/v5/position/switch-mode", mode=3)
    bench.create("Buy", "0.02", "60020", positionIdx=1)
    bench.create("Sell", "0.01", "59990", positionIdx=2)
    store = Store(tmp_path, 7)
    store.save(bench.exchange.changes())
    fresh = Exchange(SimConfig(), ScriptedTape(), 7)
    fresh.restore(store.load())
    store.close()
    ours, theirs = bench.account, fresh.desk.accounts["sim"]
    assert (theirs.positions, theirs.hedge) == (ours.positions, {BTC})


# --- isolated margin -------------------------------------------------------------------------------------------------


def test_an_isolated_position_is_liquidated_alone() -> None:
    bench = Bench()
    assert post(bench, "/v5/account/set-margin-mode", setMarginMode="ISOLATED_MARGIN") == 0
    bench.create("Buy", "0.01", "60010")
    (row,) = rows(bench)
    assert row["tradeMode"] == 1
    price = D(row["liqPrice"])
    assert D("54000") < price < D("54600"), "a tenth below the entry, less what must be kept"
    margin = D(row["positionBalance"])
    for middle in (int(price * 10) + 50, int(price * 10) - 50):
        for _ in range(3):
            bench.book(middle=middle)
            bench.play(60)
        assert bench.position() == (10 if middle > price * 10 else 0)
    bust = bench.rows("execution")[-1]
    assert bust["execType"] == "BustTrade"
    fees = D("600.01") * D("0.00055")
    lost = 10_000 - D(bench.account.wallet) / 10**8 - fees
    assert abs(lost - margin) < D("0.01"), "what was set aside for it and no more"


def test_a_gain_in_isolated_mode_is_not_available() -> None:
    bench = Bench()
    post(bench, "/v5/account/set-margin-mode", setMarginMode="ISOLATED_MARGIN")
    bench.create("Buy", "0.01", "60010")

    def available() -> Decimal:
        wallet = bench.ask("GET", "/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0]
        return D(wallet["totalAvailableBalance"])

    before = available()
    bench.book(middle=PRICE + 30_000)
    bench.play(60)
    assert available() == before


# --- trailing stops --------------------------------------------------------------------------------------------------


def test_a_trailing_stop_follows_and_closes() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    assert post(bench, "/v5/position/trading-stop", trailingStop="100", tpslMode="Full", positionIdx=0) == 0
    assert post(bench, "/v5/position/trading-stop", trailingStop="100", tpslMode="Full", positionIdx=0) == 34040
    (order,) = bench.account.open_orders.values()
    assert (order.stop_type, order.trigger_ticks) == ("TrailingStop", PRICE - 1000)
    for middle in (PRICE + 2000, PRICE + 5000, PRICE + 4100):
        bench.book(middle=middle)
        bench.play()
        assert bench.position() == 10
    assert order.trigger_ticks == PRICE + 4000
    assert rows(bench)[0]["trailingStop"] == "100"
    bench.book(middle=PRICE + 3990)
    bench.play()
    assert (bench.position(), order.status, order.create_type) == (0, "Filled", "CreateByTrailingStop")


def test_a_trailing_stop_waits_for_its_activation() -> None:
    bench = Bench()
    bench.create("Sell", "0.01", "59990")
    assert post(bench, "/v5/position/trading-stop", trailingStop="100", activePrice="60500", tpslMode="Full") == 10001
    assert post(bench, "/v5/position/trading-stop", trailingStop="100", activePrice="59500", tpslMode="Full") == 0
    for middle in (PRICE + 2000, PRICE - 4000):
        bench.book(middle=middle)
        bench.play()
        assert bench.position() == -10
    for middle in (PRICE - 5000, PRICE - 6000, PRICE - 4990):
        bench.book(middle=middle)
        bench.play()
    assert bench.position() == 0


def test_a_cancelled_trailing_stop_is_gone() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    post(bench, "/v5/position/trading-stop", trailingStop="100", tpslMode="Full")
    assert post(bench, "/v5/position/trading-stop", trailingStop="0", tpslMode="Full") == 0
    assert (rows(bench)[0]["trailingStop"], bench.account.open_orders) == ("0", {})


# --- orders that meet ------------------------------------------------------------------------------------------------


def test_accounts_trade_with_each_other() -> None:
    bench, other = two_accounts()
    maker = bench.order(bench.create("Buy", "0.005", "60000"))
    taker = by_other(bench, "Sell", "0.02", "59999")
    bench.play()
    order = other.by_id[taker["result"]["orderId"]]
    mine, theirs = list(bench.account.fills), list(other.fills)
    assert [(fill.ticks, fill.lots, fill.is_maker) for fill in mine] == [(PRICE, 5, True)]
    assert [(fill.ticks, fill.lots) for fill in theirs] == [(PRICE, 5), (PRICE - 10, 10)], "ours is the better price"
    assert (maker.status, order.status, order.leaves) == ("Filled", "PartiallyFilled", 5)
    assert bench.account.position(BTC).lots == 5
    assert other.position(BTC).lots == -15


def test_who_stood_at_the_price_before_goes_first() -> None:
    bench, other = two_accounts()
    bench.create("Buy", "0.005", "59999")
    by_other(bench, "Sell", "0.012", "59999", timeInForce="IOC")
    assert [fill.lots for fill in bench.account.fills] == [2], "ten of the market stood there before"
    assert sum(fill.lots for fill in other.fills) == 12


def test_post_only_and_fill_or_kill_see_the_other_account() -> None:
    bench, other = two_accounts()
    bench.create("Buy", "0.005", "60000")
    post_only = by_other(bench, "Sell", "0.01", "60000", timeInForce="PostOnly")["result"]["orderId"]
    assert other.by_id[post_only].reject_reason == "EC_PostOnlyWillTakeLiquidity"
    whole = by_other(bench, "Sell", "0.006", "60000", timeInForce="FOK")["result"]["orderId"]
    assert (other.by_id[whole].status, other.by_id[whole].cum_lots) == ("Cancelled", 0)
    whole = by_other(bench, "Sell", "0.015", "59999", timeInForce="FOK")["result"]["orderId"]
    assert other.by_id[whole].status == "Filled"


@pytest.mark.parametrize(
    ("smp", "maker", "taker", "position"),
    [
        ("None", "Filled", "Filled", 0),
        ("CancelMaker", "Cancelled", "New", 0),
        ("CancelTaker", "New", "Cancelled", 0),
        ("CancelBoth", "Cancelled", "Cancelled", 0),
    ],
)
def test_self_match_prevention(smp: str, maker: str, taker: str, position: int) -> None:
    bench = Bench()
    first = bench.order(bench.create("Buy", "0.005", "60000"))
    second = bench.order(bench.create("Sell", "0.005", "60000", smpType=smp))
    assert (first.status, second.status, bench.position()) == (maker, taker, position)
    for order in (first, second):
        if order.status == "Cancelled":
            assert (order.cancel_type, order.reject_reason) == ("CancelBySmp", "EC_BySelfMatch")
    assert bench.create("Buy", "0.005", "59000", smpType="Maybe")["retCode"] == 10001


def test_a_position_is_told_with_every_order_changed_or_not() -> None:
    bench = Bench()
    order = bench.order(bench.create("Buy", "0.01", "59000"))
    post(bench, "/v5/order/amend", orderId=order.order_id, price="59100")
    post(bench, "/v5/order/cancel", orderId=order.order_id)
    bench.play()
    assert [(row["size"], row["side"]) for row in bench.rows("position")] == [("0", "")] * 3
