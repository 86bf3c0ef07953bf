"""Scenarios of the log itself: who was killed, who comes back with an older state, whose stream has a hole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from libs.common.codec import values
from libs.common.events import Halted, HaltRequested, OrderIntent, Reason, ResumeRequested
from libs.common.streams import EXECUTION, LOCKSTEP_SERVICES, MARKETDATA, RISK, SIGNAL
from tests.scenarios.checks import ALERT_S, settled
from tests.scenarios.test_outages import POLL_S, entries_since, submissions_since
from tests.scenarios.world import S, World

Make = Callable[..., World]
READ = {
    MARKETDATA: ("clock",),
    SIGNAL: ("tick", "clock", "reference"),
    RISK: ("tick", "signal", "clock", "account", "reference"),
    EXECUTION: ("order-intent", "clock"),
}
"""Streams that a service reads and in which something comes all the time."""


def digest(world: World) -> str:
    """Over every byte of every event but seals, epochs and who they are by."""
    total = hashlib.blake2b(digest_size=16)
    for record in world.log:
        if isinstance(record.body, OrderIntent):
            continue  # sealed with a key of its own world; what it led to is in OrderSubmitted
        total.update(record.stream.encode())
        for value in values(record):
            total.update(value if isinstance(value, bytes) else str(value).encode())
    return total.hexdigest()


def test_21_whoever_is_killed_whenever_the_log_is_the_same(world: Make) -> None:
    calm, killed = world(), world()
    for here in (calm, killed):
        here.until(lambda here=here: here.mode() == "NORMAL", 60)
    for _ in range(120):
        calm.step()
        killed.step()
        if killed.dice.random() < 0.15:
            killed.crash(killed.dice.choice(LOCKSTEP_SERVICES))
    # An approval names its writer's epoch, which a restart raises; everything else is the same.
    assert len(calm.log) == len(killed.log)
    assert [r.id for r in calm.log] == [r.id for r in killed.log]
    settled(killed)


def test_22_who_comes_back_older_catches_up_and_sends_nothing_again(world: Make, seed: int) -> None:
    """A core is started again from a snapshot that is up to a thousand events old; its journal leads it back."""
    calm, failing = world(), world()
    for here in (calm, failing):
        here.until(lambda here=here: here.mode() == "NORMAL", 60)
    service = LOCKSTEP_SERVICES[seed % len(LOCKSTEP_SERVICES)]
    kept = failing.mesh.kept(service)
    seconds = failing.dice.randrange(1, 200) / 2
    for here in (calm, failing):
        here.run(seconds)
    failing.crash(service, kept=kept)
    for here in (calm, failing):
        here.run(20)
    assert [r.id for r in calm.log] == [r.id for r in failing.log]
    assert calm.placed == failing.placed
    settled(failing)


def test_22_a_hole_in_a_stream_halts_and_nothing_is_sent_again(world: Make, seed: int) -> None:
    """Whoever meets it. The stream is restored from the archive, the service reads on, people resume."""
    service = LOCKSTEP_SERVICES[seed % len(LOCKSTEP_SERVICES)]
    here = world()
    here.trading()
    stream = here.dice.choice(READ[service])
    here.lose(service, stream)
    here.until(lambda: service in here.mesh.stuck, 120, f"{service} to meet the hole in {stream}")
    met_at = here.at
    assert [halt for halt in here.of(Halted, since=met_at) if halt.reason is Reason.GAP]
    assert max(here.told_s("halt:book", met_at), here.told_s(f"gap:{service}", met_at)) <= ALERT_S
    here.run(here.dice.randrange(2, 40))
    assert entries_since(here, met_at + 1) == submissions_since(here, met_at + 1) == 0
    here.mend(service)
    here.run(10)
    assert entries_since(here, met_at + 1) == submissions_since(here, met_at + 1) == 0
    assert here.mode() == "HALTED"
    for halt_id in here.halts():
        here.command(ResumeRequested, halt_id=halt_id)
    settled(here)


def test_22_a_bus_that_comes_back_older_halts_and_sends_nothing_again(world: Make) -> None:
    """A stale failover: up to some hundred events are gone for everybody, also orders that trade. The archiver, who has them,
    asks for the halt; the next poll of the exchange finds what the log does not know."""
    here = world({"signal.strategies.restless.parameters": {"hold_s": 5}})
    here.trading()
    mark = here.mark()
    here.run(here.dice.randrange(1, 60) / 2)
    lost_orders = here.forget(mark)
    back_at = here.at
    ask = {"reason": "the archive of order is ahead of Redis", "operator": "archiver", "cause": Reason.STALE_LOG}
    here.command(HaltRequested, sealed=False, **ask)
    here.run(POLL_S)
    found = {halt.reason for halt in here.of(Halted, since=back_at)}
    assert Reason.STALE_LOG in found
    assert (Reason.FOREIGN_ORDER in found) == bool(lost_orders)
    here.run(10)
    assert entries_since(here, back_at + S) == 0
    for halt_id in here.halts():
        here.command(ResumeRequested, halt_id=halt_id)
    here.run(2)
    settled(here)


def test_t7_the_same_seed_gives_the_same_bytes(world: Make) -> None:
    first, second = world(), world()
    for here in (first, second):
        here.trading()
        here.fault({"kind": "duplicate", "rate": 0.3}, {"kind": "ambiguous", "rate": 0.2, "arrives": "now"})
        here.run(30)
    assert digest(first) == digest(second)
