"""What a core is: a state, `evolve` (learn a fact) and `decide` (say what follows from it).

For every record the runtime calls `evolve(record)`, then walks `decide(record)`: each event it yields is put into its
envelope, evolved into the state and written, before `decide` goes on. When a batch of records is done, `settle` may
yield events that conflate it (one Tick for many frames). All of it happens before the batch is committed; nothing in a
core reads a clock, chance, the environment, or does I/O, so the same records in the same batches give the same bytes.

A record whose outputs need an open gate (`guards` is not empty) is decided *before* it is evolved, committed alone (or
with its like), and kept only when the commit went through: a refused guard leaves no trace, and the halt is taken first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from libs.common.events import Event
from libs.common.record import Cause, Record


class Request(msgspec.Struct, frozen=True, gc=False):
    """A call to the exchange that the state says is under way. `number` is unique and rising within the service.

    `target` is path plus query exactly as on the wire; `body` the exact JSON text ("" for GET). Signing, time stamps and
    transport belong to the driver. `weight_class`: `create`, `cancel`, `query` (which rate budget it draws on).
    """

    number: int
    method: str
    target: str
    body: str = ""
    private: bool = True
    weight_class: str = "query"
    transport: str = "http"
    """`http`, or `trade`: over the open trade socket."""


class Linked(msgspec.Struct, frozen=True, gc=False):
    """An event that has a second cause, and belongs to that one's chain: a fill follows a frame *and* an intent.

    `decide` may yield it in place of the bare event.
    """

    body: Event
    cause: Cause
    correlation: str


class Core(ABC):
    """Base of the five `services/*/core.py`. `state` is a msgspec Struct that round-trips through msgpack and JSON."""

    service: ClassVar[str]
    State: ClassVar[Any]
    state: Any

    @abstractmethod
    def evolve(self, record: Record) -> None:
        """Learn a fact: an input or an own output. Never fails on valid events, never yields."""

    @abstractmethod
    def decide(self, record: Record) -> Iterator[Event | Linked]:
        """Yield what follows from an input; the state is evolved by each event before the next one is asked for."""

    def settle(self) -> Iterator[Event | Linked]:
        """Yield what the batch as a whole gives; called once before each commit. Caused by the batch's last record."""
        return iter(())

    def guards(self, record: Record) -> tuple[str, ...]:
        """Scopes of the gate that must be open for this input's outputs; empty for almost everything."""
        return ()

    def refused(self, record: Record) -> Iterator[Event | Linked]:
        """Yield what follows when the gate stays closed for a guarded input although no halt explains it."""
        return iter(())

    def requests(self) -> list[Request]:
        """Calls to the exchange under way as the state has it, by number: submitted and not yet answered."""
        return []

    def expired(self, number: int, now: int) -> bool:
        """Whether the request must not be sent any more at `now` (ns); asked just before it would be."""
        return False

    def calls(self, outputs: list[Record]) -> int:
        """How many more requests would be under way if these outputs of a guarded input were evolved."""
        return 0

    def snapshot(self) -> bytes:
        """The state, as msgpack; as JSON once a number in it is beyond 64 bits: an absurd price must not end the process."""
        try:
            return msgspec.msgpack.encode(self.state)
        except OverflowError:
            return msgspec.json.encode(self.state)

    def restore(self, snapshot: bytes) -> None:
        decode = msgspec.json.decode if snapshot.startswith(b"{") else msgspec.msgpack.decode
        self.state = decode(snapshot, type=self.State)
