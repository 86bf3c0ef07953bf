"""Traces: one from the tick to the fill, across five processes, made from the records themselves.

Trace id = correlation, span id = first half of the record's id, parent = the record that caused it; so the processes
need not tell each other anything, and a replay shows the same ids. Only order-path events become spans, plus the market
data that a signal came from. When tracing is off nothing is imported and `record` returns at once.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libs.common.codec import entry_text
from libs.common.record import Cause, Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
ORDER_PATH = frozenset(
    (
        "Signal",
        "OrderIntent",
        "OrderRefused",
        "OrderSubmitted",
        "OrderAccepted",
        "OrderRejected",
        "OrderCancelled",
        "Fill",
        "Halted",
    )
)
ORDER_STEPS = frozenset(("OrderIntent", "OrderSubmitted", "OrderAccepted"))
"""What becomes of an order hangs below the last of these: its fills stand side by side."""
SHOWN = (
    "symbol",
    "strategy",
    "side",
    "qty",
    "price",
    "purpose",
    "reason",
    "target",
    "order_link_id",
    "order_id",
    "scope",
)
"""Fields of an event that become attributes; none of them can hold a secret."""
MEMORY = 4096
"""Records remembered to find parents among; a chain is far shorter."""
DEEPEST = 8


class _Known:
    """What is remembered of a record: enough to be a parent, and to be shown as the root of a trace."""

    __slots__ = ("record", "sent", "span", "trace")

    def __init__(self, record: Record, sent: bool) -> None:
        self.record, self.sent = record, sent
        self.trace, self.span = record.correlation, record.id[:16]


class Tracer:
    """Gives records as spans to an exporter. `note` what is consumed, `record` what was committed; both are cheap when off."""

    def __init__(self, service: str, processor: SpanProcessor | None) -> None:
        self.enabled = processor is not None
        self._service = service
        self._processor = processor
        self._known: OrderedDict[Cause, _Known] = OrderedDict()
        self._orders: OrderedDict[str, _Known] = OrderedDict()
        self._resource: Any = None

    def note(self, record: Record) -> None:
        """A record was consumed: it may become a parent."""
        if self.enabled:
            self._remember(record, sent=type(record.body).__name__ in ORDER_PATH)

    def record(self, record: Record, began_at: int = 0, ended_at: int = 0) -> None:
        """A record was committed. Wall-clock `began_at`/`ended_at` (ns) where the shell has them, else its own `at`."""
        if not self.enabled:
            return
        known = self._remember(record, sent=True)
        if type(record.body).__name__ in ORDER_PATH:
            parent = self._parent(known)
            self._emit(known, parent, began_at, ended_at)
            if type(record.body).__name__ in ORDER_STEPS:
                _put(self._orders, getattr(record.body, "order_link_id", ""), known)

    def close(self) -> None:
        """Export what is left."""
        if self._processor is not None:
            self._processor.shutdown()

    def _remember(self, record: Record, sent: bool) -> _Known:
        known = _Known(record, sent)
        _put(self._known, (record.stream, record.seq), known)
        link = getattr(record.body, "order_link_id", "") if sent else ""
        if link and link not in self._orders:
            _put(self._orders, link, known)
        return known

    def _parent(self, known: _Known) -> _Known | None:
        """The causing record; for what the exchange says of an order, the order's last span.

        A frame of the exchange starts a chain of its own, so its correlation would begin a second trace.
        """
        causes = [self._known[cause] for cause in known.record.cause if cause in self._known]
        on_path = [cause for cause in causes if type(cause.record.body).__name__ in ORDER_PATH]
        order = self._orders.get(getattr(known.record.body, "order_link_id", ""))
        if order is not None and order is not known and all(cause.trace == order.trace for cause in on_path[-1:]):
            parent: _Known | None = order
        else:
            parent = next(reversed(on_path or causes), None)
        if parent is not None:
            known.trace = parent.trace
            self._show_roots(parent, DEEPEST)
        return parent

    def _show_roots(self, known: _Known, depth: int) -> None:
        """Emit the market data a signal came from, once: a trace whose root is missing is hard to read."""
        if known.sent or depth == 0:
            return
        known.sent = True
        parent = next((self._known[cause] for cause in known.record.cause if cause in self._known), None)
        if parent is not None and parent.trace == known.trace:
            self._show_roots(parent, depth - 1)
            self._emit(known, parent, 0, 0)
        else:
            self._emit(known, None, 0, 0)

    def _emit(self, known: _Known, parent: _Known | None, began_at: int, ended_at: int) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind

        record = known.record
        earliest = parent.record.at if parent else record.at
        ended_at = ended_at or record.at
        span = ReadableSpan(
            name=type(record.body).__name__,
            context=_context(known.trace, known.span),
            parent=_context(parent.trace, parent.span) if parent else None,
            resource=self._describe(),
            attributes=_attributes(record),
            links=_links(known),
            kind=SpanKind.PRODUCER,
            start_time=began_at or min(earliest, ended_at),
            end_time=ended_at,
        )
        assert self._processor is not None  # only called when tracing is on
        self._processor.on_end(span)

    def _describe(self) -> Any:
        if self._resource is None:
            from opentelemetry.sdk.resources import Resource

            self._resource = Resource.create({"service.name": self._service, "service.namespace": "tidegate"})
        return self._resource


def open_tracer(service: str, run_dir: Path | None, on: bool) -> Tracer:
    """The tracer of a process: OTLP over HTTP when the standard variable names a collector, else
    `traces/<service>.jsonl` in the run directory when `on`, else one that does nothing."""
    exporter: SpanExporter | None = None
    if os.environ.get(ENDPOINT_VARIABLE):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    elif on and run_dir is not None:
        exporter = file_exporter(run_dir / "traces" / f"{service}.jsonl")
    if exporter is None:
        return Tracer(service, None)
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return Tracer(service, BatchSpanProcessor(exporter, schedule_delay_millis=1000))


def file_exporter(path: Path) -> SpanExporter:
    """Appends one JSON object a span to `path`."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    path.parent.mkdir(parents=True, exist_ok=True)

    class FileExporter(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(span.to_json(indent=None) + "\n" for span in spans)
            return SpanExportResult.SUCCESS

    return FileExporter()


def _put(memory: OrderedDict[Any, _Known], key: Any, known: _Known) -> None:
    memory[key] = known
    memory.move_to_end(key)
    if len(memory) > MEMORY:
        memory.popitem(last=False)


def _context(trace: str, span: str) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _links(known: _Known) -> list[Any]:
    """A link to the chain of the exchange's frame, where the record was moved into its order's trace."""
    from opentelemetry.trace import Link

    record = known.record
    return [Link(_context(record.correlation, known.span))] if record.correlation != known.trace else []


def _attributes(record: Record) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "messaging.system": "redis",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": record.stream,
        "messaging.message.id": entry_text(record.entry),
        "messaging.message.conversation_id": record.correlation,
        "tidegate.event.id": record.id,
        "tidegate.event.seq": record.seq,
    }
    for name in SHOWN:
        value = getattr(record.body, name, None)
        if value is not None and value != "":
            found[f"tidegate.{name}"] = str(value)
    return found
