"""Batches: up to 20 orders (spot 10) in one request, each with an answer of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.engine.account import Account
from sim.engine.market import NS_PER_MS
from sim.routes import trade
from sim.routes.params import Params, category_of, text
from sim.venue import Venue
from sim.wiretypes import RefusalError

MOST = {"linear": 20, "spot": 10}
Single = Callable[[Venue, Account, Params], dict[str, Any]]


def orders_of(params: Params) -> list[Params]:
    """The orders of the request, each with the category of all. Raises RefusalError for none or too many."""
    category = category_of(params)
    orders = params.get("request")
    if not isinstance(orders, list) or not orders or not all(isinstance(order, dict) for order in orders):
        raise RefusalError(10001, "params error: request is required")
    if len(orders) > MOST[category]:
        raise RefusalError(10001, f"params error: the number of orders cannot be greater than {MOST[category]}")
    return [{k: v for k, v in order.items() if v is not None} | {"category": category} for order in orders]


def run(
    single: Single, venue: Venue, account: Account, orders: list[Params], granted: int, too_many: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(result, retExtInfo): what became of each order, in the order of the request. Only the first `granted` are tried."""
    rows: list[dict[str, str]] = []
    codes: list[dict[str, Any]] = []
    for place, order in enumerate(orders):
        row = {"category": order["category"], "symbol": text(order, "symbol")}
        try:
            if place >= granted:
                raise RefusalError(10006, too_many)
            row |= single(venue, account, order)
            codes.append({"code": 0, "msg": "OK"})
        except RefusalError as refusal:
            row |= {"orderId": "", "orderLinkId": text(order, "orderLinkId")}
            codes.append({"code": refusal.code, "msg": refusal.message})
        if single is trade.create:
            row["createAt"] = str(venue.now // NS_PER_MS) if row["orderId"] else ""
        rows.append(row)
    return {"list": rows}, {"list": codes}


ROUTES: dict[tuple[str, str], Single] = {
    ("POST", "/v5/order/create-batch"): trade.create,
    ("POST", "/v5/order/amend-batch"): trade.amend,
    ("POST", "/v5/order/cancel-batch"): trade.cancel,
}
