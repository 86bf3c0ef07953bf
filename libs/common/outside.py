"""The edge between a runtime and the exchange: what comes in, and who carries calls out.

A driver (libs/bybit/client.py) puts messages into the runtime's inbox; the runtime records each one as an event before
its core sees it (VenueMessage for execution, RawFrame for marketdata).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from libs.common.decider import Request
from libs.common.events import Event, RawFrame, VenueMessage
from libs.common.streams import MARKETDATA


class OutsideMessage(msgspec.Struct, frozen=True):
    """One thing the outside said.

    `channel`: `reply` (HTTP), `private` or `public` (WebSocket data frame), `lost` (a request whose outcome is unknown),
    `unsent` (a request the shell refused to send: it had expired), `connected` / `disconnected` (realtime only).
    `request` is the Request's number, 0 for frames. `received_at`: wall-clock ns, 0 in tape runs, where only tape time
    exists. `headers` holds rate limit headers in lower case and, in realtime, `tidegate-sent-at` (ns).
    """

    channel: str
    payload: str = ""
    request: int = 0
    status: int = 0
    headers: dict[str, str] = {}
    received_at: int = 0
    category: str = ""
    """`spot` for what came over the public stream of spot."""


def recorded(message: OutsideMessage, service: str, at: int) -> Event:
    """The message as the event of `service` that records it, received at `at` (ns)."""
    if service == MARKETDATA:
        return RawFrame(
            channel=message.channel,
            payload=message.payload,
            request=message.request,
            received_at=at,
            category=message.category,
            status=message.status,
        )
    return VenueMessage(
        channel=message.channel,
        payload=message.payload,
        request=message.request,
        status=message.status,
        headers=message.headers,
        received_at=at,
    )


class Inbox(Protocol):
    """Where a driver delivers. Never waits for the core; what is put together is committed together."""

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        """`at` (ns) and `number` are set for a lockstep batch only; `number` is journaled as the lockstep cursor."""


class Driver(Protocol):
    """Carries Requests to the exchange and answers into the inbox. One driver per process."""

    failed: asyncio.Future[None] | None
    """Set by `start`; carries the error when the driver itself broke, which must end the process."""

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        """Connect in the background. `cursor`: number of the last lockstep batch that was committed."""

    async def send(self, request: Request) -> None:
        """Begin a call and return at once; its one answer (`reply` or `lost`) comes through the inbox."""

    def set_time(self, at: int) -> None:
        """Tape time (ns) for the time stamps of the next calls; without effect in realtime."""

    async def stop(self) -> None:
        """Close every connection; calls under way stay unanswered."""
