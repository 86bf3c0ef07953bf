"""Market endpoints and topics beside the plain ones: depths, intervals, statistics, house topics."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import Any

import pytest

from sim.config import SimConfig
from sim.engine.tiers import Tiers
from sim.exchange import Exchange
from tests.simbench import BTC, PRICE, SECOND, START, Bench, ScriptedTape

D = Decimal
MS = 1_000_000


def get(bench: Bench, path: str, query: str) -> Any:
    answer = bench.ask("GET", path, query)
    assert answer["retCode"] == 0, answer
    return answer["result"]


def frames(bench: Bench, kind: str) -> list[dict[str, Any]]:
    return [json.loads(frame.text) for frame in bench.frames if frame.topic.startswith(kind)]


def test_tiers_are_continuous_and_known() -> None:
    tiers = Tiers(BTC)
    for lower, upper in zip(tiers.rows, tiers.rows[1:], strict=False):
        assert tiers.of(lower.limit) is lower
        assert tiers.of(lower.limit + 1) is upper
        assert 0 <= tiers.maintenance(lower.limit + 1) - tiers.maintenance(lower.limit) <= 1
    assert tiers.maintenance(1_000_000 * 10**8) == 5_000 * 10**8
    assert tiers.maintenance(2_500_000 * 10**8) == (14_000 - 1_200) * 10**8


def test_risk_limits_come_in_tiers() -> None:
    rows = get(Bench(), "/v5/market/risk-limit", f"category=linear&symbol={BTC}")["list"]
    assert [row["id"] for row in rows] == list(range(1, 13))
    assert rows[0] == {
        "id": 1, "symbol": BTC, "riskLimitValue": "2000000", "maintenanceMargin": "0.005", "initialMargin": "0.01",
        "isLowestRisk": 1, "maxLeverage": "100.00", "mmDeduction": "",
    }  # fmt: skip
    assert (rows[1]["mmDeduction"], rows[1]["maxLeverage"], rows[-1]["initialMargin"]) == ("1200", "90.00", "1")


def test_risk_limits_and_instruments_are_paged() -> None:
    symbols = {f"A{n:02d}USDT": "10" for n in range(20)}
    exchange = Exchange(SimConfig(rate_factor=1000), ScriptedTape(symbols), 7)
    bench = Bench()
    bench.exchange = exchange
    first = get(bench, "/v5/market/risk-limit", "category=linear")
    second = get(bench, "/v5/market/risk-limit", f"category=linear&cursor={first['nextPageCursor']}")
    seen = [row["symbol"] for row in first["list"] + second["list"] if row["id"] == 1]
    assert (len({row["symbol"] for row in first["list"]}), second["nextPageCursor"], sorted(seen)) == (
        15,
        "",
        list(symbols),
    )
    first = get(bench, "/v5/market/instruments-info", "category=linear&limit=12")
    second = get(bench, "/v5/market/instruments-info", f"category=linear&limit=12&cursor={first['nextPageCursor']}")
    assert [row["symbol"] for row in first["list"] + second["list"]] == list(symbols)
    assert second["nextPageCursor"] == ""


@pytest.mark.parametrize(
    ("path", "name", "field"),
    [("open-interest", "intervalTime", "openInterest"), ("account-ratio", "period", "buyRatio")],
)
def test_statistics_have_history_and_cursors(path: str, name: str, field: str) -> None:
    bench = Bench()
    query = f"category=linear&symbol={BTC}&{name}=5min&limit=3"
    first = get(bench, f"/v5/market/{path}", query)
    second = get(bench, f"/v5/market/{path}", f"{query}&cursor={first['nextPageCursor']}")
    stamps = [int(row["timestamp"]) for row in first["list"] + second["list"]]
    assert stamps == list(range(stamps[0], stamps[0] - 6 * 300_000, -300_000))
    assert all(D(row[field]) > 0 for row in first["list"])
    assert bench.ask("GET", f"/v5/market/{path}", f"category=linear&symbol={BTC}&{name}=7min")["retCode"] == 10001
    bounded = get(bench, f"/v5/market/{path}", f"{query}&startTime={stamps[1]}&endTime={stamps[0]}")
    assert (len(bounded["list"]), bounded["nextPageCursor"]) == (2, "")


def test_insurance_deleveraging_and_premium() -> None:
    bench = Bench()
    fund = get(bench, "/v5/market/insurance", "coin=USDT")
    assert fund["list"] == [{"coin": "USDT", "symbols": BTC, "balance": "1000000", "value": "1000000"}]
    (alert,) = get(bench, "/v5/market/adlAlert", f"symbol={BTC}")["list"]
    assert (alert["balance"], alert["maxBalance"]) == ("1000000", "")
    rows = get(bench, "/v5/market/premium-index-price-kline", f"category=linear&symbol={BTC}&interval=60&limit=3")[
        "list"
    ]
    assert [int(a[0]) - int(b[0]) for a, b in itertools.pairwise(rows)] == [3_600_000] * 2
    for _, opening, high, low, close in rows:
        assert D(low) <= min(D(opening), D(close)) <= max(D(opening), D(close)) <= D(high)
        assert abs(D(high)) < D("0.001")
    assert (
        bench.ask("GET", "/v5/market/premium-index-price-kline", f"category=linear&symbol={BTC}&interval=7")["retCode"]
        == 10001
    )


def test_ones_own_orders_are_in_the_book_everybody_sees() -> None:
    bench = Bench()
    bench.exchange.watch(f"orderbook.50.{BTC}")
    bench.create("Buy", "0.005", "59999")
    order = bench.order(bench.create("Buy", "0.02", "59999.5"))
    book = get(bench, "/v5/market/orderbook", f"category=linear&symbol={BTC}&limit=2")
    assert book["b"] == [["59999.50", "0.020"], ["59999.00", "0.015"]]
    ticker = get(bench, "/v5/market/tickers", f"category=linear&symbol={BTC}")["list"][0]
    assert (ticker["bid1Price"], ticker["bid1Size"]) == ("59999.50", "0.020")
    bench.ask("POST", "/v5/order/cancel", body={"category": "linear", "symbol": BTC, "orderId": order.order_id})
    bench.play()
    changes = [change for frame in frames(bench, "orderbook")[1:] for change in frame["data"]["b"]]
    assert changes == [["59999.50", "0.020"], ["59999.50", "0"]]


def test_each_depth_has_its_own_pace_and_numbers() -> None:
    bench = Bench()
    for depth in (1, 50, 200, 1000):
        bench.exchange.watch(f"orderbook.{depth}.{BTC}")
    assert not bench.exchange.knows(f"orderbook.500.{BTC}")
    for step in range(60):
        at = bench.at + (step + 1) * 10 * MS
        bench.tape.script.append(_change(at, step))
        bench.exchange.advance(at)
        bench.frames.extend(bench.exchange.collect().frames)
    counts = {depth: len(frames(bench, f"orderbook.{depth}.")) for depth in (1, 50, 200, 1000)}
    assert counts == {1: 60, 50: 30, 200: 6, 1000: 3}
    for depth in (50, 200, 1000):
        numbers = [frame["data"]["u"] for frame in frames(bench, f"orderbook.{depth}.")]
        assert numbers == list(range(2, 2 + len(numbers)))
    assert {frame["type"] for frame in frames(bench, "orderbook.1.")} == {"snapshot"}


def _change(at: int, step: int) -> Any:
    from sim.prints import BookChange

    return BookChange(at, BTC, True, ((PRICE - 10 - step, 10),), ((PRICE + 10, 10),))


def test_level_1_says_the_same_again_after_three_seconds() -> None:
    bench = Bench()
    bench.exchange.watch(f"orderbook.1.{BTC}")
    bench.play(10)
    bench.play(1)
    for _ in range(6):
        bench.play(1)
    seen = frames(bench, "orderbook.1.")
    assert len(seen) == 3
    assert {frame["data"]["u"] for frame in seen} == {2}
    assert len({json.dumps(frame["data"]) for frame in seen}) == 1


def test_tickers_come_ten_times_a_second_at_most() -> None:
    bench = Bench()
    bench.exchange.watch(f"tickers.{BTC}")
    for step in range(50):
        at = bench.at + (step + 1) * 10 * MS
        bench.tape.script.append(_change(at, step))
        bench.exchange.advance(at)
        bench.frames.extend(bench.exchange.collect().frames)
    seen = frames(bench, "tickers")
    assert [frame["type"] for frame in seen] == ["snapshot"] + ["delta"] * 4
    assert D(seen[0]["data"]["openInterestValue"]) > 40_000_000


def test_price_limits_and_house_topics() -> None:
    bench = Bench()
    topics = (f"priceLimit.{BTC}", "insurance.USDT", "adlAlert.USDT", f"allLiquidation.{BTC}")
    for topic in topics:
        assert bench.exchange.knows(topic)
        bench.exchange.watch(topic)
    bench.play(1)
    bench.play(1)
    (limit, _) = frames(bench, "priceLimit")
    assert limit["data"] == {"symbol": BTC, "buyLmt": "61200.00", "sellLmt": "58800.00"}
    (fund,) = frames(bench, "insurance")
    assert (fund["type"], fund["data"][0]["balance"]) == ("snapshot", "1000000")
    assert [frame["data"][0]["s"] for frame in frames(bench, "adlAlert")] == [BTC, BTC]
    assert json.loads(str(bench.exchange.snapshot("insurance.USDT")))["type"] == "snapshot"
    assert not bench.exchange.knows("allLiquidation.BTCUSDT-SPOT")
    assert not bench.exchange.knows("liquidation.BTCUSDT")
    assert frames(bench, "allLiquidation") == []


def test_a_deep_book_for_those_who_ask() -> None:
    bench = Bench(SimConfig(depth=200, rate_factor=1000), book=False)
    bench.print(PRICE, 5, 1)
    bench.play()
    book = get(bench, "/v5/market/orderbook", f"category=linear&symbol={BTC}&limit=500")
    assert (len(book["b"]), len(book["a"])) == (200, 200)
    assert D(book["b"][-1][0]) > 59_000
    assert book["ts"] >= book["cts"] > 0
    assert START < bench.at < START + 10 * SECOND
