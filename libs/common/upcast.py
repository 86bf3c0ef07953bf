"""Old versions of events to today's, at read: history is never rewritten.

`UPCASTS[(type, version)]` turns the JSON object of that version into (type, object) of the next; chains run until the
type's current version. Fields added with a default need no entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from libs.common.errors import TidegateError
from libs.common.events import EVENTS

Upcast = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]

UPCASTS: dict[tuple[str, int], Upcast] = {}


def upcast(kind: bytes, version: int, data: bytes) -> tuple[bytes, bytes]:
    """Bring (type, JSON) of an older version up to date. A newer additive version is passed through as it is."""
    name = kind.decode()
    body: dict[str, Any] | None = None
    while name in EVENTS and version < EVENTS[name].VERSION:
        step = UPCASTS.get((name, version))
        if step is None:
            raise TidegateError(
                f"expected an upcast for {name} version {version}, was none; this release cannot read that log"
            )
        name, body = step(msgspec.json.decode(data) if body is None else body)
        version += 1
    return name.encode(), data if body is None else msgspec.json.encode(body)
