"""A run of the system holds what it should, is the same twice, and a difference would be told."""

from __future__ import annotations

import msgspec

from libs.common.events import OrderIntent, Tick
from tests.model import runs
from tests.model.runs import Played

WHAT_MUST_COME_UP = ("entries", "exits", "exits below NORMAL", "fills", "halts", "resumes", "seals verified")


def test_a_run_of_the_five_cores_holds_and_is_the_same_again():
    played = runs.by_seed(3)
    assert (played.broken, played.again, played.replayed) == ("", "", "")
    assert played.events > 1000
    assert all(played.seen[thing] for thing in WHAT_MUST_COME_UP), played.seen


def test_one_byte_of_one_event_is_a_difference():
    world = runs.play(4)
    log = list(world.log)
    assert not runs.differs(log, log)
    place = next(i for i, record in enumerate(log) if isinstance(record.body, Tick))
    other = msgspec.structs.replace(log[place], body=msgspec.structs.replace(log[place].body, exchange_at=1))
    assert runs.differs(log, [*log[:place], other, *log[place + 1 :]]) == f"tick {log[place].seq}"
    assert runs.differs(log, log[:-1])
    without = [record for record in log if not isinstance(record.body, OrderIntent)]
    world.log = without
    assert any(fault.startswith("T5") for fault in runs.judged(world).broken)


def test_the_first_fault_of_any_seed_is_the_answer_for_all():
    fine = Played(1, 10, "", "", "", {"halts": 1})
    bad = Played(2, 10, "T1: an entry", "tick 7", "", {"halts": 2})
    log, again, replayed = runs.summed([fine, bad])
    assert (log.answer, again.answer, replayed.answer) == ("seed 2: T1: an entry", "seed 2: tick 7", "same bytes")
    assert [row.is_right for row in (log, again, replayed)] == [False, False, True]
    assert "halts 3" in log.detail
