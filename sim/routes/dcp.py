"""Disconnection protection (DCP): an account whose watched connections are all dead has its orders cancelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sim.engine.account import Account
from sim.routes.params import Params, number, text
from sim.venue import Venue
from sim.wiretypes import RefusalError

PRODUCT_OF = {"linear": "DERIVATIVES", "spot": "SPOT"}
PRODUCTS = {"DERIVATIVES": "dcp.future", "SPOT": "dcp.spot", "OPTIONS": "dcp.option"}
TOPICS = {topic: product for product, topic in PRODUCTS.items()}
LEAST_S, MOST_S = 3, 300
NS_PER_S = 1_000_000_000


class Deadman:
    """Who is connected for whose protection, and since when nobody is."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, str], int] = {}
        self.gone_at: dict[tuple[str, str], int] = {}
        """(account, product) -> ns at which its last connection died."""

    def joined(self, account: str, product: str) -> None:
        key = (account, product)
        self._connections[key] = self._connections.get(key, 0) + 1
        self.gone_at.pop(key, None)

    def left(self, account: str, product: str, at: int) -> None:
        key = (account, product)
        self._connections[key] -= 1
        if not self._connections[key]:
            del self._connections[key]
            self.gone_at[key] = at

    def due(self, accounts: Mapping[str, Account], at: int) -> Iterator[tuple[Account, str]]:
        """(account, product) whose window has passed without a connection; each once."""
        for (name, product), gone_at in list(self.gone_at.items()):
            account = accounts[name]
            window_s = account.dcp_s.get(product, 0)
            if window_s and at >= gone_at + window_s * NS_PER_S:
                del self.gone_at[name, product]
                yield account, product


def arm(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """timeWindow of 3 to 300 s for a product; OPTIONS is the default, as at Bybit."""
    if not account.dcp_offered:
        raise RefusalError(10005, "Permission denied: disconnection protection is not enabled for this account.")
    product, window_s = text(params, "product", "OPTIONS"), number(params, "timeWindow", 0)
    if product not in PRODUCTS:
        raise RefusalError(10001, "params error: product invalid")
    if not LEAST_S <= window_s <= MOST_S:
        raise RefusalError(10001, f"params error: timeWindow must be between {LEAST_S} and {MOST_S}")
    account.dcp_s[product] = window_s
    venue.desk.touch_account(account)
    return {}


def info(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    return {
        "dcpInfos": [
            {"product": product, "dcpStatus": "ON", "timeWindow": str(account.dcp_s[product])}
            for product in PRODUCTS
            if product in account.dcp_s
        ]
    }


ROUTES = {
    ("POST", "/v5/order/disconnected-cancel-all"): arm,
    ("GET", "/v5/account/query-dcp-info"): info,
}
