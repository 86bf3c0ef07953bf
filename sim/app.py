"""`tidegate sim`: the exchange alone, in wall-clock time."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from libs.common.errors import UsageError
from sim.chance import identifier
from sim.config import SimConfig
from sim.door.accounts import read_accounts
from sim.exchange import Exchange
from sim.faults.menu import read
from sim.script import read_script
from sim.server import SimServer
from sim.store import Store
from sim.tapes.tape import LiveTape, open_tape


def build(
    tapes: list[str],
    accounts: Path | None,
    state_dir: Path | None,
    seed: int,
    speed: int,
    config: SimConfig,
    script: Path | None = None,
) -> tuple[Exchange, Store | None]:
    """The exchange on a tape that starts now, with the state that a store kept."""
    if speed < 1:
        raise UsageError(f"expected a --speed of 1 or more tape seconds a second, was {speed}")
    now = time.time_ns()
    tape = LiveTape(open_tape(tapes, seed), now, speed)
    specs = read_accounts(accounts)
    store = Store(state_dir, seed) if state_dir is not None else None
    incarnation = store.incarnation if store is not None else identifier("incarnation", seed, now)
    timed = read_script(script, tape.start_at)
    exchange = Exchange(config, tape, seed, specs, incarnation, journal=store is not None, script=timed)
    if store is not None:
        exchange.restore(store.load())
    return exchange, store


def switch_on(exchange: Exchange, faults: Path | None, tape: bool = False) -> None:
    """Load a file of faults; `tape`: in a tape run. Raises UsageError for one that cannot be read or used."""
    if faults is None:
        return
    try:
        document = read(faults.read_bytes(), tape)
    except OSError as error:
        raise UsageError(f"{faults}: expected a readable file of faults, was not: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{faults}: {error}") from error
    exchange.faults.tape = tape
    exchange.faults.load(document, exchange.venue.now if tape else time.time_ns())


async def serve(exchange: Exchange, store: Store | None, host: str, port: int, control: bool = True) -> None:
    """Until SIGINT or SIGTERM. Says where it listens in one line of JSON on stderr."""
    server = SimServer(exchange, host, port, store=store, control=control)
    await server.start()
    where = {"event": "simulator listens", "url": f"http://{host}:{server.port}", "tape": exchange.tape.describe()}
    sys.stderr.write(msgspec.json.encode(where).decode() + "\n")
    sys.stderr.flush()
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    waiters = [asyncio.create_task(asked.wait()), asyncio.create_task(server.wait_closed())]
    done, _ = await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    await server.stop()
    for task in done:
        task.result()
    if store is not None:
        store.close()


def run(
    tapes: list[str],
    port: int = 0,
    accounts: Path | None = None,
    state_dir: Path | None = None,
    seed: int = 7,
    speed: int = 1,
    host: str = "127.0.0.1",
    config: SimConfig | None = None,
    faults: Path | None = None,
    control: bool = True,
    script: Path | None = None,
) -> int:
    """Serve until stopped, then 0; raises TapeError or UsageError before anything listens."""
    chosen = config or SimConfig(unconfirmed_klines=True, spot=True, depth=200)
    exchange, store = build(tapes, accounts, state_dir, seed, speed, chosen, script)
    switch_on(exchange, faults)
    uvloop.run(serve(exchange, store, host, port, control))
    return 0
