"""Private routes that look: orders, executions, positions, wallet, account, key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from typing import Any

from libs.common.values import SPOT
from sim.engine.account import Account
from sim.engine.market import NS_PER_MS
from sim.engine.orders import Order
from sim.routes.params import Params, category_of, linear, number, page, scoped, text
from sim.routes.rows import (
    closed_pnl_row,
    entry_category,
    entry_row,
    execution_row,
    order_row,
    position_row,
    rate_text,
    wallet_row,
)
from sim.venue import Venue
from sim.wiretypes import RefusalError

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
RECENT_CLOSED = 500


def realtime(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """Open orders; by id, or with openOnly=1, also the 500 that closed last."""
    named = params.get("orderId") or params.get("orderLinkId")
    if not named and category_of(params) != SPOT:
        _require_scope(params)
    recent = islice((o for o in reversed(account.closed) if o.updated_at >= venue.restarted_at), RECENT_CLOSED)
    orders: Iterable[Order]
    if named:
        orders = [*account.open_orders.values(), *recent]
    else:
        orders = recent if text(params, "openOnly") == "1" else account.open_orders.values()
    return _orders_page(venue, orders, params, 50, 20)


def history(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """Closed orders of the last 7 days (or the window asked for; an id needs none); those without a fill for 24 h."""
    first, last = _span(venue, params)
    closed: Iterable[Order] = takewhile(lambda order: order.updated_at // NS_PER_MS >= first, reversed(account.closed))
    if params.get("orderId") or params.get("orderLinkId"):
        first = 0
        named = account.find(text(params, "orderId"), text(params, "orderLinkId"))
        closed = () if named is None or named.order_id in account.open_orders else (named,)
    day_ago = venue.now // NS_PER_MS - DAY_MS
    status = params.get("orderStatus")
    orders = (
        order
        for order in closed
        if first <= order.created_at // NS_PER_MS <= last
        and (order.cum_lots or order.updated_at // NS_PER_MS >= day_ago)
        and (status is None or order.status == status)
    )
    return _orders_page(venue, orders, params, 50, 20)


def _orders_page(venue: Venue, orders: Iterable[Order], params: Params, most: int, default: int) -> dict[str, Any]:
    chosen = sorted(_chosen(venue, orders, params), key=lambda order: -order.number)
    limit = number(params, "limit", default, most)
    return page(chosen, lambda o: o.number, lambda o: order_row(o, venue.markets[o.symbol].instrument), params, limit)


def _chosen(venue: Venue, orders: Iterable[Order], params: Params) -> Iterator[Order]:
    order_id, link_id = params.get("orderId"), params.get("orderLinkId")
    spot = category_of(params) == SPOT
    for order in orders:
        if order.spot != spot:
            continue
        if order_id:
            if order.order_id == order_id:
                yield order
        elif link_id:
            if order.link_id == link_id:
                yield order
        elif scoped(params, venue.markets[order.symbol].instrument) and _filtered(order, text(params, "orderFilter")):
            yield order


def _filtered(order: Order, wanted: str) -> bool:
    return wanted in ("", "Order" if not order.trigger_ticks else "StopOrder")


def executions(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """Fills and funding, newest first."""
    first, last = _span(venue, params)
    order_id, link_id, kind = params.get("orderId"), params.get("orderLinkId"), params.get("execType")
    named = account.find(text(params, "orderId"), text(params, "orderLinkId"))
    since = named.created_at if named is not None else 0

    def found() -> Iterator[Any]:
        for fill in reversed(account.fills):
            at_ms = fill.at // NS_PER_MS
            if order_id or link_id:
                if fill.at < since:
                    return
                if fill.order_id == order_id or (not order_id and fill.link_id == link_id):
                    yield fill
            elif at_ms < first:
                return
            elif (
                at_ms <= last
                and scoped(params, venue.markets[fill.symbol].instrument)
                and kind in (None, fill.exec_type)
            ):
                yield fill

    limit = number(params, "limit", 50, 100)
    return page(
        found(), lambda f: f.number, lambda f: execution_row(f, venue.markets[f.symbol].instrument), params, limit
    )


def positions(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """With a symbol its position, even when flat; else every position that is not."""
    linear(params)
    _require_scope(params)
    if symbol := params.get("symbol"):
        if symbol not in venue.markets:
            raise RefusalError(10001, f"params error: symbol invalid {symbol}")
        chosen = account.sides(symbol)
    else:
        chosen = [position for position in account.positions.values() if position.lots]
    rows = [position_row(position, venue.markets, account) for position in chosen]
    return {"nextPageCursor": "", "category": "linear", "list": rows}


def closed_pnl(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    linear(params)
    first, last = _span(venue, params)
    orders = (
        order
        for order in reversed(account.closed)
        if order.closed_lots
        and first <= order.created_at // NS_PER_MS <= last
        and scoped(params, venue.markets[order.symbol].instrument)
    )

    def row(order: Order) -> dict[str, Any]:
        leverage = account.position(order.symbol).leverage_e2
        return closed_pnl_row(order, venue.markets[order.symbol].instrument, leverage)

    newest_first = sorted(orders, key=lambda order: -order.number)
    return page(newest_first, lambda o: o.number, row, params, number(params, "limit", 50, 100))


def wallet_balance(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    if text(params, "accountType", "UNIFIED") != "UNIFIED":
        raise RefusalError(10001, "params error: accountType only support UNIFIED.")
    row = wallet_row(account, venue.markets)
    coins = [name for name in text(params, "coin").split(",") if name]
    if coins:
        row["coin"] = [coin for coin in row["coin"] if coin["coin"] in coins]
    return {"list": [row]}


def account_info(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    window_s = max(account.dcp_s.values(), default=0)
    return {
        "marginMode": account.margin_mode,
        "updatedTime": str(account.created_at // NS_PER_MS),
        "unifiedMarginStatus": 5,
        "dcpStatus": "ON" if window_s else "OFF",
        "timeWindow": window_s or 10,
        "smpGroup": 0,
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
    }


def fee_rate(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    spot = category_of(params) == SPOT
    taker, maker = (account.spot_e8,) * 2 if spot else (account.taker_e8, account.maker_e8)
    rates = {"takerFeeRate": rate_text(taker), "makerFeeRate": rate_text(maker)}
    return {"list": [{"symbol": market.instrument.name, **rates} for market in venue.markets.values()
                     if scoped(params, market.instrument)]}  # fmt: skip


def transaction_log(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    first, last = _span(venue, params, DAY_MS)
    kind, currency, category = (params.get(name) for name in ("type", "currency", "category"))
    entries = (
        entry
        for entry in takewhile(lambda entry: entry.at // NS_PER_MS >= first, reversed(account.log))
        if entry.at // NS_PER_MS <= last
        and kind in (None, entry.kind)
        and currency in (None, entry.currency)
        and category in (None, entry_category(entry))
    )
    limit = number(params, "limit", 20, 50)
    return page(entries, lambda e: e.number, lambda e: entry_row(e, venue.markets), params, limit)


def _span(venue: Venue, params: Params, default_ms: int = WEEK_MS) -> tuple[int, int]:
    """startTime and endTime in ms; a window of at most 7 days, by default the last ones."""
    now = venue.now // NS_PER_MS
    start, end = number(params, "startTime", -1), number(params, "endTime", -1)
    if start < 0 and end < 0:
        return now - default_ms, now
    if start < 0:
        start = end - default_ms
    if end < 0:
        end = start + WEEK_MS
    if end - start > WEEK_MS or end < start:
        raise RefusalError(10001, "params error: The time range between startTime and endTime cannot exceed 7 days")
    return start, end


def _require_scope(params: Params) -> None:
    if not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
        raise RefusalError(
            10001, "params error: Missing some parameters that must be filled in, symbol or settleCoin or baseCoin"
        )


ROUTES = {
    ("GET", "/v5/order/realtime"): realtime,
    ("GET", "/v5/order/history"): history,
    ("GET", "/v5/execution/list"): executions,
    ("GET", "/v5/position/list"): positions,
    ("GET", "/v5/position/closed-pnl"): closed_pnl,
    ("GET", "/v5/account/wallet-balance"): wallet_balance,
    ("GET", "/v5/account/info"): account_info,
    ("GET", "/v5/account/fee-rate"): fee_rate,
    ("GET", "/v5/account/transaction-log"): transaction_log,
}
