"""The figures of the heartbeat: latency of acks, calls and errors of the last minute, clock offset."""

from __future__ import annotations

from libs.bybit import rest
from libs.common.events import Heartbeat, VenueMessage
from services.execution.state import Vitals

NS = 1_000_000_000
MS = 1_000_000
SPAN_S = 60
ACKS = 20
SENT_AT_HEADER = "tidegate-sent-at"


def count(vitals: Vitals, now: int, *, error: bool) -> None:
    """One call was answered, or lost."""
    second = now // NS
    if not vitals.window or vitals.window[-1][0] != second:
        vitals.window.append([second, 0, 0])
    row = vitals.window[-1]
    row[1] += 1
    row[2] += error
    while vitals.window[0][0] <= second - SPAN_S:
        vitals.window.pop(0)


def acknowledged(vitals: Vitals, ack_ms: int) -> None:
    """An order was proved `ack_ms` after it was submitted."""
    vitals.acks_ms.append(ack_ms)
    del vitals.acks_ms[:-ACKS]


def measure_clock(vitals: Vitals, reply: rest.Reply, body: VenueMessage) -> None:
    """Exchange time minus ours at the middle of the call. Tape runs have one clock and no stamp to measure with."""
    sent = body.headers.get(SENT_AT_HEADER, "")
    if sent.isdigit() and body.received_at and reply.time_ms:
        vitals.clock_offset_ms = reply.time_ms - (int(sent) + body.received_at) // 2 // MS


def ack_p95_ms(vitals: Vitals) -> int:
    """95th percentile (nearest rank) of the last 20; 0 when there are none."""
    ranked = sorted(vitals.acks_ms)
    return ranked[-(-len(ranked) * 95 // 100) - 1] if ranked else 0


def due(vitals: Vitals, now: int, every_ms: int) -> bool:
    return now // (every_ms * MS) != vitals.beat


def heartbeat(vitals: Vitals, now: int) -> Heartbeat:
    oldest = now // NS - SPAN_S
    rows = [row for row in vitals.window if row[0] > oldest]
    return Heartbeat(
        service="execution",
        order_ack_p95_ms=ack_p95_ms(vitals),
        api_requests=sum(row[1] for row in rows),
        api_errors=sum(row[2] for row in rows),
        clock_offset_ms=vitals.clock_offset_ms,
    )
