"""The figures of the heartbeat: latency of acks, calls and errors of the last minute, clock offset."""

from __future__ import annotations

from libs.bybit import rest
from libs.common.events import Heartbeat, VenueMessage
from services.execution import terms
from services.execution.config import ExecutionConfig
from services.execution.state import State, Vitals

NS = 1_000_000_000
MS = 1_000_000
SPAN_S = 60
ACKS = 20
LEAST_S = 1
"""Between two heartbeats, whatever there is to tell."""
CLOCK_NEWS_MS = 100
"""A clock that moved so far since it was told is told at once."""


def count(vitals: Vitals, now: int, *, error: bool) -> None:
    """One call was answered, or lost."""
    second = now // NS
    if not vitals.window or vitals.window[-1][0] != second:
        vitals.window.append([second, 0, 0])
    row = vitals.window[-1]
    row[1] += 1
    row[2] += error
    vitals.untold_errors |= error
    while vitals.window[0][0] <= second - SPAN_S:
        vitals.window.pop(0)


def acknowledged(vitals: Vitals, ack_ms: int) -> None:
    """An order was proved `ack_ms` after it was submitted."""
    vitals.acks_ms.append(ack_ms)
    del vitals.acks_ms[:-ACKS]


def measure_clock(vitals: Vitals, reply: rest.Reply, body: VenueMessage) -> None:
    """Exchange time minus ours at the middle of the call. Tape runs have one clock and no stamp to measure with."""
    sent = body.headers.get(rest.SENT_AT_HEADER, "")
    if sent.isdigit() and body.received_at and reply.time_ms:
        vitals.clock_offset_ms = reply.time_ms - (int(sent) + body.received_at) // 2 // MS


def ack_p95_ms(vitals: Vitals) -> int:
    """95th percentile (nearest rank) of the last 20; 0 when there are none."""
    ranked = sorted(vitals.acks_ms)
    return ranked[-(-len(ranked) * 95 // 100) - 1] if ranked else 0


def due(state: State, every_ms: int, *, timed: bool) -> bool:
    """At every interval. At once when HTTP falls silent or speaks again, and within a second when calls failed or the clock
    moved: risk must not wait a minute to know."""
    vitals = state.vitals
    if (state.calls.budgets.silent_ms(state.now) > 0) != vitals.silent:
        return True
    if not timed:
        return False
    moved_ms = abs(vitals.clock_offset_ms - vitals.told_offset_ms)
    has_news = vitals.untold_errors or moved_ms >= CLOCK_NEWS_MS
    is_news_due = has_news and state.now - vitals.told_at >= LEAST_S * NS
    return is_news_due or state.now // (every_ms * MS) != vitals.beat


def heartbeat(state: State, config: ExecutionConfig) -> Heartbeat:
    vitals, oldest = state.vitals, state.now // NS - SPAN_S
    rows = [row for row in vitals.window if row[0] > oldest]
    return Heartbeat(
        service="execution",
        order_ack_p95_ms=ack_p95_ms(vitals),
        api_requests=sum(row[1] for row in rows),
        api_errors=sum(row[2] for row in rows),
        clock_offset_ms=vitals.clock_offset_ms,
        http_silent_ms=state.calls.budgets.silent_ms(state.now),
        trade_socket=state.calls.trade_open,
        key_age_days=terms.key_age_days(state, config),
    )


def told(state: State, body: Heartbeat, at: int, every_ms: int) -> None:
    """A heartbeat of ours is in the log."""
    vitals = state.vitals
    vitals.beat, vitals.silent = at // (every_ms * MS), body.http_silent_ms > 0
    vitals.told_at, vitals.told_offset_ms, vitals.untold_errors = at, body.clock_offset_ms, False
