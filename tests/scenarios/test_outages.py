"""Scenarios in which the exchange, or the way to it, fails. Numbers are those of README.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from libs.common.events import (
    Fill,
    Halted,
    Mismatch,
    ModeChanged,
    OrderCancelled,
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
from tests.scenarios.checks import ALERT_S, settled, sound
from tests.scenarios.world import EXECUTION, RISK, S, World

Make = Callable[..., World]
TRUE_SPAN = 2
"""The seed under which an outage lasts as long as it did."""
FOUND_S = 9
"""A round of polls, and as many tries as make a fifth of a minute's calls."""
POLL_S = 6.5
CANCELS_A_SECOND = 10
PRIVATE = [f"/v5/{part}" for part in ("order", "position", "account", "execution", "asset", "user")]
AMBIGUOUS = [(arrives, answer) for arrives in ("now", "never", "late") for answer in (10000, "timeout")]
JUMPS_MS = (1_200, -6_000)


def entries_since(world: World, at: int) -> int:
    return sum(intent.purpose is Purpose.ENTRY for intent in world.of(OrderIntent, since=at))


def resume_all(world: World, by: str = "ana") -> None:
    """Resume every halt that stands, as an operator does."""
    for halt_id in world.halts():
        world.command(ResumeRequested, by, halt_id=halt_id)
    world.run(2)


def submissions_since(world: World, at: int) -> int:
    """Entries that execution was about to send."""
    return sum(order.purpose is Purpose.ENTRY for order in world.of(OrderSubmitted, since=at))


def shut(world: World, within_s: float = FOUND_S) -> int:
    """The instant (ns) at which the book is found to take no entries any more."""
    world.until(lambda: world.mode() != "NORMAL", within_s, "a book that takes no entries")
    return world.at


def entries_only_after_agreement(world: World, since: int) -> None:
    """Whatever was approved since had an agreement of log and exchange before it."""
    agreed_at = world.of_at(Reconciled, since)[0]
    entries = [r.at for r in world.records(OrderIntent) if r.body.purpose is Purpose.ENTRY and r.at >= since]  # type: ignore[attr-defined]
    assert all(at >= agreed_at for at in entries)


