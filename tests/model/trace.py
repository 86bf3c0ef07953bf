"""T1 to T8 on the log of a finished run, by a checker that shares no code with risk or execution.

    python -m tests.model.trace RUN_DIR

It folds the archived events of the book in the order of their entry ids, which is an order that keeps every cause before its
effects, and keeps its own positions, reservations, modes and halts.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from libs.common import events as e
from libs.common import seal
from libs.common.archive import ArchiveReader
from libs.common.codec import decode
from libs.common.events import Mode, OrderIntent, Purpose
from libs.common.record import Record

STREAMS = ("command", "signal", "order-intent", "halt", "portfolio", "order", "fill", "account")
ZERO = Decimal(0)


class Approval(msgspec.Struct):
    """An approval and what became of it. `cum`: told by its end, before which fills may still be missing."""

    intent: OrderIntent
    submitted: int = 0
    accepted: int = 0
    filled: Decimal = ZERO
    cum: Decimal | None = None

    @property
    def opened(self) -> Decimal:
        most = self.intent.qty if self.cum is None else min(self.cum, self.intent.qty)
        return max(most - self.filled, ZERO)


class Verdict(msgspec.Struct):
    """`broken`: theorem and what broke it; `seen`: how often what the theorems speak of came up."""

    broken: list[str] = []
    seen: Counter[str] = msgspec.field(default_factory=Counter)


class Checker:
    """`public_key`: of risk's seal, hex; "" leaves signatures unchecked and says so in `seen`."""

    def __init__(self, public_key: str = "") -> None:
        self.public_key = public_key
        self.verdict = Verdict()
        self.approvals: dict[str, Approval] = {}
        self.held: dict[str, Decimal] = {}
        self.limit: Decimal | None = None
        self.modes: dict[str, Mode] = {}
        self.halts: dict[str, e.Halted] = {}
        self.resumes: dict[int, e.ResumeRequested] = {}
        self.executions: set[str] = set()
        self.signals: dict[int, int] = {}
        self._rules: dict[type[e.Event], Callable[[Any, Record], None]] = {
            e.LimitChanged: self._limits,
            e.Halted: self._halted,
            e.ModeChanged: self._mode_changed,
            e.ResumeRequested: self._asked,
            e.Resumed: self._resumed,
            e.Signal: self._signal,
            e.OrderRefused: self._refused,
            e.OrderIntent: self._approved,
            e.OrderSubmitted: self._submitted,
            e.OrderAccepted: self._accepted,
            e.OrderRejected: self._rejected,
            e.OrderCancelled: self._ended,
            e.OrderResolved: self._resolved,
            e.Fill: self._filled,
            e.PositionAdjusted: self._adjusted,
        }

    def check(self, records: Iterable[Record]) -> Verdict:
        for record in records:
            rule = self._rules.get(type(record.body))
            if rule is not None:
                rule(record.body, record)
        self._end()
        return self.verdict

    def _demand(self, holds: bool, theorem: str, record: Record | None = None) -> None:
        if not holds:
            where = f" at {record.stream} {record.seq}" if record is not None else ""
            self.verdict.broken.append(theorem + where)

    # --- risk ---------------------------------------------------------------------------------------------------------

    def _limits(self, body: e.LimitChanged, record: Record) -> None:
        self.limit = body.limits.get("max_position_size", self.limit)

    def _halted(self, body: e.Halted, record: Record) -> None:
        self.verdict.seen["halts"] += 1
        self.halts = {
            name: halt for name, halt in self.halts.items() if (halt.scope, halt.reason) != (body.scope, body.reason)
        }
        self.halts[record.id] = body
        self.modes[body.scope] = body.mode

    def _mode_changed(self, body: e.ModeChanged, record: Record) -> None:
        self.modes[body.scope] = body.new
        halted = any(halt.scope == body.scope and halt.mode is not Mode.REDUCE_ONLY for halt in self.halts.values())
        self._demand(
            not halted or body.new in (Mode.HALTED, Mode.LIQUIDATING), "T3: a change of mode lifted a halt", record
        )

    def _asked(self, body: e.ResumeRequested, record: Record) -> None:
        self.resumes[record.seq] = body

    def _resumed(self, body: e.Resumed, record: Record) -> None:
        self.verdict.seen["resumes"] += 1
        halt = self.halts.pop(body.halt_id, None)
        self._demand(halt is not None, "T3: resumed a halt that does not stand", record)
        asked = [self.resumes[seq] for stream, seq in record.cause if stream == "command" and seq in self.resumes]
        by_operator = any(command.halt_id == body.halt_id and command.operator == body.operator for command in asked)
        born = body.operator == "auto_arm" and halt is not None and halt.reason is e.Reason.BORN
        self._demand(by_operator or born, "T3: resumed by nobody who asked for it", record)
        self.modes[body.scope] = body.mode

    def _signal(self, body: e.Signal, record: Record) -> None:
        self.signals[record.seq] = 0

    def _decided(self, record: Record) -> None:
        for stream, seq in record.cause:
            if stream == "signal" and seq in self.signals:
                self.signals[seq] += 1

    def _refused(self, body: e.OrderRefused, record: Record) -> None:
        self.verdict.seen["refusals"] += 1
        self._decided(record)

    def _approved(self, body: OrderIntent, record: Record) -> None:
        self._decided(record)
        entry = body.purpose is Purpose.ENTRY
        self.verdict.seen["entries" if entry else "exits"] += 1
        self._demand(body.order_link_id not in self.approvals, "T6: one id approved twice", record)
        if entry:
            scopes = ("book", f"symbol:{body.symbol}", f"strategy:{body.strategy}")
            barred = [scope for scope in scopes if self.modes.get(scope, Mode.NORMAL) is not Mode.NORMAL]
            self._demand(not barred, f"T1: an entry while {', '.join(barred)} is not NORMAL", record)
        elif any(mode is not Mode.NORMAL for mode in self.modes.values()):
            self.verdict.seen["exits below NORMAL"] += 1
        before = self._used(body.symbol, body.side.sign)
        self.approvals[body.order_link_id] = Approval(body)
        after = self._used(body.symbol, body.side.sign)
        if entry and not body.reduce_only:
            self._demand(
                self.limit is not None and after <= max(self.limit, before),
                f"T2: {after} of {self.limit} on a side",
                record,
            )

    def _used(self, symbol: str, sign: int) -> Decimal:
        mine = (a for a in self.approvals.values() if a.intent.symbol == symbol and a.intent.side.sign == sign)
        opened = sum((a.opened for a in mine if not a.intent.reduce_only), ZERO)
        return max(self.held.get(symbol, ZERO) * sign, ZERO) + opened

    # --- execution -----------------------------------------------------------------------------------------------------

    def _submitted(self, body: e.OrderSubmitted, record: Record) -> None:
        self.verdict.seen["submissions"] += 1
        approval = self.approvals.get(body.order_link_id)
        self._demand(approval is not None, "T5: submitted without an approval before it", record)
        if approval is None:
            return
        approval.submitted += 1
        intent = approval.intent
        same = all(
            getattr(intent, name) == getattr(body, name)
            for name in ("symbol", "side", "qty", "price", "reduce_only", "purpose")
        )
        self._demand(same, "T5: not the order that was approved", record)
        self._demand(record.at < intent.expires_at, "T5: submitted after its approval expired", record)
        if self.public_key:
            self.verdict.seen["seals verified"] += 1
            self._demand(seal.verify(self.public_key, intent), "T5: the seal is not risk's", record)
        self._demand(approval.submitted == 1, "T6: one approval submitted twice", record)

    def _accepted(self, body: e.OrderAccepted, record: Record) -> None:
        approval = self.approvals.get(body.order_link_id)
        if approval is not None:
            approval.accepted += 1
            self._demand(approval.submitted == 1, "T5: accepted and never submitted", record)
            self._demand(approval.accepted == 1, "T6: accepted twice", record)

    def _rejected(self, body: e.OrderRejected, record: Record) -> None:
        if body.reason != "DUPLICATE":
            self._close(body.order_link_id, ZERO)

    def _ended(self, body: e.OrderCancelled, record: Record) -> None:
        self._close(body.order_link_id, body.cum_qty)

    def _resolved(self, body: e.OrderResolved, record: Record) -> None:
        approval = self.approvals.get(body.order_link_id)
        if approval is not None and body.outcome != "live":
            whole = approval.intent.qty if body.outcome == "filled" else ZERO
            self._close(body.order_link_id, body.cum_qty or whole)

    def _close(self, link: str, cum: Decimal) -> None:
        approval = self.approvals.get(link)
        if approval is not None:
            approval.cum = cum

    def _filled(self, body: e.Fill, record: Record) -> None:
        self.verdict.seen["fills"] += 1
        self._demand(body.exec_id not in self.executions, "T6: one execution counted twice", record)
        self.executions.add(body.exec_id)
        held = self.held.get(body.symbol, ZERO)
        if body.reduce_only:
            self._demand(
                abs(held + body.side.sign * body.qty) < abs(held), "T4: an exit grew or turned the position", record
            )
        self.held[body.symbol] = held + body.side.sign * body.qty
        approval = self.approvals.get(body.order_link_id)
        if approval is not None:
            approval.filled += body.qty
            self._demand(approval.filled <= approval.intent.qty, "T6: more traded than was approved", record)
            if body.reduce_only and body.order_qty < approval.intent.qty and approval.filled >= body.order_qty:
                approval.cum = approval.filled  # the venue cut the order down to the position

    def _adjusted(self, body: e.PositionAdjusted, record: Record) -> None:
        self.held[body.symbol] = self.held.get(body.symbol, ZERO) + body.side.sign * body.qty

    # --- the end ----------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """T8: a signal without a decision, an approval without an end. The last ones of a run that was cut may be under way."""
        undecided = [seq for seq, decisions in self.signals.items() if decisions == 0]
        self._demand(
            not undecided, f"T8: {len(undecided)} signals without a decision, first signal {min(undecided, default=0)}"
        )
        waiting = [link for link, a in self.approvals.items() if a.cum is None and a.filled < a.intent.qty]
        self._demand(not waiting, f"T8: {len(waiting)} approvals without an end, first {next(iter(waiting), '')}")
        self.verdict.seen["signals"] = len(self.signals)


def records_of(run_dir: Path) -> Iterator[Record]:
    """The book's events of an archive, merged by entry id; streams in table order at a tie."""
    reader = ArchiveReader(run_dir)
    held = [name for name in STREAMS if name in reader.streams()]
    found = [decode(name, entry, fields) for name in held for entry, fields in reader.entries(name)]
    return iter(sorted(found, key=lambda record: (record.entry, STREAMS.index(record.stream))))


def check_run(run_dir: Path, public_key: str = "") -> Verdict:
    return Checker(public_key).check(records_of(run_dir))


def main(argument: str) -> int:
    verdict = check_run(Path(argument))
    print(", ".join(f"{what} {count}" for what, count in sorted(verdict.seen.items())))
    for fault in verdict.broken[:20]:
        print(fault)
    return 4 if verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
