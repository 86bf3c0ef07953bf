"""Each kind of the fault menu, on a running simulator, through real sockets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from sim.faults.menu import MENU
from tests.simclient import BTC, CREATE, Simulator, Stream, Trader
from tests.waiting import eventually

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def trader(simulator: Simulator) -> Iterator[Trader]:
    trader = Trader(simulator.url).ready()
    trader.calm()
    yield trader
    trader.calm()
    trader.http.close()


@pytest.fixture
def link(request: pytest.FixtureRequest) -> str:
    """An orderLinkId of the test's own."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:36].strip("-")


def is_order(link: str) -> dict[str, str]:
    return {"orderLinkId": link}


def test_every_kind_is_tested() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert [kind for kind in MENU if not any(name.startswith(kind) for name in tested)] == []


def test_latency_of_replies_lets_the_fill_come_before_the_ack(trader: Trader, link: str) -> None:
    trader.faults({"kind": "latency", "where": "reply", "ms": 30_000, "match": {"path": CREATE}})
    with trader.private() as stream, ThreadPoolExecutor(1) as pool:
        ack = pool.submit(trader.order, link, timeout=5)
        assert stream.row("order", link)["orderStatus"] == "Filled"
        assert not ack.done()
        with pytest.raises(httpx.ReadTimeout):
            ack.result()
    assert trader.orders(link)[0]["orderStatus"] == "Filled"


def test_latency_of_a_stream_delays_one_topic_in_order(trader: Trader, link: str) -> None:
    trader.faults({"kind": "latency", "where": "stream", "ms": 300, "jitter_ms": 200, "match": {"topic": "order"}})
    with trader.private() as stream:
        for number in range(4):
            assert trader.order(f"{link}-{number}").json()["retCode"] == 0
        stream.row("order", f"{link}-3")
        assert stream.rows("execution", f"{link}-0"), "other topics are not late"
        told = [row["orderLinkId"] for m in stream.seen if m.get("topic") == "order" for row in m["data"]]
        assert told == [f"{link}-{number}" for number in range(4)], "late, but in order"


def test_latency_of_requests_is_before_the_engine(trader: Trader, link: str) -> None:
    trader.faults({"kind": "latency", "where": "request", "ms": 1500, "match": is_order(link)})
    with ThreadPoolExecutor(1) as pool:
        ack = pool.submit(trader.order, link)
        assert trader.order(f"x{link}").json()["retCode"] == 0
        assert ack.result().json()["retCode"] == 0
    late, early = trader.orders(link)[0], trader.orders(f"x{link}")[0]
    assert int(late["createdTime"]) > int(early["createdTime"])


def test_drop_loses_messages_of_a_topic(trader: Trader, link: str) -> None:
    trader.faults({"kind": "drop", "match": {"topic": "execution"}})
    with trader.private() as stream:
        trader.order(f"{link}-1")
        stream.row("order", f"{link}-1")
        stream.until(lambda m: m.get("topic") == "wallet")
        trader.calm()
        trader.order(f"{link}-2")
        stream.row("execution", f"{link}-2")
        assert not stream.rows("execution", f"{link}-1")
    assert trader.injected()["drop"] >= 1
    assert trader.found("/v5/execution/list", f"{link}-1"), "the exchange knows better"


def test_duplicate_executions_come_again(trader: Trader, link: str) -> None:
    trader.faults({"kind": "duplicate", "times": 3, "gap_ms": 20, "match": {"topic": "execution"}})
    with trader.private() as stream:
        trader.order(link)
        first = stream.row("execution", link)["execId"]
        assert stream.row("execution", link)["execId"] == first
    assert len({row["execId"] for row in trader.found("/v5/execution/list", link)}) == 1


def test_reorder_lets_later_messages_overtake(trader: Trader, link: str) -> None:
    trader.faults({"kind": "reorder", "ms": 3000, "match": is_order(f"{link}-slow")}, seed=1)
    with trader.private("order") as stream:
        trader.order(f"{link}-slow")
        trader.order(f"{link}-fast")
        stream.row("order", f"{link}-slow")
        told = [row["orderLinkId"] for m in stream.seen if m.get("topic") == "order" for row in m["data"]]
        assert told == [f"{link}-fast", f"{link}-slow"]


