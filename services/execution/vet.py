"""A look at the venue and the keys before anything else is sent: who cannot be traded with is refused at the start (exit 2)."""

from __future__ import annotations

import httpx

from libs.bybit import rest, vetting
from libs.bybit.client import BybitDriver
from libs.bybit.errors import Outcome
from libs.bybit.hosts import VenueClass
from libs.bybit.sign import Key
from libs.common import logs
from libs.common.errors import SettingsError
from libs.common.values import SPOT, category_of
from services.execution.config import ExecutionConfig


def settled(config: ExecutionConfig, venue: VenueClass) -> bool:
    """Whether the key is checked at this venue. Raises SettingsError where the check may not be left out."""
    check = vetting.checks_by_default(venue) if config.check_key is None else config.check_key
    if not check and not vetting.may_relax(venue):
        raise SettingsError(
            f"execution.check_key: expected true at a {venue} venue, was false; the check may be left out on the simulator and testnet"
        )
    return check


class Vet:
    """Awaited by the driver before it begins; raises SettingsError. What cannot be reached now is left to the core, which asks again."""

    def __init__(self, config: ExecutionConfig, venue: VenueClass, rest_url: str, *, check: bool) -> None:
        self._config, self._venue, self._rest_url, self._check = config, venue, rest_url, check
        self._log = logs.get(venue=venue.value)

    async def __call__(self, driver: BybitDriver) -> None:
        try:
            if not await self._knows_place(driver):
                return
            if not self._check and self._venue is VenueClass.SIM:
                self._log.info("key check relaxed: the simulator")
                return
            usable = [await self._knows_key(driver, slot, key) for slot, key in driver.keys]
        except httpx.HTTPError as error:
            self._log.warning("venue not reached at the start; the key is looked at later", error=type(error).__name__)
            return
        if not any(usable):
            raise SettingsError(
                f"expected an API key that {self._rest_url} takes, was none; a key works on the hosts of its own network and site only: "
                "check the key files, venue.rest_url and venue.region"
            )

    async def _knows_place(self, driver: BybitDriver) -> bool:
        """Only our simulator tells an incarnation: a host that is not Bybit's must, and gets no key before."""
        reply = await driver.ask(rest.market_time())
        if not reply.ok:
            self._log.warning("venue did not tell the time at the start", code=reply.code)
            return False
        simulated = bool(rest.server_time_of(reply.result).incarnation)
        if simulated != (self._venue is VenueClass.SIM):
            was = "Tidegate's simulator" if simulated else "another exchange"
            raise SettingsError(
                f"venue.rest_url: expected a {self._venue} venue at {self._rest_url}, was {was}; name the simulator, or a host of Bybit's"
            )
        return True

    async def _knows_key(self, driver: BybitDriver, slot: str, key: Key) -> bool:
        reply = await driver.ask(rest.key_info(), key)
        if reply.outcome is Outcome.AUTH:
            self._log.warning("key refused by the venue", slot=slot, code=reply.code, message=reply.message)
            driver.refuse(key)
            return False
        if not reply.ok:
            self._log.warning("key not looked at; it is later", slot=slot, code=reply.code)
            return True
        spot = any(category_of(symbol) == SPOT for symbol in self._config.symbols)
        faults = vetting.key_faults(rest.key_info_of(reply.result), self._config.region, spot=spot)
        if faults and self._check:
            raise SettingsError(
                f"API key {slot}: expected one that can trade and nothing else, but {'; '.join(faults)}. Make another one"
            )
        if faults:
            self._log.warning("key check relaxed", slot=slot, faults=faults)
        return True
