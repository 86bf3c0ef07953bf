"""The simulated exchange of a realtime run (`tidegate up`): a tape played by the wall clock, or the real exchange's own stream.

`python -m sim.paper` takes its settings from TIDEGATE_CONFIG. With tapes it plays them; without, it follows the public stream
of the exchange named in [venue], by a connection of its own: an exchange learns of the market from the market, not from its
clients. Orders, wallets and positions are kept in `sim.state_dir`, so a restart changes nothing but a second's silence.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import httpx
import uvloop

from libs.bybit import rest
from libs.bybit.client import BybitDriver
from libs.bybit.stream import Patience
from libs.common import logs
from libs.common.decider import Request
from libs.common.errors import TidegateError, UnreachableError, UsageError
from libs.common.outside import OutsideMessage
from libs.common.sections import Venue
from libs.common.settings import Settings, service_settings
from sim.app import serve, switch_on
from sim.chance import identifier
from sim.config import SimConfig
from sim.door.accounts import read_accounts
from sim.engine.instruments import Instrument
from sim.exchange import Exchange
from sim.script import read_script
from sim.store import Store
from sim.tapes.public import PublicFeed, instrument_of, topics_of
from sim.tapes.tape import LiveTape, PushTape, Tape, open_tape

QUIET_MS = 30_000
"""A public stream without a single frame for so long is opened anew."""
_TIMEOUT_S = 10.0


class Follower:
    """The inbox of the public stream: every frame goes into the exchange's tape."""

    def __init__(self, venue: Venue, feed: PublicFeed, topics: tuple[str, ...], patience: Patience) -> None:
        self._feed = feed
        url = f"{venue.market_ws_url.rstrip('/')}/v5/public/linear"
        self._driver = BybitDriver(venue.market_rest_url, url, None, "sim", False, topics, patience=patience)
        self._asked: dict[int, str] = {}
        self._number = 0
        self._sending: set[asyncio.Task[None]] = set()

    async def start(self) -> asyncio.Future[None]:
        """Follow in the background; the future carries what broke the driver."""
        await self._driver.start(self)
        assert self._driver.failed is not None
        return self._driver.failed

    async def stop(self) -> None:
        await self._driver.stop()

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        """See libs/common/outside.Inbox."""
        for message in messages:
            if message.channel == "public":
                if topic := self._feed.take(message.payload):
                    self._ask(topic)
            elif message.channel == "disconnected":
                self._feed.lost()
            elif message.channel == "lost":
                self._feed.unanswered(self._asked.pop(message.request, ""))
            else:
                self._asked.pop(message.request, None)

    def _ask(self, topic: str) -> None:
        self._number += 1
        self._asked[self._number] = topic
        request = Request(self._number, "WS", f"resubscribe:{topic}", private=False)
        task = asyncio.get_running_loop().create_task(self._driver.send(request))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


async def instruments(venue: Venue, symbols: tuple[str, ...]) -> dict[str, Instrument]:
    """The rules of the symbols as the exchange tells them. Raises UnreachableError or TapeError."""
    found = {}
    async with httpx.AsyncClient(base_url=venue.market_rest_url, timeout=_TIMEOUT_S, trust_env=False) as http:
        for symbol in symbols:
            try:
                response = await http.get(rest.instruments("linear", symbol).target)
            except httpx.HTTPError as error:
                raise UnreachableError(
                    f"expected {venue.market_rest_url} to answer, was {type(error).__name__}; check the network"
                ) from error
            reply = rest.reply_of(response.status_code, response.text)
            if not reply.ok:
                raise UnreachableError(
                    f"expected the rules of {symbol} from {venue.market_rest_url}, was {response.status_code} {reply.message}"
                )
            found[symbol] = instrument_of(reply.result, symbol)
    return found


def origin_of(state_dir: Path | None, now: int) -> int:
    """When the tape began to play (ns): now, or when an earlier process of this run began it."""
    if state_dir is None:
        return now
    path = state_dir / "origin"
    if path.is_file():
        return int(path.read_text())
    state_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{now}\n")
    return now


def live_tape(settings: Settings, state_dir: Path | None, now: int) -> LiveTape:
    """The run's tapes from the wall clock's point of view. Raises UsageError for a speed that is no whole number."""
    run = settings.run
    if not run.speed.isdigit():
        raise UsageError(f"run.speed: expected a whole number in a realtime run, was {run.speed!r}")
    return LiveTape(open_tape(list(run.tapes), run.seed), origin_of(state_dir, now), int(run.speed))


async def run(settings: Settings, config: SimConfig) -> None:
    """Serve until SIGTERM."""
    state_dir = settings.path(config.state_dir) if config.state_dir else None
    now = time.time_ns()
    tape: Tape
    if settings.run.tapes:
        tape = live_tape(settings, state_dir, now)
    else:
        tape = PushTape(await instruments(settings.venue, config.symbols), now)
    store = Store(state_dir, settings.run.seed) if state_dir is not None else None
    incarnation = store.incarnation if store is not None else identifier("incarnation", settings.run.seed, now)
    specs = read_accounts(settings.path(config.accounts_file) if config.accounts_file else None)
    script = read_script(settings.path(config.script) if config.script else None, tape.start_at)
    exchange = Exchange(config, tape, settings.run.seed, specs, incarnation, journal=store is not None, script=script)
    if store is not None:
        exchange.restore(store.load())
    if tape.start_at < now:
        exchange.skip(now)
    switch_on(exchange, settings.path(config.faults_file) if config.faults_file else None)
    serving = asyncio.create_task(serve(exchange, store, "127.0.0.1", config.port))
    if not isinstance(tape, PushTape):
        await serving
        return
    feed = PublicFeed(tape, exchange.venue.markets)
    patience = Patience(data_within_ms=QUIET_MS)
    follower = Follower(settings.venue, feed, topics_of(config.symbols), patience)
    failed = await follower.start()
    await asyncio.wait({serving, failed}, return_when=asyncio.FIRST_COMPLETED)
    await follower.stop()
    if failed.done():
        failed.result()
    await serving


def main() -> int:
    settings, config = service_settings("sim", SimConfig)
    logs.configure("sim", level=settings.telemetry.log_level)
    try:
        uvloop.run(run(settings, config))
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
