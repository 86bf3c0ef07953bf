"""WebSocket connections as the server holds them: they can be reset, or go dead while they stay open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

from sim.faults.injector import Active
from sim.faults.menu import Cut, HalfOpen

EXTENSION = "sim.line"


MOST_WAITING = 32 << 20
"""Bytes a client may lag behind before it is dropped: an exchange waits for nobody."""


def encoded(text: str) -> bytes:
    """A text message as it is on the wire: the same bytes for everybody, nothing being masked or compressed."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


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

    def write(self, data: bytes, patient: bool = False) -> None:
        """Send encoded messages. A client that lags too far behind is cut off, unless we are `patient` with it."""
        if self.dead or self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.transport.write(data)
        if not patient and self.transport.get_write_buffer_size() > MOST_WAITING:
            self.cut()

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
    line: Line


def strike(active: Active, holders: Iterable[Holder], at: int) -> None:
    """A fault of connections happens to those that are open."""
    fault = active.fault
    wanted = fault.line if isinstance(fault, Cut) else ""
    for holder in list(holders):
        if wanted not in ("", holder.kind) or holder.line.dead:
            continue
        if not holder.account.startswith(fault.match.account) or not active.strikes(at, holder.conn_id):
            continue
        if isinstance(fault, HalfOpen):
            holder.line.freeze()
        else:
            holder.line.cut()
