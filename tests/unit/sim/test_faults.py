"""Decisions of the fault injector: seeded, by what they are about, never by the order of arrival."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from libs.common.errors import UsageError
from sim.app import switch_on
from sim.chance import Chance
from sim.engine.account import AccountSpec
from sim.faults.menu import KINDS, MENU, read
from sim.wiretypes import Frame, WireReply, WireRequest
from tests.simbench import BTC, START, Bench

STORM: list[dict[str, Any]] = [
    {"kind": "latency", "where": "reply", "ms": 5, "jitter_ms": 4000, "rate": 0.5},
    {"kind": "latency", "where": "stream", "jitter_ms": 1500, "rate": 0.3},
    {"kind": "ambiguous", "rate": 0.3, "arrives": "late"},
    {"kind": "ambiguous", "rate": 0.3, "arrives": "never", "answer": "timeout"},
    {"kind": "duplicate", "rate": 0.3, "times": 3, "gap_ms": 700},
    {"kind": "reorder", "rate": 0.3, "ms": 2000},
    {"kind": "drop", "rate": 0.1},
    {"kind": "partial", "rate": 0.5, "fractions": [0.2, 0.3, 0.5], "gap_ms": 900},
    {"kind": "two_filled", "rate": 0.5},
    {"kind": "late_fill", "rate": 0.5, "late_ms": 1200},
    {"kind": "skew", "ms": 1200, "after_ms": 20_000},
    {"kind": "foreign", "symbol": BTC, "qty": "0.003", "every_ms": 7000, "rate": 0.5},
]


def load(bench: Bench, *faults: dict[str, Any], seed: int = 3) -> None:
    document = read(json.dumps({"seed": seed, "faults": faults}).encode(), tape=True)
    bench.exchange.faults.tape = True
    bench.exchange.faults.load(document, bench.exchange.venue.now)


def storm(seed: int, order: int) -> tuple[list[str], dict[str, int]]:
    """Everything that left, of requests that arrive in an order of their own within each instant."""
    bench = Bench()
    bench.exchange.watch(f"orderbook.50.{BTC}")
    load(bench, *STORM, seed=seed)
    left: list[str] = []
    for second in range(40):
        bench.book(lots=50)
        requests = [(f"execution-{second * 10 + i}", i) for i in range(6)]
        Chance(order, second).below(2)
        if order:
            requests.reverse()
        for request_id, i in requests:
            link = f"o{second // 2}-{i}"
            body = {"symbol": BTC, "category": "linear", "orderLinkId": link}
            path = "/v5/order/cancel"
            if second % 2 == 0:
                path = "/v5/order/create"
                body |= {"side": "Buy" if i % 2 else "Sell", "qty": "0.004", "orderType": "Limit"}
                body |= {"price": "59950" if i % 2 else "60050"} if i > 3 else {"orderType": "Market"}
            request = WireRequest(method="POST", path=path, body=json.dumps(body), account="sim", request_id=request_id)
            bench.exchange.submit(request)
        bench.at += 1_000_000_000
        bench.exchange.advance(bench.at)
        outbox = bench.exchange.collect()
        left += [f"{frame.at} {frame.text}" for frame in outbox.frames]
        left += sorted(f"{reply.at} {reply.request_id} {reply.status} {reply.body}" for reply in outbox.replies)
    return left, bench.exchange.faults.counts()


def test_the_same_seed_and_faults_give_the_same_bytes_in_any_order_of_arrival() -> None:
    first, counts = storm(3, 0)
    assert storm(3, 1) == (first, counts)
    assert set(counts) == {fault["kind"] for fault in STORM}
    assert min(counts.values()) > 0, counts
    assert storm(4, 0)[0] != first


def test_without_faults_nothing_is_touched() -> None:
    bench = Bench()
    plain = [bench.create("Buy", "0.001"), bench.frames]
    other = Bench()
    load(other, {"kind": "drop", "rate": 0.0}, {"kind": "ban", "count": 1, "after_ms": 3_600_000})
    assert [other.create("Buy", "0.001"), other.frames] == plain


def test_decisions_do_not_hang_on_the_name_of_an_account() -> None:
    """Each run makes its keys anew, and accounts are called by them."""

    def decided(account: str) -> list[bool]:
        bench = Bench()
        load(bench, {"kind": "partial", "rate": 0.5}, {"kind": "drop", "rate": 0.5})
        faults = bench.exchange.faults
        text = '{"topic":"order","data":[{"orderLinkId":"o%d","orderStatus":"New"}]}'
        told = [bool(faults.messages(Frame("order", account, text % n, bench.at))) for n in range(40)]
        return told + [faults.pieces(account, f"o{n}", BTC, 10, bench.at) is None for n in range(40)]

    assert decided("one") == decided("another")
    assert set(decided("one")) == {True, False}


def test_a_topic_is_matched_by_whole_parts() -> None:
    def struck(topic: str, name: str) -> bool:
        return read(json.dumps({"faults": [{"kind": "drop", "match": {"topic": name}}]}).encode()).faults[0].match.message(topic, "", "")  # fmt: skip

    assert struck("order", "order")
    assert not struck("orderbook.50.BTCUSDT", "order")
    assert struck("orderbook.50.BTCUSDT", "orderbook.50")
    assert not struck("orderbook.500.BTCUSDT", "orderbook.50")
    assert struck("execution.fast", "execution")
    assert struck("wallet", "")


def test_a_rate_is_kept() -> None:
    bench = Bench()
    load(bench, {"kind": "refuse", "code": 10016, "rate": 0.05, "match": {"path": "/v5/order/create"}})
    for number in range(4000):
        body = json.dumps({"orderLinkId": f"n{number}"})
        bench.exchange.submit(WireRequest(method="POST", path="/v5/order/create", body=body, account="sim"))
    assert 150 < bench.exchange.faults.counts()["refuse"] < 250


def test_a_request_that_is_repeated_is_decided_anew() -> None:
    bench = Bench()
    load(bench, {"kind": "refuse", "code": 10016, "rate": 0.5})
    codes = [bench.ask("GET", "/v5/order/realtime", "category=linear&symbol=BTCUSDT")["retCode"] for _ in range(20)]
    assert set(codes) == {0, 10016}


def test_what_never_comes_is_a_gateways_timeout_in_tape_time() -> None:
    bench = Bench()
    load(bench, {"kind": "ambiguous", "arrives": "now", "answer": "timeout", "timeout_ms": 3000})
    body = json.dumps({"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "0.001", "orderLinkId": "a"})  # fmt: skip
    bench.exchange.submit(WireRequest(method="POST", path="/v5/order/create", body=body, account="sim"))
    assert bench.play(2) == []
    assert bench.position() == 1
    (reply,) = bench.play(2)
    assert isinstance(reply, WireReply)
    assert reply.status == 504
    assert reply.at >= START + 4_000_000_000


def test_a_partly_filled_order_can_be_amended_and_cancelled_between_two_steps() -> None:
    bench = Bench()
    load(bench, {"kind": "partial", "fractions": [0.2, 0.8], "gap_ms": 60_000})
    order = bench.order(bench.create("Buy", "0.010"))
    assert (order.status, order.cum_lots) == ("PartiallyFilled", 2)
    answer = bench.ask(
        "POST", "/v5/order/cancel", body={"category": "linear", "symbol": BTC, "orderId": order.order_id}
    )
    assert answer["retCode"] == 0
    bench.play(120)
    assert (order.status, order.cum_lots, bench.position()) == ("Cancelled", 2, 2)


def test_a_maker_fills_in_steps_too() -> None:
    bench = Bench()
    load(bench, {"kind": "partial", "fractions": [0.5, 0.5], "gap_ms": 10_000})
    order = bench.order(bench.create("Buy", "0.010", "59995"))
    bench.print(599_000, 500, -1)
    bench.play()
    assert (order.status, order.cum_lots) == ("PartiallyFilled", 5)
    bench.play(10)
    bench.print(599_000, 500, -1)
    bench.play()
    assert (order.status, order.cum_lots) == ("Filled", 10)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__struct_config__.tag))
def test_every_kind_has_a_docstring_and_an_example_that_works(kind: Any) -> None:
    assert kind.__doc__
    document = read(b'{"faults": [' + kind.EXAMPLE.encode() + b"]}")
    assert type(document.faults[0]) is kind


def test_connections_have_no_faults_in_a_tape_run() -> None:
    with pytest.raises(
        UsageError, match=r"faults\[0\]: expected a kind that tape runs have \(latency, .*was half_open"
    ):
        read(b'{"faults": [{"kind": "half_open"}]}', tape=True)
    assert {name for name, kind in MENU.items() if not kind.TAPE} == {"cut", "half_open", "restart"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "faults.json: expected"),
        ('{"faults": [{"kind": "ambiguous", "arrives": "soon"}]}', "arrives to be one of 'now', 'late', 'never'"),
        ('{"faults": [{"kind": "partial", "fractions": [0.8, 0.8]}]}', "sum up to 1"),
        ('{"faults": [{"kind": "latency", "ms": -1}]}', "ms of 0 or more"),
        ('{"faults": [{"kind": "refuse", "code": 12345}]}', "expected code to be one of 10000"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "faults.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        switch_on(Bench().exchange, file)
    with pytest.raises(UsageError, match="expected a readable file of faults"):
        switch_on(Bench().exchange, tmp_path / "absent")


def test_a_stop_fills_in_steps_only_when_it_is_triggered() -> None:
    bench = Bench()
    load(bench, {"kind": "partial", "fractions": [0.2, 0.8], "gap_ms": 2_000})
    bench.create("Buy", "0.010", stopLoss="59985")
    bench.play(10)
    (stop,) = bench.account.open_orders.values()
    assert (bench.position(), stop.status, stop.lots, stop.cum_lots) == (10, "Untriggered", 10, 0)
    bench.print(599_850, 500, -1)
    bench.play()
    assert (bench.position(), stop.status, stop.cum_lots) == (8, "PartiallyFilled", 2)
    bench.play(5)
    assert (bench.position(), stop.status) == (0, "Filled")


def test_a_ban_of_http_leaves_the_stream_alone() -> None:
    bench = Bench()
    bench.exchange.watch(f"orderbook.50.{BTC}")
    load(bench, {"kind": "ban"}, {"kind": "latency", "ms": 60_000}, {"kind": "refuse", "code": 10006})
    assert bench.ask("GET", "/sim/stream", f"ask=resubscribe%3Aorderbook.50.{BTC}")["retCode"] == 0


def test_bytes_do_not_hang_on_the_name_of_an_account() -> None:
    def told(name: str) -> list[str]:
        bench = Bench(specs=[AccountSpec(key=name)])
        body = {"category": "linear", "symbol": BTC, "side": "Buy", "orderType": "Market", "qty": "0.001"}
        bench.exchange.submit(WireRequest(method="POST", path="/v5/order/create", body=json.dumps(body), account=name))
        bench.play()
        return [frame.text for frame in bench.frames if frame.account]

    assert told("one") == told("another")
    assert len(told("one")) > 2
