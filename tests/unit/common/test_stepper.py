"""The order of things: ids, seqs, Lamport stamps, causes, the gate. No I/O."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from libs.common.batch import Accepted, News, work
from libs.common.errors import StepError
from libs.common.events import Halted, Instant, OrderIntent, Reason, Signal, Tick
from libs.common.record import GapFound, Record, Started, Timer
from libs.common.stepper import Commit, Local, Stepper
from tests.integration.toy import ExecutionCore, MarketData, RiskCore, SignalCore

ONE = Decimal(1)
MS = 1_000_000


def instant(number: int, entry: tuple[int, int]) -> Record:
    body = Instant(number=number, window_ms=1000)
    return Record("clock", entry, f"{number:032x}", number, entry[0] * MS, (), f"{number:032x}", body)


def tick(seq: int, entry: tuple[int, int]) -> Record:
    body = Tick(symbol="BTCUSDT", last=ONE, bids=(), asks=())
    return Record("tick", entry, f"{seq:032x}", seq, entry[0] * MS, (("clock", seq),), "a" * 32, body)


def signal(seq: int, entry: tuple[int, int]) -> Record:
    body = Signal(strategy="toy", symbol="X", target=ONE, p=ONE, payoff=ONE, stop_distance=ONE, horizon_ms=1, score=ONE)
    return Record("signal", entry, f"{seq:032x}", seq, entry[0] * MS, (("tick", seq),), "b" * 32, body)


def test_an_output_carries_its_cause_and_comes_after_everything_its_writer_read() -> None:
    stepper = Stepper(SignalCore())
    commit = stepper.step([tick(1, (1000, 0)), tick(2, (1000, 7))])
    first, second = commit.outputs
    assert [r.seq for r in commit.outputs] == [1, 2]
    assert first.cause == (("tick", 1),)
    assert second.cause == (("tick", 2),)
    assert first.correlation == "a" * 32
    assert first.at == 1000 * MS
    assert first.entry > (1000, 0)
    assert second.entry > (1000, 7)
    assert second.entry > first.entry
    assert commit.version == 0
    assert stepper.position.version == 1
    assert commit.journal == [["tick", 1000, 0], ["tick", 1000, 7]]


def test_running_a_step_again_gives_the_same_bytes() -> None:
    runs = [Stepper(RiskCore()).step([signal(1, (5, 0)), signal(2, (6, 0))]) for _ in range(2)]
    assert msgspec.json.encode(runs[0]) == msgspec.json.encode(runs[1])


def test_a_late_writer_never_goes_back_in_its_stream() -> None:
    stepper = Stepper(SignalCore())
    (late,) = stepper.step([tick(1, (9000, 0))]).outputs
    (later,) = stepper.step([tick(2, (9000, 1))]).outputs
    assert later.entry > late.entry


def test_a_fresh_start_counts_as_a_delivery_and_a_restart_does_not() -> None:
    assert Stepper(SignalCore()).step([Local(Started(fresh=True), 7)]).consumed == 1
    assert Stepper(SignalCore()).step([Local(Started(fresh=False), 7)]).consumed == 0
    assert Stepper(SignalCore()).step([Local(Timer(), 7)]).journal == [["timer", 7]]


def test_a_gap_is_told_in_a_heartbeat() -> None:
    (beat,) = Stepper(SignalCore()).step([Local(GapFound(stream="tick", expected=4, got=9), 7)]).outputs
    assert beat.stream == "health:signal"
    assert beat.body.gap == "tick"  # type: ignore[attr-defined]


def test_nobody_writes_to_a_stream_of_another() -> None:
    class Thief(SignalCore):
        def decide(self, record: Record):  # type: ignore[no-untyped-def]
            yield Halted(reason=Reason.OPERATOR, measured=ONE, limit=ONE)

    with pytest.raises(PermissionError, match="expected halt to be written by risk, was signal"):
        Stepper(Thief()).step([tick(1, (1, 0))])


def test_only_facts_of_this_process_are_local() -> None:
    with pytest.raises(StepError, match="expected a timer"):
        Stepper(MarketData()).step([Local(Instant(number=1, window_ms=1), 1)])


def intent(seq: int, entry: tuple[int, int]) -> Record:
    (made,) = (r for r in Stepper(RiskCore()).step([signal(seq, entry)]).outputs if isinstance(r.body, OrderIntent))
    return msgspec.structs.replace(made, entry=entry, seq=seq)


def halted(seq: int, entry: tuple[int, int]) -> Record:
    body = Halted(reason=Reason.OPERATOR, measured=ONE, limit=ONE)
    return Record("halt", entry, "f" * 32, seq, entry[0] * MS, (), "f" * 32, body)


class Bus:
    """Answers the generator like a bus whose gate is open or closed."""

    def __init__(self, stepper: Stepper, gate_open: bool, news: list[Record] | None = None) -> None:
        self.stepper, self.gate_open, self.news = stepper, gate_open, news or []
        self.applied: list[Commit] = []

    def take(self, inputs: list[Record]) -> None:
        todo = work(self.stepper, inputs)
        step = next(todo, None)
        while step is not None:
            answer: bool | list[Record] = True
            if isinstance(step, News):
                answer = self.news
            elif isinstance(step, Commit):
                answer = self.gate_open or not step.scopes
                if answer:
                    self.applied.append(step)
            else:
                assert isinstance(step, Accepted)
            try:
                step = todo.send(answer)  # type: ignore[arg-type]
            except StopIteration:
                return

    def kinds(self) -> list[str]:
        return [type(record.body).__name__ for commit in self.applied for record in commit.outputs]


def test_a_guarded_input_is_committed_apart_from_what_needs_no_gate() -> None:
    bus = Bus(Stepper(ExecutionCore()), gate_open=True)
    bus.take([instant(1, (1, 0)), intent(1, (2, 0)), instant(2, (3, 0))])
    assert [len(commit.journal) for commit in bus.applied] == [1, 1, 1]
    assert bus.kinds() == ["OrderSubmitted"]
    assert bus.stepper.position.cursors == {"clock": (3, 0), "order-intent": (2, 0)}


def test_a_closed_gate_takes_the_halt_of_the_same_batch_first() -> None:
    bus = Bus(Stepper(ExecutionCore()), gate_open=False)
    bus.take([intent(1, (2, 0)), intent(2, (3, 0)), halted(1, (4, 0))])
    assert [commit.journal[0][0] for commit in bus.applied] == ["halt", "order-intent", "order-intent"]
    assert bus.kinds() == ["OrderRejected", "OrderRejected"]


def test_a_closed_gate_reads_on_for_its_halt() -> None:
    bus = Bus(Stepper(ExecutionCore()), gate_open=False, news=[halted(1, (4, 0)), intent(2, (5, 0))])
    bus.take([intent(1, (2, 0))])
    assert [commit.journal[0][:2] for commit in bus.applied] == [["halt", 4], ["order-intent", 2], ["order-intent", 5]]


def test_a_gate_that_no_halt_explains_turns_the_order_down() -> None:
    bus = Bus(Stepper(ExecutionCore()), gate_open=False)
    bus.take([intent(1, (2, 0)), instant(1, (3, 0))])
    assert bus.kinds() == ["OrderRejected"]
    assert bus.applied[-1].journal == [["order-intent", 2, 0, "refused"]]


def test_a_refused_proposal_leaves_no_trace() -> None:
    stepper = Stepper(ExecutionCore())
    before = stepper.core.snapshot(), msgspec.json.encode(stepper.position)
    stepper.propose(intent(1, (2, 0)), ("book",))
    assert (stepper.core.snapshot(), msgspec.json.encode(stepper.position)) == before


def test_guarded_inputs_side_by_side_are_one_commit_that_says_what_single_ones_say() -> None:
    intents = [intent(seq, (seq + 1, 0)) for seq in (1, 2, 3)]
    together, alone = Bus(Stepper(ExecutionCore()), gate_open=True), Bus(Stepper(ExecutionCore()), gate_open=True)
    together.take([*intents])
    for one in intents:
        alone.take([one])
    assert [len(commit.journal) for commit in together.applied] == [3]
    assert [commit.scopes for commit in together.applied] == [("book",)]
    written = [[record for commit in bus.applied for record in commit.outputs] for bus in (together, alone)]
    assert written[0] == written[1]
    assert together.stepper.core.snapshot() == alone.stepper.core.snapshot()


def test_a_group_that_was_refused_leaves_no_trace() -> None:
    stepper = Stepper(ExecutionCore())
    stepper.step([instant(1, (1, 0))])
    before = stepper.core.snapshot(), msgspec.json.encode(stepper.position)
    mark = stepper.mark()
    commit = stepper.together([intent(1, (2, 0)), intent(2, (3, 0))])
    assert len(commit.outputs) == 2
    stepper.undo(mark)
    assert (stepper.core.snapshot(), msgspec.json.encode(stepper.position)) == before
