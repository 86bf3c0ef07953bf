"""The trace checker: silent on a log that is in order, and loud about each way of putting it out of order."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common import events as e
from libs.common import seal
from libs.common.events import Event, Mode, OrderIntent, Purpose, Reason, TimeInForce
from libs.common.record import Record, event_id
from libs.common.values import Side
from tests.model.trace import Checker

D = Decimal
PRIVATE, PUBLIC = seal.generate()
Log = list[Record]


class Writer:
    """A log of a quiet hour: birth, resume, an entry filled in two parts, a halt, an exit, an ADL in between."""

    def __init__(self) -> None:
        self.log: Log = []
        self.seqs: dict[str, int] = {}

    def put(self, stream: str, body: Event, cause: Record | None = None) -> Record:
        seq = self.seqs[stream] = self.seqs.get(stream, 0) + 1
        because = ((cause.stream, cause.seq),) if cause is not None else ()
        name = event_id(because, stream, type(body).__name__, seq)
        self.log.append(Record(stream, (len(self.log), 0), name, seq, len(self.log), because, name, body))
        return self.log[-1]


def intent(link: str, side: Side, qty: str, purpose: Purpose) -> OrderIntent:
    body = OrderIntent(
        order_link_id=link, strategy="trend", symbol="BTCUSDT", side=side, qty=D(qty), price=D(60_000),
        time_in_force=TimeInForce.IOC, reduce_only=purpose is not Purpose.ENTRY, purpose=purpose, expires_at=10**6, limits_version=1,
    )  # fmt: skip
    return seal.sign(PRIVATE, body)


def submitted(body: OrderIntent) -> e.OrderSubmitted:
    names = (
        "order_link_id",
        "strategy",
        "symbol",
        "side",
        "qty",
        "price",
        "time_in_force",
        "reduce_only",
        "purpose",
        "expires_at",
    )
    return e.OrderSubmitted(**{name: getattr(body, name) for name in names})


def fill(body: OrderIntent, name: str, qty: str, cum: str) -> e.Fill:
    return e.Fill(
        order_link_id=body.order_link_id, order_id="v", exec_id=name, strategy=body.strategy, symbol=body.symbol, side=body.side,
        qty=D(qty), price=D(60_000), fee=D(0), is_maker=False, reduce_only=body.reduce_only, purpose=body.purpose, cum_qty=D(cum),
        order_qty=body.qty, exec_at=0,
    )  # fmt: skip


def signal(target: str) -> e.Signal:
    return e.Signal(
        strategy="trend",
        symbol="BTCUSDT",
        target=D(target),
        p=D("0.6"),
        payoff=D(2),
        stop_distance=D(600),
        horizon_ms=1,
    )


def quiet_hour() -> Log:
    w = Writer()
    w.put("portfolio", e.LimitChanged(version=1, limits={"max_position_size": D(2)}, operator="file"))
    birth = w.put("halt", e.Halted(reason=Reason.BORN, measured=D(0), limit=D(0)))
    asked = w.put("command", e.ResumeRequested(operator="alice", nonce="1", expires_at=99, halt_id=birth.id))
    w.put("halt", e.Resumed(halt_id=birth.id, scope="book", operator="alice"), asked)
    entry = intent("e", Side.BUY, "2", Purpose.ENTRY)
    w.put("order-intent", entry, w.put("signal", signal("1")))
    w.put("order", submitted(entry))
    w.put("order", e.OrderAccepted(order_link_id="e", symbol="BTCUSDT", order_id="v"))
    w.put("fill", fill(entry, "x1", "1", "1"))
    w.put("order", e.OrderCancelled(order_link_id="e", symbol="BTCUSDT", cum_qty=D("1.5")))
    w.put("fill", fill(entry, "x2", "0.5", "1.5"))
    w.put("halt", e.Halted(reason=Reason.OPERATOR, measured=D(1), limit=D(0)))
    w.put(
        "account",
        e.PositionAdjusted(symbol="BTCUSDT", exec_id="a", kind="AdlTrade", side=Side.SELL, qty=D("0.5"), price=D(1), fee=D(0), exec_at=0),
    )  # fmt: skip
    leaving = intent("x", Side.SELL, "1", Purpose.EXIT)
    w.put("order-intent", leaving, w.put("signal", signal("0")))
    w.put("order", submitted(leaving))
    w.put("fill", fill(leaving, "x3", "1", "1"))
    return w.log


def changed(kind: type[Event], which: int = 0, **fields: Any) -> Callable[[Log], Log]:
    """Fields of the `which`-th event of a kind put otherwise."""

    def change(log: Log) -> Log:
        chosen = [record for record in log if isinstance(record.body, kind)][which]
        body = msgspec.structs.replace(chosen.body, **fields)
        return [msgspec.structs.replace(record, body=body) if record is chosen else record for record in log]

    return change


def without(kind: type[Event], which: int = 0) -> Callable[[Log], Log]:
    def change(log: Log) -> Log:
        chosen = [record for record in log if isinstance(record.body, kind)][which]
        return [record for record in log if record is not chosen]

    return change


def twice(kind: type[Event], which: int = 0) -> Callable[[Log], Log]:
    def change(log: Log) -> Log:
        chosen = [record for record in log if isinstance(record.body, kind)][which]
        return [copy for record in log for copy in ([record, record] if record is chosen else [record])]

    return change


def entry_after_the_halt(log: Log) -> Log:
    late = intent("late", Side.BUY, "0.1", Purpose.ENTRY)
    last = log[-1]
    more = [msgspec.structs.replace(last, stream="order-intent", seq=90, body=late)]
    return [
        *log,
        *more,
        msgspec.structs.replace(
            last, stream="order", body=e.OrderRejected(order_link_id="late", symbol="BTCUSDT", reason="HALTED")
        ),
    ]


BROKEN: dict[str, tuple[str, Callable[[Log], Log]]] = {
    "an entry in a halt": ("T1", entry_after_the_halt),
    "an entry in another mode": ("T1", changed(e.Resumed, mode=Mode.REDUCE_ONLY)),
    "an entry beyond the limit": ("T2", changed(OrderIntent, qty=D(3))),
    "an entry without any limit known": ("T2", without(e.LimitChanged)),
    "a resume of another halt": ("T3", changed(e.Resumed, halt_id="other")),
    "a resume that nobody asked for": ("T3", without(e.ResumeRequested)),
    "a resume in another's name": ("T3", changed(e.Resumed, operator="bob")),
    "an exit that turns the position": ("T4", changed(e.Fill, 2, qty=D("2.5"))),
    "a submission without approval": ("T5", without(OrderIntent)),
    "a submission of another order": ("T5", changed(e.OrderSubmitted, qty=D(1))),
    "an approval that was altered": ("T5", changed(OrderIntent, limits_version=2)),
    "a submission too late": ("T5", changed(OrderIntent, 1, expires_at=1)),
    "a submission twice": ("T6", twice(e.OrderSubmitted)),
    "an acceptance twice": ("T6", twice(e.OrderAccepted)),
    "an execution twice": ("T6", twice(e.Fill)),
    "more traded than approved": ("T6", changed(e.Fill, qty=D(9))),
    "a signal without decision": ("T8", without(OrderIntent, 1)),
    "an approval without end": ("T8", without(e.Fill, 2)),
}  # fmt: skip


def test_a_log_in_order_breaks_nothing():
    verdict = Checker(PUBLIC).check(quiet_hour())
    assert verdict.broken == []
    assert verdict.seen["entries"] == verdict.seen["exits"] == verdict.seen["exits below NORMAL"] == 1
    assert verdict.seen["seals verified"] == 2


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_out_of_order_is_found(name: str):
    theorem, tamper = BROKEN[name]
    broken = Checker(PUBLIC).check(tamper(quiet_hour())).broken
    assert any(fault.startswith(theorem) for fault in broken), broken


def test_a_transient_block_is_no_halt_and_a_halt_is_lifted_by_no_change_of_mode():
    log = quiet_hour()
    last = log[-1]
    lifted = e.ModeChanged(scope="book", old=Mode.HALTED, new=Mode.NORMAL, reason=Reason.OPERATOR)
    assert Checker().check([*log, msgspec.structs.replace(last, body=lifted)]).broken[0].startswith("T3")
    paused = e.ModeChanged(scope="symbol:X", old=Mode.NORMAL, new=Mode.REDUCE_ONLY, reason=Reason.SPREAD)
    cleared = e.ModeChanged(scope="symbol:X", old=Mode.REDUCE_ONLY, new=Mode.NORMAL, reason=Reason.SPREAD, cleared=True)
    assert not Checker().check([*log, *(msgspec.structs.replace(last, body=body) for body in (paused, cleared))]).broken
