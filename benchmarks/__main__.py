"""`make bench`: how fast a tape plays with processes and without, and how fast a run is replayed. Printed, not judged."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--minutes", type=int, default=20, help="tape time of each run")
    minutes = parser.parse_args().minutes
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory:
        for name, text in (("demo", demo(Path(directory), minutes)), ("backtest", backtest(Path(directory), minutes))):
            print(f"{name:<10} {text}", flush=True)


def machine() -> str:
    from cli.embedded import find_server, version_of

    server = ".".join(map(str, version_of(find_server()) or ()))
    return f"{os.cpu_count()} cores · {platform.machine()} · Python {platform.python_version()} · server {server}"


def tidegate(*arguments: str) -> float:
    """Run one verb; wall-clock seconds."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-m", "cli.main", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began_s


def demo(directory: Path, minutes: int) -> str:
    """Six processes and a server in lockstep, then the replay of what they did."""
    run_dir = directory / "demo"
    tidegate("demo", "--duration", f"{minutes}m", "--run-dir", str(run_dir))
    flat: dict[str, Any] = json.loads((run_dir / "flat.json").read_text())
    replay_s = tidegate("replay", str(run_dir), "--verify")
    events = json.loads((run_dir / "report.json").read_text())["replay"]["events"]
    rate = flat["instants"] / flat["seconds"]
    return f"{rate:,.0f} instants/s in waves over {flat['instants']:,} instants; replay {events / replay_s:,.0f} events/s with start-up"


def backtest(directory: Path, minutes: int) -> str:
    """The same cores in one process."""
    run_dir = directory / "backtest"
    seconds = tidegate("backtest", "--tape", "synthetic:seed=7", "--duration", f"{minutes}m", "--run-dir", str(run_dir))
    events = sum(json.loads((run_dir / "report.json").read_text())["events"].values())
    return f"{minutes * 60 / seconds:,.0f} tape seconds/s, {events / seconds:,.0f} events written/s, start-up and report included"


if __name__ == "__main__":
    main()
