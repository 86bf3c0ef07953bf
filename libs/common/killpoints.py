"""The ten named points at which the crash tests kill a process, for real and by its own hand.

`TIDEGATE_KILL=<service>:<point>[:<n>]` kills this process with SIGKILL when it passes the point for the n-th time. Without the
variable a point costs one comparison. What is durable at each point, and what the restart does:

restored        state rebuilt, nothing read            nothing changed: restores again
read            a batch read, nothing decided          cursors unmoved: reads it again
decided         outputs made, not committed            nothing written: decides the same again
commit-sent     commit on the socket, reply unread     applied or not, the version in the log tells
committed       commit acknowledged                    requests it announced are resent or asked for
submitted       OrderSubmitted committed, not called   tape: sent under the same id; live: asked for by orderLinkId
request-sent    create on the wire, no reply           the same
reply-received  reply held in memory, not committed    the same: the reply is asked for again
snapshotted     a commit that carried a snapshot       restores from it
segment-written a Parquet segment written, not listed  the archiver finds and adopts or rewrites it
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "restored",
    "read",
    "decided",
    "commit-sent",
    "committed",
    "submitted",
    "request-sent",
    "reply-received",
    "snapshotted",
    "segment-written",
)

_service = ""
_armed = ""
_left = 0


def arm(service: str) -> None:
    """Read the environment once, for the service that this process is."""
    global _service, _armed, _left
    _service = service
    target, _, rest = os.environ.get("TIDEGATE_KILL", "").partition(":")
    if target != service or not rest:
        return
    point, _, count = rest.partition(":")
    if point not in POINTS:
        raise ValueError(f"expected TIDEGATE_KILL to name one of {', '.join(POINTS)}, was {point!r}")
    _armed, _left = point, int(count or 1)


def armed(point: str) -> bool:
    return point == _armed


def passing(point: str) -> None:
    """Die here if this is the place and the time."""
    global _left
    if point != _armed:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
