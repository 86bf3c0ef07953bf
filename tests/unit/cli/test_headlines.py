"""What people read of halts and modes while a book runs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cli.follow import headline
from libs.common.events import CashMoved, Event, Halted, Mode, ModeChanged, Reason, Resumed
from libs.common.record import Record

SHUT = Mode.REDUCE_ONLY
ID = "0123456789abcdef"


def moved(old: Mode, new: Mode, reason: Reason, *, cleared: bool = False) -> ModeChanged:
    return ModeChanged(scope="symbol:BTCUSDT", old=old, new=new, reason=reason, cleared=cleared)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (moved(Mode.NORMAL, SHUT, Reason.VELOCITY), "symbol:BTCUSDT: NORMAL → REDUCE_ONLY (velocity)"),
        (moved(SHUT, SHUT, Reason.SPREAD), "symbol:BTCUSDT: still REDUCE_ONLY (spread)"),
        (moved(SHUT, SHUT, Reason.VELOCITY, cleared=True), "symbol:BTCUSDT: still REDUCE_ONLY (velocity is over)"),
        (moved(SHUT, Mode.NORMAL, Reason.SPREAD, cleared=True), "symbol:BTCUSDT: REDUCE_ONLY → NORMAL (spread is over)"),
        (
            Halted(reason=Reason.MAX_DAILY_LOSS, measured=Decimal("0.021467"), limit=Decimal("0.02"), scope="book", mode=Mode.HALTED),
            "HALTED book: max_daily_loss 0.0215 of 0.02  0123456789ab",
        ),
        (
            Halted(reason=Reason.BORN, measured=Decimal(0), limit=Decimal(0), scope="book", mode=Mode.HALTED, detail="new"),
            "HALTED book: BORN (new)  0123456789ab",
        ),
        (Resumed(halt_id=ID, scope="book", operator="ann", rebased=(), mode=Mode.NORMAL), "resumed book by ann, halt 0123456789ab"),
        (CashMoved(amount=Decimal(1), reference="1"), ""),
    ],
)  # fmt: skip
def test_a_headline_says_what_changed_and_what_did_not(event: Event, line: str):
    assert headline(Record("halt", (1, 1), ID, 1, 1, (), ID, event)) == line
