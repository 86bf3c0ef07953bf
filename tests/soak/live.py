"""The same plan with real processes: execution, a server of the bus and the simulated exchange, execution killed with -9."""

from __future__ import annotations

import collections
import json
import random
import tempfile
import time
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from libs.bybit import rest
from tests.integration.watchdog.rig import SYMBOL, Rig
from tests.soak import plan
from tests.waiting import eventually

TERMINAL = {"OrderRejected": "rejected", "OrderCancelled": "cancelled"}
EVERY_S = 0.18
"""Between two intents: as fast as the account's rate limit allows, cancels counted."""


class LiveResult(msgspec.Struct):
    """`faults`: what the exchange says it injected, by kind. `wrong`: everything that should not be; [] is as it must be."""

    intents: int
    kills: int
    accepted: int
    outcomes: dict[str, int]
    faults: dict[str, int]
    wrong: list[str]


def run_live(intents: int, kills: int, seed: int) -> LiveResult:
    """Takes about a fifth of a second an intent."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, Rig(Path(folder)) as rig:
        return _run(rig, intents, kills, seed)


def _run(rig: Rig, intents: int, kills: int, seed: int) -> LiveResult:
    dice = random.Random(seed)
    rig.start("execution")
    eventually(lambda: rig.bus_has("account", b"Reconciled"), 60)
    _post(rig, plan.faults_document(seed))
    deaths = {round((number + 1) * intents / (kills + 1)) for number in range(kills)}
    links, resting = [], collections.deque[tuple[float, str]]()
    for index in range(intents):
        link = plan.link_id(plan.draw(dice), index)
        links.append(link)
        rests = dice.random() < 0.25
        rig.approve(resting=rests, link_id=link)
        if rests:
            resting.append((time.monotonic() + 1.5, link))
        if index in deaths:
            rig.kill("execution")  # what was approved a moment ago is somewhere on its way
            _restart(rig)
        until = time.monotonic() + EVERY_S
        while time.monotonic() < until or (resting and index == intents - 1):
            if resting and resting[0][0] <= time.monotonic():
                rig.withdraw(resting.popleft()[1])
            time.sleep(0.01)
    submitted, outcomes = eventually(lambda: _settled(rig, links), 90)
    return _judged(rig, links, submitted, outcomes, kills)


def _restart(rig: Rig) -> None:
    """Until it works again: approvals do not wait for it, they expire."""
    port = rig.dir / "ports" / "execution.port"
    old = port.read_text()
    rig.start("execution")
    eventually(lambda: port.read_text() != old and rig.probe("execution", "/readyz")[0] == 200, 60)


def _settled(rig: Rig, links: list[str]) -> tuple[set[str], dict[str, str]] | None:
    """What was submitted, and each intent's end; None while one has none."""
    submitted, left, ends = set(), {}, {}
    for event in rig.bus_events("order"):
        link, kind = event.get("order_link_id", ""), event["type"]
        if kind == "OrderSubmitted":
            submitted.add(link)
            left[link] = msgspec.convert(event["qty"], type=Decimal, strict=False)
        elif kind in TERMINAL:
            ends[link] = TERMINAL[kind]
        elif kind == "OrderResolved" and event["outcome"] != "live":
            ends[link] = event["outcome"]
    for event in rig.bus_events("fill"):
        link = event.get("order_link_id", "")
        if link in left:
            left[link] -= msgspec.convert(event["qty"], type=Decimal, strict=False)
            if not left[link]:
                ends.setdefault(link, "filled")
    return (submitted, ends) if set(links) <= ends.keys() else None


def _judged(rig: Rig, links: list[str], submitted: set[str], ends: dict[str, str], kills: int) -> LiveResult:
    wrong = []
    orders = collections.Counter(row["orderLinkId"] for row in _pages(rig, "/v5/order/history"))
    twice = [link for link, count in orders.items() if count > 1 and link in submitted]
    if twice:
        wrong.append(f"accepted twice: {twice}")
    stray = [link for link in orders if link.startswith("tg-") and link not in submitted]
    if stray:
        wrong.append(f"at the exchange without a submission in the log: {stray}")
    fills = sorted(event["exec_id"] for event in rig.bus_events("fill"))
    traded = sorted(row["execId"] for row in _pages(rig, "/v5/execution/list") if row["execType"] == "Trade")
    if fills != traded:
        wrong.append(f"expected {len(traded)} executions in the log, each once, was {len(fills)}")
    if any(event["type"] == "ForeignOrder" for event in rig.bus_events("account")):
        wrong.append("an order of our own was taken for a stranger's")
    if rig.entries():
        wrong.append(f"still open at the exchange: {rig.entries()}")
    with urllib.request.urlopen(f"{rig.url}/sim/faults", timeout=10) as reply:
        injected = {kind: count for kind, count in json.load(reply)["injected"].items() if count}
    outcomes = dict(collections.Counter(ends[link] for link in links))
    accepted = sum(link in orders for link in links)
    return LiveResult(len(links), kills, accepted, outcomes, injected, wrong)


def _pages(rig: Rig, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        more = f"&cursor={cursor}" if cursor else ""
        target = f"{path}?category=linear&symbol={SYMBOL}&limit=50{more}"
        result = rig.private(rest.Call("GET", target))
        found += result["list"]
        cursor = result.get("nextPageCursor") or ""
        if not cursor or not result["list"]:
            return found


def _post(rig: Rig, document: bytes) -> None:
    request = urllib.request.Request(f"{rig.url}/sim/faults", document, method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200, reply.read()
