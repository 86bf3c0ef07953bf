"""Two public streams as one driver."""

from __future__ import annotations

import asyncio

import pytest

from libs.bybit.lockstep import Assembler
from libs.bybit.publicstreams import PublicStreams
from libs.common.decider import Request
from libs.common.outside import OutsideMessage


class Line:
    """A driver that only notes what it is told."""

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] | None = None
        self.sent: list[int] = []
        self.stopped = False

    async def start(self, inbox, cursor=0) -> None:
        self.failed = asyncio.get_running_loop().create_future()

    async def send(self, request: Request) -> None:
        self.sent.append(request.number)

    def set_time(self, at: int) -> None: ...

    async def stop(self) -> None:
        self.stopped = True


async def test_renewals_of_spot_go_over_the_spot_stream_and_the_rest_over_the_other():
    linear, spot = Line(), Line()
    both = PublicStreams(linear, spot)
    await both.start(None)
    for number, target in enumerate(
        ("resubscribe:orderbook.50.BTCUSDT", "resubscribe:spot:orderbook.50.BTCUSDT", "/v5/market/kline?category=spot")
    ):
        await both.send(Request(number, "WS", target, private=False))
    await both.stop()
    assert (linear.sent, spot.sent) == ([0, 2], [1])
    assert linear.stopped
    assert spot.stopped


@pytest.mark.parametrize("broken", [0, 1])
async def test_either_stream_that_breaks_breaks_both(broken: int):
    lines = (Line(), Line())
    both = PublicStreams(*lines)
    await both.start(None)
    lines[broken].failed.set_exception(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        await both.failed


def test_on_a_tape_the_last_frames_of_a_batch_are_those_of_spot():
    assembler = Assembler()
    for text in ("a", "b", "c"):
        assembler.frame(OutsideMessage("public", text))
    batch = assembler.marker(b'{"n":1,"at":5,"frames":3,"replies":0,"spot":1}')
    assert [(message.payload, message.category) for message in batch.messages] == [("a", ""), ("b", ""), ("c", "spot")]
