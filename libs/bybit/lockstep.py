"""Tape runs: putting the frames and replies of one simulated instant together again, without I/O.

The simulator sends frames over the WebSocket, answers HTTP calls, then a marker frame that counts both. A batch is complete
when everything counted is here; it is handed on as one, replies by number before frames as sent, so that the order does
not depend on the machine.
"""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from libs.bybit import wire
from libs.common.decider import Request
from libs.common.outside import OutsideMessage
from libs.common.values import SPOT

MARKER_TOPIC = "sim.instant"
SPOT_TOPIC = "sim.spot"
"""In front of a topic of the spot stream: on a tape both streams share a connection."""


STREAM_PATH = "/sim/stream"
"""Where a tape run asks something about the stream; the simulator answers in its own time, like every call."""


def as_call(request: Request) -> Request:
    """What is asked of the stream (method WS) as a call of the same number; every other request as it is.

    Over a socket the answer would come between two instants, sooner or later by the machine.
    """
    if request.method != "WS":
        return request
    target = f"{STREAM_PATH}?{urlencode({'ask': request.target})}"
    return msgspec.structs.replace(request, method="GET", target=target)


def marker_subscription(client: str, cursor: int) -> str:
    """Topic that asks for batches after the one numbered `cursor`."""
    return f"{MARKER_TOPIC}.{client}.{cursor}"


class Marker(msgspec.Struct, frozen=True):
    """End of a batch: instant number, tape time in ns, how many frames and replies belong to it; of the frames the last
    `spot` come from the spot stream."""

    n: int
    at: int
    frames: int = 0
    replies: int = 0
    spot: int = 0


class Batch(msgspec.Struct, frozen=True):
    """One instant of this client, ready for the inbox."""

    number: int
    at: int
    messages: list[OutsideMessage]


class Assembler:
    """Collects until complete. `cursor`: number of the last batch handed on; older ones are dropped."""

    def __init__(self, cursor: int = 0) -> None:
        self.cursor = cursor
        self._frames: list[OutsideMessage] = []
        self._replies: dict[int, OutsideMessage] = {}
        self._marker: Marker | None = None

    def reconnected(self) -> None:
        """The simulator sends an unfinished batch again from its first frame; replies that came stay."""
        self._frames.clear()
        self._marker = None

    def frame(self, message: OutsideMessage) -> None:
        self._frames.append(message)

    def reply(self, message: OutsideMessage) -> Batch | None:
        """A reply came; gives the batch when it was the last missing piece."""
        self._replies[message.request] = message
        return self._complete()

    def marker(self, raw: msgspec.Raw) -> Batch | None:
        """The marker came; gives the batch when nothing is missing."""
        marker = wire.decode(Marker, raw)
        if marker.n <= self.cursor:
            self._frames.clear()
            return None
        self._marker = marker
        return self._complete()

    def _complete(self) -> Batch | None:
        marker = self._marker
        if marker is None or len(self._replies) < marker.replies:
            return None
        if len(self._frames) != marker.frames:
            raise ValueError(f"expected {marker.frames} frames in batch {marker.n}, was {len(self._frames)}")
        replies = [self._replies[number] for number in sorted(self._replies)]
        perpetual = len(self._frames) - marker.spot
        spot = [msgspec.structs.replace(frame, category=SPOT) for frame in self._frames[perpetual:]]
        messages = replies + self._frames[:perpetual] + spot
        self._replies, self._frames, self._marker = {}, [], None
        self.cursor = marker.n
        return Batch(marker.n, marker.at, messages)
