"""Whether a market takes orders now: its status, and maintenance."""

from __future__ import annotations

from typing import Any

from libs.common.values import SPOT
from sim.engine.market import NS_PER_MS, Market
from sim.engine.orders import Order
from sim.state import Window
from sim.venue import Venue
from sim.wiretypes import RefusalError

TRADING, OVER_HTTP, OVER_WS, PRIVATE_WS, MARKET_DATA = 1, 2, 3, 4, 5
"""Service types of a maintenance window."""
DERIVATIVES, SPOT_PRODUCT = 1, 2

MESSAGES = {
    110023: "You can only reduce your position without opening",
    110042: "Write has been disabled as this is a pre-delivery contract",
    110063: "Settlement in progress! Not available for trade.",
    110066: "Trading is currently not allowed.",
    110074: "This contract is not live",
    30228: "No new positions during delisting.",
    170121: "Invalid symbol.",
}
OF_STATUS = {"PreLaunch": 110074, "Delivering": 30228, "Closed": 110074}
"""What an order that could grow a position is refused with, by the market's status."""


def check_open(venue: Venue, market: Market, order: Order) -> None:
    """Raises RefusalError when the market takes no such order now."""
    state = market.state
    spot = market.instrument.category == SPOT
    if venue.windows and venue.down(TRADING, SPOT_PRODUCT if spot else DERIVATIVES):
        raise RefusalError(110066, MESSAGES[110066])
    if state.status == "Trading" and not state.refusal:
        return
    if state.delivery_ms and venue.now >= state.delivery_ms * NS_PER_MS and state.status == "Delivering":
        raise RefusalError(110063, MESSAGES[110063])
    if order.reduce_only and state.status in ("Trading", "Delivering"):
        return
    code = state.refusal or (170121 if spot else OF_STATUS[state.status])
    raise RefusalError(code, MESSAGES[code])


def status_rows(venue: Venue) -> list[dict[str, Any]]:
    """Rows of /v5/system/status and of the topic system.status, newest first."""
    return [_row(window, venue.now) for window in sorted(venue.windows, key=lambda w: (-w.begin, w.id))]


def _row(window: Window, now: int) -> dict[str, Any]:
    if window.canceled:
        state = "canceled"
    else:
        state = "scheduled" if now < window.begin else "ongoing" if now < window.end else "completed"
    return {
        "id": window.id,
        "title": window.title,
        "state": state,
        "begin": str(window.begin // NS_PER_MS),
        "end": str(window.end // NS_PER_MS),
        "href": "",
        "serviceTypes": list(window.services),
        "product": list(window.products),
        "uidSuffix": [],
        "maintainType": window.kind,
        "env": 1,
    }
