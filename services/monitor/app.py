"""Composition root of monitor."""

from __future__ import annotations

from libs.common.service import Background, run, run_dir_of
from libs.common.settings import service_settings
from libs.common.telemetry import Metrics
from services.monitor import metrics as read_model
from services.monitor.archiver import Archiver
from services.monitor.config import MonitorConfig
from services.monitor.core import MonitorCore

LINGER_MS = 50
"""Dashboards and alerts are none the worse for it, and the order path has the processor to itself."""


def main() -> None:
    settings, config = service_settings("monitor", MonitorConfig)
    core = MonitorCore(config)

    def background(metrics: Metrics) -> list[Background]:
        read_model.register(metrics, lambda: core.state)
        run_dir = run_dir_of(settings)
        if not config.archive or run_dir is None:
            return []
        key = settings.path(config.archive_key_file).read_text().strip() if config.archive_key_file else ""
        return [Archiver(run_dir, config, settings.bus_as(core.service), metrics=metrics, private_key=key)]

    run(core, settings, background=background, linger_ms=LINGER_MS)
