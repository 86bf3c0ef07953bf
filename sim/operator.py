"""The scripted operator of a tape run: resumes what halted after a while, flattens when the tape is over.

It looks at the log only while everything is at rest, at fixed instants, so what it does is a function of tape and seed alone.
"""

from __future__ import annotations

from typing import Any

from libs.common import seal, streams
from libs.common.appender import append_command
from libs.common.codec import decode
from libs.common.events import Command, FlatConfirmed, FlattenRequested, Halted, Mode, Resumed, ResumeRequested
from libs.common.record import Record
from libs.common.wire import Wire

LOOK_EVERY = 10
"""Instants between two looks."""
COMMAND_TTL_NS = 600_000_000_000
READS = ("halt", "account")


class Script:
    """What the operator does, given what it saw. `resume_after_ns` 0: halts are left to somebody else."""

    def __init__(self, name: str, private_key: str, resume_after_ns: int, place: str = "") -> None:
        self.name, self.private_key, self.resume_after_ns, self.place = name, private_key, resume_after_ns, place
        self.flat_at: int | None = None
        """When the exchange was confirmed flat after our request."""
        self._halts: dict[str, int] = {}
        self._flatten_at: int | None = None
        self._sent = 0

    def note(self, record: Record) -> None:
        match record.body:
            case Halted(mode=Mode.HALTED):
                self._halts[record.id] = record.at
            case Resumed(halt_id=halt_id):
                self._halts.pop(halt_id, None)
            case FlatConfirmed() if self._flatten_at is not None and record.at >= self._flatten_at:
                self.flat_at = record.at

    def due(self, at: int, next_at: int) -> list[Command]:
        """Resumes of the halts that are old enough at `at`, to be read at `next_at`; none once the book is being flattened."""
        if self._flatten_at is not None or not self.resume_after_ns:
            return []
        ripe = [halt_id for halt_id, halted_at in self._halts.items() if at - halted_at >= self.resume_after_ns]
        for halt_id in ripe:
            del self._halts[halt_id]
        return [self._sealed(ResumeRequested(halt_id=halt_id, **self._common(next_at))) for halt_id in ripe]

    def flatten(self, at: int) -> Command:
        self._flatten_at = at
        return self._sealed(FlattenRequested(reason="end of tape", **self._common(at)))

    def _sealed(self, command: Command) -> Command:
        return seal.sign(self.private_key, command)

    def _common(self, at: int) -> dict[str, Any]:
        self._sent += 1
        nonce = f"{self.name}-{at}-{self._sent}"
        who = {"operator": self.name, "key_id": self.name, "place": self.place}
        return {**who, "nonce": nonce, "expires_at": at + COMMAND_TTL_NS}


class Operator:
    """The script on a bus."""

    def __init__(self, wire: Wire, book: str, script: Script) -> None:
        self.wire, self.book, self.script = wire, book, script
        self._after = dict.fromkeys(READS, "0-0")

    async def look(self, at: int, next_at: int) -> None:
        """Read what happened since the last look, and act on it as of the next instant (which releases the commands)."""
        for name in READS:
            page = await self.wire.call(
                "XRANGE", streams.key(name, self.book), f"({self._after[name]}", "+", "COUNT", 5000
            )
            for entry, fields in page:
                self._after[name] = entry.decode()
                self.script.note(decode(name, entry, fields))
        for command in self.script.due(at, next_at):
            await append_command(self.wire, self.book, command, next_at)

    async def flatten(self, next_at: int) -> None:
        await append_command(self.wire, self.book, self.script.flatten(next_at), next_at)
