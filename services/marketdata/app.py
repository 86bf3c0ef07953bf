"""Composition of the marketdata service: settings, core, the driver of the venue's public side."""

from __future__ import annotations

from libs.bybit.client import BybitDriver
from libs.bybit.stream import Patience
from libs.common.service import TAPE, run
from libs.common.settings import service_settings
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore


def main() -> None:
    settings, config = service_settings("marketdata", MarketdataConfig)
    venue, lockstep = settings.venue, settings.run.mode == TAPE

    def driver() -> BybitDriver:
        ws_url = f"{venue.market_ws_url.rstrip('/')}/v5/public/{config.category}"
        patience = Patience(data_within_ms=config.reconnect_ms)
        return BybitDriver(
            venue.market_rest_url, ws_url, None, "marketdata", lockstep, config.topics(), patience=patience
        )

    run(MarketdataCore(config), settings, driver=driver)
