"""Scenarios in which the exchange, or the way to it, fails. Numbers are those of README.md."""

from __future__ import annotations

from collections.abc import Callable

from libs.common.events import (
    Fill,
    Halted,
    Mismatch,
    OrderIntent,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    OrderUnknown,
    Purpose,
    Reason,
    Reconciled,
    ResumeRequested,
)
from tests.scenarios.checks import settled, sound
from tests.scenarios.world import EXECUTION, S, World

Make = Callable[..., World]
AMBIGUOUS = [(arrives, answer) for arrives in ("now", "never", "late") for answer in (10000, "timeout")]
JUMPS_MS = (1_200, -6_000)


def entries_since(world: World, at: int) -> int:
    return sum(intent.purpose is Purpose.ENTRY for intent in world.of(OrderIntent, since=at))


def resume_all(world: World, by: str = "ana") -> None:
    """Resume every halt that stands, as an operator does."""
    for record in list(world.records(Halted)):
        world.command(ResumeRequested, by, halt_id=record.id)
    world.step()


def test_01_a_freeze_of_the_exchange_stops_entries_and_doubles_nothing(world: Make) -> None:
    here = world()
    here.trading()
    here.fault({"kind": "refuse", "code": 10016, "match": {"path": "/v5/"}}, {"kind": "silence"})
    here.until(lambda: here.mode() != "NORMAL", 60, "a book that takes no entries")
    shut_at = here.at
    here.run(60)
    assert entries_since(here, shut_at + 1) == 0
    here.calm()
    here.run(20)
    resume_all(here)
    settled(here)
    assert here.mode() == "NORMAL"


def test_02_private_side_gone_for_a_minute_halts_and_two_must_resume(world: Make) -> None:
    here = world({"sim.usdt": "1000000", "risk.stage": "staged"})
    here.trading()
    here.fault({"kind": "ban"}, {"kind": "silence"})
    here.run(60)
    stops = {order.symbol for order in here.account.open_orders.values() if order.stop_type}
    assert {symbol for symbol, position in here.account.positions.items() if position.lots} <= stops
    here.command(ResumeRequested, halt_id="none")
    sound(here)


def test_15_an_ambiguous_create_is_one_order_at_most(world: Make, seed: int) -> None:
    arrives, answer = AMBIGUOUS[seed % len(AMBIGUOUS)]
    here = world()
    here.trading(positions=False)
    here.fault({"kind": "ambiguous", "arrives": arrives, "late_ms": 4000, "answer": answer, "count": 3})
    if arrives == "now" or (
        answer == "timeout" and arrives == "late"
    ):  # the private stream tells before there is a doubt
        here.until(lambda: here.exchange.faults.counts().get("ambiguous", 0) >= 1, 120, "an ambiguous answer")
        here.run(10)
    else:
        here.until(lambda: here.of(OrderUnknown), 120, "an order whose fate is unknown")
    doubtful = {body.order_link_id for body in here.of(OrderUnknown)}
    here.until(lambda: doubtful <= {body.order_link_id for body in here.of(OrderResolved)}, 30, "its fate")
    settled(here)


def test_14_a_silent_private_stream_is_found_by_asking(world: Make) -> None:
    here = world()
    here.trading()
    here.fault({"kind": "silence", "for_ms": 60_000})
    before = len(here.of(Fill))
    here.until(
        lambda: here.of(OrderSubmitted, since=here.began_at)[-1] and len(here.of(Fill)) > before,
        90,
        "a fill all the same",
    )
    settled(here)


def test_13_doubled_and_reordered_messages_move_nothing_twice(world: Make) -> None:
    here = world({"signal.strategies.restless.parameters": {"hold_s": 5}})
    here.trading()
    here.fault(
        {"kind": "duplicate", "rate": 0.6, "times": 3},
        {"kind": "reorder", "rate": 0.5, "ms": 400},
        {"kind": "two_filled", "rate": 0.5},
        {"kind": "partial", "fractions": [0.3, 0.3, 0.4], "gap_ms": 300, "rate": 0.7},
        {"kind": "latency", "where": "reply", "ms": 100, "jitter_ms": 600},
    )
    here.run(60)
    assert len(here.of(Fill)) >= 4
    settled(here)


