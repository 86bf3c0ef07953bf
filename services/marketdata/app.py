"""Composition of the marketdata service: settings, core, the driver of the venue's public side."""

from __future__ import annotations

from libs.bybit.client import BybitDriver
from libs.bybit.lockstep import SPOT_TOPIC
from libs.bybit.publicstreams import PublicStreams
from libs.bybit.stream import Patience
from libs.common.outside import Driver
from libs.common.service import TAPE, run
from libs.common.settings import service_settings
from libs.common.values import LINEAR, SPOT
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore


def main() -> None:
    settings, config = service_settings("marketdata", MarketdataConfig)
    venue, lockstep = settings.venue, settings.run.mode == TAPE

    def stream(category: str, topics: tuple[str, ...], mark: str = "") -> BybitDriver:
        ws_url = f"{venue.market_ws_url.rstrip('/')}/v5/public/{category}"
        patience = Patience(data_within_ms=config.reconnect_ms)
        return BybitDriver(
            venue.market_rest_url, ws_url, None, "marketdata", lockstep, topics, patience=patience, category=mark
        )

    def driver() -> Driver:
        spot = config.topics(SPOT)
        if lockstep:
            return stream(LINEAR, config.topics() + tuple(f"{SPOT_TOPIC}.{topic}" for topic in spot))
        linear = stream(LINEAR, config.topics())
        return PublicStreams(linear, stream(SPOT, spot, SPOT)) if spot else linear

    run(MarketdataCore(config), settings, driver=driver)
