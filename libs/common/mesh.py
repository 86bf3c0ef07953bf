"""The services in one process: the same steppers, batches and waves as a tape run, without a bus.

Deliveries, staging, release order and the gate follow the Lua of the bus, so a backtest makes the orders that the tape run of
the same tape and seed makes. Nothing is kept but what `sink` is given.
"""

from __future__ import annotations

from collections.abc import Callable

from libs.common.batch import Accepted, Answer, News, work
from libs.common.decider import Core, Request
from libs.common.events import Event
from libs.common.record import Record, Started
from libs.common.stepper import Commit, Finish, Input, Local, Stepper
from libs.common.streams import LOCKSTEP_SERVICES, SERVICES, STREAMS

_ORDER = {stream.name: i for i, stream in enumerate(STREAMS)}

Send = Callable[[str, Request], None]
"""(service, request): carries a call to the exchange."""
Gate = Callable[[Event], dict[str, str]]


class Node:
    """One service: its stepper, and what was released to it."""

    def __init__(self, core: Core, finish: Finish | None) -> None:
        self.stepper = Stepper(core, finish)
        self.inbox: list[Record] = []
        self.sent: set[int] = set()


class Mesh:
    def __init__(
        self, cores: list[Core], send: Send, gate: Gate, finish: dict[str, Finish], sink: Callable[[Record], None]
    ) -> None:
        self.nodes = {core.service: Node(core, finish.get(core.service)) for core in cores}
        self._in_order = [(service, self.nodes[service]) for service in SERVICES if service in self.nodes]
        self.send, self.gate_of, self.sink = send, gate, sink
        self.gate: dict[str, str] = {}
        self._staged: list[Record | dict[str, str]] = []
        self._readers = {
            stream.name: [self.nodes[reader] for reader in stream.readers if reader in self.nodes] for stream in STREAMS
        }

    def start(self, at: int) -> None:
        """Every service's first commit, then everything that follows from them."""
        for service in LOCKSTEP_SERVICES:
            self._work(service, [Local(Started(fresh=True), at)])
        self._settle()

    def instant(self, instant: Record, batches: dict[str, list[Local]]) -> None:
        """One instant: the outside batches, then the instant itself with what was made of them, until all is at rest."""
        self._staged.append(instant)
        for service in SERVICES:
            if service in batches:
                self._apply(service, self.nodes[service].stepper.step(batches[service]))
        self._settle()

    def stage(self, record: Record) -> None:
        """An operator's command, released with the next instant."""
        self._staged.append(record)

    def _settle(self) -> None:
        while self._staged:
            staged, self._staged = self._staged, []
            for item in staged:
                if isinstance(item, dict):
                    self.gate |= item
                else:
                    self.sink(item)
                    for node in self._readers[item.stream]:
                        node.inbox.append(item)
            for service, node in self._in_order:
                if node.inbox:
                    records, node.inbox = node.inbox, []
                    records.sort(key=lambda record: (record.entry, _ORDER[record.stream]))
                    self._work(service, list(records))

    def _work(self, service: str, inputs: list[Input]) -> None:
        todo = work(self.nodes[service].stepper, inputs)
        answer: Answer | None = None
        try:
            while True:
                step = todo.send(answer)  # type: ignore[arg-type]  # None starts a generator
                match step:
                    case Commit():
                        answer = self._apply(service, step)
                    case News():
                        answer = []
                    case Accepted():
                        self._send(service)
        except StopIteration:
            return

    def _apply(self, service: str, commit: Commit) -> bool:
        for scope in commit.scopes:
            state = self.gate.get(scope)
            if state != "open" and (state is not None or scope == "book"):
                return False
        for record in commit.outputs:
            if changes := self.gate_of(record.body):
                self._staged.append(changes)
        for record in commit.outputs:
            if self._readers[record.stream]:
                self._staged.append(record)
            else:
                self.sink(record)
        if not commit.scopes:
            self._send(service)
        return True

    def _send(self, service: str) -> None:
        node = self.nodes[service]
        pending = node.stepper.core.requests()
        for request in pending:
            if request.number not in node.sent:
                node.sent.add(request.number)
                self.send(service, request)
        if len(node.sent) > 4 * len(pending) + 64:
            node.sent &= {request.number for request in pending}
