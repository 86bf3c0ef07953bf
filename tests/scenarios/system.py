"""A whole system of real processes, to strike at: what `tidegate up --tape` starts, two restless strategies, and a witness."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import httpx

from cli.context import Context
from cli.live import LiveSession
from cli.tapes import BASE
from cli.up import tape_plan
from libs.bybit import rest
from libs.bybit.sign import Key, rest_headers
from libs.common.access import ADMIN, rules
from libs.common.events import Fill, OrderAccepted, OrderSubmitted, Purpose
from libs.common.streams import SERVICES, WATCHDOG, key
from tests.scenarios.witness import BOOK, Witness
from tests.waiting import eventually

FILE = Path(__file__).parent / "processes.toml"
SPEED = "4"
T = TypeVar("T")
RECOVERS_S = 30
LOOK_S = 0.1
FIRST_BACKOFF_S = 0.05
MOMENTS = ("tick", "signal", "order-intent", "order", "fill", "portfolio")
"""Streams with something new all the time: work is under way whenever they move."""


class System(LiveSession):
    """`until` keeps it alive as `tidegate up` would, and looks at it all the time."""

    def __init__(self, directory: Path, seed: int) -> None:
        context = Context(config=FILE)
        plan = tape_plan(context, seed, SPEED, None, [f"synthetic:seed={seed},crash=0"])
        plan.pop("span_ms")
        super().__init__(directory, context, lambda places: context.settings(plan | places, BASE))
        assert self._server is not None
        self.server = self._server
        self.server.fsync = "always"
        self.server.access += " ".join((f"user {ADMIN} on nopass", *rules(ADMIN, BOOK, tape=False))) + "\n"
        self.witness = Witness(self.server.socket, ADMIN)
        self.seal: str = self.settings.values()["execution"]["seal_keys"][self.settings.run.seal_key_id]
        self.zombies: list[subprocess.Popen[bytes]] = []
        self.naked_s = 0.0
        """The longest that a position was seen without a stop at the exchange that covers it."""
        self._bare_since: dict[str, float] = {}
        self._looked_s = 0.0
        self._http = httpx.Client(base_url=self.settings.venue.rest_url, timeout=10, trust_env=False)
        self._key = Key(**json.loads((self.run_dir / "keys/watchdog.json").read_text()))

    def close(self) -> None:
        for zombie in self.zombies:
            zombie.kill()
            zombie.wait()
        self._http.close()
        self.witness.server.close()
        super().close()

    # --- time -----------------------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """Start again what died; look at the bus and at the exchange."""
        self.supervisor.tend()
        if time.monotonic() - self._looked_s >= LOOK_S:
            self.witness.look()
            self._look_for_stops()
            self._looked_s = time.monotonic()

    def until(self, condition: Callable[[], T], within_s: float = RECOVERS_S) -> T:
        def tended() -> T:
            self.tend()
            return condition()

        return eventually(tended, within_s)

    def run(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end_s, seconds + RECOVERS_S)

    def mid_work(self, dice: random.Random) -> None:
        """Wait until a stream moves, and up to twenty milliseconds more: a moment that the seed draws, with work under way."""
        self.run(dice.uniform(0, 0.3))
        place = key(dice.choice(MOMENTS), BOOK)
        self.until(lambda: self.witness.server.xread({place: "$"}, block=1000))
        at_s = time.monotonic() + dice.uniform(0, 0.02)
        eventually(lambda: time.monotonic() >= at_s)

    def works_from(self, mark: int, versions: dict[str, int]) -> bool:
        """Whether since then every service committed, and an entry was submitted, accepted and filled."""
        if any(version <= versions[service] for service, version in self.witness.versions().items()):
            return False
        entries = {b.order_link_id for b in self.witness.records(OrderSubmitted, mark) if b.purpose is Purpose.ENTRY}
        accepted = {body.order_link_id for body in self.witness.records(OrderAccepted, mark)}
        filled = {body.order_link_id for body in self.witness.records(Fill, mark)}
        return bool(entries & accepted & filled)

    def works_again(self) -> None:
        """From now on, within half a minute."""
        self.witness.look()
        mark, versions = len(self.witness.log), self.witness.versions()
        self.until(lambda: self.works_from(mark, versions))

    def rested(self) -> None:
        """As if its processes had run for long: whoever restarts them need not wait on account of the last strike."""
        for child in self.supervisor.children.values():
            child.backoff_s = FIRST_BACKOFF_S

    # --- strikes ----------------------------------------------------------------------------------------------------------

    def kill_server(self, away_s: float) -> None:
        """kill -9, and the same server on the same data again after a while. All that was read before must be there then."""
        self.witness.look()
        os.kill(self.server.pid, signal.SIGKILL)
        eventually(lambda: not self.server.is_alive())
        back_s = time.monotonic() + away_s
        eventually(lambda: time.monotonic() >= back_s)
        self.server.start()

    def set_memory(self, limit: str) -> None:
        """What the server may use, in bytes; 0: all there is."""
        self.witness.server.config_set("maxmemory", limit)
        self.witness.is_full = limit != "0"
        self.witness.look()

    def stop_in_place(self, service: str) -> subprocess.Popen[bytes]:
        """SIGSTOP, and a successor beside it."""
        zombie = self.supervisor.children[service].process
        assert zombie is not None
        self.zombies.append(zombie)
        zombie.send_signal(signal.SIGSTOP)
        self.supervisor.start(service, f"services.{service}")
        return zombie

    # --- what it shows ------------------------------------------------------------------------------------------------------

    def exits(self) -> dict[str, list[int]]:
        """Codes with which services left by themselves, so far."""
        return {name: list(self.supervisor.children[name].codes) for name in SERVICES}

    def said(self, name: str) -> str:
        return self.supervisor.log_of(name).read_text()

    def watchdog_acted(self) -> int:
        """How often the watchdog began to cancel."""
        return self.said(WATCHDOG).count('"state":"cancelling"')

    # --- the exchange ---------------------------------------------------------------------------------------------------------

    def account(self) -> dict[str, Any]:
        state = eventually(lambda: self._ask("/sim/state"))
        assert state is not None
        return dict(next(iter(state["accounts"].values())))

    def bare(self) -> set[str]:
        """Symbols with a position that the stops at the exchange do not cover."""
        account, covered = self.account(), Counter[str]()
        for order in account["open_orders"]:
            if order["stopOrderType"]:
                covered[order["symbol"]] += Decimal(order["leavesQty"])  # type: ignore[assignment]
        return {row["symbol"] for row in account["positions"] if Decimal(row["size"]) > covered[row["symbol"]]}

    def _look_for_stops(self) -> None:
        now_s, bare = time.monotonic(), self.bare()
        self._bare_since = {symbol: self._bare_since.get(symbol, now_s) for symbol in bare}
        self.naked_s = max([self.naked_s, *(now_s - since_s for since_s in self._bare_since.values())])

    def rows(self, path: str, since_ms: int) -> list[dict[str, Any]]:
        """All pages of a list of the account, as the exchange tells them."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            target = f"{path}?category=linear&settleCoin=USDT&limit=50&startTime={since_ms}&cursor={cursor}"
            call = rest.Call("GET", target)
            headers = rest_headers(self._key, time.time_ns() // 1_000_000, 5_000, call.method, call.target, "")
            answer = self._http.get(target, headers=headers).json()
            assert answer["retCode"] == 0, answer
            found += answer["result"]["list"]
            cursor = answer["result"]["nextPageCursor"]
            if not cursor:
                return found

    def orders(self, since_ms: int) -> list[dict[str, Any]]:
        """Orders that the exchange took on its books since then, closed and open; without stops."""
        rows = self.rows("/v5/order/history", since_ms) + [
            row for row in self.account()["open_orders"] if int(row["createdTime"]) >= since_ms
        ]
        return list({row["orderId"]: row for row in rows if not row["stopOrderType"]}.values())
