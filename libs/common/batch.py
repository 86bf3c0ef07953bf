"""How a batch of inputs becomes commits: unguarded inputs together, guarded ones together, a halt before what it stops.

A generator without I/O: it yields commits (and, when a gate is closed, the wish to see what closed it) and is sent the
answers. The live runtime and the in-process backtest drive the same one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import msgspec

from libs.common.record import Record
from libs.common.stepper import Commit, Input, Position, Stepper


class News(msgspec.Struct, frozen=True):
    """Asks for everything committed beyond `position`; answered with inputs (a list, maybe empty)."""

    position: Position


class Accepted(msgspec.Struct, frozen=True):
    """Says that the state has learnt the guarded commit that was just applied: what it makes due can be sent now."""


Step = Commit | News | Accepted
Answer = bool | list[Input]
"""To a Commit: whether it was applied (False: the gate is closed). To News: the inputs. To Accepted: anything."""


GROUP = 64
"""Guarded inputs in one commit at most."""


def work(stepper: Stepper, inputs: Sequence[Input]) -> Generator[Step, Answer, None]:
    """Take all inputs, in order but for the one case of a closed gate.

    Then nothing of the guarded input has happened. The halt that closed the gate came in the same commit as the gate, so it
    can be read: it is taken first, then the input is decided again. If no halt explains the gate, the core turns it down.
    """
    run: list[Input] = []
    at = 0
    while at < len(inputs):
        group = _guarded_from(stepper, inputs, at)
        if not group:
            run.append(inputs[at])
            at += 1
            continue
        if run:
            yield stepper.step(run)
            run = []
            continue  # what was just learnt may have closed the gate for us
        if len(group) > 1 and (yield from _together(stepper, group)):
            at += len(group)
        elif (yield from _guarded(stepper, group[0])):
            at += 1
        else:
            yield from _halt_first(stepper, group[0], inputs[at + 1 :])
            return
    if run:
        yield stepper.step(run)


def _guarded_from(stepper: Stepper, inputs: Sequence[Input], at: int) -> list[Record]:
    """The guarded inputs that stand side by side from `at` on."""
    found: list[Record] = []
    for item in inputs[at : at + GROUP]:
        if not isinstance(item, Record) or not stepper.core.guards(item):
            break
        found.append(item)
    return found


def _together(stepper: Stepper, group: Sequence[Record]) -> Generator[Step, Answer, bool]:
    """One commit for all of them; nothing has happened when a gate of theirs is closed."""
    mark = stepper.mark()
    if not (yield stepper.together(group)):
        stepper.undo(mark)
        return False
    yield Accepted()
    return True


def _guarded(stepper: Stepper, record: Record) -> Generator[Step, Answer, bool]:
    commit = stepper.propose(record, stepper.core.guards(record))
    if not (yield commit):
        return False
    stepper.accept(commit)
    yield Accepted()
    return True


def _halt_first(stepper: Stepper, record: Record, rest: Sequence[Input]) -> Generator[Step, Answer, None]:
    own = [item for item in rest if isinstance(item, Record) and item.stream == record.stream]
    others = [item for item in rest if not (isinstance(item, Record) and item.stream == record.stream)]
    news = yield News(_beyond(stepper.position, [record, *rest]))
    assert isinstance(news, list)
    own += [item for item in news if isinstance(item, Record) and item.stream == record.stream]
    others += [item for item in news if not (isinstance(item, Record) and item.stream == record.stream)]
    yield from work(stepper, others)
    if not stepper.core.guards(record):
        yield stepper.step([record])
    elif not (yield from _guarded(stepper, record)):
        yield stepper.refuse(record)
    yield from work(stepper, own)


def _beyond(position: Position, inputs: Sequence[Input]) -> Position:
    """Where the reader stands when all of these are taken."""
    ahead = position.copy()
    for item in inputs:
        if isinstance(item, Record):
            ahead.cursors[item.stream] = item.entry
            ahead.seen[item.stream] = item.seq
    return ahead
