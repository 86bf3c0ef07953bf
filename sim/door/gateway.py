"""The door of the exchange: who asks, may they, how often, and whose handler answers.

Everything that leads to an answer without touching a market is decided here, in the order Bybit decides it: route, headers,
key, clock, signature, address, expiry, permission, rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sim.door.auth import Keyring, permit
from sim.door.rates import Rates
from sim.engine.account import Account, AccountSpec
from sim.routes import assets, batches, dcp, keys, markets, positions, queries, trade
from sim.routes.params import Params, params_of, text
from sim.trading import OVER_HTTP, OVER_WS
from sim.venue import Venue
from sim.wiretypes import RefusalError, WireRequest

Handler = Callable[[Venue, Account, Params], dict[str, Any]]
Body = dict[str, Any]
PRIVATE: dict[tuple[str, str], Handler] = {
    **queries.ROUTES,
    **assets.ROUTES,
    **dcp.ROUTES,
    **positions.ROUTES,
    **trade.ROUTES,
}
QUERY_API = ("GET", "/v5/user/query-api")
UNTRADED = ("inverse", "option")
"""Categories of Bybit that have no market here: whoever lists them is told so by an empty list."""
LISTS = frozenset(
    {
        "/v5/market/instruments-info",
        "/v5/market/tickers",
        "/v5/market/risk-limit",
        "/v5/order/realtime",
        "/v5/order/history",
        "/v5/execution/list",
        "/v5/position/list",
        "/v5/position/closed-pnl",
        "/v5/account/fee-rate",
    }
)
TOO_MANY = "Too many visits. Exceeded the API Rate Limit."


class Gateway:
    """See the module. `factor`: Bybit's default limits times this."""

    def __init__(self, venue: Venue, accounts: dict[str, Account], specs: Iterable[AccountSpec], factor: int) -> None:
        self._venue, self._accounts = venue, accounts
        self.keys, self._rates = Keyring(specs), Rates(factor)

    def handle(self, request: WireRequest, arrived_ms: int) -> tuple[int, Body, dict[str, str]]:
        """(status, envelope without time, headers) for a request that arrived at that time."""
        headers: dict[str, str] = {}
        try:
            result, ext = self._route(request, arrived_ms, headers)
            return 200, {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": ext}, headers
        except RefusalError as refusal:
            body = {"retCode": refusal.code, "retMsg": refusal.message, "result": {}, "retExtInfo": {}}
            return refusal.status, body, headers

    def _route(self, request: WireRequest, arrived_ms: int, headers: dict[str, str]) -> tuple[Body, Body]:
        route = (request.method, request.path)
        if (public := markets.ROUTES.get(route)) is not None:
            params = params_of(request)
            return _nothing(request.path, params) or public(self._venue, params), {}
        if route not in PRIVATE and route not in batches.ROUTES and route != QUERY_API:
            raise RefusalError(10017, f"Route not found: {request.method} {request.path}", status=404)
        spec = AccountSpec(key=request.account) if request.account else self.keys.spec_of(request, arrived_ms)
        account = self._accounts[spec.name]
        params = params_of(request)
        permit(spec, request, params)
        way = OVER_WS if request.session_key else OVER_HTTP
        if self._venue.windows and request.method == "POST" and self._venue.down(way):
            raise RefusalError(10016, "Internal system error: maintenance")
        if route in batches.ROUTES:
            return self._batch(route, account, params, headers)
        if not self._rates.take(account.uid, request.path, text(params, "category"), self._now_ms, headers):
            raise RefusalError(10006, TOO_MANY)
        if route == QUERY_API:
            return keys.query_api(spec, request.address, arrived_ms), {}
        return _nothing(request.path, params) or PRIVATE[route](self._venue, account, params), {}

    def _batch(
        self, route: tuple[str, str], account: Account, params: Params, headers: dict[str, str]
    ) -> tuple[Body, Body]:
        """Each order costs one of the batch's own bucket; those over the limit fail, the others go through."""
        orders = batches.orders_of(params)
        granted = self._rates.take(
            account.uid, route[1], text(params, "category"), self._now_ms, headers, cost=len(orders)
        )
        return batches.run(batches.ROUTES[route], self._venue, account, orders, granted, TOO_MANY)

    @property
    def _now_ms(self) -> int:
        return self._venue.now // 1_000_000


def _nothing(path: str, params: Params) -> Body:
    """The empty list of a category without markets; an empty dict for every other request."""
    category = text(params, "category")
    if category not in UNTRADED or path not in LISTS:
        return {}
    return {"category": category, "list": [], "nextPageCursor": ""}
