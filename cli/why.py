"""`tidegate why ID`: the causal chain of an order, intent, signal, halt or any event, with the time of each hop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from cli.context import DEFAULT, Ctx, Format, RunDir
from cli.output import event_row, print_json, print_rows
from cli.sources import Source, open_source
from cli.words import words
from libs.common.errors import UsageError
from libs.common.events import OrderIntent, OrderRefused
from libs.common.record import Record
from libs.common.streams import BOOK, BY_NAME, STREAMS

_SHORTEST_ID = 6
_DEEPEST = 40
NS_PER_MS = 1_000_000


def why(
    identity: Annotated[str, Parameter(name="ID", help="Order link id, or the (start of an) event's id.")],
    *,
    output: Format = "table",
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Say why: what caused it, back to the market event or command it began with, and what came of it.

    hop ms: in the run's own time (tape time on a tape: 0 within an instant). wire ms: what an event says of the way outside.
    """
    with open_source(ctx, run_dir) as source:
        chain = trace(source, identity)
    rows = [_row(record, chain[i - 1] if i else None) for i, record in enumerate(chain)]
    if output == "json":
        times = ("hop_ms", "wire_ms")
        hops = [{**event_row(r), **{name: row[name] for name in times}} for r, row in zip(chain, rows, strict=True)]
        print_json({"id": identity, "chain": hops, "verdict": verdict_rows(chain)})
        return 0
    print_rows(rows, ("at", "hop_ms", "wire_ms", "stream", "seq", "type", "what", "id"), output)
    if output == "table" and (verdict := verdict_rows(chain)):
        print_rows(verdict, ("limit", "measured", "allowed", "headroom", "binding"), output, title="the verdict")
    return 0


def verdict_rows(chain: list[Record]) -> list[dict[str, Any]]:
    """Every limit of the chain's verdict in its order: measure, what is allowed, what was left; which one refused."""
    for record in chain:
        body = record.body
        if isinstance(body, OrderIntent | OrderRefused) and body.limits:
            binding = body.reason if isinstance(body, OrderRefused) else None
            return [
                {
                    "limit": str(use.name),
                    "measured": use.measured,
                    "allowed": use.limit,
                    "headroom": use.headroom,
                    "binding": "yes" if use.name == binding else "",
                }
                for use in body.limits
            ]
    return []


def _row(record: Record, before: Record | None) -> dict[str, Any]:
    return {
        "at": record.at,
        "hop_ms": round((record.at - before.at) / NS_PER_MS, 3) if before else 0,
        "wire_ms": _wire_ms(record),
        "stream": record.stream,
        "seq": record.seq,
        "type": type(record.body).__name__,
        "what": words(record),
        "id": record.id[:12],
    }


def _wire_ms(record: Record) -> float | None:
    """What a hop took outside, where an event says so: market data from the exchange's stamp to ours, an order until its answer."""
    exchange_at, received_at = getattr(record.body, "exchange_at", 0), getattr(record.body, "received_at", 0)
    if exchange_at and received_at:
        return round((received_at - exchange_at) / NS_PER_MS, 3)
    answered: int | None = getattr(record.body, "ack_ms", None)
    return answered


def trace(source: Source, identity: str) -> list[Record]:
    """Everything that led to `identity` and, for an order, everything that came of it, in entry order."""
    if len(identity) < _SHORTEST_ID:
        raise UsageError(
            f"expected an id of at least {_SHORTEST_ID} characters, was {identity!r}; ids are in tidegate orders"
        )
    found = list(_order_story(source, identity))
    if not found:
        event = find_event(source, identity)
        link = getattr(event.body, "order_link_id", "")
        found = [event, *_order_story(source, link)] if link else [event]
    seen = {record.id: record for record in found}
    first = min(found, key=lambda record: record.entry)
    for record in _causes(source, first):
        seen.setdefault(record.id, record)
    return sorted(seen.values(), key=lambda record: (record.entry, list(BY_NAME).index(record.stream)))


def _order_story(source: Source, link: str) -> Iterator[Record]:
    """The intent, the order's events and its fills, by order link id (or its start)."""
    for stream in ("order-intent", "order", "fill"):
        for record in source.read(stream):
            if getattr(record.body, "order_link_id", "").startswith(link) and link:
                yield record


def find_event(source: Source, identity: str) -> Record:
    """The event whose id starts so; the book's streams are searched first, the newest events first."""
    for stream in sorted(STREAMS, key=lambda s: s.shard != BOOK):
        for record in source.newest(stream.name):
            if record.id.startswith(identity):
                return record
    raise UsageError(
        f"expected the id of an order or event of this log, was {identity!r}; see tidegate orders, tidegate events tail"
    )


def _causes(source: Source, record: Record) -> Iterator[Record]:
    """What led to a record, nearest first, at most `_DEEPEST`."""
    todo, seen = [record], {record.id}
    for _ in range(_DEEPEST):
        if not todo:
            return
        effect = todo.pop(0)
        for stream, seq in effect.cause:
            if stream not in BY_NAME:  # a timer or a start: no entry of its own
                continue
            cause = source.at(stream, seq, effect.entry)
            if cause is not None and cause.id not in seen:
                seen.add(cause.id)
                todo.append(cause)
                yield cause
