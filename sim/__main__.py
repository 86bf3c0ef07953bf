"""python -m sim --tape FILE: the simulator alone; the command line proper is `tidegate sim`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from libs.common.errors import TidegateError
from sim.app import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sim", description="Bybit v5 on one port, played from a tape")
    parser.add_argument("--tape", action="append", default=[], help="[SYMBOL=]FILE or synthetic:seed=7; repeatable")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--accounts", type=Path, default=None)
    parser.add_argument("--state-dir", type=Path, default=None)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=int, default=1)
    parser.add_argument("--faults", type=Path, default=None, help="JSON file of faults: docs/simulator.md")
    parser.add_argument("--script", type=Path, default=None, help="TOML file of operations and when they happen")
    parser.add_argument("--no-control", action="store_true", help="without the routes below /sim/")
    given = parser.parse_args()
    try:
        run(
            given.tape, given.port, given.accounts, given.state_dir, given.seed, given.speed, given.host,
            faults=given.faults, control=not given.no_control, script=given.script,
        )  # fmt: skip
    except TidegateError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
