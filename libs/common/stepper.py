"""One step of a service, without any I/O: inputs in, a commit out.

The stepper puts what a core yields into envelopes and keeps what orders them: the next `seq` of each output stream, the
Lamport clock, the input cursors. The live runtime, a restart, the replay and the backtest are four drivers of this one class,
which is why they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from libs.common.decider import Core, Linked
from libs.common.errors import StepError
from libs.common.events import Event, Heartbeat, RawFrame, VenueMessage
from libs.common.record import LOCAL, Cause, EntryId, GapFound, Record, Started, Timer, event_id
from libs.common.streams import stream_of

NS_PER_MS = 1_000_000

Finish = Callable[[Event], Event]
"""What the shell adds to an output before it is written (the seal); must not change what a core decided."""


class Local(msgspec.Struct, frozen=True):
    """A fact of this process to be journaled as an input: a timer, a start, a gap, an outside message."""

    body: Event
    at: int


Input = Record | Local

JournalInput = list[str | int | bool]
"""One consumed input in a journal: [stream, ms, n] or [stream, ms, n, "refused"] for stream entries, ["venue"|"raw", seq]
for outside messages, ["timer", at], ["started", at, fresh], ["gap", at, stream, expected, got]."""


class Position(msgspec.Struct):
    """Where a service stands: everything beside the core's state that a restart needs."""

    version: int = 0
    clock: EntryId = (0, 0)
    seqs: dict[str, int] = {}
    """Last seq written, by output stream."""
    cursors: dict[str, EntryId] = {}
    """Last entry consumed, by input stream."""
    seen: dict[str, int] = {}
    """Seq of the last entry consumed, by input stream."""
    instant: int = 0
    """Tape runs: number of the last instant whose outside batch was consumed."""

    def copy(self) -> Position:
        return Position(self.version, self.clock, dict(self.seqs), dict(self.cursors), dict(self.seen), self.instant)


class Commit(msgspec.Struct):
    """What one step wants to write, all or nothing."""

    version: int
    """The version it builds on."""
    journal: list[JournalInput]
    outputs: list[Record]
    scopes: tuple[str, ...] = ()
    """Scopes of the gate that must be open."""
    is_learnt: bool = True
    """The state has evolved already. False: a proposal, which `accept` or nothing follows."""
    consumed: int = 0
    """Deliveries of a tape run that this step settles: stream entries, plus one for an outside batch or a first start."""


