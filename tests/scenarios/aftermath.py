"""What holds after every strike at a running system, and at its end: read off the bus, the exchange's own lists and the archive."""

from __future__ import annotations

import time
from collections import Counter

from cli.replay import verify
from libs.common.events import (
    AlertCleared,
    AlertRaised,
    Event,
    Fill,
    ForeignOrder,
    Halted,
    Mode,
    ModeChanged,
    OrderIntent,
    OrderRejected,
    OrderSubmitted,
    Reason,
    Reconciled,
    WatchdogActed,
)
from libs.common.seal import FORGERIES
from libs.common.streams import MARKETDATA, MONITOR, SIGNAL
from tests.model.trace import STREAMS, Checker, check_run
from tests.scenarios.checks import ALERT_S, ALERTS, OUTCOME_S
from tests.scenarios.system import System

EARLIER_MS = 10_000
"""The exchange is asked for so much more than happened since the strike."""
NAKED_S = 2


def settled(system: System, struck_at: int, mark: int) -> None:
    """It works again, within half a minute; log and exchange agree on all that happened since the strike (ns, a place of the log)."""
    system.works_again()
    system.until(lambda: system.witness.records(Reconciled, mark))
    assert not list(system.witness.read_again())
    exchange_and_log_agree(system, struck_at // 1_000_000 - EARLIER_MS)
    theorems_hold(system)
    nothing_stands_against_us(system, mark)
    people_were_told(system)
    assert system.naked_s <= NAKED_S, "a position stood without its stop"


def exchange_and_log_agree(system: System, since_ms: int) -> None:
    """Every order there was submitted here before, and is there once; every execution is in the log once, and no other is."""
    orders = Counter(row["orderLinkId"] for row in system.orders(since_ms))
    traded = {row["execId"] for row in system.rows("/v5/execution/list", since_ms) if row["execType"] == "Trade"}
    system.witness.look()
    system.until(lambda: traded <= set(booked(system)))
    fills = booked(system, since_ms)
    known = {row["execId"] for row in system.rows("/v5/execution/list", since_ms)}
    submitted = {body.order_link_id for body in system.witness.records(OrderSubmitted)}
    assert not {link for link, count in orders.items() if count > 1}, "accepted twice"
    assert {link for link in orders if link.startswith("tg-")} <= submitted, "an order without a submission"
    assert set(fills) <= known, "an execution that the exchange does not know"
    assert max(fills.values(), default=1) == 1, "an execution booked twice"


def booked(system: System, since_ms: int = 0) -> Counter[str]:
    fills = system.witness.records(Fill)
    return Counter(body.exec_id for body in fills if body.exec_at // 1_000_000 >= since_ms)


def theorems_hold(system: System) -> None:
    """T1 to T6 over the whole log, by the checker that shares no code with the services; T8 as far as it can be told yet."""
    records = [seen.record for seen in system.witness.log if seen.record.stream in STREAMS]
    checker = Checker(system.seal)
    broken = [fault for fault in checker.check(records).broken if not fault.startswith("T8")]
    assert not broken
    approved_s = {
        s.record.body.order_link_id: s.seen_s for s in system.witness.log if isinstance(s.record.body, OrderIntent)
    }
    late = {
        link
        for link, approval in checker.approvals.items()
        if approval.cum is None
        and approval.filled < approval.intent.qty
        and time.monotonic() - approved_s[link] > OUTCOME_S
    }
    assert not late, "T8: an approval without an end"


def nothing_stands_against_us(system: System, mark: int) -> None:
    """No strike makes our own order a stranger's, an honest approval a forgery, or halts what people have to resume."""
    assert not system.witness.records(ForeignOrder, mark)
    assert not {body.reason for body in system.witness.records(OrderRejected, mark)} & FORGERIES
    assert not [body for body in system.witness.records(Halted, mark) if body.reason is not Reason.BORN]


def people_were_told(system: System) -> None:
    """Whatever went wrong stood in an alert within five seconds by the clock of who looked, of monitor's return if it was away."""
    for seen in system.witness.log:
        until_s = system.witness.next_commit_s(MONITOR, seen.seen_s) + ALERT_S
        if until_s < time.monotonic() and (wanted := alerts_of(seen.record.body)):
            told = any(stood(system, name, seen.seen_s, until_s) for name in wanted)
            assert told, f"expected an alert {wanted} within {ALERT_S} s of {seen.record.body}"


def alerts_of(body: Event) -> tuple[str, ...]:
    """Any of these tells people of an event; () for what nobody has to be told of."""
    match body:
        case WatchdogActed():
            return ("watchdog",) if body.state != "watching" else ()
        case ModeChanged(new=mode) if mode is not Mode.REDUCE_ONLY:
            return ()
        case Halted(reason=Reason.BORN):
            return ()
    names = ALERTS.get(type(body))
    return names(body) if names is not None else ()


def stood(system: System, name: str, since_s: float, until_s: float) -> bool:
    """Whether an alert stood at any time between."""
    stands = False
    for seen in system.witness.log:
        if seen.seen_s > until_s:
            break
        body = seen.record.body
        if isinstance(body, AlertRaised | AlertCleared) and body.name == name:
            raised = isinstance(body, AlertRaised)
            if seen.seen_s >= since_s and (stands or raised):
                return True
            stands = raised
    return stands


def concluded(system: System) -> None:
    """Stopped in the order of the flow: every signal decided, every approval ended, the archive whole, the log replays to the same."""
    system.supervisor.stop(MARKETDATA, SIGNAL)

    def nothing_open() -> bool:
        records = [seen.record for seen in system.witness.log if seen.record.stream in STREAMS]
        return not [fault for fault in Checker().check(records).broken if fault.startswith("T8")]

    system.until(nothing_open, OUTCOME_S)
    system.finish()
    verdict = check_run(system.run_dir, system.seal)
    assert not verdict.broken
    assert min(verdict.seen[what] for what in ("entries", "exits", "fills", "signals", "seals verified")) > 0
    replayed = verify(system.run_dir)
    assert (replayed.differences, replayed.examples, replayed.not_recorded) == (0, [], [])
