"""The five cores as their services build them, for the verbs that run them without a bus: replay and backtest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from libs.bybit.hosts import place_of
from libs.common.decider import Core
from libs.common.settings import load
from libs.common.streams import EXECUTION, MARKETDATA, MONITOR, RISK, SIGNAL


def core_of(service: str, config: Path, overrides: Mapping[str, Any] | None = None) -> Core:
    """A fresh core under the settings file of a run; `overrides` maps dotted keys to other values."""
    kind = _config_kinds()[service]
    settings = load({service: kind}, config, env={}, overrides=overrides or {})
    section: Any = settings.section(service, kind)
    if service == EXECUTION:
        section = msgspec.structs.replace(section, book=settings.bus.book)
    if service in (RISK, SIGNAL) and f"{service}.place" not in (overrides or {}):
        section = msgspec.structs.replace(section, place=place_of(settings.venue.rest_url, settings.bus.book))
    if service == SIGNAL:
        return _signal(section, settings.path(section.models_dir))
    core: Core = _core_kinds()[service](section)
    return core


def _signal(section: Any, models: Path) -> Core:
    """Signal with the models that its settings name."""
    from services.signal.available import models_of
    from services.signal.core import SignalCore

    return SignalCore(section, models_of(section, models))


def _config_kinds() -> dict[str, type[msgspec.Struct]]:
    from services.execution.config import ExecutionConfig
    from services.marketdata.config import MarketdataConfig
    from services.monitor.config import MonitorConfig
    from services.risk.config import RiskConfig
    from services.signal.config import SignalConfig

    return {
        MARKETDATA: MarketdataConfig,
        SIGNAL: SignalConfig,
        RISK: RiskConfig,
        EXECUTION: ExecutionConfig,
        MONITOR: MonitorConfig,
    }


def _core_kinds() -> dict[str, Any]:
    from services.execution.core import ExecutionCore
    from services.marketdata.core import MarketdataCore
    from services.monitor.core import MonitorCore
    from services.risk.core import RiskCore
    from services.signal.core import SignalCore

    return {
        MARKETDATA: MarketdataCore,
        SIGNAL: SignalCore,
        RISK: RiskCore,
        EXECUTION: ExecutionCore,
        MONITOR: MonitorCore,
    }
