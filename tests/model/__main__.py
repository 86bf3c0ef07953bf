"""`make prove`: every method in turn, then docs/assurance.json (results) and docs/assurance.md (the page made of them).

    python -m tests.model [--full] [--only search,z3,crosshair,guards,tlc,runs,tests,mutants] [--page]

`--full` searches ten times as far and hunts every mutant; `--page` only writes the page again. Exit code 1 when a theorem is
broken, a guard can go unmissed, a test fails, or the score is below the goal.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.model import methods, page
from tests.model.results import Results

STEPS: dict[str, Callable[[Results, bool], None]] = {
    "z3": methods.z3,
    "crosshair": methods.crosshair,
    "guards": methods.guards,
    "tlc": methods.tlc,
    "runs": methods.runs,
    "tests": methods.tests,
    "search": methods.search,
    "mutants": methods.mutants,
}

CODE = ("--", ".", ":!docs/assurance.*")
"""Of what is under git, all but the page and its results."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="ten times the search, every mutant")
    parser.add_argument("--only", default="", help=f"some of {','.join(STEPS)}")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    options = parser.parse_args()
    results = page.read()
    if not options.page:
        wanted = [name for name in STEPS if not options.only or name in options.only.split(",")]
        results.machine, results.date, results.commit = _machine(), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", _commit()
        for name in wanted:
            began = time.monotonic()
            STEPS[name](results, options.full)
            results.seconds[name] = round(time.monotonic() - began)
            results.when[name] = f"{results.date}, {results.commit}"
            print(f"{name}: {results.told[name]} ({results.seconds[name]} s)", flush=True)
            page.write(results)
    page.write(results)
    for fault in (faults := results.faults()):
        print(f"NOT SHOWN: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}, {platform.system()}"


def _commit() -> str:
    """The commit, and a plus where more than the page itself differs from it."""
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + (
        "+" if _git("diff", "HEAD", "--name-only", *CODE) else ""
    )


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
