"""What an archive holds of one service: its journal, the inputs that names, and the outputs, each read once, forward.

Nothing is decoded twice and outputs not at all: a replayed event is encoded and compared with the columns as they lie in the
archive. Memory does not grow with the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from libs.common.archive import ArchiveReader
from libs.common.codec import body_decoder, entry_text
from libs.common.errors import DivergedError
from libs.common.events import Event, OrderIntent
from libs.common.record import Cause, Record, traceparent
from libs.common.restore import JournalEntry, local_input
from libs.common.stepper import Input, JournalInput, Local
from libs.common.streams import EXECUTION, MARKETDATA, inputs_of, outputs_of

OutputRow = tuple[Any, ...]
"""One event as archived: entry id, id, type, v, seq, at, cause, correlation, traceparent, data."""

INPUT_COLUMNS = ("entry_id", "id", "type", "v", "seq", "at", "cause", "correlation", "data")
OUTPUT_COLUMNS = ("entry_id", "id", "type", "v", "seq", "at", "cause", "correlation", "traceparent", "data")
TYPE, SEQ, AT, DATA = 2, 4, 5, 9
"""Places in an `OutputRow`."""

_encode = msgspec.json.Encoder().encode
_causes = msgspec.json.Decoder(tuple[Cause, ...]).decode
_journal = msgspec.json.Decoder(JournalEntry).decode


def row_of(record: Record) -> OutputRow:
    """The columns that this record would have in an archive."""
    body = record.body
    kind = type(body)
    return (
        entry_text(record.entry),
        record.id,
        kind.__name__,
        kind.VERSION,
        record.seq,
        record.at,
        _encode(record.cause).decode(),
        record.correlation,
        traceparent(record),
        _encode(body).decode(),
    )


def body_of(row: OutputRow) -> Event:
    return body_decoder(row[TYPE], row[3])(row[DATA])


def show(row: OutputRow) -> str:
    return f"{row[0]} {row[TYPE]} {row[DATA]}"


class Recording:
    """One service's side of an archive. `inputs_of` and `next_output` must be asked in the order of the journal."""

    def __init__(self, archive: ArchiveReader, service: str) -> None:
        self.archive, self.service = archive, service
        self._outside = {MARKETDATA: "raw", EXECUTION: "venue"}.get(service, "")
        names = (*inputs_of(service), self._outside) if self._outside else inputs_of(service)
        self._inputs = {name: self._records(name) for name in names}
        self.outputs = outputs_of(service)
        self._outputs = {name: self.rows(name) for name in self.outputs}
        self._ahead: dict[str, deque[OutputRow]] = {name: deque() for name in self.outputs}

    def _records(self, stream: str) -> Iterator[Record]:
        decoders: dict[tuple[str, int], Callable[[str], Event]] = {}
        for columns in self.archive.columns(stream, INPUT_COLUMNS):
            for entry, identity, kind, v, seq, at, cause, correlation, data in zip(*columns, strict=True):
                decode = decoders.get((kind, v))
                if decode is None:
                    decode = decoders[kind, v] = body_decoder(kind, v)
                ms, _, n = entry.partition("-")
                yield Record(stream, (int(ms), int(n)), identity, seq, at, _causes(cause), correlation, decode(data))

    def rows(self, stream: str) -> Iterator[OutputRow]:
        """An output stream from its beginning, apart from `next_output`."""
        for columns in self.archive.columns(stream, OUTPUT_COLUMNS):
            yield from zip(*columns, strict=True)

    def journal(self) -> Iterator[JournalEntry]:
        for (texts,) in self.archive.columns(f"journal:{self.service}", ("data",)):
            yield from map(_journal, texts)

    def inputs(self, items: Sequence[JournalInput]) -> list[Input]:
        """The recorded inputs that a journal entry names. Raises DivergedError when the archive does not have one."""
        return [self._input(item) for item in items]

    def _input(self, item: JournalInput) -> Input:
        name = item[0]
        source = self._inputs.get(name)  # type: ignore[arg-type]  # the first of a journal input is its stream or kind
        if source is None:
            local = local_input(item)
            if local is None:
                raise DivergedError(f"expected an input of {self.service} in its journal, was {item}")
            return local
        record = next(source, None)
        outside = name == self._outside
        if record is not None and (
            record.seq == item[1] if outside else record.entry[1] == item[2] and record.entry[0] == item[1]
        ):
            return Local(record.body, record.at) if outside else record
        found = None if record is None else record.seq if outside else entry_text(record.entry)
        raise DivergedError(
            f"expected {name} {item[1:]} next in the archive for {self.service}, was {found}; run `tidegate events verify`"
        )

    def next_output(self, stream: str) -> OutputRow | None:
        ahead = self._ahead[stream]
        return ahead.popleft() if ahead else next(self._outputs[stream], None)

    def sealed_intent(self, order_link_id: str) -> OrderIntent | None:
        """The approval on record under this id, looked for ahead of what has been compared so far."""
        ahead = self._ahead["order-intent"]
        for row in ahead:
            found = _intent(row)
            if found is not None and found.order_link_id == order_link_id:
                return found
        for row in self._outputs["order-intent"]:
            ahead.append(row)
            found = _intent(row)
            if found is not None:
                return found if found.order_link_id == order_link_id else None
        return None


def _intent(row: OutputRow) -> OrderIntent | None:
    body = body_of(row) if row[TYPE] == OrderIntent.__name__ else None
    return body if isinstance(body, OrderIntent) else None
