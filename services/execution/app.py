"""Composition of the execution service: settings, core, the driver of the venue's private side."""

from __future__ import annotations

import time

from libs.bybit.client import BybitDriver
from libs.bybit.keyring import read_key
from libs.bybit.measure import Measured
from libs.common.errors import SettingsError
from libs.common.outside import Driver
from libs.common.service import TAPE, run
from libs.common.settings import service_settings
from libs.common.streams import WATCHDOG
from services.execution.config import ExecutionConfig
from services.execution.core import ExecutionCore
from services.execution.watchdog.beats import Beating
from services.execution.watchdog.config import WatchdogConfig

TOPICS = ("order", "execution", "position", "wallet")
TIMER_MS = 100


def main() -> None:
    settings, config = service_settings("execution", ExecutionConfig, {WATCHDOG: WatchdogConfig})
    watchdog = settings.section(WATCHDOG, WatchdogConfig)
    venue, lockstep = settings.venue, settings.run.mode == TAPE
    if not venue.key_file:
        raise SettingsError("expected venue.key_file to name a JSON file with the API key, was empty; set it")
    key_file = settings.path(venue.key_file)

    core = ExecutionCore(config)

    def driver() -> Driver:
        stream = venue.ws_url.rstrip("/")
        exchange = BybitDriver(
            venue.rest_url,
            f"{stream}/v5/private",
            key_file,
            "execution",
            lockstep,
            TOPICS,
            recv_window_ms=config.recv_window_ms,
            trade_url=f"{stream}/v5/trade",
            hushed=lambda: core.state.calls.budgets.silent_ms(time.time_ns()),
        )
        beats = watchdog.beat_url and not lockstep
        return Beating(exchange, watchdog.beat_url, watchdog.beat_every_ms) if beats else exchange

    key = read_key(key_file)
    run(core, settings, driver=driver, measure=Measured, secrets=(key.secret,), timer_ms=TIMER_MS)
