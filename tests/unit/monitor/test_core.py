"""The read model follows the streams, and alerts begin and end with their conditions."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from libs.common import events as e
from libs.common.events import AlertCleared, AlertRaised, Heartbeat, Mode, Reason
from libs.common.record import LOCAL, Record, Timer
from libs.common.seal import FORGERIES
from libs.common.stepper import Local, Stepper
from libs.common.values import Side
from services.monitor.config import MonitorConfig
from services.monitor.core import MonitorCore
from services.monitor.view import OrderStatus
from tests.unit.monitor.sample import MINUTE, SECOND, START, Tape, d, fill, halted, intent, mark, submitted, tick


class Desk:
    """A monitor core behind the real stepper, fed by a tape."""

    def __init__(self, config: MonitorConfig | None = None) -> None:
        self.tape = Tape()
        self.core = MonitorCore(config or MonitorConfig())
        self.stepper = Stepper(self.core)
        self.at = 0

    def see(self, body: e.Event, at: int | None = None) -> list[e.Event]:
        """What monitor writes on this record; `at` in seconds."""
        self.at = self.at if at is None else at
        return self._step(self.tape.add(body, self.at))

    def wait(self, seconds: int) -> list[e.Event]:
        """Time moves on by one timer."""
        self.at += seconds
        return [r.body for r in self.stepper.step([Local(Timer(), START + self.at * SECOND)]).outputs]

    def _step(self, record: Record) -> list[e.Event]:
        return [output.body for output in self.stepper.step([record]).outputs]

    def beat(self) -> None:
        for service in ("marketdata", "signal", "risk", "execution"):
            self.see(Heartbeat(service=service))


def alerts(events: list[e.Event]) -> list[tuple[str, str]]:
    """(`+page`/`+ticket`/`-`, name)"""
    found = []
    for event in events:
        if isinstance(event, AlertRaised):
            found.append((f"+{event.severity}", event.name))
        elif isinstance(event, AlertCleared):
            found.append(("-", event.name))
    return found


# --- read model --------------------------------------------------------------------------------------------------


def test_an_order_goes_through_its_life() -> None:
    desk = Desk()
    state = desk.core.state
    found = []
    for body in (intent(), submitted(), e.OrderUnknown(order_link_id="tg-1", symbol="BTCUSDT", reason="timeout")):
        desk.see(body)
        found.append(state.orders["tg-1"].status)
    assert found == [OrderStatus.APPROVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN]
    desk.see(e.OrderResolved(order_link_id="tg-1", symbol="BTCUSDT", outcome="live"))
    desk.see(fill(qty="0.004"))
    assert (state.orders["tg-1"].status, state.orders["tg-1"].filled) == (OrderStatus.ACCEPTED, Decimal("0.004"))
    desk.see(fill())
    assert state.orders == {}
    assert state.finished[-1].status is OrderStatus.FILLED
    assert state.counters.fills == {"trend|BTCUSDT": 2}
    assert state.counters.fees == {"trend": Decimal("0.66")}
    assert state.counters.outcomes == {"submitted": 1, "unknown": 1, "filled": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (e.OrderRejected(order_link_id="tg-1", symbol="BTCUSDT", reason="no"), OrderStatus.REJECTED),
        (e.OrderCancelled(order_link_id="tg-1", symbol="BTCUSDT", cum_qty=d(0)), OrderStatus.CANCELLED),
        (e.OrderResolved(order_link_id="tg-1", symbol="BTCUSDT", outcome="dead"), OrderStatus.REJECTED),
    ],
)
def test_terminal_outcomes_close_an_order(body: e.Event, status: OrderStatus) -> None:
    desk = Desk()
    desk.see(submitted())
    desk.see(body)
    assert desk.core.state.orders == {}
    assert desk.core.state.finished[-1].status is status


def test_an_approval_nobody_submitted_is_forgotten() -> None:
    desk = Desk()
    desk.see(intent())
    desk.wait(6)
    assert "tg-1" in desk.core.state.orders
    desk.wait(2)
    assert desk.core.state.orders == {}


def test_market_and_book_are_as_last_told() -> None:
    desk = Desk()
    state = desk.core.state
    desk.see(tick("BTCUSDT", "60123.5"))
    desk.see(e.Reference(symbol="BTCUSDT", mark=d(60120), index=d(60110)))
    desk.see(e.DataRejected(symbol="BTCUSDT", kind=e.RejectKind.SPIKE))
    desk.see(e.DataRejected(symbol="BTCUSDT", kind=e.RejectKind.SPIKE))
    desk.see(mark(9900, 10000))
    desk.see(e.OrderRefused(strategy="trend", symbol="BTCUSDT", reason=Reason.NO_EDGE))
    assert (state.symbols["BTCUSDT"].last, state.symbols["BTCUSDT"].mark) == (d("60123.5"), d(60120))
    assert state.symbols["BTCUSDT"].rejected == {"spike": 2}
    assert (state.book.equity, state.book.drawdown) == (d(9900), d("0.01"))
    assert state.book.positions[0].qty == d("-0.02")
    assert state.counters.refusals == {"NO_EDGE": 1}


def test_a_restored_core_goes_on_alike() -> None:
    desk = Desk()
    for body in (submitted(), mark(9900, 10000), halted(), Heartbeat(service="risk"), tick("BTCUSDT", 1)):
        desk.see(body)
    copy = MonitorCore(MonitorConfig())
    copy.restore(desk.core.snapshot())
    assert copy.snapshot() == desk.core.snapshot()
    timer = Record(LOCAL, (1, 0), "0" * 32, 1, START + 10 * MINUTE, (), "0" * 32, Timer())
    copy.evolve(timer)
    desk.core.evolve(timer)
    assert list(copy.decide(timer)) == list(desk.core.decide(timer))


def test_what_is_kept_is_bounded() -> None:
    desk = Desk()
    for number in range(300):
        desk.see(submitted(f"tg-{number}"))
        desk.see(e.OrderRejected(order_link_id=f"tg-{number}", symbol="BTCUSDT", reason="no"))
    assert len(desk.core.state.finished) == 200
    assert desk.core.state.finished[-1].order_link_id == "tg-299"


# --- alerts ------------------------------------------------------------------------------------------------------


def test_a_halt_pages_until_it_is_resumed() -> None:
    desk = Desk()
    assert alerts(desk.see(halted())) == [("+page", "halt:book")]
    assert alerts(desk.wait(1)) == []
    halt_id = next(iter(desk.core.state.halts))
    assert alerts(desk.see(e.Resumed(halt_id=halt_id, scope="book", operator="ana"))) == [("-", "halt:book")]
    assert desk.core.state.modes == {}
    assert desk.core.state.ended_halts[-1].operator == "ana"


def test_a_fresh_book_born_halted_wakes_nobody() -> None:
    assert alerts(Desk().see(e.Halted(reason=Reason.BORN, measured=d(0), limit=d(0)))) == []


def test_reduce_only_is_a_ticket() -> None:
    desk = Desk()
    change = e.ModeChanged(scope="symbol:BTCUSDT", old=Mode.NORMAL, new=Mode.REDUCE_ONLY, reason=Reason.VELOCITY)
    assert alerts(desk.see(change)) == [("+ticket", "reduce_only:symbol:BTCUSDT")]
    back = e.ModeChanged(scope="symbol:BTCUSDT", old=Mode.REDUCE_ONLY, new=Mode.NORMAL, reason=Reason.VELOCITY)
    assert alerts(desk.see(back)) == [("-", "reduce_only:symbol:BTCUSDT")]


def test_a_mismatch_becomes_a_page_when_it_stays() -> None:
    desk = Desk()
    desk.wait(1)
    assert alerts(desk.see(e.Mismatch(kind="position", symbol="BTCUSDT", ours="1", venue="2"))) == [
        ("+ticket", "mismatch")
    ]
    assert alerts(desk.wait(10)) == []
    assert alerts(desk.wait(1)) == [("+page", "mismatch_unresolved")]
    equal = e.Reconciled(checks=1, wallet=d(1), positions=0, open_orders=0)
    assert sorted(alerts(desk.see(equal))) == [("-", "mismatch"), ("-", "mismatch_unresolved")]


def test_a_service_is_silent_after_three_intervals() -> None:
    desk = Desk()
    desk.wait(1)
    desk.beat()
    assert [a for a in alerts(desk.wait(180)) if "silent" in a[1]] == []
    assert sorted(alerts(desk.wait(1))) == [
        ("+page", "silent:execution"),
        ("+page", "silent:risk"),
        ("+ticket", "silent:marketdata"),
        ("+ticket", "silent:signal"),
    ]
    assert alerts(desk.see(Heartbeat(service="risk"))) == [("-", "silent:risk")]


def test_a_service_never_heard_of_is_silent_too() -> None:
    desk = Desk()
    desk.wait(1)
    assert "silent:risk" in [name for _, name in alerts(desk.wait(181))]


def test_a_gap_pages_until_the_service_is_well() -> None:
    desk = Desk()
    assert alerts(desk.see(Heartbeat(service="risk", gap="signal"))) == [("+page", "gap:risk")]
    assert alerts(desk.see(Heartbeat(service="risk"))) == [("-", "gap:risk")]


def test_a_looser_settings_file_is_told() -> None:
    desk = Desk()
    body = e.LooserLimitsIgnored(ignored=(e.Rebase("max_drawdown", Decimal("0.1"), Decimal("0.5")),))
    assert alerts(desk.see(body, at=1)) == [("+ticket", "looser_limits")]
    assert desk.core.state.alerts["looser_limits"].summary.endswith("max_drawdown 0.5 (in force: 0.1)")
    assert ("-", "looser_limits") in alerts(desk.wait(602))


def test_a_foreign_order_is_told_and_forgotten_after_quiet() -> None:
    desk = Desk()
    order = e.ForeignOrder(order_id="9", order_link_id="", symbol="BTCUSDT", side=Side.BUY, qty=d(1))
    assert alerts(desk.see(order, at=1)) == [("+ticket", "foreign_order")]
    desk.wait(300)
    desk.beat()
    assert ("-", "foreign_order") not in alerts(desk.wait(300))
    assert ("-", "foreign_order") in alerts(desk.wait(1))


def test_what_the_account_needs_is_told() -> None:
    desk = Desk()
    assert alerts(desk.see(Heartbeat(service="execution", key_age_days=59))) == []
    assert alerts(desk.see(Heartbeat(service="execution", key_age_days=60))) == [("+ticket", "key_old")]
    assert alerts(desk.see(Heartbeat(service="execution", key_age_days=60, http_silent_ms=1))) == [
        ("+ticket", "http_silent")
    ]
    assert alerts(desk.see(Heartbeat(service="execution"))) == [("-", "key_old"), ("-", "http_silent")]
    fee = e.FeeDiffers(symbol="BTCUSDT", exec_id="1", is_maker=False, expected=d("0.00055"), charged=d("0.001"))
    assert alerts(desk.see(fee, at=1)) == [("+ticket", "fee_differs")]


@pytest.mark.parametrize("reason", sorted(FORGERIES))
def test_an_approval_that_risk_did_not_make_is_counted_and_paged(reason: str) -> None:
    desk = Desk()
    refusal = e.OrderRejected(order_link_id="tg-1", symbol="BTCUSDT", reason=reason)
    assert alerts(desk.see(refusal, at=1)) == [("+page", "forged_approval")]
    assert desk.core.state.counters.forgeries == {reason: 1}
    assert alerts(desk.see(msgspec.structs.replace(refusal, reason="EXPIRED"))) == []


def test_four_fifths_of_a_loss_limit_is_announced() -> None:
    desk = Desk()
    desk.see(
        e.LimitChanged(
            version=1, limits={"max_drawdown": d("0.10"), "max_daily_loss": d("0.5"), "max_weekly_loss": d("0.5")}
        )
    )
    assert alerts(desk.see(mark(9200, 10000))) == []
    assert alerts(desk.see(mark(9199, 10000))) == [("+ticket", "near:max_drawdown")]
    assert alerts(desk.see(mark(9500, 10000))) == [("-", "near:max_drawdown")]


def test_a_silent_feed_is_a_ticket() -> None:
    desk = Desk()
    assert alerts(desk.see(e.FeedDown(symbol="BTCUSDT", reason="silence"))) == [("+ticket", "feed:BTCUSDT")]
    assert alerts(desk.see(e.FeedUp(symbol="BTCUSDT"))) == [("-", "feed:BTCUSDT")]


def test_an_order_without_an_answer_is_told() -> None:
    desk = Desk()
    desk.see(submitted(), at=1)
    assert alerts(desk.wait(30)) == []
    assert alerts(desk.wait(1)) == [("+ticket", "orders_overdue")]
    answer = e.OrderAccepted(order_link_id="tg-1", symbol="BTCUSDT", order_id="o")
    assert alerts(desk.see(answer)) == [("-", "orders_overdue")]


def test_ticks_alone_raise_nothing() -> None:
    desk = Desk()
    desk.see(tick("BTCUSDT", 1), at=1)
    assert desk.see(tick("BTCUSDT", 1), at=1000) == []


def test_a_heartbeat_a_minute() -> None:
    desk = Desk()
    first = [event for event in desk.wait(1) if isinstance(event, Heartbeat)]
    assert [(beat.service, beat.commits) for beat in first] == [("monitor", 0)]
    beats = [sum(isinstance(event, Heartbeat) for event in desk.wait(10)) for _ in range(12)]
    assert beats == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]


def test_a_setting_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="near_limit_ratio: expected above 0"):
        MonitorConfig(near_limit_ratio=Decimal(2))
    with pytest.raises(ValueError, match="archive_rows: expected 1 or more"):
        MonitorConfig(archive_rows=0)