class Stepper:
    def __init__(self, core: Core, finish: Finish | None = None, position: Position | None = None) -> None:
        self.core = core
        self.finish = finish
        self.position = position or Position()
        self.proposed = self.position
        """Where the last proposal would lead."""

    def step(self, inputs: Iterable[Input], instant: int | None = None) -> Commit:
        """Evolve and decide every input in order, then settle. Guarded inputs must come through `propose`."""
        commit = self._open()
        last: Record | None = None
        index = 0
        for item in inputs:
            last = self._take(item, commit)
            index = 0
            self.core.evolve(last)
            for yielded in self._decided(last):
                self._emit(yielded, last, index, commit, evolve=True)
                index += 1
        if last is not None:
            for yielded in self.core.settle():
                self._emit(yielded, last, index, commit, evolve=True)
                index += 1
        if instant is not None:
            self.position.instant = instant
            commit.consumed += 1
        self.position.version += 1
        return commit

    def propose(self, record: Record, scopes: tuple[str, ...]) -> Commit:
        """Decide a guarded input alone and touch nothing; `accept` makes it so, or forget it."""
        trial = Stepper(self.core, self.finish, self.position.copy())
        commit = trial._open()
        commit.scopes, commit.is_learnt = scopes, False
        trial._take(record, commit)
        for index, yielded in enumerate(self.core.decide(record)):
            trial._emit(yielded, record, index, commit, evolve=False)
        trial.position.version += 1
        self._pending, self.proposed = record, trial.position
        return commit

    def together(self, records: Sequence[Record]) -> Commit:
        """Decide and learn several guarded inputs, in order, for one commit: what `propose` and `accept` of each would give.

        Take a `mark` before: `undo` it when the gate turns out to be closed.
        """
        commit = self._open()
        scopes: list[str] = []
        for record in records:
            scopes += self.core.guards(record)
            self._take(record, commit)
            first = len(commit.outputs)
            for index, yielded in enumerate(self.core.decide(record)):
                self._emit(yielded, record, index, commit, evolve=False)
            self.core.evolve(record)
            for output in commit.outputs[first:]:
                self.core.evolve(output)
        commit.scopes = tuple(dict.fromkeys(scopes))
        self.position.version += 1
        return commit

    def mark(self) -> tuple[Position, bytes]:
        """What `undo` comes back to."""
        return self.position.copy(), self.core.snapshot()

    def undo(self, mark: tuple[Position, bytes]) -> None:
        """Forget every step since `mark`."""
        self.position = mark[0]
        self.core.restore(mark[1])

    def accept(self, commit: Commit) -> None:
        """The proposed commit went through: learn its input and its outputs."""
        self.position = self.proposed
        self.core.evolve(self._pending)
        for output in commit.outputs:
            self.core.evolve(output)

    def refuse(self, record: Record) -> Commit:
        """The gate stays closed for `record` and no halt explains it: let the core turn it down."""
        commit = self._open()
        self._take(record, commit)
        commit.journal[-1].append("refused")
        self.core.evolve(record)
        for index, yielded in enumerate(self.core.refused(record)):
            self._emit(yielded, record, index, commit, evolve=True)
        self.position.version += 1
        return commit

    def _open(self) -> Commit:
        return Commit(version=self.position.version, journal=[], outputs=[])

    def _decided(self, record: Record) -> Iterator[Event | Linked]:
        if isinstance(record.body, GapFound):
            yield Heartbeat(service=self.core.service, gap=record.body.stream)
        yield from self.core.decide(record)

    def _take(self, item: Input, commit: Commit) -> Record:
        position = self.position
        if isinstance(item, Record):
            if item.entry > position.clock:
                position.clock = item.entry
            position.cursors[item.stream] = item.entry
            position.seen[item.stream] = item.seq
            commit.journal.append([item.stream, item.entry[0], item.entry[1]])
            commit.consumed += 1
            return item
        body, at = item.body, item.at
        if isinstance(body, VenueMessage | RawFrame):
            stream = stream_of(type(body), self.core.service)
            seq = position.seqs.get(stream, 0) + 1
            identity = event_id((), stream, type(body).__name__, seq)
            record = self._write(stream, body, at, (), identity, identity, commit)
            commit.journal.append([stream, record.seq])
            return record
        cause: tuple[Cause, ...] = ((LOCAL, at),)
        identity = event_id(cause, self.core.service, type(body).__name__, 0)
        entry = (at // NS_PER_MS, 0)
        position.clock = max(position.clock, entry)
        match body:
            case Timer():
                commit.journal.append(["timer", at])
            case Started(fresh=fresh):
                commit.journal.append(["started", at, fresh])
                commit.consumed += 1 if fresh else 0
            case GapFound(stream=stream, expected=expected, got=got):
                commit.journal.append(["gap", at, stream, expected, got])
            case _:
                raise StepError(f"expected a timer, a start, a gap or an outside message, was {type(body).__name__}")
        return Record(LOCAL, entry, identity, at, at, cause, identity, body)

    def _emit(self, yielded: Event | Linked, source: Record, index: int, commit: Commit, *, evolve: bool) -> None:
        cause: tuple[Cause, ...] = ((source.stream, source.seq),)
        correlation = source.correlation
        body = yielded
        if isinstance(body, Linked):
            if body.cause != cause[0]:
                cause = (*cause, body.cause)
            correlation, body = body.correlation, body.body
        if self.finish is not None:
            body = self.finish(body)
        stream = stream_of(type(body), self.core.service)
        identity = event_id(cause, stream, type(body).__name__, index)
        record = self._write(stream, body, source.at, cause, identity, correlation, commit)
        if evolve:
            self.core.evolve(record)

    def _write(
        self,
        stream: str,
        body: Event,
        at: int,
        cause: tuple[Cause, ...],
        identity: str,
        correlation: str,
        commit: Commit,
    ) -> Record:
        position = self.position
        entry = (at // NS_PER_MS, 0)
        if entry <= position.clock:
            entry = (position.clock[0], position.clock[1] + 1)
        position.clock = entry
        seq = position.seqs.get(stream, 0) + 1
        position.seqs[stream] = seq
        record = Record(stream, entry, identity, seq, at, cause, correlation, body)
        commit.outputs.append(record)
        return record
