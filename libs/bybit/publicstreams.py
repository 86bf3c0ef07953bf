"""The public streams of perpetuals and of spot, which the venue keeps on two paths, as one driver (realtime)."""

from __future__ import annotations

import asyncio

from libs.common.decider import Request
from libs.common.outside import Driver, Inbox
from libs.common.values import SPOT


class PublicStreams:
    """See libs/common/outside.Driver. Calls go out over `linear`; only renewals of spot topics go over `spot`."""

    def __init__(self, linear: Driver, spot: Driver) -> None:
        self._linear, self._spot = linear, spot
        self.failed: asyncio.Future[None] | None = None

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        self.failed = asyncio.get_running_loop().create_future()
        for driver in (self._linear, self._spot):
            await driver.start(inbox, cursor)
            if driver.failed is not None:
                driver.failed.add_done_callback(self._ended)

    async def send(self, request: Request) -> None:
        renews_spot = request.target.startswith(f"resubscribe:{SPOT}:")
        await (self._spot if renews_spot else self._linear).send(request)

    def set_time(self, at: int) -> None:
        self._linear.set_time(at)
        self._spot.set_time(at)

    async def stop(self) -> None:
        await self._linear.stop()
        await self._spot.stop()

    def _ended(self, ended: asyncio.Future[None]) -> None:
        error = None if ended.cancelled() else ended.exception()
        if error is not None and self.failed is not None and not self.failed.done():
            self.failed.set_exception(error)
