"""`tidegate sim`: the simulated exchange alone, in wall-clock time, for any client that speaks Bybit v5."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

DEFAULT_PORT = 8899


def sim(
    *,
    tape: Annotated[
        list[str], Parameter(consume_multiple=True, negative="", help="[SYMBOL=]FILE or synthetic:seed=N.")
    ],
    port: Annotated[int, Parameter(help="Loopback port for REST and WebSocket.")] = DEFAULT_PORT,
    accounts: Annotated[
        Path | None, Parameter(help="JSON file of accounts; default: key sim, secret sim-secret.")
    ] = None,
    seed: Annotated[int, Parameter(help="Seed of the exchange's chance.")] = 7,
    speed: Annotated[int, Parameter(help="How many times faster than wall clock.")] = 1,
    state_dir: Annotated[Path | None, Parameter(help="Keep the exchange's state here over restarts.")] = None,
    faults: Annotated[Path | None, Parameter(help="JSON file of faults that are on from the start.")] = None,
    script: Annotated[
        Path | None, Parameter(help="TOML file of operations of the exchange and when they happen.")
    ] = None,
    control: Annotated[bool, Parameter(help="Routes below /sim/ on loopback: state, faults, operations.")] = True,
) -> int:
    """Serve a simulated Bybit on one port (plain http and ws) that plays a tape."""
    from sim.app import run

    run(
        tape, port=port, accounts=accounts, state_dir=state_dir, seed=seed, speed=speed, faults=faults, control=control,
        script=script)  # fmt: skip
    return 0