def test_01_a_freeze_of_the_exchange_stops_entries_and_doubles_nothing(world: Make, seed: int) -> None:
    """25 minutes under the second seed, one under the others; the resting entries are to be cancelled meanwhile."""
    minutes = 25 if seed == TRUE_SPAN else 1
    here = world({"risk.entry": {"restless": {"style": "post_only", "ttl_ms": 600_000}}}, minutes=20 + minutes)
    here.trading()
    here.until(lambda: resting(here), 400, "a resting entry")
    here.fault({"kind": "refuse", "code": 10016, "match": {"path": "/v5/"}}, {"kind": "silence"})
    frozen_at, shut_at = here.at, shut(here)
    here.run(minutes * 60)
    assert entries_since(here, shut_at + 1) == 0
    assert submissions_since(here, shut_at + 1) == 0
    cancels = [at for at, path in here.requests if at >= frozen_at and path.startswith("/v5/order/cancel")]
    assert cancels, "expected the resting entry to be cancelled"
    assert max(Counter(at // S for at in cancels).values()) <= CANCELS_A_SECOND
    here.calm()
    calm_at = here.at
    here.until(lambda: here.of(Reconciled, since=calm_at), 30, "an agreement")
    here.until(lambda: not resting(here), 10, "what rested to be gone")
    resume_all(here)
    settled(here)
    assert here.mode() == "NORMAL"
    here.run(30)
    entries_only_after_agreement(here, calm_at)


def resting(world: World) -> list[str]:
    """Entries of ours on the exchange's books."""
    return [order.link_id for order in world.account.open_orders.values() if not order.stop_type]


def test_02_private_side_gone_halts_and_two_must_resume(world: Make, seed: int) -> None:
    """An hour under the second seed, a minute under the others: REST answers 503 to all that is private, its stream is silent."""
    minutes = 60 if seed == TRUE_SPAN else 1
    here = world({"sim.usdt": "1000000", "risk.stage": "staged"}, minutes=15 + minutes)
    here.trading()
    private = [{"kind": "refuse", "code": 503, "match": {"path": path}} for path in PRIVATE]
    here.fault(*private, {"kind": "silence"})
    shut_at = shut(here)
    assert here.mode() == "HALTED"
    for _ in range(minutes):
        here.run(60)
        assert covered(here), "a position without its stop at the exchange"
    assert submissions_since(here, shut_at + 1) == 0
    here.calm()
    calm_at = here.at
    here.until(lambda: here.of(Reconciled, since=calm_at), 60, "an agreement")
    for lone in ("ana", "ana"):  # the same person twice is one person
        resume_all(here, lone)
        assert here.mode() == "HALTED"
    resume_all(here, "ben")
    assert here.mode() != "HALTED"
    settled(here)
    entries_only_after_agreement(here, calm_at)


def covered(world: World) -> bool:
    """Whether what is held has stops at the exchange for all of it."""
    stops: Counter[str] = Counter()
    for order in world.account.open_orders.values():
        if order.stop_type:
            stops[order.symbol] += order.leaves
    return all(abs(position.lots) <= stops[name] for name, position in world.account.positions.items())


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
    doubted_at = here.at
    while doubtful := unresolved(here):
        assert doubtful <= reserved(here), "risk freed what an order may still take"
        assert here.at - doubted_at < 30 * S, f"expected the fate of {doubtful}"
        here.step()
    settled(here)


def unresolved(world: World) -> set[str]:
    """Orders in doubt: unknown, and their end not told yet."""
    ended = {body.order_link_id for kind in (OrderResolved, OrderCancelled, OrderRejected) for body in world.of(kind)}
    filled = {body.order_link_id for body in world.of(Fill) if body.cum_qty >= body.order_qty}
    return {body.order_link_id for body in world.of(OrderUnknown)} - ended - filled


def reserved(world: World) -> set[str]:
    return set(world.core(RISK).state.orders)


def test_14_a_silent_private_stream_is_found_by_asking(world: Make) -> None:
    here = world()
    here.trading()
    here.fault({"kind": "silence", "for_ms": 60_000})
    silent_at = here.at
    here.run(60)
    found = [(r.at - r.body.exec_at) / S for r in here.records(Fill) if r.body.exec_at >= silent_at]  # type: ignore[attr-defined]
    assert found, "expected fills all the same"
    assert max(found) <= POLL_S, "a poll tells what the stream does not"
    settled(here)
    assert here.mode() == "NORMAL", "healed by asking: nothing for people to resume"


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
    here = world()
    here.stamped = True
    here.trading()
    here.fault({"kind": "skew", "ms": ms})
    shut_at = shut(here)
    here.run(20)
    assert entries_since(here, shut_at + 1) == 0
    settled(here)


def test_18_after_a_ban_http_is_silent(world: Make, seed: int) -> None:
    """The ten minutes are waited for under the second seed."""
    here = world({"signal.strategies.restless.parameters": {"hold_s": 5}})
    here.trading()
    here.fault({"kind": "refuse", "code": 10006, "rate": 0.4, "for_ms": 8_000}, {"kind": "ban", "after_ms": 8_000})
    here.run(16)
    silent = here.core(EXECUTION).state.calls.budgets.silent_ms(here.at)
    assert silent > 500_000
    before, at = len(here.requests), here.at
    here.run(150)
    learnt = [path for _, path in here.requests[before:]]
    assert learnt in ([], ["/v5/system/status"]), "marketdata learns it with its own first call; nobody asks twice"
    assert entries_since(here, at) == 0 or not submissions_since(here, at)
    assert here.told_s("http_silent", here.began_at) < 600
    if seed == TRUE_SPAN:
        here.calm()
        here.run(600)
        settled(here)
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


def test_10_before_a_maintenance_that_was_announced_no_entry_is_made(world: Make) -> None:
    """Announced seven minutes ahead; shut from five minutes before to a quiet minute after an agreement."""
    here = world(minutes=20)
    here.trading()
    here.do("maintenance", for_s=10, begin_in_s=420)
    begin_at = here.at + 420 * S
    here.until(lambda: here.mode() == "REDUCE_ONLY", 123, "a book that takes no entries")
    shut_at = here.at
    assert (begin_at - shut_at) / S >= 300 - here.window_ms / 1000
    assert [change.reason for change in here.of(ModeChanged, since=shut_at)] == [Reason.MAINTENANCE]
    assert here.told_s("reduce_only:book", shut_at) <= ALERT_S
    here.run((begin_at - here.at) / S + 10)
    over_at = here.at
    assert submissions_since(here, shut_at + 1) == entries_since(here, shut_at + 1) == 0
    here.until(lambda: here.of(Reconciled, since=over_at), 60, "an agreement")
    resume_all(here)
    here.until(lambda: here.mode() == "NORMAL", 90, "a book that trades")
    assert (here.at - over_at) / S >= 60 - here.window_ms / 1000
    here.run(30)
    entries_only_after_agreement(here, over_at)
    settled(here)


def test_10_a_short_drop_makes_no_storm_of_halts(world: Make) -> None:
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
