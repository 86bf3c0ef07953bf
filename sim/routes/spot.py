"""Orders on spot markets: what is checked, and the codes it is refused with. The private routes call it for category spot."""

from __future__ import annotations

from typing import Any

from libs.common.values import UNIT, UNITS_PER_COIN
from sim.engine.account import Account
from sim.engine.desk import protected
from sim.engine.instruments import SPOT_MOST_USDT, steps_of
from sim.engine.margin import spends, spot_free
from sim.engine.market import Market
from sim.engine.orders import Order
from sim.routes.params import Params, key_of, text
from sim.trading import check_open
from sim.venue import Venue
from sim.wiretypes import RefusalError

_SIDES = {"Buy": 1, "Sell": -1}
_TIF = ("GTC", "IOC", "FOK", "PostOnly")
_FILTERS = ("Order", "StopOrder", "tpslOrder")
MOST_UNITS = SPOT_MOST_USDT * UNITS_PER_COIN


def create(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """Check and place; answers ids. Raises RefusalError."""
    market = market_of(venue, params)
    order = _order(venue, account, market, params)
    check_open(venue, market, order)
    if order.link_id and order.link_id in account.by_link:
        raise RefusalError(170141, "Duplicate clientOrderId")
    _check_price(market, order)
    _check_size(market, order)
    _check_funds(venue, account, market, order)
    order.number, order.order_id, invented = venue.desk.new_spot_id(venue.now)
    order.link_id = order.link_id or invented
    venue.desk.place(order, venue.now)
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def market_of(venue: Venue, params: Params) -> Market:
    market = venue.markets.get(key_of(params))
    if market is None:
        raise RefusalError(170121, "Invalid symbol.")
    if not market.last:
        raise RefusalError(170007, "Timeout waiting for response from backend server.")
    return market


def _order(venue: Venue, account: Account, market: Market, params: Params) -> Order:
    instrument, kind = market.instrument, text(params, "orderType")
    side, tif = _SIDES.get(text(params, "side")), text(params, "timeInForce") or "GTC"
    wanted = text(params, "orderFilter") or "Order"
    if side is None:
        raise RefusalError(170116, "Invalid side.")
    if kind not in ("Limit", "Market"):
        raise RefusalError(170115, "Invalid orderType.")
    if tif not in _TIF:
        raise RefusalError(170117, "Invalid timeInForce.")
    if wanted not in _FILTERS:
        raise RefusalError(170130, "Data sent for parameter 'orderFilter' is not valid.")
    trigger = _ticks(market, params, "triggerPrice")
    if (wanted != "Order") != bool(trigger):
        raise RefusalError(170130, "Data sent for parameter 'triggerPrice' is not valid.")
    by_value = kind == "Market" and side > 0 and text(params, "marketUnit", "quoteCoin") == "quoteCoin"
    lots, budget = 0, 0
    if by_value:
        budget = _amount(params)
    else:
        lots = lots_of(market, params)
    ticks = _ticks(market, params, "price") if kind == "Limit" else protected(market, side)
    if not ticks:
        raise RefusalError(170130, "Data sent for parameter 'price' is not valid.")
    return Order(
        account=account.uid, number=0, order_id="", link_id=text(params, "orderLinkId"), symbol=instrument.symbol,
        side=side, kind=kind, ticks=ticks, lots=lots, tif="IOC" if kind == "Market" and tif != "FOK" else tif,
        created_at=venue.now, updated_at=venue.now, trigger_ticks=trigger, spot=True, budget=budget,
        trigger_direction=(1 if trigger > market.last else 2) if trigger else 0,
        trigger_by="LastPrice" if trigger else "",
        stop_type={"StopOrder": "Stop", "tpslOrder": "tpslOrder"}.get(wanted, ""), last_on_created=market.last,
    )  # fmt: skip


def lots_of(market: Market, params: Params) -> int:
    lots = market.instrument.lots_exact(params.get("qty"))
    if lots is None:
        raise RefusalError(170137, "Order volume decimal too long.")
    if lots < market.instrument.least_lots:
        raise RefusalError(170136, "Order quantity lower than the minimum.")
    return lots


def _amount(params: Params) -> int:
    """`qty` of a market buy by value: USDT, at most 1e-8 fine."""
    amount = steps_of(params.get("qty"), UNIT)
    if amount is None:
        raise RefusalError(170137, "Order volume decimal too long.")
    return amount


def _ticks(market: Market, params: Params, name: str) -> int:
    value = params.get(name)
    if value is None or value == "":
        return 0
    ticks = market.instrument.ticks_exact(value)
    if ticks is None:
        raise RefusalError(170134, "Order price decimal too long.")
    return ticks


def _check_price(market: Market, order: Order) -> None:
    """A limit price may not be too far on the paying side of the last trade."""
    if order.kind == "Market" or order.trigger_ticks:
        return
    instrument = market.instrument
    bound = instrument.ratio_ticks(market.last, instrument.rules.price_limit_ratio_y, order.side)
    if (order.ticks - bound) * order.side > 0:
        code, text_ = (170193, "Buy order price cannot be higher than") if order.side > 0 else (
            170194, "Sell order price cannot be lower than")  # fmt: skip
        raise RefusalError(code, f"{text_} {instrument.plain_price(bound)}.")


def _check_size(market: Market, order: Order) -> None:
    instrument, rules = market.instrument, market.instrument.rules
    most = instrument.whole_lots(rules.max_qty if order.kind == "Limit" else rules.max_market_qty)
    if order.lots > most:
        raise RefusalError(170135, "Order quantity too large.")
    value = order.budget or order.ticks * order.lots * instrument.units
    if value < int(rules.min_notional * UNITS_PER_COIN):
        raise RefusalError(170140, "Order value exceeded lower limit.")
    if value > MOST_UNITS:
        raise RefusalError(170124, "Order amount too large.")


def _check_funds(venue: Venue, account: Account, market: Market, order: Order) -> None:
    coin, amount = spends(order, market)
    if order.kind == "Market" and not order.budget and order.side > 0:
        # A market buy by quantity needs what it will cost, not what it may cost at most.
        amount = order.lots * market.last * market.instrument.units
    if amount > spot_free(account, coin, venue.markets):
        raise RefusalError(170131, "Insufficient balance.")


def amend(venue: Venue, account: Account, order: Order, params: Params) -> dict[str, Any]:
    """New price, quantity or trigger of an open spot order. Raises RefusalError; the order is then as it was."""
    market = market_of(venue, params)
    ticks = _ticks(market, params, "price") or order.ticks
    trigger = _ticks(market, params, "triggerPrice") or order.trigger_ticks
    lots = lots_of(market, params) if "qty" in params else order.lots
    if (ticks, lots, trigger) == (order.ticks, order.lots, order.trigger_ticks):
        raise RefusalError(10001, "order not modified")
    check_open(venue, market, order)
    if lots <= order.cum_lots:
        raise RefusalError(170139, "Order has been filled.")
    free = spot_free(account, spends(order, market)[0], venue.markets, but=order)
    old = order.ticks, order.lots
    order.ticks, order.lots = ticks, lots
    try:
        _check_price(market, order)
        _check_size(market, order)
        if order.status != "Untriggered" and spends(order, market)[1] > free:
            raise RefusalError(170131, "Insufficient balance.")
    finally:
        order.ticks, order.lots = old
    venue.desk.amend(order, ticks, lots, trigger, venue.now)
    return {"orderId": order.order_id, "orderLinkId": order.link_id}