def test_16_a_restart_that_forgets_closed_orders_resends_nothing(world: Make) -> None:
    here = world({"signal.strategies.restless.parameters": {"hold_s": 5}})
    here.trading()
    here.fault({"kind": "restart"}, {"kind": "silence", "for_ms": 3_000})
    here.run(30)
    settled(here)
    assert not [body for body in here.of(OrderResolved) if body.outcome == "dead"]


def test_17_a_jump_of_the_clock_takes_no_entries_and_heals(world: Make, seed: int) -> None:
    ms = JUMPS_MS[seed % 2]
    here = world({"execution.heartbeat_every_ms": 5_000})
    here.stamped = True
    here.trading()
    here.fault({"kind": "skew", "ms": ms})
    here.until(lambda: here.mode() != "NORMAL", 90, "a book that takes no entries")
    shut_at = here.at
    here.run(20)
    assert entries_since(here, shut_at + 1) == 0
    settled(here)


def test_18_after_a_ban_http_is_silent(world: Make) -> None:
    here = world({"signal.strategies.restless.parameters": {"hold_s": 5}})
    here.trading()
    here.fault({"kind": "refuse", "code": 10006, "rate": 0.4, "for_ms": 8_000}, {"kind": "ban", "after_ms": 8_000})
    here.run(16)
    silent = here.core(EXECUTION).state.calls.budgets.silent_ms(here.at)
    assert silent > 500_000
    before, at = len(here.requests), here.at
    here.run(40)
    assert [path for when, path in here.requests[before:] if when >= at and "market/" not in path] == []
    assert entries_since(here, at) == 0 or not here.of(OrderSubmitted, since=at)
    sound(here)


def test_04_money_that_is_gone_without_a_word_halts(world: Make) -> None:
    here = world()
    here.trading()
    here.account.wallet -= 50_000_000_000
    here.until(
        lambda: [h for h in here.of(Halted) if h.reason is Reason.MISMATCH] or here.of(Mismatch), 15, "a mismatch"
    )
    here.until(lambda: here.mode() != "NORMAL", 15, "a book that takes no entries")
    sound(here)


def test_20_an_order_of_a_strangers_halts_within_five_seconds(world: Make) -> None:
    here = world()
    here.trading()
    here.fault({"kind": "foreign", "symbol": "BTCUSDT", "side": "Buy", "qty": "0.002", "count": 1})
    took = here.until(lambda: [h for h in here.of(Halted) if h.reason is Reason.FOREIGN_ORDER], 10, "a halt")
    assert took <= 5
    here.until(lambda: "foreign_order" in here.alerts(), 5, "an alert")
    no_more = here.at
    here.run(20)
    assert entries_since(here, no_more + 1) == 0
    sound_but_for_the_stranger(here)


def sound_but_for_the_stranger(world: World) -> None:
    world.naked_s = 0.0  # what the stranger bought has no stop of ours
    sound(world)


def test_10_maintenance_makes_no_storm_of_halts(world: Make) -> None:
    here = world()
    here.trading()
    here.do("maintenance", for_s=10, begin_in_s=2)
    here.fault({"kind": "silence", "for_ms": 9_000, "after_ms": 2_000})
    halts = len(here.of(Halted))
    here.run(40)
    assert len(here.of(Halted)) - halts <= 1
    here.run(20)
    resume_all(here)
    settled(here)
    assert here.of(Reconciled)


def test_an_undisturbed_world_is_sound_and_flat_orders_come(world: Make) -> None:
    here = world()
    here.trading()
    here.run(60)
    assert here.of(OrderSubmitted)
    assert not here.of(OrderRejected)
    assert here.at > here.began_at + 60 * S
    settled(here)
