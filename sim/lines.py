"""WebSocket connections as the server holds them: they can be reset, or go dead while they stay open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sim.faults import Cut, HalfOpen
from sim.injector import Active

EXTENSION = "sim.line"


class Line(WebSocketsSansIOProtocol):
    """Uvicorn's connection, handed to the application in the scope's extensions."""

    dead = False
    """Half open: nothing is read or answered, not even a ping."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        if not self.dead:
            super().data_received(data)

    def cut(self) -> None:
        """Reset, as a network does it: no close frame."""
        self.transport.abort()

    def freeze(self) -> None:
        self.dead = True


class Holder(Protocol):
    """Who sits at the end of a line."""

    kind: str
    conn_id: str
    account: str
    line: Line | None


def strike(active: Active, holders: Iterable[Holder], at: int) -> None:
    """A fault of connections happens to those that are open."""
    fault = active.fault
    wanted = fault.line if isinstance(fault, Cut) else ""
    for holder in list(holders):
        if holder.line is None or wanted not in ("", holder.kind) or holder.line.dead:
            continue
        if not holder.account.startswith(fault.match.account) or not active.strikes(at, holder.conn_id):
            continue
        if isinstance(fault, HalfOpen):
            holder.line.freeze()
        else:
            holder.line.cut()