@pytest.mark.parametrize("answer", [10000, 10016, 502, "timeout"])
@pytest.mark.parametrize("arrives", ["now", "late", "never"])
def test_ambiguous_creates(trader: Trader, link: str, arrives: str, answer: int | str) -> None:
    fault = {"kind": "ambiguous", "arrives": arrives, "late_ms": 600, "answer": answer, "match": is_order(link)}
    trader.faults(fault)
    if answer == "timeout":
        with pytest.raises(httpx.ReadTimeout):
            trader.order(link, timeout=0.3)
    else:
        reply = trader.order(link)
        assert answer == (reply.json()["retCode"] if reply.status_code == 200 else reply.status_code)
    if arrives == "never":
        assert trader.order(f"x{link}").json()["retCode"] == 0, "others are not concerned"
        assert not trader.orders(link)
    else:
        assert eventually(lambda: trader.orders(link))[0]["orderStatus"] == "Filled"
        trader.calm()
        assert trader.order(link).json()["retCode"] == 110072, "the id is taken"
    assert trader.injected()["ambiguous"] >= 1


def test_refuse_never_reaches_the_engine(trader: Trader, link: str) -> None:
    for code in (10002, 10006, 10016, 10019, 429, 500, 503):
        trader.faults({"kind": "refuse", "code": code, "match": {"path": CREATE}})
        reply = trader.order(f"{link}-{code}")
        assert code == (reply.json()["retCode"] if reply.status_code == 200 else reply.status_code)
        if code == 10006:
            assert int(reply.headers["X-Bapi-Limit-Reset-Timestamp"]) > time.time_ns() // 1_000_000
        assert not trader.orders(f"{link}-{code}")


def test_refuse_at_a_rate_hangs_on_the_seed(trader: Trader, link: str) -> None:
    def refused(seed: int, name: str) -> list[int]:
        trader.faults({"kind": "refuse", "code": 10006, "rate": 0.4, "match": {"path": "/v5/order/cancel"}}, seed=seed)
        found = []
        for number in range(12):
            answer = trader.post("/v5/order/cancel", category="linear", symbol=BTC, orderLinkId=f"{name}-{number}")
            found.append(answer["retCode"])
        return found

    first = refused(3, f"{link}-a")
    assert {10006, 110001} == set(first)
    assert first != refused(4, f"{link}-b")


def test_ban_is_for_http_only(trader: Trader, link: str) -> None:
    with trader.private() as stream:
        trader.faults({"kind": "ban", "for_ms": 1500})
        reply = trader.call("GET", "/v5/market/time")
        assert (reply.status_code, reply.text) == (403, "access too frequent")
        stream.say(op="ping", req_id="p")
        assert stream.until(lambda m: m.get("op") == "pong")["req_id"] == "p"
        eventually(lambda: trader.call("GET", "/v5/market/time").status_code == 200)


def test_silence_answers_pings_and_loses_data(trader: Trader, link: str) -> None:
    with trader.private() as stream:
        trader.faults({"kind": "silence"})
        assert trader.order(f"{link}-1").json()["retCode"] == 0
        eventually(lambda: trader.injected().get("silence", 0) >= 4)
        stream.say(op="ping", req_id="p")
        stream.until(lambda m: m.get("op") == "pong")
        trader.calm()
        trader.order(f"{link}-2")
        stream.row("order", f"{link}-2")
        assert not stream.rows("order", f"{link}-1")


def test_half_open_sockets_answer_nothing(trader: Trader, link: str) -> None:
    with trader.private() as stream, trader.public("publicTrade.BTCUSDT") as market:
        trader.faults({"kind": "half_open", "line": "private"})
        eventually(lambda: trader.injected().get("half_open") == 1)
        stream.say(op="ping")
        pong = stream.socket.ping()
        trader.order(f"{link}-1")
        with trader.private() as fresh:
            trader.order(f"{link}-2")
            fresh.row("order", f"{link}-2")
        assert not pong.is_set()
        assert not [m for m in stream.seen if m.get("op") == "pong" or m.get("topic")]
        market.until(lambda m: m.get("topic") == "publicTrade.BTCUSDT")


def test_cut_resets_connections(trader: Trader) -> None:
    with trader.private() as stream, trader.public("tickers.BTCUSDT") as market:
        trader.faults({"kind": "cut", "line": "private"})
        with pytest.raises(ConnectionClosedError) as ended:
            stream.until(lambda m: False)
        assert ended.value.rcvd is None, "no close frame"
        market.until(lambda m: m.get("topic") == "tickers.BTCUSDT")
    trader.private().close()


def test_cut_again_and_again(trader: Trader) -> None:
    trader.faults({"kind": "cut", "every_ms": 100, "count": 3})
    for _ in range(3):
        with pytest.raises(ConnectionClosedError), trader.public("tickers.BTCUSDT") as stream:
            stream.until(lambda m: False)
    assert trader.injected()["cut"] >= 3


