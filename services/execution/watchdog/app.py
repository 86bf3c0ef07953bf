"""The dead man's switch of the account: a process of its own, with its own key and its own way out.

While execution is heard, by its datagrams or by its commits, this does nothing but prove now and then that its key works.
When neither comes for `cancel_after_ms`, it cancels what rests and may add risk, and goes on looking until the exchange shows
none; when armed and nothing came for `flatten_after_ms`, it closes every position in slices until the exchange says flat. The
first sign of life stands it down. It keeps no state: started again, it waits the full time before it acts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from libs.bybit.client import BybitDriver
from libs.bybit.keyring import read_key
from libs.common import logs
from libs.common.errors import SettingsError, TidegateError
from libs.common.events import WatchdogActed
from libs.common.probes import Probes
from libs.common.provenance import REVISION_VARIABLE
from libs.common.sections import password_in
from libs.common.service import run_dir_of
from libs.common.settings import Settings, service_settings
from libs.common.startup import end
from libs.common.streams import WATCHDOG
from libs.common.telemetry import Metrics
from services.execution.watchdog import closing
from services.execution.watchdog.beats import BusPulse, Listener
from services.execution.watchdog.closer import Caller, Closer, KeyRefusedError, Look, Unanswered
from services.execution.watchdog.config import WatchdogConfig, address_of
from services.execution.watchdog.notices import Notices
from services.execution.watchdog.silence import NS_PER_MS, Phase, Silence

LOOK_S = 0.1
PHASES = {Phase.WATCHING: 0, Phase.CANCELLING: 1, Phase.FLATTENING: 2}
log = logs.get()


class Watchdog:
    """One account watched. `stopping` ends it."""

    def __init__(self, settings: Settings, config: WatchdogConfig) -> None:
        venue = settings.venue
        self.config = config
        self.stopping = asyncio.Event()
        self.silence = Silence(started_at=time.monotonic_ns())
        self.phase = Phase.WATCHING
        self.metrics = Metrics(WATCHDOG, revision=os.environ.get(REVISION_VARIABLE, ""))
        self.probes = Probes(
            self.metrics,
            run_dir=run_dir_of(settings),
            host=settings.telemetry.probes_host,
            port=settings.telemetry.probes_port,
        )
        self.driver = BybitDriver(
            venue.rest_url,
            "",
            settings.path(config.key_file),
            WATCHDOG,
            lockstep=False,
            local_address=config.bind_address or None,
        )
        self.caller = Caller(self.driver)
        terms = closing.Terms(slice_usd=config.slice_usd, collar=config.collar)
        self.closer = Closer(self.caller, terms, config.settle_coin, self._tell, self._may)
        bus = settings.bus_as(WATCHDOG)
        self.pulse = BusPulse(bus.book_url, bus.book, self._committed)
        self.notices = Notices(bus.book_url, bus.book)
        self.metrics["watchdog_phase"].set(0)
        for counter in ("watchdog_cancels_total", "watchdog_failures_total"):
            self.metrics[counter].inc(0)  # so that a rate over it exists before the first one
        self._key_proved = False
        self._said = ""
        """The state last told: told again only when it changes."""

    async def run(self) -> None:
        """Until `stopping`."""
        loop = asyncio.get_running_loop()
        host, port = address_of(self.config.beat_url)
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: Listener(self._heard), local_addr=(self.config.listen_host or host, port)
            )
        except OSError as error:
            raise SettingsError(
                f"watchdog.beat_url: expected a free address of this machine, was {self.config.beat_url} ({error}); "
                "name another, or set watchdog.listen_host"
            ) from error
        await self.probes.start()
        await self.caller.start()
        tasks = [
            asyncio.create_task(work)
            for work in (self.pulse.run(), self.notices.run(), self._prove_key(), self._stay_awake())
        ]
        log.info("watchdog watches", beat_url=self.config.beat_url, armed=self.config.armed)
        self.silence.started_at = time.monotonic_ns()  # it hears from here on
        try:
            await self._watch()
        finally:
            transport.close()
            await end(*tasks)
            self.pulse.close()
            self.notices.close()
            await self.caller.stop()
            await self.probes.stop()

    async def _watch(self) -> None:
        while not self.stopping.is_set():
            self.probes.beat()
            now = time.monotonic_ns()
            self._measure(now)
            phase = self.silence.phase(now, self.config)
            if phase is not self.phase:
                self._turn(phase)
            if phase is Phase.WATCHING:
                await self._pause(LOOK_S)
            else:
                await self._act(phase)
                await self._pause(self.config.round_every_ms / 1000)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def _turn(self, phase: Phase) -> None:
        self.phase = phase
        self.metrics["watchdog_phase"].set(PHASES[phase])
        self._say(phase.value)
        if phase is Phase.FLATTENING:
            silent_s = self.silence.silent_ms(time.monotonic_ns()) // 1000
            self.notices.halt(f"watchdog closes every position: execution was silent for {silent_s} s")

    async def _act(self, phase: Phase) -> None:
        """One round. What goes wrong is told, and the next round tries again."""
        try:
            look = await (self.closer.close_slices() if phase is Phase.FLATTENING else self.closer.cancel_entries())
        except (Unanswered, KeyRefusedError) as error:
            log.warning("watchdog got no answer", phase=phase.value, problem=str(error))
            self.metrics["watchdog_failures_total"].inc()
            return
        if self._may() and not look.orders.entries:
            if phase is Phase.CANCELLING:
                self._say("cancelled", look)
            elif look.flat:
                self._say("flat", look)

    # --- what it hears ------------------------------------------------------------------------------------------------

    def _heard(self) -> None:
        self.silence.beat(time.monotonic_ns())

    def _committed(self, version: int) -> None:
        self.silence.committed(version, time.monotonic_ns())

    async def _stay_awake(self) -> None:
        """A process that was stopped itself heard nobody meanwhile: it counts anew."""
        awake_at = time.monotonic_ns()
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic_ns()
            if now - awake_at >= self.config.cancel_after_ms * NS_PER_MS:
                log.warning("watchdog was stopped itself, counts anew", ms=(now - awake_at) // NS_PER_MS)
                self.silence.started_at = now
            awake_at = now

    def _may(self) -> bool:
        """Whether it may still act: execution may come back in the middle of a round."""
        return self.silence.phase(time.monotonic_ns(), self.config) is not Phase.WATCHING

    async def _prove_key(self) -> None:
        """A switch whose key was revoked is none: ask with it now and then, and be unready when it is refused."""
        while True:
            try:
                await self.closer.look()
                self._key_proved, problem = True, ""
            except (Unanswered, KeyRefusedError) as error:
                self._key_proved, problem = False, str(error)
                log.warning("watchdog could not read the account", problem=problem)
                self.metrics["watchdog_failures_total"].inc()
            self.probes.set_ready(self._key_proved, problem)
            await asyncio.sleep((self.config.prove_every_ms if self._key_proved else 1_000) / 1000)

    # --- what it tells ------------------------------------------------------------------------------------------------

    def _measure(self, now: int) -> None:
        silence, gauge = self.silence, self.metrics["watchdog_silence_seconds"]
        for way, at in (("direct", silence.direct_at), ("bus", silence.bus_at)):
            gauge.set((now - max(at, silence.started_at)) // NS_PER_MS / 1000, way)

    def _say(self, state: str, look: Look | None = None) -> None:
        if state == self._said:
            return
        self._said = state
        silent_ms = self.silence.silent_ms(time.monotonic_ns())
        stops = len(look.orders.stops) if look else 0
        held = {symbol: str(qty) for symbol, qty in look.held.items()} if look else {}
        log.warning("watchdog", state=state, silent_ms=silent_ms, armed=self.config.armed, stops=stops, held=held)
        self.notices.add(WatchdogActed(state=state, silent_ms=silent_ms, armed=self.config.armed, held=held))

    def _tell(self, what: str, **figures: Any) -> None:
        log.warning("watchdog did", what=what, **figures)
        if what == "cancelled":
            self.metrics["watchdog_cancels_total"].inc(figures["orders"])
        else:
            self.metrics["watchdog_slices_total"].inc(1.0, figures["answer"])


def checked(settings: Settings, config: WatchdogConfig) -> Path:
    """The key file. Raises SettingsError for what a watchdog cannot do without."""
    for name, value in (("beat_url", config.beat_url), ("key_file", config.key_file)):
        if not value:
            raise SettingsError(f"watchdog.{name}: expected a value, was empty; set it")
    path = settings.path(config.key_file)
    if settings.venue.key_file and path.resolve() == settings.path(settings.venue.key_file).resolve():
        raise SettingsError(
            "watchdog.key_file: expected a key of the watchdog's own, was execution's; make a second key of the same account"
        )
    return path


async def _serve(settings: Settings, config: WatchdogConfig) -> None:
    watchdog = Watchdog(settings, config)
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, watchdog.stopping.set)
    await watchdog.run()


def main() -> int:
    try:
        settings, config = service_settings(WATCHDOG, WatchdogConfig)
        logs.configure(WATCHDOG, level=settings.telemetry.log_level)
        logs.guard(read_key(checked(settings, config)).secret, password_in(settings.bus_as(WATCHDOG).book_url))
        uvloop.run(_serve(settings, config))
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0
