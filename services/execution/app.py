"""Composition of the execution service: settings, core, the driver of the venue's private side."""

from __future__ import annotations

from libs.bybit.client import BybitDriver, read_key
from libs.bybit.measure import Measured
from libs.common.errors import SettingsError
from libs.common.service import TAPE, run
from libs.common.settings import service_settings
from services.execution.config import ExecutionConfig
from services.execution.core import ExecutionCore

TOPICS = ("order", "execution", "position", "wallet")
TIMER_MS = 100


def main() -> None:
    settings, config = service_settings("execution", ExecutionConfig)
    venue, lockstep = settings.venue, settings.run.mode == TAPE
    if not venue.key_file:
        raise SettingsError("expected venue.key_file to name a JSON file with the API key, was empty; set it")
    key_file = settings.path(venue.key_file)

    def driver() -> BybitDriver:
        ws_url = f"{venue.ws_url.rstrip('/')}/v5/private"
        return BybitDriver(
            venue.rest_url, ws_url, key_file, "execution", lockstep, TOPICS, recv_window_ms=config.recv_window_ms
        )

    key = read_key(key_file)
    run(ExecutionCore(config), settings, driver=driver, measure=Measured, secrets=(key.secret,), timer_ms=TIMER_MS)
