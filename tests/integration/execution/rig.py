"""Execution as a real process at the simulated exchange, with faults: the test stands where risk is."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from libs.common import seal
from libs.common.appender import append
from libs.common.events import CancelIntent, Event, OrderIntent, Purpose, TimeInForce
from libs.common.values import Side
from libs.common.wire import Wire
from tests.integration.watchdog.rig import BOOK, SYMBOL, TICK, Rig
from tests.waiting import eventually

ENDED = {"OrderCancelled", "OrderRejected"}


class Fire(Rig):
    """A rig whose exchange can be set on fire."""

    def faults(self, *faults: dict[str, Any]) -> None:
        self._post("/sim/faults", {"seed": 3, "faults": list(faults)})

    def do(self, **operation: Any) -> dict[str, Any]:
        return self._post("/sim/do", operation)

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, timeout=10) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def _post(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(self.url + path, json.dumps(document).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def up(self) -> None:
        self.start("execution")
        eventually(lambda: self.bus_has("account", b"Reconciled"), 60)

    def write(self, events: Iterable[tuple[str, Event]]) -> None:
        """Events of risk, by their nonces, in order."""

        async def go() -> None:
            wire = Wire(self.bus.url)
            await wire.ready()
            for nonce, event in events:
                await append(wire, BOOK, "risk", event, nonce, time.time_ns())
            wire.abort()

        self._run.run(go())

    def price(self, factor: str) -> Decimal:
        last = Decimal(self.account_view()["markets"][SYMBOL]["last"])
        return (last * Decimal(factor) / TICK).to_integral_value() * TICK

    def intent(self, link_id: str, price: Decimal, **changes: Any) -> OrderIntent:
        """A sealed entry that rests, unless `changes` say otherwise."""
        fields: dict[str, Any] = {
            "order_link_id": link_id, "strategy": "trend", "symbol": SYMBOL, "side": Side.BUY, "qty": Decimal("0.001"),
            "price": price, "time_in_force": TimeInForce.GTC, "reduce_only": False, "purpose": Purpose.ENTRY,
            "expires_at": time.time_ns() + 1_900_000_000, "limits_version": 1, "book": BOOK, "key_id": "k",
        }  # fmt: skip
        return seal.sign(self._private, OrderIntent(**(fields | changes)))

    def exit(self, link_id: str, qty: str) -> OrderIntent:
        """A sealed exit of a long position, through the market."""
        return self.intent(
            link_id, self.price("0.98"), side=Side.SELL, qty=Decimal(qty), time_in_force=TimeInForce.IOC,
            reduce_only=True, purpose=Purpose.EXIT,
        )  # fmt: skip

    def cancel(self, link_id: str) -> None:
        self.write([(f"c-{link_id}", CancelIntent(order_link_id=link_id))])

    def ended(self) -> dict[str, str]:
        """Link id -> how it ended, of the orders that have."""
        found: dict[str, str] = {}
        for event in self.bus_events("order"):
            kind, outcome = event["type"], event.get("outcome", "")
            if kind in ENDED or (kind == "OrderResolved" and outcome != "live"):
                found[event["order_link_id"]] = outcome or kind
        for event in self.bus_events("fill"):
            if event["type"] == "Fill" and Decimal(event["cum_qty"]) >= Decimal(event["order_qty"]):
                found.setdefault(event["order_link_id"], "filled")
        return found

    def accepted(self) -> list[str]:
        """Link ids of every order the exchange ever took, each as often as it did."""
        history: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.private_get(f"/v5/order/history?category=linear&symbol={SYMBOL}&limit=50{cursor}")
            history += page["list"]
            if not page["nextPageCursor"]:
                break
            cursor = f"&cursor={page['nextPageCursor']}"
        rows = history + self._account()["open_orders"]
        return [row["orderLinkId"] for row in rows if row["orderLinkId"]]

    def private_get(self, target: str) -> dict[str, Any]:
        from libs.bybit.rest import Call

        return self.private(Call("GET", target))

    def told(self) -> str:
        """Everything a run leaves: logs, metrics, files, every entry and key of the bus; key files themselves left out."""

        async def dump() -> list[Any]:
            wire = Wire(self.bus.url)
            await wire.ready()
            keys = await wire.call("KEYS", "*")
            found = []
            for key in keys:
                kind = await wire.call("TYPE", key)
                reads = {b"stream": ("XRANGE", key, "-", "+"), b"string": ("GET", key), b"hash": ("HGETALL", key)}
                command = reads.get(kind if isinstance(kind, bytes) else str(kind).encode())
                if command is not None:
                    found.append(await wire.call(*command))
            wire.abort()
            return found

        texts = [repr(self._run.run(dump())), *(self.probe(name, "/metrics")[1] for name in self.processes)]
        skipped = {"venue.json", "watchdog.json", "accounts.json", "second.json"}
        files = [path for path in self.dir.rglob("*") if path.is_file() and path.name not in skipped]
        texts += [path.read_bytes().decode("latin-1") for path in files]
        return "\n".join(texts)


@contextlib.contextmanager
def fire(directory: Path) -> Iterator[Fire]:
    with Fire(directory) as made:
        yield made
