"""The simulator's own routes, below /sim/: look at everything, switch faults, operate the venue."""

from __future__ import annotations

from typing import Any

import msgspec

from libs.common.errors import UsageError
from sim.exchange import Exchange
from sim.faults.menu import read

NO_ROUTE = (404, {"error": "no such route of the simulator"})


def control(exchange: Exchange, method: str, path: str, body: bytes, tape: bool) -> tuple[int, dict[str, Any]]:
    """(status, answer) of a request; `tape`: the exchange plays a tape run."""
    if (method, path) == ("GET", "/sim/state"):
        return 200, exchange.summary()
    if (method, path) == ("POST", "/sim/do"):
        try:
            return 200, exchange.operate(msgspec.json.decode(body, type=dict[str, Any]))
        except (msgspec.DecodeError, UsageError) as error:
            return 400, {"error": str(error)}
    if path != "/sim/faults" or method not in ("GET", "POST", "DELETE"):
        return NO_ROUTE
    if method == "POST":
        try:
            exchange.faults.load(read(body, tape), exchange.venue.now)
        except UsageError as error:
            return 400, {"error": str(error)}
    elif method == "DELETE":
        exchange.faults.clear()
    return 200, exchange.faults.status(exchange.venue.now)
