"""One trace from the tick to the fill, made by processes that do not talk to each other about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.common import events as e
from libs.common.record import Record
from libs.common.tracing import Tracer, open_tracer
from tests.unit.monitor.sample import Tape, d, fill, intent, submitted, tick


def chain(venue_correlation: str = "", *, linked: bool = False) -> dict[str, Record]:
    """A tick and what followed. The exchange's frames begin a chain of their own when `venue_correlation` is given; `linked`:
    what follows from them names the approval as a second cause."""
    tape = Tape()
    first = tape.add(tick("BTCUSDT", 60000), 1)
    trace = first.correlation
    forecast = e.Signal(
        strategy="trend", symbol="BTCUSDT", target=d("0.5"), p=d("0.6"), payoff=d(1), stop_distance=d(100), horizon_ms=1
    )
    signal = tape.add(forecast, 1, ("tick", first.seq), trace)
    order = tape.add(intent(), 1, ("signal", signal.seq), trace)
    sent = tape.add(submitted(), 1, ("order-intent", order.seq), trace)
    frame = tape.add(e.VenueMessage(channel="private"), 2, ("venue", 1))
    theirs = venue_correlation or trace
    held = e.OrderAccepted(order_link_id="tg-1", symbol="BTCUSDT", order_id="o1", ack_ms=7)
    accepted = tape.add(held, 2, ("venue", frame.seq), theirs)
    filled = tape.add(fill(), 3, ("venue", frame.seq), theirs)
    if linked:
        second = ("order-intent", order.seq)
        accepted, filled = (msgspec.structs.replace(r, cause=(*r.cause, second)) for r in (accepted, filled))
    return {
        "tick": first,
        "signal": signal,
        "intent": order,
        "submitted": sent,
        "frame": frame,
        "accepted": accepted,
        "fill": filled,
    }


def run_services(records: dict[str, Record]) -> list[ReadableSpan]:
    """Each service with a tracer of its own, as in separate processes."""
    exporter = InMemorySpanExporter()
    plan = {
        "marketdata": ((), ("tick",)),
        "signal": (("tick",), ("signal",)),
        "risk": (("tick", "signal"), ("intent",)),
        "execution": (("intent",), ("submitted", "frame", "accepted", "fill")),
    }
    for service, (consumed, written) in plan.items():
        tracer = Tracer(service, SimpleSpanProcessor(exporter))
        for name in consumed:
            tracer.note(records[name])
        for name in written:
            tracer.record(records[name])
    return list(exporter.get_finished_spans())


@pytest.mark.parametrize(("correlation", "linked"), [("", False), ("f" * 32, False), ("", True)])
def test_tick_to_fill_is_one_trace(correlation: str, linked: bool) -> None:
    records = chain(correlation, linked=linked)
    spans = run_services(records)
    names = ["Tick", "Signal", "OrderIntent", "OrderSubmitted", "OrderAccepted", "Fill"]
    assert [span.name for span in spans] == names
    trace = int(records["tick"].correlation, 16)
    assert {span.context.trace_id for span in spans if span.context} == {trace}
    ids = {span.name: span.context.span_id for span in spans if span.context}
    assert ids["Fill"] == int(records["fill"].id[:16], 16)
    parents = {span.name: span.parent.span_id if span.parent else None for span in spans}
    assert parents == {
        "Tick": None,
        "Signal": ids["Tick"],
        "OrderIntent": ids["Signal"],
        "OrderSubmitted": ids["OrderIntent"],
        "OrderAccepted": ids["OrderSubmitted"],
        "Fill": ids["OrderAccepted"],
    }


def test_what_the_exchange_caused_is_linked_to_its_own_chain_too() -> None:
    spans = run_services(chain("f" * 32))
    assert [len(span.links) for span in spans] == [0, 0, 0, 0, 1, 1]
    assert spans[-1].links[0].context.trace_id == int("f" * 32, 16)


def test_spans_say_what_and_where() -> None:
    sent = next(span for span in run_services(chain()) if span.name == "OrderSubmitted")
    attributes = dict(sent.attributes or {})
    assert attributes["messaging.system"] == "redis"
    assert attributes["messaging.destination.name"] == "order"
    assert attributes["tidegate.symbol"] == "BTCUSDT"
    assert attributes["tidegate.order_link_id"] == "tg-1"
    assert sent.resource.attributes["service.name"] == "execution"
    assert sent.start_time is not None
    assert sent.end_time is not None
    assert sent.start_time <= sent.end_time


def test_wall_clock_times_win_where_the_shell_has_them() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("signal", SimpleSpanProcessor(exporter))
    tracer.record(chain()["signal"], began_at=5, ended_at=9)
    (span,) = exporter.get_finished_spans()
    assert (span.start_time, span.end_time) == (5, 9)


def test_market_data_alone_makes_no_span() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("marketdata", SimpleSpanProcessor(exporter))
    tracer.record(chain()["tick"])
    assert exporter.get_finished_spans() == ()


def test_fills_of_an_order_stand_side_by_side() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer("execution", SimpleSpanProcessor(exporter))
    records = chain(linked=True)
    again = msgspec.structs.replace(records["fill"], id="e" * 32, seq=2)
    tracer.note(records["intent"])
    for record in (records["submitted"], records["accepted"], records["fill"], again):
        tracer.record(record)
    _, accepted, one, two = exporter.get_finished_spans()
    assert one.parent == two.parent == accepted.context


def test_memory_is_bounded() -> None:
    tape = Tape()
    tracer = Tracer("signal", SimpleSpanProcessor(InMemorySpanExporter()))
    for at in range(5000):
        tracer.note(tape.add(tick("BTCUSDT", 60000), at))
    assert len(tracer._known) == 4096


def test_spans_go_to_the_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    tracer = open_tracer("risk", tmp_path, on=True)
    records = chain()
    tracer.note(records["signal"])
    tracer.record(records["intent"])
    tracer.close()
    (line,) = (tmp_path / "traces" / "risk.jsonl").read_text().splitlines()
    span = json.loads(line)
    assert span["name"] == "OrderIntent"
    assert span["context"]["trace_id"] == "0x" + records["tick"].correlation


def test_off_imports_nothing_and_writes_nothing(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from libs.common.tracing import open_tracer
tracer = open_tracer("risk", Path({str(tmp_path)!r}), False)
tracer.record(None); tracer.note(None); tracer.close()
assert not tracer.enabled and not any(name.startswith("opentelemetry") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={"PATH": ""})
    assert not list(tmp_path.iterdir())
