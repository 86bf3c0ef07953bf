"""Metrics of the calls to the exchange, taken where they pass: between a runtime and its driver."""

from __future__ import annotations

import asyncio

from libs.bybit import rest
from libs.bybit.errors import API_ERRORS
from libs.common.decider import Request
from libs.common.outside import Driver, Inbox, OutsideMessage
from libs.common.telemetry import Metrics

REMAINING_HEADER = "x-bapi-limit-status"
LOST = "lost"
"""Stands as `ret_code` of a call that nobody answered."""


class Measured:
    """A driver (libs/common/outside.Driver) that counts requests, errors and what is left of the rate limits, by endpoint.

    An error is what the error-rate limit calls one: the exchange failed or did not answer; a refused order is none.
    """

    def __init__(self, driver: Driver, metrics: Metrics) -> None:
        self._driver = driver
        self._requests = metrics["api_requests_total"]
        self._errors = metrics["api_errors_total"]
        self._remaining = metrics["rate_limit_remaining"]
        self._endpoints: dict[int, str] = {}
        self._inbox: Inbox

    @property
    def failed(self) -> asyncio.Future[None] | None:
        return self._driver.failed

    @failed.setter
    def failed(self, value: asyncio.Future[None] | None) -> None:
        self._driver.failed = value

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        self._inbox = inbox
        await self._driver.start(self, cursor)

    async def send(self, request: Request) -> None:
        if request.method == "WS":
            await self._driver.send(request)
            return
        endpoint = rest.endpoint_of(request.target)
        self._endpoints[request.number] = endpoint
        self._requests.inc(1.0, endpoint)
        self._errors.inc(0.0, endpoint, LOST)  # so that a rate over it exists before the first one
        await self._driver.send(request)

    def set_time(self, at: int) -> None:
        self._driver.set_time(at)

    async def stop(self) -> None:
        await self._driver.stop()

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        """The inbox that the driver sees."""
        for message in messages:
            endpoint = self._endpoints.pop(message.request, "") if message.request else ""
            if endpoint:
                self._answered(endpoint, message)
        self._inbox.put(messages, at, number)

    def _answered(self, endpoint: str, message: OutsideMessage) -> None:
        if message.channel == "unsent":
            return
        if message.channel == "lost":
            self._errors.inc(1.0, endpoint, LOST)
            return
        left = message.headers.get(REMAINING_HEADER, "")
        if left.isdigit():
            self._remaining.set(float(left), endpoint)
        reply = rest.reply_of(message.status, message.payload)
        if reply.outcome in API_ERRORS:
            self._errors.inc(1.0, endpoint, str(reply.code if reply.code is not None else f"http-{message.status}"))
