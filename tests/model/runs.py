"""Runs of the whole system, judged by the trace checker, and played again: what a theorem says, seen in logs.

Two kinds: the five cores against the simulated exchange in one process, by seed, under faults, crashes, a halt and a
liquidation (T1 to T6, T8 on their logs; T7 by a second run and by fresh cores that take the first one's journal); and one
`tidegate demo`, its services real processes on a real server, judged by its archive.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import msgspec

from libs.common import seal
from libs.common.codec import values
from libs.common.errors import TidegateError
from libs.common.events import FlatConfirmed, FlattenRequested, HaltRequested, ResumeRequested
from libs.common.record import Record
from libs.common.streams import LOCKSTEP_SERVICES, RISK
from tests.model.mutation import ROOT
from tests.model.results import Proved
from tests.model.trace import STREAMS, Checker, Verdict, check_run
from tests.scenarios.world import SEAL_PUBLIC, World

LOGGED = "T1, T2, T3, T4, T5, T6, T8"
"""Theorems that a log can break."""
FAULTS = (
    {"kind": "duplicate", "rate": 0.4, "times": 2},
    {"kind": "reorder", "rate": 0.4, "ms": 400},
    {"kind": "partial", "fractions": [0.4, 0.6], "gap_ms": 300, "rate": 0.6},
    {"kind": "ambiguous", "rate": 0.2, "arrives": "now"},
    {"kind": "latency", "where": "reply", "ms": 100, "jitter_ms": 600},
)
CRASHES = 0.1
"""Of instants, in each of which some service dies."""


def play(seed: int) -> World:
    """Trade under faults and crashes, with an ADL; halt, restart everybody, resume; trade on, and flatten."""
    here = World(seed)
    here.trading()
    here.fault(*FAULTS)
    for _ in range(160):
        here.step()
        if here.dice.random() < CRASHES:
            here.crash(here.dice.choice(LOCKSTEP_SERVICES))
    here.do("adl", symbol="BTCUSDT")
    here.run(5)
    here.command(HaltRequested, reason="a halt in the middle", sealed=False)
    here.run(5)
    here.crash(*LOCKSTEP_SERVICES)
    here.run(10)
    for halt in {block.halt_id for block in here.core(RISK).state.blocks.values() if block.halt_id}:
        here.command(ResumeRequested, halt_id=halt)
    here.run(20)
    here.calm()
    asked_at = here.at
    here.command(FlattenRequested, reason="the end")
    here.until(lambda: here.of(FlatConfirmed, since=asked_at), 120, "flat")
    here.run(5)
    return here


def judged(world: World) -> Verdict:
    ours = [record for record in world.log if record.stream in STREAMS]
    return Checker(SEAL_PUBLIC).check(sorted(ours, key=lambda record: (record.entry, STREAMS.index(record.stream))))


def differs(first: list[Record], second: list[Record]) -> str:
    """The first event that is not the same, byte for byte; "" when there is none."""
    for one, other in zip_longest(first, second):
        if one is None or other is None or one.stream != other.stream or values(one) != values(other):
            return f"{(one or other).stream} {(one or other).seq}"
    return ""


class Played(msgspec.Struct):
    """What one seed came to; texts are empty where nothing is wrong."""

    seed: int
    events: int
    broken: str
    """The first theorem that its log breaks."""
    again: str
    """The first event that the same seed gives otherwise."""
    replayed: str
    """The first difference when fresh cores take its journal."""
    seen: dict[str, int]


def by_seed(seed: int) -> Played:
    """A run of the five cores: its log, the same seed again, its journal taken by fresh cores."""
    first = play(seed)
    verdict = judged(first)
    again = differs(first.log, play(seed).log)
    return Played(seed, len(first.log), _first(verdict), again, next(first.replayed(), ""), dict(verdict.seen))


def summed(played: list[Played]) -> list[Proved]:
    """Rows of the page for all seeds together."""
    name = f"five cores, {len(played)} seeds"
    seen: Counter[str] = Counter()
    for each in played:
        seen.update(each.seen)
    events = f"{sum(each.events for each in played):,} events"

    def row(what: str, theorems: str, expected: str, faults: dict[int, str]) -> Proved:
        answer = next((f"seed {seed}: {fault}" for seed, fault in faults.items() if fault), expected)
        return Proved(what, theorems, expected, answer, events)

    rows = [
        row(name, LOGGED, "holds", {each.seed: each.broken for each in played}),
        row(f"{name}, each run again", "T7", "same bytes", {each.seed: each.again for each in played}),
        row(f"{name}, each journal replayed", "T7", "same bytes", {each.seed: each.replayed for each in played}),
    ]
    rows[0].detail = f"{events}: {_counted(seen)}"
    return rows


def demo(seed: int, minutes: int) -> list[Proved]:
    """`tidegate demo`: real processes, a real server, the archive that they left."""
    name = f"tidegate demo, seed {seed}"
    with tempfile.TemporaryDirectory(prefix="prove-") as scratch:
        folder = Path(scratch) / "run"
        command = [sys.executable, "-m", "cli.main", "demo", "--seed", str(seed), "--duration", f"{minutes}m"]
        done = subprocess.run([*command, "--run-dir", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
        try:
            key = seal.public_of((folder / "keys/seal.key").read_text().strip())
            verdict = check_run(folder, key)
            replay = json.loads((folder / "report.json").read_text())["replay"]
        except (OSError, TidegateError):
            told = " ".join((done.stderr or done.stdout).split())[-200:]
            return [Proved(name, f"{LOGGED}, T7", "holds", f"no log: exit code {done.returncode}: {told}")]
    differences = "same bytes" if replay["differences"] == 0 else f"{replay['differences']} differences"
    return [
        Proved(name, LOGGED, "holds", _first(verdict) or "holds", _counted(verdict.seen)),
        Proved(f"{name}, its log replayed", "T7", "same bytes", differences, f"{replay['events']:,} events"),
    ]


def _first(verdict: Verdict) -> str:
    return verdict.broken[0] if verdict.broken else ""


def _counted(seen: Counter[str]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in sorted(seen.items()))
