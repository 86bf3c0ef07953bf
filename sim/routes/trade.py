"""Private routes that act on orders. Everything is checked here; the outcome comes on the streams."""

from __future__ import annotations

import re
from typing import Any

from libs.common.values import SPOT
from sim.chance import digest, identifier
from sim.engine import stops
from sim.engine.account import Account, fee_of
from sim.engine.desk import protected
from sim.engine.margin import margin_of
from sim.engine.market import Market
from sim.engine.orders import Order
from sim.routes import spot
from sim.routes.params import Params, category_of, flag, key_of, linear, market_of, number, scoped, text, ticks_of
from sim.routes.positions import check_stops, idx_of
from sim.trading import check_open
from sim.venue import Venue
from sim.wiretypes import RefusalError

_SIDES = {"Buy": 1, "Sell": -1}
_LINK_ID = re.compile(r"[A-Za-z0-9_-]*")
_TIF = ("GTC", "IOC", "FOK", "PostOnly")
CANCELLED = "EC_PerCancelRequest"
BATCH = 500
OPEN_ORDERS, CONDITIONAL_ORDERS = 500, 10
"""Of a symbol."""


def create(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    if category_of(params) == SPOT:
        return spot.create(venue, account, params)
    order = _checked(venue, account, params)
    order.number, order.order_id = venue.desk.new_order_id()
    venue.desk.place(order, venue.now)
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def pre_check(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """What the order would do to the account's margin rates (1e-4); nothing is placed."""
    if text(params, "triggerPrice"):
        raise RefusalError(10001, "params error: conditional orders are not supported")
    if account.margin_mode == "ISOLATED_MARGIN":
        raise RefusalError(10001, "params error: isolated margin is not supported")
    order = _checked(venue, account, params)
    before, after = margin_of(account, venue.markets), margin_of(account, venue.markets, order)
    return {
        "orderId": identifier(venue.incarnation, "pre-check", venue.now, order.link_id),
        "orderLinkId": order.link_id,
        "preImrE4": _rate_e4(before.initial, before.balance),
        "preMmrE4": _rate_e4(before.maintenance, before.balance),
        "postImrE4": _rate_e4(after.initial, after.balance),
        "postMmrE4": _rate_e4(after.maintenance, after.balance),
    }


def _rate_e4(part: int, whole: int) -> int:
    return part * 10_000 // max(1, whole)


def _checked(venue: Venue, account: Account, params: Params) -> Order:
    """The order that is asked for, fit to be placed but for its number. Raises RefusalError."""
    linear(params)
    market = market_of(venue.markets, params)
    order = _order(venue, account, market, params)
    check_open(venue, market, order)
    if order.link_id and order.link_id in account.by_link:
        raise RefusalError(110072, "OrderLinkedID is duplicate")
    _check_count(venue, account, order)
    _check_attached(market, order, params)
    _check_position(account, market, order)
    _check_price(market, order)
    _check_size(market, order)
    if not order.reduce_only and not order.trigger_ticks:
        _check_margin(venue, account, market, order)
    return order


def _order(venue: Venue, account: Account, market: Market, params: Params) -> Order:
    side, kind = _SIDES.get(text(params, "side")), text(params, "orderType")
    link_id, tif = text(params, "orderLinkId"), text(params, "timeInForce") or "GTC"
    if side is None or kind not in ("Limit", "Market"):
        raise RefusalError(10001, "params error: side or orderType invalid")
    if len(link_id) > 45:
        raise RefusalError(10001, "order link id is longer than 45")
    if not _LINK_ID.fullmatch(link_id):
        raise RefusalError(10001, "params error: orderLinkId has invalid characters")
    if tif not in _TIF:
        raise RefusalError(10001, "params error: timeInForce invalid")
    instrument = market.instrument
    idx = idx_of(account, instrument.symbol, params)
    lots = instrument.lots_exact(params.get("qty"))
    if lots is None:
        raise RefusalError(10001, "Qty invalid")
    closing = flag(params, "closeOnTrigger")
    # In hedge mode an order against its side can only close.
    reduce_only = flag(params, "reduceOnly") or closing or (idx > 0 and (idx == 1) != (side > 0))
    if lots == 0 and reduce_only and closing:
        lots = min(abs(account.position(instrument.symbol, idx).lots), _most(market, kind))
    if not market.last:
        raise RefusalError(110066, "Trading is currently not allowed: no price yet")
    ticks = ticks_of(market, params, "price") if kind == "Limit" else protected(market, side)
    if not ticks:
        raise RefusalError(10001, "params error: price is required")
    return Order(
        account=account.uid, number=0, order_id="", link_id=link_id, symbol=instrument.symbol, side=side, kind=kind,
        ticks=ticks, lots=lots, tif="IOC" if kind == "Market" and tif != "FOK" else tif, created_at=venue.now,
        updated_at=venue.now, reduce_only=reduce_only, close_on_trigger=closing, idx=idx, smp=_smp(params),
        **_extras(market, params),
    )  # fmt: skip


def _smp(params: Params) -> str:
    smp = text(params, "smpType") or "None"
    if smp not in ("None", "CancelMaker", "CancelTaker", "CancelBoth"):
        raise RefusalError(10001, "params error: smpType invalid")
    return smp


def _extras(market: Market, params: Params) -> dict[str, Any]:
    """Trigger and attached stops."""
    trigger = ticks_of(market, params, "triggerPrice")
    direction = number(params, "triggerDirection", 0)
    if trigger and direction not in (1, 2):
        raise RefusalError(10001, "params error: triggerDirection is required")
    if trigger:
        check_trigger(market, direction, trigger, text(params, "triggerBy"))
    return {
        "trigger_ticks": trigger,
        "trigger_direction": direction if trigger else 0,
        "trigger_by": (text(params, "triggerBy") or "LastPrice") if trigger else "",
        "stop_type": "Stop" if trigger else "",
        "take_profit": ticks_of(market, params, "takeProfit"),
        "stop_loss": ticks_of(market, params, "stopLoss"),
        "profit_by": text(params, "tpTriggerBy") or "LastPrice",
        "stop_by": text(params, "slTriggerBy") or "LastPrice",
        "last_on_created": market.last,
    }


def check_trigger(market: Market, direction: int, trigger: int, by: str) -> None:
    """A conditional order must wait for something: its trigger is on the other side of the price now."""
    if by not in ("", "LastPrice", "MarkPrice", "IndexPrice"):
        raise RefusalError(10001, "params error: triggerBy invalid")
    name, current = (by, {"MarkPrice": market.mark, "IndexPrice": market.index}.get(by, market.last)) if by else (
        "LastPrice", market.last)  # fmt: skip
    scale = market.instrument.price_e8
    if direction == 1 and trigger <= current:
        text_ = f"expect Rising, but trigger_price[{trigger * scale}] <= current[{current * scale}]??{name}"
        raise RefusalError(110092, text_)
    if direction == 2 and trigger >= current:
        text_ = f"expect Falling, but trigger_price[{trigger * scale}] >= current[{current * scale}]??{name}"
        raise RefusalError(110093, text_)


def _check_count(venue: Venue, account: Account, order: Order) -> None:
    """So many orders of a symbol may be open, and so many conditional ones wait."""
    waiting = bool(order.trigger_ticks)
    most = venue.order_limit // (OPEN_ORDERS // CONDITIONAL_ORDERS) if waiting else venue.order_limit
    if len(account.open_orders) < most:
        return
    held = sum(
        other.symbol == order.symbol and (other.status == "Untriggered") == waiting and other.stop_type in ("", "Stop")
        for other in account.open_orders.values()
    )
    if held >= most:
        raise RefusalError(
            110009 if waiting else 110020,
            f"The number of {'conditional' if waiting else 'active'} orders of a symbol exceeds the limit of {most}",
        )


def _most(market: Market, kind: str) -> int:
    rules = market.instrument.rules
    return market.instrument.whole_lots(rules.max_qty if kind == "Limit" else rules.max_market_qty)


def _check_attached(market: Market, order: Order, params: Params) -> None:
    if not order.take_profit and not order.stop_loss:
        return
    if order.reduce_only:
        raise RefusalError(10001, "params error: a reduce-only order cannot carry take profit or stop loss")
    if text(params, "tpslMode", "Full") != "Partial" and (text(params, "tpLimitPrice") or text(params, "slLimitPrice")):
        raise RefusalError(10001, "params error: limit take profit and stop loss need tpslMode Partial")
    base = order.trigger_ticks or (order.ticks if order.kind == "Limit" else market.last)
    check_stops(market, order.side, base, order.take_profit, order.stop_loss)


def _check_position(account: Account, market: Market, order: Order) -> None:
    """Reduce-only: there must be something to reduce; more than that is cut."""
    if not order.reduce_only:
        if order.lots < market.instrument.least_lots:
            raise RefusalError(10001, "The number of contracts exceeds minimum limit allowed")
        return
    position = account.position(order.symbol, order.idx)
    if order.trigger_ticks:
        return
    if not position.lots:
        raise RefusalError(110017, "current position is zero, cannot fix reduce-only order qty")
    if position.side == order.side:
        raise RefusalError(110017, "reduce-only order has same side with current position")
    order.lots = min(order.lots, abs(position.lots))
    if order.lots < 1:
        raise RefusalError(10001, "The number of contracts exceeds minimum limit allowed")


def _check_price(market: Market, order: Order) -> None:
    if order.kind == "Market":
        return
    instrument = market.instrument
    bound = instrument.ratio_ticks(market.mark, instrument.rules.price_limit_ratio_y, order.side)
    if not order.trigger_ticks and (order.ticks - bound) * order.side > 0:
        raise RefusalError(110003, "Order price exceeds the allowable range.")


def _check_size(market: Market, order: Order) -> None:
    instrument, most = market.instrument, _most(market, order.kind)
    if order.lots > most:
        scaled = instrument.lot_e8
        raise RefusalError(
            10001,
            "The number of contracts exceeds maximum limit allowed: too large, "
            f"order_qty:{order.lots * scaled} > max_qty:{most * scaled}",
        )
    least = int(instrument.rules.min_notional * 100_000_000)
    if not order.reduce_only and order.ticks * order.lots * instrument.units < least:
        raise RefusalError(110094, f"Order does not meet minimum order value {instrument.rules.min_notional}USDT")


def _check_margin(venue: Venue, account: Account, market: Market, order: Order) -> None:
    before = margin_of(account, venue.markets)
    after = margin_of(account, venue.markets, order)
    fee = fee_of(order.ticks * order.lots * market.instrument.units, account.taker_e8)
    if after.initial > before.initial and after.initial + fee > after.balance:
        raise RefusalError(110007, "ab not enough for new order")


def _target(account: Account, params: Params, action: str) -> Order:
    order_id, link_id = text(params, "orderId"), text(params, "orderLinkId")
    if not order_id and not link_id:
        raise RefusalError(10001, "params error: OrderId or orderLinkId is required")
    order = account.find(order_id, link_id)
    is_spot = category_of(params) == SPOT
    if (
        order is None
        or not order.is_open
        or order.spot != is_spot
        or ("symbol" in params and order.symbol != key_of(params))
    ):
        if is_spot:
            raise RefusalError(170213, "Order does not exist.")
        raise RefusalError(110001, f"order not exists or too late to {action}")
    return order


def amend(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    order = _target(account, params, "replace")
    if order.spot:
        return spot.amend(venue, account, order, params)
    market = market_of(venue.markets, params)
    ticks = ticks_of(market, params, "price") or order.ticks
    trigger = ticks_of(market, params, "triggerPrice") or order.trigger_ticks
    lots = order.lots
    if "qty" in params:
        wanted = market.instrument.lots_exact(params["qty"])
        if not wanted:
            raise RefusalError(10001, "Qty invalid")
        lots = wanted
    stop_loss = ticks_of(market, params, "stopLoss") if "stopLoss" in params else order.stop_loss
    take_profit = ticks_of(market, params, "takeProfit") if "takeProfit" in params else order.take_profit
    before = (order.ticks, order.lots, order.trigger_ticks, order.stop_loss, order.take_profit)
    if (ticks, lots, trigger, stop_loss, take_profit) == before:
        raise RefusalError(10001, "order not modified")
    check_open(venue, market, order)
    if trigger != order.trigger_ticks:
        if order.status != "Untriggered":
            raise RefusalError(10001, "params error: triggerPrice of an order that does not wait for it")
        check_trigger(market, order.trigger_direction, trigger, order.trigger_by)
    check_stops(market, order.side, ticks or market.last, take_profit, stop_loss)
    if order.cum_lots and lots <= order.cum_lots:
        raise RefusalError(110064, "The order quantity cannot be below what has been filled")
    _check_amended(venue, account, market, order, ticks, lots)
    order.stop_loss, order.take_profit = stop_loss, take_profit
    if order.stop_type in (stops.STOP_LOSS, stops.TAKE_PROFIT):
        stops.note(account, order, trigger)
    venue.desk.amend(order, ticks, lots, trigger, venue.now)
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def _check_amended(venue: Venue, account: Account, market: Market, order: Order, ticks: int, lots: int) -> None:
    """The amended order must pass what a new one must; the order itself is left as it was."""
    before, old = margin_of(account, venue.markets), (order.ticks, order.lots)
    order.ticks, order.lots = ticks, lots
    try:
        _check_price(market, order)
        _check_size(market, order)
        after = margin_of(account, venue.markets)
        if after.initial > before.initial and after.initial > after.balance:
            raise RefusalError(110007, "ab not enough for new order")
    finally:
        order.ticks, order.lots = old


def cancel(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    order = _target(account, params, "cancel")
    _withdraw(venue, account, order)
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def _withdraw(venue: Venue, account: Account, order: Order) -> None:
    """Cancel for the user. A position's stop that is cancelled is no longer asked for."""
    if order.stop_type in (stops.STOP_LOSS, stops.TAKE_PROFIT, stops.TRAILING):
        stops.note(account, order, 0)
    venue.desk.cancel(order, venue.now, CANCELLED, "CancelByUser")


def cancel_all(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """At most 500 at once; of more, any (seeded)."""
    if category_of(params) != SPOT and not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
        raise RefusalError(10001, "params error: symbol, baseCoin or settleCoin is required")
    wanted = text(params, "orderFilter")
    if wanted not in ("", "Order", "StopOrder", "OpenOrder", "tpslOrder", "OcoOrder", "BidirectionalTpslOrder"):
        raise RefusalError(10001, "params error: orderFilter invalid")
    only = text(params, "stopOrderType")
    chosen = [
        order
        for order in account.open_orders.values()
        if order.is_open
        and scoped(params, venue.markets[order.symbol].instrument)
        and _selected(order, wanted)
        and only in ("", order.stop_type)
    ]
    if len(chosen) > BATCH:
        chosen = sorted(chosen, key=lambda order: digest(0, venue.incarnation, order.number))[:BATCH]
    for order in chosen:
        _withdraw(venue, account, order)
    rows = [{"orderId": order.order_id, "orderLinkId": order.link_id} for order in chosen]
    return {"list": rows, "success": "1"}


def _selected(order: Order, wanted: str) -> bool:
    """Active ones (Order), those that wait for a trigger (StopOrder), both but stops of positions (OpenOrder)."""
    waits = order.status == "Untriggered"
    if wanted == "Order":
        return not waits
    if wanted == "StopOrder":
        return waits
    if wanted == "OpenOrder":
        return order.stop_type in ("", "Stop")
    return wanted in ("", order.stop_type)


ROUTES = {
    ("POST", "/v5/order/create"): create,
    ("POST", "/v5/order/pre-check"): pre_check,
    ("POST", "/v5/order/amend"): amend,
    ("POST", "/v5/order/cancel"): cancel,
    ("POST", "/v5/order/cancel-all"): cancel_all,
}
