"""Composition of the signal service: settings, the models they name, and core; it speaks to nobody but the bus."""

from __future__ import annotations

from libs.common.service import run
from libs.common.settings import service_settings
from services.signal.available import models_of
from services.signal.config import SignalConfig
from services.signal.core import SignalCore


def main() -> None:
    settings, config = service_settings("signal", SignalConfig)
    run(SignalCore(config, models_of(config, settings.path(config.models_dir))), settings)
