"""Private routes that act: orders, leverage, stops. Everything is checked here; the outcome comes on the streams."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from libs.common.values import SPOT
from sim import spotapi, stops
from sim.account import Account, fee_of
from sim.chance import identifier
from sim.desk import protected
from sim.margin import margin_of
from sim.market import Market
from sim.orders import Order
from sim.params import Params, category_of, flag, key_of, linear, market_of, number, scoped, text
from sim.trading import check_open
from sim.venue import Venue
from sim.wiretypes import RefusalError

_SIDES = {"Buy": 1, "Sell": -1}
_LINK_ID = re.compile(r"[A-Za-z0-9_-]*")
_TIF = ("GTC", "IOC", "FOK", "PostOnly")
CANCELLED = "EC_PerCancelRequest"
BATCH = 500


def create(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    if category_of(params) == SPOT:
        return spotapi.create(venue, account, params)
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
    if number(params, "positionIdx", 0) != 0:
        raise RefusalError(10001, "position idx not match position mode")
    instrument = market.instrument
    lots = instrument.lots_exact(params.get("qty"))
    if lots is None:
        raise RefusalError(10001, "Qty invalid")
    closing = flag(params, "closeOnTrigger")
    reduce_only = flag(params, "reduceOnly") or closing
    if lots == 0 and reduce_only and closing:
        lots = min(abs(account.position(market.instrument.symbol).lots), _most(market, kind))
    if not market.last:
        raise RefusalError(110066, "Trading is currently not allowed: no price yet")
    ticks = _ticks(market, params, "price") if kind == "Limit" else protected(market, side)
    if not ticks:
        raise RefusalError(10001, "params error: price is required")
    return Order(
        account=account.uid, number=0, order_id="", link_id=link_id, symbol=instrument.symbol, side=side, kind=kind,
        ticks=ticks, lots=lots, tif="IOC" if kind == "Market" and tif != "FOK" else tif, created_at=venue.now,
        updated_at=venue.now, reduce_only=reduce_only, close_on_trigger=closing, **_extras(market, params),
    )  # fmt: skip


def _extras(market: Market, params: Params) -> dict[str, Any]:
    """Trigger and attached stops."""
    trigger = _ticks(market, params, "triggerPrice")
    direction = number(params, "triggerDirection", 0)
    if trigger and direction not in (1, 2):
        raise RefusalError(10001, "params error: triggerDirection is required")
    return {
        "trigger_ticks": trigger,
        "trigger_direction": direction if trigger else 0,
        "trigger_by": (text(params, "triggerBy") or "LastPrice") if trigger else "",
        "stop_type": "Stop" if trigger else "",
        "take_profit": _ticks(market, params, "takeProfit"),
        "stop_loss": _ticks(market, params, "stopLoss"),
        "last_on_created": market.last,
    }


def _ticks(market: Market, params: Params, name: str) -> int:
    """A price parameter in ticks; 0 when absent, empty or "0"."""
    value = params.get(name)
    if value is None or value == "":
        return 0
    ticks = market.instrument.ticks_exact(value)
    if ticks is None:
        raise RefusalError(10001, f"params error: {name} invalid")
    return ticks


def _most(market: Market, kind: str) -> int:
    rules = market.instrument.rules
    return market.instrument.whole_lots(rules.max_qty if kind == "Limit" else rules.max_market_qty)


def _check_position(account: Account, market: Market, order: Order) -> None:
    """Reduce-only: there must be something to reduce; more than that is cut."""
    if not order.reduce_only:
        if order.lots < market.instrument.least_lots:
            raise RefusalError(10001, "The number of contracts exceeds minimum limit allowed")
        return
    position = account.position(order.symbol)
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
    spot = category_of(params) == SPOT
    if (
        order is None
        or not order.is_open
        or order.spot != spot
        or ("symbol" in params and order.symbol != key_of(params))
    ):
        if spot:
            raise RefusalError(170213, "Order does not exist.")
        raise RefusalError(110001, f"order not exists or too late to {action}")
    return order


def amend(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    order = _target(account, params, "replace")
    if order.spot:
        return spotapi.amend(venue, account, order, params)
    market = market_of(venue.markets, params)
    ticks = _ticks(market, params, "price") or order.ticks
    trigger = _ticks(market, params, "triggerPrice") or order.trigger_ticks
    lots = order.lots
    if "qty" in params:
        wanted = market.instrument.lots_exact(params["qty"])
        if not wanted:
            raise RefusalError(10001, "Qty invalid")
        lots = wanted
    stop_loss, take_profit = _ticks(market, params, "stopLoss"), _ticks(market, params, "takeProfit")
    stops_same = (stop_loss or order.stop_loss, take_profit or order.take_profit) == (
        order.stop_loss,
        order.take_profit,
    )
    if (ticks, lots, trigger) == (order.ticks, order.lots, order.trigger_ticks) and stops_same:
        raise RefusalError(10001, "order not modified")
    check_open(venue, market, order)
    if lots < order.cum_lots:
        raise RefusalError(110064, "The order quantity cannot be below what has been filled")
    _check_amended(venue, account, market, order, ticks, lots)
    order.stop_loss, order.take_profit = stop_loss or order.stop_loss, take_profit or order.take_profit
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
    venue.desk.cancel(order, venue.now, CANCELLED, "CancelByUser")
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def cancel_all(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    if category_of(params) != SPOT and not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
        raise RefusalError(10001, "params error: symbol, baseCoin or settleCoin is required")
    wanted = text(params, "orderFilter")
    rows: list[dict[str, str]] = []
    for order in list(account.open_orders.values()):
        conditional = order.status == "Untriggered"
        if (wanted == "Order" and conditional) or (wanted == "StopOrder" and not conditional):
            continue
        if order.is_open and scoped(params, venue.markets[order.symbol].instrument) and len(rows) < BATCH:
            venue.desk.cancel(order, venue.now, CANCELLED, "CancelByUser")
            rows.append({"orderId": order.order_id, "orderLinkId": order.link_id})
    return {"list": rows, "success": "1"}


def set_leverage(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    linear(params)
    market = market_of(venue.markets, params)
    try:
        buy, sell = (Decimal(text(params, name)) for name in ("buyLeverage", "sellLeverage"))
    except InvalidOperation as error:
        raise RefusalError(10001, "params error: leverage invalid") from error
    if buy != sell:
        raise RefusalError(10001, "params error: buy leverage must equal sell leverage")
    if not 1 <= buy <= market.instrument.rules.max_leverage:
        raise RefusalError(
            110013, f"cannot set leverage [{buy}] gt maxLeverage [{market.instrument.rules.max_leverage}]"
        )
    position = account.position(market.instrument.symbol)
    if position.leverage_e2 == int(buy * 100):
        raise RefusalError(110043, "leverage not modified")
    old, position.leverage_e2 = position.leverage_e2, int(buy * 100)
    margin = margin_of(account, venue.markets)
    if margin.initial > margin.balance:
        position.leverage_e2 = old
        raise RefusalError(110044, "available margin not enough")
    venue.desk.touch_position(account, position.symbol)
    return {}


def switch_mode(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    if number(params, "mode", 0) == 0:
        raise RefusalError(110025, "Position mode is not modified")
    raise RefusalError(10001, "params error: the simulator has one-way positions only")


def trading_stop(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    linear(params)
    market = market_of(venue.markets, params)
    position = account.position(market.instrument.symbol)
    if not position.lots:
        raise RefusalError(10001, "can not set tp/sl/ts for zero position")
    stop_loss = _ticks(market, params, "stopLoss") if "stopLoss" in params else position.stop_loss
    take_profit = _ticks(market, params, "takeProfit") if "takeProfit" in params else position.take_profit
    if (stop_loss, take_profit) == (position.stop_loss, position.take_profit):
        raise RefusalError(34040, "not modified")
    if stop_loss and (stop_loss - market.last) * position.side >= 0:
        where = "lower" if position.side > 0 else "higher"
        raise RefusalError(10001, f"StopLoss:{stop_loss} set for {'Buy' if position.side > 0 else 'Sell'} position should {where} "
                             f"than base_price:{market.last}??LastPrice")  # fmt: skip
    position.stop_loss, position.take_profit = stop_loss, take_profit
    stops.arrange(venue.desk, account, position, venue.now, "")
    venue.desk.touch_position(account, position.symbol)
    return {}


def set_margin_mode(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    mode = text(params, "setMarginMode")
    if mode not in ("ISOLATED_MARGIN", "REGULAR_MARGIN"):
        raise RefusalError(10001, "params error: setMarginMode invalid, the simulator has isolated and regular margin")
    if mode == account.margin_mode:
        raise RefusalError(110026, "Margin mode is not modified")
    account.margin_mode = mode
    venue.desk.touch_account(account)
    return {"reasons": []}


ROUTES = {
    ("POST", "/v5/order/create"): create,
    ("POST", "/v5/order/pre-check"): pre_check,
    ("POST", "/v5/account/set-margin-mode"): set_margin_mode,
    ("POST", "/v5/order/amend"): amend,
    ("POST", "/v5/order/cancel"): cancel,
    ("POST", "/v5/order/cancel-all"): cancel_all,
    ("POST", "/v5/position/set-leverage"): set_leverage,
    ("POST", "/v5/position/switch-mode"): switch_mode,
    ("POST", "/v5/position/trading-stop"): trading_stop,
}
