"""`python -m tests.soak` (make soak): a hundred thousand intents in virtual time, then some hundred with real processes.

Prints the table fault x outcome; `--json FILE` and `--markdown FILE` keep it. Exit code 1 when anything is not as it must be.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from tests.soak.live import LiveResult, run_live
from tests.soak.tally import Tally, as_data, table
from tests.soak.virtual import VirtualRun

GROWTH_MB = 40
"""More than this between two fifths of the run and its end is not flat."""
JUDGED_FROM = 80_000
"""Before, the simulator's own histories (20,000 orders, fills, entries an account) are still filling up."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--intents", type=int, default=100_000, help="in virtual time")
    parser.add_argument("--live", type=int, default=300, help="with real processes; 0 leaves them out")
    parser.add_argument("--kills", type=int, default=12, help="of the live leg")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    if given.intents < 20:
        parser.error("expected --intents of 20 or more")
    text, data, wrong = virtual_leg(given.intents, given.seed)
    if given.live:
        live_text, live_data, live_wrong = live_leg(given.live, given.kills, given.seed)
        text, wrong = f"{text}\n\n{live_text}", wrong + live_wrong
        data["live"] = live_data
    data["wrong"] = wrong
    verdict = "as it must be" if not wrong else "NOT as it must be:\n" + "\n".join(f"- {line}" for line in wrong)
    text = f"{text}\n\nVerdict: {verdict}"
    print(f"\n{text}")
    if given.json:
        given.json.write_text(json.dumps(data, indent=1) + "\n")
    if given.markdown:
        given.markdown.write_text(text + "\n")
    return 1 if wrong else 0


def virtual_leg(intents: int, seed: int) -> tuple[str, dict[str, Any], list[str]]:
    """(text, figures, what is wrong)."""
    memory: list[float] = []

    def tell(run: VirtualRun) -> None:
        gc.collect()
        memory.append(resident_mb())
        print(
            f"{run.begun:>8,} intents  {run.kills:>5,} kills  {memory[-1]:6.0f} MB  {time.monotonic() - began_s:6.0f} s",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    began_s = time.monotonic()
    run = VirtualRun(intents, seed)
    start = run.now
    run.run(tell)
    wall_s, venue_s = time.monotonic() - began_s, (run.now - start) / 1e9
    rows = run.tally.rows()
    wrong = faults_of(run, run.tally)
    settled = memory[2 * len(memory) // 5]
    if intents >= JUDGED_FROM and memory[-1] > settled + GROWTH_MB:
        wrong.append(f"memory grew from {settled:.0f} to {memory[-1]:.0f} MB")
    counts = run.tally.counts
    wallet = run.exchange.desk.accounts["sim"].wallet / 1e8
    story = (
        f"Virtual time: {intents:,} intents, seed {seed}, {venue_s / 3600:.1f} h of the exchange in {wall_s:.0f} s "
        f"({platform.machine()}, {os.cpu_count()} cores); execution killed {run.kills:,} times, "
        f"{run.log.snapshots:,} snapshots; {run.tally.fills:,} fills, {counts['OrderUnknown']:,} unknown and "
        f"{counts['OrderResolved']:,} resolved, {counts['Reconciled']:,} reconciliations, {counts['Mismatch']:,} mismatches, "
        f"healed; memory {settled:.0f} MB after two fifths, {memory[-1]:.0f} MB at the end."
    )
    agreement = "" if wrong else f"Flat at the end; both wallets are {wallet:.8f} USDT, to the last digit."
    text = f"{story}\n{agreement}\n\n{table(rows)}"
    data = {
        "intents": intents, "seed": seed, "wall_s": round(wall_s, 1), "venue_s": venue_s, "kills": run.kills,
        "memory_mb": memory, "events": dict(counts), "rows": as_data(rows),
    }  # fmt: skip
    return text, data, wrong


def faults_of(run: VirtualRun, tally: Tally) -> list[str]:
    """Everything that should not be."""
    total = tally.rows()[-1]
    wrong = run.differences()
    if total.twice:
        wrong.append(f"{total.twice} intents were accepted more than once")
    if total.unresolved:
        wrong.append(f"{total.unresolved} intents have no end")
    if late := tally.late():
        wrong.append(f"{late} orders were without proof for more than 30 s")
    if again := tally.sent_twice():
        wrong.append(f"{again} creates were sent again though the exchange had not turned them away")
    return wrong


def live_leg(intents: int, kills: int, seed: int) -> tuple[str, dict[str, Any], list[str]]:
    result: LiveResult = run_live(intents, kills, seed)
    ends = ", ".join(f"{count} {name}" for name, count in sorted(result.outcomes.items()))
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(result.faults.items()))
    text = (
        f"Real processes: {result.intents} intents, execution killed -9 {result.kills} times; the exchange injected {faults}. "
        f"{result.accepted} accepted, none twice; {ends}; every execution of the exchange is in the log once."
    )
    data = {"intents": result.intents, "kills": result.kills, "outcomes": result.outcomes, "faults": result.faults}
    return text, data, result.wrong


def resident_mb() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
