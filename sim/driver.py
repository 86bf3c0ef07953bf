"""The wave driver: plays a tape through the simulator and the services, one instant after the other.

An instant is a fixed window of tape time. Its market events and the requests that arrived during the one before go through the
exchange; the frames and replies are counted before they are sent; the `Instant` itself is released together with what the
services made of the frames. The next instant begins when nothing is under way any more.

`python -m sim.driver` runs it with the simulator in one process, from the settings of TIDEGATE_CONFIG.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import msgspec
import uvloop

from libs.bybit.hosts import place_of
from libs.common import logs
from libs.common.errors import SettingsError, TidegateError
from libs.common.settings import Settings, service_settings
from libs.common.streams import DRIVER
from libs.common.telemetry import write_atomically
from libs.common.waves import Waves
from sim.app import switch_on
from sim.config import SimConfig
from sim.door.accounts import read_accounts
from sim.exchange import Exchange
from sim.instants import FLAT_WITHIN, NS_PER_MS, end_of, instant_record, window_of
from sim.operator import LOOK_EVERY, Operator, Script
from sim.script import read_script
from sim.server import SimServer
from sim.tapes.tape import Tape, open_tape


class Flat(msgspec.Struct):
    """`flat.json`: the exchange's own last answer, and how fast the tape went (wall clock)."""

    orders: int
    positions: int
    wallet: str
    at: int
    instants: int
    seconds: float


class Pace:
    """Wall time against tape time; `speed` 0 means as fast as it goes."""

    def __init__(self, speed: float, start_at: int) -> None:
        self.speed, self.start_at, self.began = speed, start_at, time.monotonic()

    async def wait(self, at: int) -> None:
        if self.speed > 0:
            due = self.began + (at - self.start_at) / 1e9 / self.speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Driver:
    def __init__(
        self,
        server: SimServer,
        waves: Waves,
        operator: Operator,
        tape: Tape,
        *,
        window_ms: int,
        end_at: int,
        speed: float,
    ) -> None:
        self.server, self.waves, self.operator = server, waves, operator
        self.window_ms, self.end_at = window_ms, end_at
        self.pace = Pace(speed, tape.start_at)
        self.number, self.at = 0, tape.start_at
        self.began = time.monotonic()
        """When the first instant began (wall clock): the services are up then."""

    async def run(self, *, flatten: bool) -> None:
        """Until the tape is over and, with `flatten`, the exchange is confirmed flat. Raises TidegateError when it does not
        get flat."""
        await self.server.wait_clients({"marketdata", "execution"})
        await self.waves.quiet()
        self.began = time.monotonic()
        while self.at < self.end_at:
            await self._instant()
            if self.number % LOOK_EVERY == 0:
                await self.operator.look(self.at, self._next_at)
        if not flatten:
            return
        await self.operator.flatten(self._next_at)
        for _ in range(FLAT_WITHIN):
            await self._instant()
            await self.operator.look(self.at, self._next_at)
            if self.operator.script.flat_at is not None:
                return
        raise TidegateError(
            f"expected the exchange flat within {FLAT_WITHIN} instants of the end of the tape, was not; see logs/"
        )

    @property
    def _next_at(self) -> int:
        return self.at + self.window_ms * NS_PER_MS

    async def _instant(self) -> None:
        self.number += 1
        self.at = self._next_at
        await self.pace.wait(self.at)
        batches = self.server.compute(self.at, self.number)
        await self.waves.advance([instant_record(self.number, self.at, self.window_ms)], len(batches))
        await self.server.deliver()
        await self.waves.quiet()


def script_of(settings: Settings) -> Script:
    """The scripted operator of a run. Raises SettingsError when there is no key to sign with."""
    run = settings.run
    if not run.operator_key_file:
        raise SettingsError("expected run.operator_key_file to name the operator's private key, was empty; set it")
    key = settings.path(run.operator_key_file).read_text().strip()
    place = place_of(settings.venue.rest_url, settings.bus.book)
    return Script(run.operator, key, run.resume_after_ms * NS_PER_MS, place)


async def _main(settings: Settings, config: SimConfig) -> Flat:
    run, bus = settings.run, settings.bus_as(DRIVER)
    tape = open_tape(list(run.tapes), run.seed)
    accounts = read_accounts(settings.path(config.accounts_file) if config.accounts_file else None)
    script = read_script(settings.path(config.script) if config.script else None, tape.start_at)
    exchange = Exchange(config, tape, run.seed, accounts, script=script)
    switch_on(exchange, settings.path(config.faults_file) if config.faults_file else None, tape=True)
    server = SimServer(exchange, "127.0.0.1", config.port, lockstep=True)
    waves = Waves(bus.book_url, bus.book)
    server.on_requests = waves.settle
    await server.start()
    await waves.init(tape.start_at)
    operator = Operator(waves.wire, bus.book, script_of(settings))
    speed = 0.0 if run.speed == "max" else float(run.speed)
    end_at = end_of(tape, run.duration_ms)
    driver = Driver(
        server, waves, operator, tape, window_ms=window_of(tape, run.instant_ms), end_at=end_at, speed=speed
    )
    await driver.run(flatten=run.flatten_at_end)
    flat = _flat(exchange, driver, time.monotonic() - driver.began)
    await server.stop()
    waves.close()
    return flat


def _flat(exchange: Exchange, driver: Driver, seconds: float) -> Flat:
    accounts = exchange.summary()["accounts"].values()
    orders = sum(len(account["open_orders"]) for account in accounts)
    positions = sum(len(account["positions"]) for account in accounts)
    wallet = next(iter(accounts))["wallet"]["totalWalletBalance"]
    return Flat(orders, positions, wallet, driver.at, driver.number, round(seconds, 3))


def main(exit_with: Callable[[int], None] = sys.exit) -> None:
    settings, config = service_settings("sim", SimConfig)
    logs.configure("driver", level=settings.telemetry.log_level)
    try:
        flat = uvloop.run(_main(settings, config))
    except TidegateError as e:
        sys.stderr.write(f"{e}\n")
        exit_with(e.exit_code)
        return
    if settings.run.run_dir:
        write_atomically(settings.path(settings.run.run_dir) / "flat.json", msgspec.json.encode(flat))


if __name__ == "__main__":
    main()
