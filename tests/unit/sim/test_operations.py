"""What an operator of the exchange can make happen, and that it is a function of tape, seed and operations."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.common.errors import UsageError
from sim.config import SimConfig
from sim.exchange import Exchange
from sim.script import read_script
from sim.store import Store
from sim.tapes.tape import open_tape
from tests.simbench import BTC, PRICE, SECOND, START, Bench, ScriptedTape

D = Decimal


def do(bench: Bench, what: str, **more: Any) -> dict[str, Any]:
    return bench.exchange.operate({"do": what, **more})


def wallet(bench: Bench) -> dict[str, Any]:
    return dict(bench.ask("GET", "/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0])


def test_a_deposit_is_told_and_logged_and_is_no_profit() -> None:
    bench = Bench()
    do(bench, "deposit", amount="500.5")
    bench.play()
    assert bench.rows("wallet")[-1]["coin"][0]["walletBalance"] == "10500.5"
    assert wallet(bench)["coin"][0]["cumRealisedPnl"] == "0"
    do(bench, "withdraw", amount=200)
    log = bench.ask("GET", "/v5/account/transaction-log", "accountType=UNIFIED")["result"]["list"]
    assert [(row["type"], row["change"], row["cashBalance"], row["symbol"]) for row in log] == [
        ("TRANSFER_OUT", "-200", "10300.5", ""), ("TRANSFER_IN", "500.5", "10500.5", ""),
    ]  # fmt: skip
    do(bench, "deposit", amount="0.5", coin="BTC")
    assert D(wallet(bench)["totalEquity"]) == D("10300.5") + D("0.5") * 60_000


def test_money_that_margin_needs_cannot_leave() -> None:
    bench = Bench()
    bench.create("Buy", "1", "59000")
    with pytest.raises(UsageError, match="expected at most 3967"):
        do(bench, "withdraw", amount=4001)
    do(bench, "withdraw", amount=3967)


def test_another_client_of_the_account_places_an_order() -> None:
    bench = Bench()
    body = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}
    answer = do(bench, "order", body=body | {"orderLinkId": "web-1"})
    bench.play()
    assert bench.rows("order")[-1]["orderId"] == answer["result"]["orderId"]
    with pytest.raises(UsageError, match="110003"):
        do(bench, "order", body=body | {"price": "70000"})


def test_new_rules_come_into_force_at_once() -> None:
    bench = Bench()
    kept = bench.order(bench.create("Buy", "0.011", "59000.1"))
    do(bench, "instrument", symbol=BTC, tick_size="0.5", lot_size="0.01", min_qty="0.02", min_notional=100)
    (info,) = bench.ask("GET", "/v5/market/instruments-info", f"category=linear&symbol={BTC}")["result"]["list"]
    assert (info["priceFilter"]["tickSize"], info["lotSizeFilter"]["qtyStep"]) == ("0.50", "0.010")
    assert (info["lotSizeFilter"]["minOrderQty"], info["lotSizeFilter"]["minNotionalValue"]) == ("0.020", "100")
    assert bench.create("Buy", "0.02", "59000.1")["retCode"] == 10001
    assert bench.create("Buy", "0.025", "59000")["retCode"] == 10001
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 10001
    assert bench.create("Buy", "0.02", "59000.5")["retCode"] == 0
    assert kept.is_open
    bench.exchange.watch(f"publicTrade.{BTC}")
    bench.print(PRICE + 3, 5, 1)
    bench.play()
    (trade,) = [json.loads(f.text)["data"][0] for f in bench.frames if f.topic.startswith("publicTrade")]
    assert trade["p"] == "60000.50", "trades are on the new tick"
    book = bench.exchange.venue.markets[BTC].book
    assert all(ticks % 5 == 0 for ticks, _ in [*book.bids, *book.asks])
    with pytest.raises(UsageError, match=r"multiple of 0\.10"):
        do(bench, "instrument", symbol=BTC, tick_size="0.01")


@pytest.mark.parametrize(
    ("operation", "opening", "reducing"),
    [
        ({"status": "PreLaunch"}, 110074, 110074),
        ({"status": "Trading", "refuse": 110023}, 110023, 0),
        ({"status": "Delivering"}, 30228, 0),
        ({"status": "Delivering", "refuse": 110042}, 110042, 0),
        ({"status": "Closed"}, 110074, 110074),
    ],
)
def test_a_status_refuses_what_it_should(operation: dict[str, Any], opening: int, reducing: int) -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    do(bench, "status", symbol=BTC, **operation)
    assert bench.create("Buy", "0.01", "59000")["retCode"] == opening
    assert bench.create("Sell", "0.01", "60500", reduceOnly=True)["retCode"] == reducing
    rows = bench.ask("GET", "/v5/market/instruments-info", f"category=linear&status={operation['status']}")["result"][
        "list"
    ]
    assert [row["symbol"] for row in rows] == [BTC]


def test_a_delisting_ends_in_a_settlement() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    resting = bench.order(bench.create("Sell", "0.005", "60500", reduceOnly=True))
    now = do(bench, "status", symbol=BTC, status="Delivering", settle_after_s=60)["at"]
    (info,) = bench.ask("GET", "/v5/market/instruments-info", f"category=linear&symbol={BTC}")["result"]["list"]
    assert info["deliveryTime"] == str(now // 10**6 + 60_000)
    bench.play(70)
    row = bench.rows("execution")[-1]
    assert (row["execType"], row["createType"], row["execFee"], row["closedSize"]) == (
        "Settle",
        "CreateBySettle",
        "0",
        "0.01",
    )
    assert D(row["execPrice"]) == bench.exchange.venue.markets[BTC].mark / D(10)
    assert resting.cancel_type == "CancelBySettle"
    assert bench.position() == 0
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 110074


def test_funding_rate_and_interval_are_decided() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    answer = do(bench, "funding", symbol=BTC, rate="0.001", interval_min=60)
    assert answer["next_funding_ms"] == START // 10**6 + 3_600_000
    bench.play(3700)
    row = bench.rows("execution")[-1]
    assert (row["execType"], row["feeRate"]) == ("Funding", "0.001")
    bench.play(3600)
    assert len([row for row in bench.rows("execution") if row["execType"] == "Funding"]) == 2, "every hour now"


def test_maintenance_is_announced_refuses_and_ends() -> None:
    bench = Bench()
    bench.exchange.watch("system.status")
    assert bench.exchange.knows("system.status")
    do(bench, "maintenance", begin_in_s=10, for_s=20, services=[1], title="upgrade")
    bench.play()

    def states() -> list[str]:
        return [json.loads(f.text)["data"][0]["state"] for f in bench.frames if f.topic == "system.status"]

    assert states() == ["scheduled"]
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 0
    bench.play(10)
    assert states() == ["scheduled", "ongoing"]
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 110066
    (row,) = bench.ask("GET", "/v5/system/status")["result"]["list"]
    assert (row["state"], row["serviceTypes"], row["product"]) == ("ongoing", [1], [1, 2])
    bench.play(20)
    assert states()[-1] == "completed"
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 0


def test_maintenance_of_http_and_of_streams() -> None:
    bench = Bench()
    bench.exchange.watch(f"orderbook.50.{BTC}")
    do(bench, "maintenance", for_s=20, services=[2, 4, 5])
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 10016
    do(bench, "order", body={"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "0.01"})
    bench.book(middle=PRICE + 50)
    bench.play()
    assert [frame for frame in bench.frames if frame.topic != "system.status"] == []
    bench.play(30)
    bench.book(middle=PRICE)
    bench.play()
    assert {frame.topic for frame in bench.frames} == {f"orderbook.50.{BTC}"}


def test_a_called_off_maintenance() -> None:
    bench = Bench()
    answer = do(bench, "maintenance", for_s=60)
    do(bench, "maintenance-cancelled", id=answer["id"])
    assert bench.create("Buy", "0.01", "59000")["retCode"] == 0
    with pytest.raises(UsageError, match="id of a maintenance"):
        do(bench, "maintenance-cancelled", id="none")


def test_a_wick_moves_trades_and_not_the_mark() -> None:
    bench = Bench(book=False)
    bench.print(PRICE, 5, 1)
    bench.play()
    bench.create("Buy", "0.01", "60100")
    do(bench, "wick", symbol=BTC, shift="-0.05", for_s=5)
    bench.print(PRICE, 5, 1)
    bench.play()
    market = bench.exchange.venue.markets[BTC]
    assert (market.last, market.mark) == (570_000, PRICE)
    assert market.book.bids[0][0] < 571_000
    bench.play(10)
    bench.print(PRICE, 5, 1)
    bench.play()
    assert market.last == PRICE


def test_a_wick_in_a_recorded_book() -> None:
    bench = Bench()
    do(bench, "wick", symbol=BTC, shift="0.01")
    bench.book(middle=PRICE)
    bench.play()
    market = bench.exchange.venue.markets[BTC]
    assert market.book.bids[0][0] == 605_989
    assert abs(market.mark - PRICE) <= 1


def test_the_mark_moves_alone() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    do(bench, "mark", symbol=BTC, shift="-0.1", for_s=5)
    (row,) = bench.ask("GET", "/v5/position/list", f"category=linear&symbol={BTC}")["result"]["list"]
    assert D(row["markPrice"]) == 54_000
    bench.play(10)
    (row,) = bench.ask("GET", "/v5/position/list", f"category=linear&symbol={BTC}")["result"]["list"]
    assert D(row["markPrice"]) == 60_000


def test_a_wide_and_thin_book() -> None:
    bench = Bench()
    market = bench.exchange.venue.markets[BTC]
    do(bench, "depth", symbol=BTC, spread_percent=500, depth_percent=20, for_s=5)
    assert (market.book.bids[0], market.book.asks[0]) == ([PRICE - 50, 2], [PRICE + 50, 2])
    bench.play(10)
    assert (market.book.bids[0], market.book.asks[0]) == ([PRICE - 10, 10], [PRICE + 10, 10])


def test_a_position_is_deleveraged() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    resting = bench.order(bench.create("Buy", "0.01", "59000"))
    assert do(bench, "adl", symbol=BTC, qty="0.004")["qty"] == "0.004"
    bench.play()
    row = bench.rows("execution")[-1]
    assert (row["execType"], row["side"], row["closedSize"], row["orderLinkId"]) == ("AdlTrade", "Sell", "0.004", "")
    assert (bench.position(), resting.cancel_type) == (6, "CancelAllBeforeAdl")
    do(bench, "adl", symbol=BTC)
    assert bench.position() == 0
    with pytest.raises(UsageError, match="there is none"):
        do(bench, "adl", symbol=BTC)


@pytest.mark.parametrize(
    "document",
    [
        {}, {"do": "nothing"}, {"do": "deposit"}, {"do": "deposit", "amount": "0"}, {"do": "deposit", "amount": 1, "to": "x"},
        {"do": "deposit", "amount": 1, "account": "nobody"}, {"do": "wick", "symbol": "NOPE", "shift": 1},
        {"do": "wick", "symbol": BTC, "shift": -1}, {"do": "maintenance", "for_s": 0},
        {"do": "depth", "symbol": BTC, "spread_percent": 50}, {"do": "status", "symbol": BTC, "status": "Gone"},
    ],
)  # fmt: skip
def test_what_cannot_be_done_says_why(document: dict[str, Any]) -> None:
    bench = Bench()
    before = bench.exchange.operations.state()
    with pytest.raises(UsageError, match="operation: expected"):
        bench.exchange.operate(document)
    assert bench.exchange.operations.state() == before


def test_a_restart_knows_what_was_decided(tmp_path: Path) -> None:
    bench = Bench()
    bench.exchange = Exchange(SimConfig(rate_factor=1000), bench.tape, 7, journal=True)
    do(bench, "instrument", symbol=BTC, tick_size="0.5", min_notional=50)
    do(bench, "funding", symbol=BTC, rate="0.002")
    do(bench, "maintenance", begin_in_s=100, for_s=100)
    do(bench, "wick", symbol=BTC, shift="0.02", for_s=60)
    do(bench, "deposit", amount=5)
    store = Store(tmp_path, 7)
    store.save(bench.exchange.changes())
    assert not bench.exchange.changes()
    fresh = Exchange(SimConfig(), ScriptedTape(), 7)
    fresh.restore(store.load())
    store.close()
    assert fresh.operations.state() == bench.exchange.operations.state()
    assert fresh.desk.accounts["sim"].wallet == bench.account.wallet
    assert list(fresh.desk.accounts["sim"].log) == list(bench.account.log)
    market = fresh.venue.markets[BTC]
    assert (market.instrument.rules.tick_size, market.funding_e8(market.next_funding_ms(START))) == (D("0.5"), 200_000)
    fresh.advance(START + 61 * SECOND)
    assert market.state.wick_e8 == 0, "what was scheduled still happens"


def test_a_script_is_played_at_its_instants(tmp_path: Path) -> None:
    file = tmp_path / "script.toml"
    file.write_text(
        '[[operation]]\nafter = "10s"\ndo = "deposit"\namount = "7"\n'
        '[[operation]]\nat = 2024-01-01T06:00:20Z\ndo = "wick"\nsymbol = "BTCUSDT"\nshift = 0.01\nfor_s = 5\n'
    )

    def run(window: int) -> tuple[list[str], int]:
        tape = open_tape(["synthetic:seed=3,minutes=1,symbols=BTCUSDT"], 3)
        exchange = Exchange(SimConfig(), tape, 3, script=read_script(file, tape.start_at))
        for at in range(window, 61, window):
            exchange.advance(tape.start_at + at * SECOND)
        (entry,) = exchange.desk.accounts["sim"].log
        assert entry.at == tape.start_at + 10 * SECOND
        candles = exchange.venue.markets[BTC].klines.history["1"][-1]
        return [str(candles)], exchange.operations.applied

    assert run(1) == run(1) == run(5), "whatever the window"
    assert run(1)[1] == 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[[operation]]\ndo = 'deposit'\namount = 1\n", "one of after"),
        ("[[operation]]\nat = 2024-01-01T06:00:20\ndo = 'deposit'\n", "with its zone"),
        ("[[operation]]\nafter = 'soon'\ndo = 'deposit'\n", "like"),
        ("operation = 1\n", "tables"),
        ("[[", "TOML"),
    ],
)
def test_a_script_that_cannot_be_played(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "script.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=what):
        read_script(file, 0)
    with pytest.raises(UsageError, match="readable"):
        read_script(tmp_path / "none.toml", 0)
    with pytest.raises(UsageError, match="operation: expected"):
        Exchange(SimConfig(), ScriptedTape(), 7, script=[(START, {"do": "never"})])