def test_restart_forgets_closed_orders(trader: Trader, link: str) -> None:
    trader.order(f"{link}-done")
    trader.resting(f"{link}-open")
    with trader.private() as stream:
        trader.faults({"kind": "restart", "for_ms": 500})
        with pytest.raises(ConnectionClosedError):
            stream.until(lambda m: False)
    assert not trader.orders(f"{link}-done")
    closed = trader.get("/v5/order/realtime", category="linear", symbol=BTC, openOnly=1)["result"]["list"]
    assert f"{link}-done" not in [row["orderLinkId"] for row in closed]
    assert trader.orders(f"{link}-open"), "open orders are kept"
    assert trader.found("/v5/order/history", f"{link}-done")[0]["orderStatus"] == "Filled"


@pytest.mark.parametrize("ms", [-6000, 6000], ids=["behind", "ahead"])
def test_skew_moves_every_clock(trader: Trader, link: str, ms: int) -> None:
    with trader.private("order") as stream:
        trader.order(f"{link}-1")
        before = int(stream.row("order", f"{link}-1")["createdTime"])
        trader.faults({"kind": "skew", "ms": ms})
        told = int(trader.get("/v5/market/time")["result"]["timeNano"]) // 1_000_000
        assert abs(told - time.time_ns() // 1_000_000 - ms) < 3000
        answer = trader.order(f"{link}-2").json()
        assert answer["retCode"] == 10002
        assert abs(answer["time"] - told) < 3000
        trader.calm()
    assert abs(int(trader.orders(f"{link}-1")[0]["createdTime"]) - before) == 0


def test_foreign_orders_appear(trader: Trader) -> None:
    with trader.private() as stream:
        trader.faults({"kind": "foreign", "symbol": BTC, "side": "Sell", "qty": "0.02", "every_ms": 50, "count": 2})
        first = stream.row("execution", "", side="Sell", execQty="0.02")
        second = stream.row("execution", "", side="Sell", execQty="0.02")
        assert first["orderId"] != second["orderId"]
    assert trader.injected()["foreign"] == 2


def test_partial_fills_follow_the_pattern(trader: Trader, link: str) -> None:
    trader.faults({"kind": "partial", "fractions": [0.3, 0, 0.3, 0.4], "gap_ms": 100, "match": is_order(link)})
    with trader.private() as stream:
        trader.order(link, qty="0.1")
        stream.row("order", link, orderStatus="Filled")
        seen: dict[str, None] = dict.fromkeys(row["cumExecQty"] for row in stream.rows("order", link))
        assert list(seen) == ["0.03", "0.06", "0.1"]
        assert stream.rows("order", link)[0]["orderStatus"] == "PartiallyFilled"


def test_partial_fills_that_end_early_cancel_the_rest(trader: Trader, link: str) -> None:
    trader.faults({"kind": "partial", "fractions": [0.25, 0.25], "gap_ms": 50, "match": is_order(link)})
    with trader.private() as stream:
        trader.order(link, qty="0.1", orderType="Limit", timeInForce="IOC", price=trader.price(1.005))
        last = stream.row("order", link, orderStatus="Cancelled")
    assert (last["cumExecQty"], last["rejectReason"]) == ("0.05", "EC_CancelForNoFullFill")


def test_two_filled_messages_for_one_order(trader: Trader, link: str) -> None:
    trader.faults({"kind": "two_filled", "match": is_order(link)})
    with trader.private() as stream:
        trader.order(link)
        first, second = (stream.row("order", link, orderStatus="Filled") for _ in range(2))
    assert (first["cancelType"], first["rejectReason"]) == ("UNKNOWN", "EC_NoError")
    assert (second["cancelType"], second["rejectReason"]) == ("CancelByUser", "EC_OrigClOrdIDDoesNotExist")
    assert first["cumExecQty"] == second["cumExecQty"]


def test_late_fill_after_an_acknowledged_cancel(trader: Trader, link: str) -> None:
    trader.faults({"kind": "late_fill", "late_ms": 300, "match": is_order(link)})
    with trader.private() as stream:
        trader.resting(link)
        answer = trader.post("/v5/order/cancel", category="linear", symbol=BTC, orderLinkId=link)
        assert answer["retCode"] == 0
        assert stream.row("order", link, orderStatus="Filled")["cumExecQty"] == "0.01"
        assert not [row for row in stream.rows("order", link) if row["orderStatus"] == "Cancelled"]


def test_a_fault_ends_by_count_and_the_next_of_its_kind_goes_on(trader: Trader, link: str) -> None:
    one = {"kind": "refuse", "code": 10016, "count": 2, "match": {"path": CREATE, "orderLinkId": link}}
    trader.faults(one, one | {"code": 10006, "count": 1})
    codes = [trader.order(f"{link}-{number}").json()["retCode"] for number in range(4)]
    assert codes == [10016, 10016, 10006, 0]
    status = trader.http.get("/sim/faults").json()
    assert [(row["injected"], row["active"]) for row in status["faults"]] == [(2, False), (1, False)]
    trader.calm()
    assert trader.http.get("/sim/faults").json()["faults"] == []


def test_what_cannot_be_used_is_one_sentence_with_what_exists(trader: Trader) -> None:
    def refused(document: Any) -> str:
        answer = trader.http.post("/sim/faults", content=json.dumps(document))
        assert answer.status_code == 400
        return str(answer.json()["error"])

    assert all(kind in refused({"faults": [{"kind": "gremlin"}]}) for kind in MENU)
    assert "faults[1] (drop): expected keys out of rate, match," in refused({"faults": [{"kind": "drop"}, {"kind": "drop", "ms": 1}]})  # fmt: skip
    assert "between 0 and 1, was 1.5" in refused({"faults": [{"kind": "drop", "rate": 1.5}]})
    assert "unknown field `symbol`" in refused({"faults": [{"kind": "drop", "match": {"symbol": BTC}}]})
    assert "unknown field `fault`" in refused({"fault": []})
    assert trader.http.put("/sim/faults").status_code == 404


def test_without_control_there_are_no_such_routes() -> None:
    with Simulator("--no-control") as simulator:
        for path in ("/sim/state", "/sim/faults"):
            assert httpx.get(f"{simulator.url}{path}", trust_env=False).status_code == 404
        assert httpx.get(f"{simulator.url}/v5/market/time", trust_env=False).status_code == 200


def test_faults_of_a_file_are_on_from_the_start(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text('{"faults": [{"kind": "ban"}]}')
    with Simulator("--faults", str(file)) as simulator:
        assert httpx.get(f"{simulator.url}/v5/market/time", trust_env=False).status_code == 403
        assert httpx.get(f"{simulator.url}/sim/faults", trust_env=False).json()["injected"]["ban"] == 1


def trade_create(stream: Stream, link: str) -> None:
    order = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "0.01", "orderLinkId": link}  # fmt: skip
    header = {"X-BAPI-TIMESTAMP": str(time.time_ns() // 1_000_000)}
    stream.say(reqId=link[-36:], header=header, op="order.create", args=[order])


def test_the_trade_socket_has_the_same_faults(trader: Trader, link: str) -> None:
    create = {"match": {"path": CREATE, "orderLinkId": link}}
    with trader.trade() as stream:
        trader.faults({"kind": "ambiguous", "answer": "timeout", **create})
        trade_create(stream, f"{link}-1")
        assert eventually(lambda: trader.orders(f"{link}-1"))[0]["orderStatus"] == "Filled"
        for number, (code, told) in enumerate({10019: 10019, 10006: 10006, 503: 10016, 429: 10429}.items(), 2):
            trader.faults({"kind": "refuse", "code": code, **create})
            trade_create(stream, f"{link}-{number}")
            assert stream.until(lambda m, name=f"{link}-{number}": m["reqId"] == name[-36:])["retCode"] == told
            assert not trader.orders(f"{link}-{number}")
        trader.faults({"kind": "ban", "for_ms": 60_000})
        trade_create(stream, f"{link}-9")
        assert stream.until(lambda m: m["reqId"] == f"{link}-9"[-36:])["retCode"] == 0, (
            "a banned address keeps its sockets"
        )
        assert not [m for m in stream.seen if m.get("reqId") == f"{link}-1"[-36:]], "an answer that never comes"


def test_restart_answers_10019_on_the_trade_socket(trader: Trader, link: str) -> None:
    trader.faults(
        {"kind": "restart", "for_ms": 60_000, "match": {"account": "nobody"}}, {"kind": "restart", "for_ms": 60_000}
    )

    def answered() -> int:
        """0 while the restart still resets what has just connected."""
        try:
            with trader.trade() as stream:
                trade_create(stream, link)
                return int(stream.until(lambda m: m["reqId"] == link[-36:])["retCode"])
        except ConnectionClosed:
            return 0

    assert eventually(answered) == 10019
    assert not trader.orders(link)
