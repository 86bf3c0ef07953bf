"""Composition of the execution service: settings, core, the driver of the venue's private side."""

from __future__ import annotations

import sys

import msgspec

from libs.bybit.client import BybitDriver
from libs.bybit.hosts import VenueClass, binding
from libs.bybit.keyring import read_key
from libs.bybit.measure import Measured
from libs.common.clock import now_ns
from libs.common.errors import SettingsError, TidegateError
from libs.common.logs import redact
from libs.common.outside import Driver
from libs.common.service import TAPE, run
from libs.common.settings import Settings, service_settings
from libs.common.streams import WATCHDOG
from services.execution.config import ExecutionConfig
from services.execution.core import ExecutionCore
from services.execution.vet import Vet, settled
from services.execution.watchdog.beats import Beating
from services.execution.watchdog.config import WatchdogConfig

TOPICS = ("order", "execution", "position", "wallet")
TIMER_MS = 100


def main() -> None:
    try:
        _main()
    except TidegateError as error:
        sys.stderr.write(redact(f"execution: {error}\n"))
        sys.exit(error.exit_code)


def bound(settings: Settings, config: ExecutionConfig) -> tuple[ExecutionConfig, VenueClass]:
    """The configuration as the venue has it, which is learnt from the hosts. Raises SettingsError when stage and venue do not fit."""
    venue = binding(settings.run.stage, settings.venue.region, settings.venue.rest_url, settings.venue.ws_url)
    check = settled(config, venue)
    learnt = {"venue_class": venue.value, "region": settings.venue.region, "book": settings.bus.book}
    return msgspec.structs.replace(config, check_key=check, **learnt), venue


def _main() -> None:
    settings, config = service_settings("execution", ExecutionConfig, {WATCHDOG: WatchdogConfig})
    watchdog = settings.section(WATCHDOG, WatchdogConfig)
    place, lockstep = settings.venue, settings.run.mode == TAPE
    if not place.key_file:
        raise SettingsError("expected venue.key_file to name a JSON file with the API key, was empty; set it")
    config, venue = bound(settings, config)
    key_file = settings.path(place.key_file)
    second = settings.path(place.second_key_file) if place.second_key_file else None
    core = ExecutionCore(config)

    def driver() -> Driver:
        stream = place.ws_url.rstrip("/")
        exchange = BybitDriver(
            place.rest_url,
            f"{stream}/v5/private",
            key_file,
            "execution",
            lockstep,
            TOPICS,
            recv_window_ms=config.recv_window_ms,
            second_key_file=second,
            trade_url="" if venue is VenueClass.DEMO else f"{stream}/v5/trade",
            hushed=lambda: core.state.calls.budgets.silent_ms(now_ns()),
            vet=Vet(config, venue, place.rest_url, check=bool(config.check_key)),
        )
        beats = watchdog.beat_url and not lockstep
        return Beating(exchange, watchdog.beat_url, watchdog.beat_every_ms) if beats else exchange

    secrets = tuple(read_key(file).secret for file in (key_file, second) if file is not None)
    run(core, settings, driver=driver, measure=Measured, secrets=secrets, timer_ms=TIMER_MS)
