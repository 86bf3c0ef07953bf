"""What a desk asks of risk, on real processes at the simulated exchange: a flood of signals, and the kill switch in its midst."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from libs.common.appender import append_command
from libs.common.events import HaltRequested, Signal
from libs.common.scripts import source
from libs.common.streams import SIGNAL, gate_key, key, service_key
from libs.common.wire import Wire
from tests.integration.killswitch.tap import Tap
from tests.integration.killswitch.trading import MAKERS, Trading
from tests.integration.watchdog.rig import BOOK, SYMBOL
from tests.waiting import eventually

BATCH = 64
NS_PER_MS = 1_000_000


class Flood(msgspec.Struct, frozen=True):
    """`a_second`: signals appended; `decided` once each, `lost` never, `doubled` twice. `behind_ms`: from the last signal to the
    last decision. `halt_ms`: from a halt that was asked for in the midst of it until the gate was closed; `cancel_ms`: until the
    first cancel was at the exchange, -1 when nothing rested."""

    a_second: float
    decided: int
    lost: int
    doubled: int
    behind_ms: float
    halt_ms: float
    cancel_ms: float
    submitted_after: int
    """Entries that execution submitted once the gate was seen closed."""


class Kill(msgspec.Struct, frozen=True):
    """From the moment the command was appended, in ms: first and last cancel at the exchange, flat by its word."""

    entries: int
    """That rested when the halt came."""
    first_ms: float
    last_ms: float
    flat_ms: float
    approved_after: int
    """Entries approved behind the halt."""


def flood(rate: int, seconds: int) -> Flood:
    """Signals of six strategies, each of different words, so that every one is sized and judged by every limit."""
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as directory, Trading(Path(directory)) as run:
        run.start_trading()
        run.hold_and_rest()
        return run.wait_for(_flood(run.bus.url, run.tap, rate, rate * seconds))


async def _flood(url: str, tap: Tap, rate: int, count: int) -> Flood:
    wire, watch = Wire(url), Wire(url)
    sha = await wire.call("SCRIPT", "LOAD", source("command"))
    first = await wire.call("XLEN", key("signal", BOOK))
    halt = asyncio.ensure_future(_halt_at(watch, first + count // 2))
    began, sent = time.perf_counter(), 0
    while sent < count:
        due = min(count, int((time.perf_counter() - began) * rate) + 1)
        calls = [_appended(sha, number) for number in range(sent, min(due, sent + BATCH))]
        for reply in await wire.send(*calls):
            await reply
        sent += len(calls)
        if not calls:
            await asyncio.sleep(0.001)
    ended = time.perf_counter()
    decisions = await _decisions(wire, first, count)
    behind_ms = (time.perf_counter() - ended) * 1000
    doubled = sum(times > 1 for times in decisions.values())
    asked_at, halt_ms, submitted = await halt
    cancels = [at for at in tap.cancels.values() if at > asked_at]
    cancel_ms = (min(cancels) - asked_at) / NS_PER_MS if cancels else -1.0
    submitted_after = len(await _entries_submitted(wire)) - submitted
    wire.abort()
    watch.abort()
    return Flood(
        count / (ended - began),
        len(decisions),
        count - len(decisions),
        doubled,
        behind_ms,
        halt_ms,
        cancel_ms,
        submitted_after,
    )


def _appended(sha: bytes, number: int) -> tuple[Any, ...]:
    """The call that appends a signal, as the signal service's stream has it."""
    signal = Signal(
        strategy=("taker", *MAKERS)[number % (1 + len(MAKERS))], symbol=SYMBOL, target=Decimal(1), p=Decimal("0.6"),
        payoff=Decimal("1.5"), stop_distance=Decimal(5000), horizon_ms=3_600_000, score=Decimal(number),
    )  # fmt: skip
    at = time.time_ns()
    identity = hashlib.blake2b(b"flood %d" % number, digest_size=16).hexdigest()
    about = (f"flood-{number}", at // NS_PER_MS, "Signal", Signal.VERSION, at, msgspec.json.encode(signal), identity)
    keys = (key("signal", BOOK), service_key("cursor", SIGNAL, BOOK))
    return ("EVALSHA", sha, len(keys), *keys, *about, f"00-{identity}-{identity[:16]}-01")


async def _decisions(wire: Wire, first: int, count: int) -> Counter[int]:
    """How many decisions each signal beyond the first ones has, once every one has one or nothing has come for 20 s."""
    found: Counter[int] = Counter()
    after, news_at = "-", time.monotonic()
    while len(found) < count and time.monotonic() - news_at < 20:
        page = await wire.call("XRANGE", key("order-intent", BOOK), after, "+", "COUNT", 2_000)
        for entry, fields in page:
            after = f"({entry.decode()}"
            kind, cause = fields[3], json.loads(fields[11])
            if kind in (b"OrderIntent", b"OrderRefused") and cause and cause[0][0] == "signal" and cause[0][1] > first:
                found[cause[0][1]] += 1
        news_at = time.monotonic() if page else news_at
        await asyncio.sleep(0 if page else 0.005)
    return found


async def _entries_submitted(wire: Wire) -> list[bytes]:
    found = await wire.call("XRANGE", key("order", BOOK), "-", "+")
    return [entry for entry, fields in found if fields[3] == b"OrderSubmitted" and b'"purpose":"entry"' in fields[17]]


async def _halt_at(wire: Wire, signals: int) -> tuple[int, float, int]:
    """Ask for a halt when so many signals are in: when (ns), how long (ms) until the gate is closed, how many entries were
    submitted by then."""
    while await wire.call("XLEN", key("signal", BOOK)) < signals:
        await asyncio.sleep(0.005)
    at = time.time_ns()
    asked = HaltRequested(operator="bench", nonce="halt", expires_at=0, reason="flood")
    await append_command(wire, BOOK, asked, at)
    while await wire.call("HGET", gate_key(BOOK), "book") == b"open":
        await asyncio.sleep(0.001)
    return at, (time.time_ns() - at) / NS_PER_MS, len(await _entries_submitted(wire))


def kill_switch(entries: int = 3) -> Kill:
    """Halt and flatten a book that holds a position and has up to so many entries resting."""
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as directory, Trading(Path(directory)) as run:
        run.start_trading()
        run.hold_and_rest()
        for maker in MAKERS:
            if len(run.entries()) < entries:
                run.signal(maker)
        eventually(run.entries, 30)
        resting = run.entries()
        at = time.time_ns()
        asked = HaltRequested(operator="bench", nonce="kill", expires_at=0, reason="drill", flatten=True)
        run.wait_for(_commanded(run.bus.url, asked, at))
        (flat, *_) = eventually(lambda: run.happened("account", "FlatConfirmed"), 60)
        (halted,) = [h for h in run.happened("halt", "Halted") if h["reason"] == "OPERATOR"]
        late = [i for i in run.happened("order-intent", "OrderIntent") if i["entry"] > halted["entry"]]
        cancels = run.tap.cancels
        sent = [(cancels[link] - at) / NS_PER_MS for link in resting if link in cancels]
        return Kill(
            len(sent), min(sent, default=-1), max(sent, default=-1), flat["checked_at"] / NS_PER_MS - at / NS_PER_MS,
            sum(i["purpose"] == "entry" for i in late),
        )  # fmt: skip


async def _commanded(url: str, asked: HaltRequested, at: int) -> None:
    wire = Wire(url)
    await append_command(wire, BOOK, asked, at)
    wire.abort()
