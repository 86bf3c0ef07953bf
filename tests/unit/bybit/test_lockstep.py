from __future__ import annotations

import itertools

import msgspec
import pytest

from libs.bybit.lockstep import Assembler, Batch, as_call
from libs.common.decider import Request
from libs.common.outside import OutsideMessage


def frame(text: str) -> OutsideMessage:
    return OutsideMessage("private", text)


def reply(number: int) -> OutsideMessage:
    return OutsideMessage("reply", "", number)


def marker(n: int, frames: int, replies: int) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"n": n, "at": n * 10, "frames": frames, "replies": replies}))


def deliver(assembler: Assembler, steps: list[str]) -> list[Batch]:
    batches = []
    for step in steps:
        kind, _, number = step.partition(" ")
        if kind == "frame":
            assembler.frame(frame(number))
        else:
            done = assembler.reply(reply(int(number))) if kind == "reply" else assembler.marker(marker(7, 2, 2))
            batches += [done] if done is not None else []
    return batches


def test_whatever_comes_first_the_batch_is_the_same() -> None:
    """Frames stay in order before the marker on one socket; replies come when they like."""
    socket = ["frame a", "frame b", "marker"]
    for spots in itertools.product(range(4), repeat=2):
        steps = list(socket)
        steps.insert(spots[0], "reply 9")
        steps.insert(spots[1], "reply 4")
        (batch,) = deliver(Assembler(), steps)
        assert (batch.number, batch.at) == (7, 70)
        assert [(m.channel, m.request or m.payload) for m in batch.messages] == [
            ("reply", 4), ("reply", 9), ("private", "a"), ("private", "b"),
        ]  # fmt: skip


def test_a_batch_cut_in_two_by_a_reconnection_is_sent_again_and_counted_once() -> None:
    assembler = Assembler()
    assert deliver(assembler, ["frame a", "reply 4"]) == []
    assembler.reconnected()
    (batch,) = deliver(assembler, ["frame a", "frame b", "marker", "reply 9"])
    assert [m.payload for m in batch.messages[2:]] == ["a", "b"]
    assert assembler.cursor == 7


def test_a_batch_that_was_handed_on_is_dropped() -> None:
    assembler = Assembler(cursor=7)
    assert deliver(assembler, ["frame a", "frame b", "marker"]) == []
    assembler.frame(frame("c"))
    done = assembler.marker(marker(8, 1, 0))
    assert done is not None
    assert [m.payload for m in done.messages] == ["c"]


def test_a_miscount_is_an_error() -> None:
    assembler = Assembler()
    with pytest.raises(ValueError, match="expected 1 frames"):
        assembler.marker(marker(1, 1, 0))


def test_what_is_asked_of_the_stream_is_a_call_on_a_tape() -> None:
    call = as_call(Request(7, "WS", "resubscribe:spot:orderbook.50.X", private=False))
    assert (call.number, call.method, call.private) == (7, "GET", False)
    assert call.target == "/sim/stream?ask=resubscribe%3Aspot%3Aorderbook.50.X"
    other = Request(8, "GET", "/v5/market/time")
    assert as_call(other) is other
