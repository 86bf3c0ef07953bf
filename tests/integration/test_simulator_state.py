"""`--state-dir`: whatever a client was told survives kill -9 at any instant, and the books still balance."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.simclient import BTC, Simulator, Stream, Trader
from tests.waiting import eventually

ROUNDS, THREADS = 5, 4


class Witness:
    """What the clients of one life of the exchange were told, until it ended."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name
        self.acked: dict[str, str] = {}
        """orderLinkId -> orderId."""
        self.executions: dict[str, dict[str, Any]] = {}
        self.threads = [threading.Thread(target=self._trade, args=(number,)) for number in range(THREADS)]
        self.threads.append(threading.Thread(target=self._listen, args=(Trader(url).private("execution"),)))
        for thread in self.threads:
            thread.start()

    def _trade(self, number: int) -> None:
        count = 0
        with suppress(httpx.HTTPError), Trader(self.url) as trader:
            while True:
                link = f"{self.name}-{number}-{count}"
                rests, side = count % 3 == 0, "Buy" if (count + number) % 2 else "Sell"
                price = {"orderType": "Limit", "price": trader.price(0.98), "side": "Buy"} if rests else {"side": side}
                answer = trader.order(link, qty="0.002", **price).json()
                if answer["retCode"] == 0:
                    self.acked[link] = answer["result"]["orderId"]
                count += 1

    def _listen(self, stream: Stream) -> None:
        with suppress(ConnectionClosed, OSError), stream:
            while True:
                message = stream.until(lambda m: m.get("topic") == "execution", within_s=60)
                stream.seen.clear()
                self.executions |= {row["execId"]: row for row in message["data"]}

    def end(self) -> None:
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()


def pages(trader: Trader, path: str, **values: Any) -> Iterator[dict[str, Any]]:
    """All rows of a list, page by page."""
    cursor: dict[str, str] = {}
    while True:
        answer = trader.get(path, category="linear", limit=50, **values, **cursor)
        if answer["retCode"] == 10006:
            continue
        assert answer["retCode"] == 0, answer
        yield from answer["result"]["list"]
        if not answer["result"]["nextPageCursor"]:
            return
        cursor = {"cursor": answer["result"]["nextPageCursor"]}


@pytest.mark.timeout(200)
def test_what_was_told_survives_kill_9_at_any_instant(tmp_path: Path) -> None:
    dice, told, executions, incarnations = random.Random(5), {}, {}, set()
    for life in range(ROUNDS):
        with Simulator("--state-dir", str(tmp_path)) as simulator, Trader(simulator.url).ready() as trader:
            incarnations.add(trader.state()["incarnation"])
            check(trader, told, executions)
            witness, enough = Witness(simulator.url, f"life{life}"), dice.randrange(1, 60)
            eventually(lambda w=witness, n=enough: len(w.acked) >= n and w.executions, 30)
            simulator.end(signal.SIGKILL)
            witness.end()
        told |= witness.acked
        executions |= witness.executions
    with Simulator("--state-dir", str(tmp_path)) as simulator, Trader(simulator.url).ready() as trader:
        check(trader, told, executions)
        assert len(told) > ROUNDS
    assert len(incarnations) == 1


def check(trader: Trader, told: dict[str, str], executions: dict[str, dict[str, Any]]) -> None:
    orders = {row["orderId"]: row for path in ("/v5/order/history", "/v5/order/realtime") for row in pages(trader, path, symbol=BTC)}  # fmt: skip
    links = [row["orderLinkId"] for row in orders.values()]
    assert len(set(links)) == len(links)
    for link, order_id in told.items():
        assert orders[order_id]["orderLinkId"] == link
    fills = list(pages(trader, "/v5/execution/list"))
    known = {row["execId"]: row for row in fills}
    assert len(known) == len(fills)
    for exec_id, row in executions.items():
        assert known[exec_id]["execQty"] == row["execQty"]
    traded = [row for row in fills if row["execType"] == "Trade"]
    net = sum((Decimal(row["execQty"]) * (1 if row["side"] == "Buy" else -1) for row in traded), Decimal(0))
    (position,) = trader.get("/v5/position/list", category="linear", symbol=BTC)["result"]["list"]
    assert Decimal(position["size"] or 0) * {"Buy": 1, "Sell": -1, "": 0}[position["side"]] == net
    changes = sum((Decimal(row["change"]) for row in pages(trader, "/v5/account/transaction-log", accountType="UNIFIED")), Decimal(0))  # fmt: skip
    wallet = trader.get("/v5/account/wallet-balance", accountType="UNIFIED")["result"]["list"][0]["coin"]
    (usdt,) = [Decimal(coin["walletBalance"]) for coin in wallet if coin["coin"] == "USDT"]
    assert usdt == Decimal(10_000) + changes
    if traded:
        assert int(position["seq"]) >= 0
        assert len({row["seq"] for row in traded}) == len(traded)


def test_two_accounts_know_nothing_of_each_other(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.json"
    accounts.write_text(json.dumps([{"key": "one", "secret": "secret-one"}, {"key": "two", "secret": "secret-two", "usdt": "500"}]))  # fmt: skip
    state = ("--accounts", str(accounts), "--state-dir", str(tmp_path / "state"))
    with (
        Simulator(*state) as simulator,
        Trader(simulator.url, "one", "secret-one").ready() as one,
        Trader(simulator.url, "two", "secret-two") as two,
    ):
        with one.private() as ours, two.private() as theirs:
            assert one.order("same-name").json()["retCode"] == 0
            ours.row("execution", "same-name")
            assert two.order("same-name", side="Sell").json()["retCode"] == 0
            assert theirs.row("execution", "same-name")["side"] == "Sell"
            assert len(ours.rows("execution", "same-name")) == 1
            assert {row["side"] for row in theirs.rows("order", "same-name")} == {"Sell"}
        assert simulator.end(signal.SIGKILL) != 0
    with Simulator(*state) as simulator:
        for key, side in (("one", "Buy"), ("two", "Sell")):
            with Trader(simulator.url, key, f"secret-{key}").ready() as trader:
                (position,) = trader.get("/v5/position/list", category="linear", symbol=BTC)["result"]["list"]
                found = trader.orders("same-name") or trader.found("/v5/order/history", "same-name")
            assert (position["side"], position["size"]) == (side, "0.01")
            assert [row["side"] for row in found] == [side]


def test_an_order_that_was_filling_in_steps_ends_with_the_process(tmp_path: Path) -> None:
    with Simulator("--state-dir", str(tmp_path)) as simulator, Trader(simulator.url).ready() as trader:
        trader.faults({"kind": "partial", "fractions": [0.5, 0.5], "gap_ms": 3_600_000})
        assert trader.order("half").json()["retCode"] == 0
        assert trader.orders("half")[0]["orderStatus"] == "PartiallyFilled"
        simulator.end(signal.SIGKILL)
    with Simulator("--state-dir", str(tmp_path)) as simulator, Trader(simulator.url).ready() as trader:
        (row,) = trader.orders("half") or trader.found("/v5/order/history", "half")
        assert (row["orderStatus"], row["cumExecQty"], row["leavesQty"]) == ("Cancelled", "0.005", "0")
