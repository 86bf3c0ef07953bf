"""Composition of the signal service: settings, the models they name, and core; it speaks to nobody but the bus."""

from __future__ import annotations

import msgspec

from libs.bybit.hosts import place_of
from libs.common.service import run
from libs.common.settings import service_settings
from services.signal.available import models_of
from services.signal.config import SignalConfig
from services.signal.core import SignalCore


def main() -> None:
    settings, config = service_settings("signal", SignalConfig)
    config = msgspec.structs.replace(config, place=place_of(settings.venue.rest_url, settings.bus.book))
    run(SignalCore(config, models_of(config, settings.path(config.models_dir))), settings)
