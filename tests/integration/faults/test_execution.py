"""Execution as a real process, on a real bus, at a simulator with faults: one approval, at most one order, always an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.bybit.sign import Key, rest_headers
from libs.common import seal
from libs.common.appender import append
from libs.common.events import CancelIntent, Event, OrderIntent, Purpose, TimeInForce
from libs.common.values import Side
from libs.common.wire import Wire
from tests.integration.watchdog.rig import BOOK, SYMBOL, TICK, Rig
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
CREATE = "/v5/order/create"
GAP_NS = 250_000_000
WITHIN_NS = 30_000_000_000
ENDED = {"OrderRejected", "OrderCancelled"}
KNOWN = {"OrderAccepted", "OrderResolved", "Fill"} | ENDED
ON_ORDERS: dict[str, dict[str, Any]] = {
    "aa": {"kind": "ambiguous", "arrives": "now", "answer": 10000},
    "ab": {"kind": "ambiguous", "arrives": "now", "answer": "timeout"},
    "ac": {"kind": "ambiguous", "arrives": "late", "answer": 10016},
    "ad": {"kind": "ambiguous", "arrives": "late", "answer": "timeout"},
    "ae": {"kind": "ambiguous", "arrives": "never", "answer": 10000},
    "af": {"kind": "ambiguous", "arrives": "never", "answer": "timeout"},
    "ag": {"kind": "ambiguous", "arrives": "now", "answer": 502},
    "la": {"kind": "latency", "where": "reply", "ms": 30_000},
    "lb": {"kind": "latency", "where": "stream", "ms": 4_000},
    "sa": {"kind": "drop"},
    "sb": {"kind": "duplicate", "times": 3, "gap_ms": 50},
    "sc": {"kind": "reorder", "ms": 1_000},
    "fa": {"kind": "partial", "fractions": [0.3, 0.3, 0.4], "gap_ms": 400},
    "fb": {"kind": "two_filled"},
    "ok": {"kind": "drop", "rate": 0.0},
    "ra": {"kind": "refuse", "code": 10002, "count": 1},
    "rb": {"kind": "refuse", "code": 10006, "count": 1},
    "rc": {"kind": "refuse", "code": 10016, "count": 1},
    "rd": {"kind": "refuse", "code": 429, "count": 1},
    "re": {"kind": "refuse", "code": 503, "count": 1},
}
"""By a mark in the orderLinkId. Refusals come last: after some of them execution holds its breath, and approvals expire."""
ON_LINES: dict[str, dict[str, Any]] = {
    "silence": {"kind": "silence", "for_ms": 8_000},
    "half-open": {"kind": "half_open"},
    "cut": {"kind": "cut", "every_ms": 1_500, "for_ms": 6_000},
    "restart": {"kind": "restart", "for_ms": 2_000},
    "behind": {"kind": "skew", "ms": -6_000},
    "ahead": {"kind": "skew", "ms": 1_200},
    "latency": {"kind": "latency", "where": "request", "ms": 300, "jitter_ms": 1_500},
    "rate-limit": {"kind": "refuse", "code": 10006, "rate": 0.3, "for_ms": 6_000},
    "busy": {"kind": "refuse", "code": 503, "rate": 0.5, "for_ms": 6_000},
}


class Desk(Rig):
    """Risk's place: approves what the test wants, and knows what both sides say of it."""

    intended: int = 0

    def faults(self, *faults: dict[str, Any]) -> None:
        text = json.dumps({"seed": 7, "faults": faults})
        answer = httpx.post(f"{self.url}/sim/faults", content=text, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text

    def injected(self) -> dict[str, int]:
        return dict(httpx.get(f"{self.url}/sim/faults", timeout=10, trust_env=False).json()["injected"])

    def calm(self) -> None:
        httpx.delete(f"{self.url}/sim/faults", timeout=10, trust_env=False)

    def say(self, event: Event, name: str) -> None:
        """Write into the book as risk."""

        async def write() -> None:
            wire = Wire(self.bus.url)
            await wire.ready()
            await append(wire, BOOK, "risk", event, name, time.time_ns())
            wire.abort()

        self._run.run(write())

    def intend(self, mark: str, *, rests: bool, side: Side = Side.BUY, purpose: Purpose = Purpose.ENTRY) -> str:
        self.intended += 1
        link = f"tg-{mark}{self.intended:030x}"
        last = Decimal(self.account_view()["markets"][SYMBOL]["last"])
        ratio = Decimal("0.99") if rests else Decimal("1.005")
        if side is Side.SELL:
            ratio = 2 - ratio
        intent = OrderIntent(
            order_link_id=link, strategy="trend", symbol=SYMBOL, side=side, qty=Decimal("0.010"),
            price=(last * ratio / TICK).to_integral_value() * TICK,
            time_in_force=TimeInForce.GTC if rests else TimeInForce.IOC, reduce_only=purpose is not Purpose.ENTRY,
            purpose=purpose,
            expires_at=time.time_ns() + 2_000_000_000, limits_version=1, key_id="k", book=BOOK,
        )  # fmt: skip
        self.say(seal.sign(self._private, intent), link)
        # Approvals live two seconds, so they must not wait for the account's rate limit.
        began = self.account_view()["now"]
        eventually(lambda: self.account_view()["now"] > began + GAP_NS and self.story([link])[link], 30)
        return link

    def story(self, links: list[str]) -> dict[str, list[dict[str, Any]]]:
        """What execution wrote of each order, in order."""
        events = sorted(self.stamped("order") + self.stamped("fill"), key=lambda event: int(event["at"]))
        told: dict[str, list[dict[str, Any]]] = {link: [] for link in links}
        for event in events:
            if event.get("order_link_id") in told:
                told[event["order_link_id"]].append(event)
        return told

    def stamped(self, stream: str) -> list[dict[str, Any]]:
        """Events of a stream with their instants."""

        async def read() -> list[Any]:
            wire = Wire(self.bus.url)
            await wire.ready()
            found: list[Any] = await wire.call("XRANGE", f"{{{BOOK}}}:{stream}", "-", "+")
            wire.abort()
            return found

        entries = (dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in self._run.run(read()))
        return [{"type": e[b"type"].decode(), **json.loads(e[b"data"]), "at": int(e[b"at"])} for e in entries]

    def taken(self) -> dict[str, list[dict[str, Any]]]:
        """Every order that the exchange ever took, by orderLinkId."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for path in ("/v5/order/realtime", "/v5/order/history"):
            cursor = ""
            while True:
                page = self.look(
                    path, f"category=linear&symbol={SYMBOL}&limit=50" + (f"&cursor={cursor}" if cursor else "")
                )
                for row in page["list"]:
                    found.setdefault(row["orderLinkId"], {})[row["orderId"]] = row
                if not (cursor := page["nextPageCursor"]):
                    break
        return {link: list(rows.values()) for link, rows in found.items()}

    def look(self, path: str, query: str) -> dict[str, Any]:
        def answer() -> Any:
            stamp = time.time_ns() // 1_000_000
            headers = rest_headers(Key("book-key", "book-secret-1"), stamp, 5_000, "GET", f"{path}?{query}", "")
            reply = httpx.get(f"{self.url}{path}?{query}", headers=headers, timeout=10, trust_env=False).json()
            return reply["result"] if reply["retCode"] == 0 else None

        return dict(eventually(answer, 20))

    def position(self) -> Decimal:
        """By the exchange, signed."""
        rows = self._account()["positions"]
        return sum((Decimal(row["size"]) * (1 if row["side"] == "Buy" else -1) for row in rows), Decimal(0))

    def booked(self) -> Decimal:
        """By execution's fills, signed."""
        fills = self.bus_events("fill")
        return sum(
            (Decimal(str(f["qty"])) * (1 if f["side"] == "Buy" else -1) for f in fills if f["type"] == "Fill"),
            Decimal(0),
        )


def settled(events: list[dict[str, Any]], rows: list[dict[str, Any]]) -> bool:
    """Does execution say what the exchange knows?"""
    kinds = [event["type"] for event in events]
    if "OrderSubmitted" not in kinds:
        return bool(ENDED & set(kinds))  # refused before anything left
    if "OrderUnknown" in kinds and "OrderResolved" not in kinds and not ENDED & set(kinds):
        return False
    if not rows:
        dead = any(event.get("outcome") in ("dead", "rejected") for event in events)
        return dead or "OrderRejected" in kinds
    (row,) = rows
    filled = sum((Decimal(str(event["qty"])) for event in events if event["type"] == "Fill"), Decimal(0))
    return bool(KNOWN & set(kinds)) and filled == Decimal(row["cumExecQty"])


def resolve(desk: Desk, links: list[str]) -> None:
    """All of them are known in time; none was taken twice; the two ledgers agree."""

    def open_questions() -> list[str]:
        told, taken = desk.story(links), desk.taken()
        return [link for link in links if not settled(told[link], taken.get(link, []))]

    def answered() -> bool:
        return not open_questions()

    try:
        eventually(answered, 60)
    except AssertionError:
        told, taken = desk.story(links), desk.taken()
        left = {link: (told[link], taken.get(link)) for link in open_questions()}
        pytest.fail(f"not settled: {json.dumps(left, indent=1, default=str)}")
    for link, events in desk.story(links).items():
        first = next((event["at"] for event in events if event["type"] in KNOWN), 0)
        assert first - events[0]["at"] <= WITHIN_NS, (link, events)
    assert not [link for link, rows in desk.taken().items() if link and len(rows) > 1], "taken twice"
    eventually(lambda: desk.booked() == desk.position(), 30)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Desk(tmp_path_factory.mktemp("desk")) as desk:
        desk.start("execution")
        eventually(lambda: desk.bus_has("account", b"Reconciled"), 60)
        yield desk


@pytest.fixture(autouse=True)
def calm(desk: Desk) -> Iterator[None]:
    yield
    desk.calm()


def test_whatever_happens_to_an_order_it_is_taken_once_and_known(desk: Desk) -> None:
    desk.faults(
        *(fault | {"match": {"path": CREATE, "orderLinkId": f"tg-{mark}"}} for mark, fault in ON_ORDERS.items())
    )
    links = [desk.intend(mark, rests=rests) for mark in ON_ORDERS for rests in (False, True)]
    resolve(desk, links)
    taken, told = desk.taken(), desk.story(links)
    for link in links:
        mark, rows = link[3:5], taken.get(link, [])
        if mark in ("ae", "af"):
            assert rows == [], "it never arrived"
        elif ON_ORDERS[mark]["kind"] != "refuse":
            assert len(rows) == 1, (mark, told[link])
    struck = desk.injected()
    assert {fault["kind"] for fault in ON_ORDERS.values()} <= {kind for kind, count in struck.items() if count} | {
        "drop"
    }


@pytest.mark.parametrize("name", ON_LINES)
def test_whatever_happens_to_the_lines_every_order_is_known(desk: Desk, name: str) -> None:
    desk.faults(ON_LINES[name])
    sides = [Side.SELL if number % 3 else Side.BUY for number in range(6)]
    links = [desk.intend("ln", rests=bool(number % 2), side=side) for number, side in enumerate(sides)]
    if "for_ms" in ON_LINES[name]:
        began = desk.account_view()["now"]
        eventually(lambda: desk.account_view()["now"] > began + ON_LINES[name]["for_ms"] * 1_000_000, 30)
    desk.calm()
    resolve(desk, links)
    assert desk.processes["execution"].poll() is None, desk.log("execution").read_text()[-3000:]


def test_an_order_that_fills_after_its_cancel_was_acknowledged_is_booked(desk: Desk) -> None:
    desk.faults({"kind": "late_fill", "late_ms": 700}, {"kind": "two_filled"})
    link = desk.intend("lf", rests=True)
    eventually(lambda: desk.taken().get(link), 30)
    desk.say(CancelIntent(order_link_id=link, symbol=SYMBOL, reason="test"), "cancel")
    eventually(lambda: desk.taken()[link][0]["orderStatus"] == "Filled", 30)
    resolve(desk, [link])


def test_while_the_address_is_banned_exits_go_over_the_trade_socket_and_entries_stay_here(tmp_path: Path) -> None:
    with Desk(tmp_path) as desk:
        desk.start("execution")
        eventually(lambda: desk.bus_has("account", b"Reconciled"), 60)
        entry = desk.intend("en", rests=False)
        resolve(desk, [entry])
        desk.faults({"kind": "ban"})
        eventually(lambda: desk.injected().get("ban"), 30)  # the next reconciliation runs into it
        refused = desk.intend("no", rests=False)
        eventually(lambda: {e["type"] for e in desk.story([refused])[refused]} & ENDED, 30)
        desk.intend("ex", rests=False, side=Side.SELL, purpose=Purpose.EXIT)
        eventually(lambda: desk.position() == 0 and desk.booked() == 0, 30)
        desk.calm()
        assert refused not in desk.taken()
        assert desk.processes["execution"].poll() is None


def test_a_stranger_is_told_of(desk: Desk) -> None:
    assert not desk.bus_has("account", b"ForeignOrder")
    desk.faults({"kind": "foreign", "symbol": SYMBOL, "qty": "0.02", "count": 1})
    eventually(lambda: desk.bus_has("account", b"ForeignOrder"), 30)
