"""Private routes that set up positions: leverage, margin and position mode, stops of a position."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from libs.common.values import LINEAR
from sim.engine import stops
from sim.engine.account import Account
from sim.engine.margin import margin_of
from sim.engine.market import Market
from sim.engine.orders import Order, Position
from sim.routes.params import Params, linear, market_of, number, text, ticks_of
from sim.venue import Venue
from sim.wiretypes import RefusalError

PARTIAL_STOPS = 20
"""Partial take profits and stop losses a position may have."""
_TRIGGERS = ("LastPrice", "MarkPrice", "IndexPrice")


def set_leverage(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    linear(params)
    market = market_of(venue.markets, params)
    try:
        buy, sell = (Decimal(text(params, name)) for name in ("buyLeverage", "sellLeverage"))
    except InvalidOperation as error:
        raise RefusalError(10001, "params error: leverage invalid") from error
    symbol = market.instrument.symbol
    if buy != sell and not (account.isolated and symbol in account.hedge):
        raise RefusalError(10001, "params error: buy leverage must equal sell leverage")
    most = market.instrument.rules.max_leverage
    if not 1 <= min(buy, sell) <= max(buy, sell) <= most:
        raise RefusalError(110013, f"cannot set leverage [{buy}] gt maxLeverage [{most}] by risk limit")
    wanted = {position.idx: int((sell if position.idx == 2 else buy) * 100) for position in account.sides(symbol)}
    old = {position.idx: position.leverage_e2 for position in account.sides(symbol)}
    if wanted == old:
        raise RefusalError(110043, "leverage not modified")
    _set_leverage(account, symbol, wanted)
    margin = margin_of(account, venue.markets)
    if margin.initial > margin.balance:
        _set_leverage(account, symbol, old)
        raise RefusalError(110044, "available margin not enough")
    for position in account.sides(symbol):
        venue.desk.touch_position(account, symbol, position.idx)
    return {}


def _set_leverage(account: Account, symbol: str, leverages: dict[int, int]) -> None:
    for idx, leverage_e2 in leverages.items():
        account.position(symbol, idx).leverage_e2 = leverage_e2


def set_margin_mode(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    mode = text(params, "setMarginMode")
    if mode not in ("ISOLATED_MARGIN", "REGULAR_MARGIN"):
        raise RefusalError(10001, "params error: setMarginMode invalid, the simulator has isolated and regular margin")
    if mode == account.margin_mode:
        raise RefusalError(110026, "Margin mode is not modified")
    before, account.margin_mode = account.margin_mode, mode
    margin = margin_of(account, venue.markets)
    if margin.initial > margin.balance:
        account.margin_mode = before
        raise RefusalError(3400139, "equity would be less than the initial margin")
    venue.desk.touch_account(account)
    return {"reasons": []}


def switch_mode(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """One-way (0) or hedge (3). Of one symbol that is so already it is refused, of all symbols of a coin it is not:
    bots ask for it at every start."""
    linear(params)
    mode = number(params, "mode", -1)
    if mode not in (0, 3):
        raise RefusalError(10001, "params error: position_mode invalid")
    one = text(params, "symbol")
    if not one and text(params, "coin") != "USDT":
        raise RefusalError(10001, "params error: symbol or coin is required")
    symbols = {market_of(venue.markets, params).instrument.symbol} if one else {
        name for name, market in venue.markets.items() if market.instrument.category == LINEAR}  # fmt: skip
    changing = {symbol for symbol in symbols if (symbol in account.hedge) != (mode == 3)}
    if not changing:
        if one:
            raise RefusalError(110025, "Position mode is not modified")
        return {}
    if any(position.lots for symbol in changing for position in account.positions_of(symbol)):
        raise RefusalError(110024, "You have an existing position, so the position mode cannot be switched")
    if any(order.symbol in changing for order in account.open_orders.values()):
        raise RefusalError(110028, "You have existing open orders, so the position mode cannot be switched")
    account.hedge ^= changing
    venue.desk.touch_account(account)
    return {}


def idx_of(account: Account, symbol: str, params: Params) -> int:
    """positionIdx as the position mode of the symbol has it. Raises RefusalError for any other."""
    idx = number(params, "positionIdx", 0)
    if idx not in ((1, 2) if symbol in account.hedge else (0,)):
        raise RefusalError(10001, "position idx not match position mode")
    return idx


def trading_stop(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """Stops of the whole position (Full) or of a part of it (Partial: each call adds one)."""
    linear(params)
    market = market_of(venue.markets, params)
    position = account.position(market.instrument.symbol, idx_of(account, market.instrument.symbol, params))
    if not position.lots:
        raise RefusalError(10001, "can not set tp/sl/ts for zero position")
    for name in ("tpTriggerBy", "slTriggerBy"):
        if text(params, name, "LastPrice") not in _TRIGGERS:
            raise RefusalError(10001, f"params error: {name} invalid")
    if text(params, "tpslMode", "Full") == "Partial":
        _partial(venue, account, market, position, params)
    else:
        _full(venue, account, market, position, params)
    venue.desk.touch_position(account, position.symbol, position.idx)
    return {}


def _full(venue: Venue, account: Account, market: Market, position: Position, params: Params) -> None:
    if text(params, "tpLimitPrice") or text(params, "slLimitPrice"):
        raise RefusalError(10001, "params error: limit take profit and stop loss need tpslMode Partial")
    stop_loss = ticks_of(market, params, "stopLoss") if "stopLoss" in params else position.stop_loss
    take_profit = ticks_of(market, params, "takeProfit") if "takeProfit" in params else position.take_profit
    trailing = ticks_of(market, params, "trailingStop") if "trailingStop" in params else position.trailing
    active = ticks_of(market, params, "activePrice") if "trailingStop" in params else position.active
    wanted = (stop_loss, take_profit, trailing, active)
    if wanted == (position.stop_loss, position.take_profit, position.trailing, position.active):
        raise RefusalError(34040, "not modified")
    check_stops(market, position.side, market.last, take_profit, stop_loss)
    if trailing >= market.last:
        raise RefusalError(10001, "params error: trailingStop must be less than the last price")
    if active and (active - market.last) * position.side <= 0:
        raise RefusalError(10001, "params error: activePrice must be on the winning side of the last price")
    position.stop_loss, position.take_profit, position.trailing, position.active = wanted
    position.stop_by = text(params, "slTriggerBy") or position.stop_by
    position.profit_by = text(params, "tpTriggerBy") or position.profit_by
    stops.arrange(venue.desk, account, position, venue.now, "")


def check_stops(market: Market, side: int, base: int, take_profit: int, stop_loss: int) -> None:
    """A stop must be on the losing, a target on the winning side of the base price; all in ticks, 0 for none."""
    held = "Buy" if side > 0 else "Sell"
    for name, ticks, sign, where in (
        ("TakeProfit", take_profit, side, "be higher" if side > 0 else "be lower"),
        ("StopLoss", stop_loss, -side, "lower" if side > 0 else "higher"),
    ):
        if ticks and (ticks - base) * sign <= 0:
            scale = market.instrument.price_e8
            raise RefusalError(
                10001,
                f"{name}:{ticks * scale} set for {held} position should {where} than base_price:{base * scale}??LastPrice",
            )


def _partial(venue: Venue, account: Account, market: Market, position: Position, params: Params) -> None:
    take_profit, stop_loss = ticks_of(market, params, "takeProfit"), ticks_of(market, params, "stopLoss")
    if not take_profit and not stop_loss:
        raise RefusalError(34040, "not modified")
    check_stops(market, position.side, market.last, take_profit, stop_loss)
    sizes = {name: market.instrument.lots_exact(params[name]) for name in ("tpSize", "slSize") if params.get(name)}
    if None in sizes.values() or len({*sizes.values()}) > 1:
        raise RefusalError(10001, "params error: tpSize and slSize must be equal")
    lots = next(iter(sizes.values()), None) or abs(position.lots)
    if lots > abs(position.lots):
        raise RefusalError(10001, "params error: tpSize or slSize exceeds the position")
    wanted = [kind for kind, ticks in ((stops.TAKE_PROFIT, take_profit), (stops.STOP_LOSS, stop_loss)) if ticks]
    held = sum(
        o.symbol == position.symbol and o.idx == position.idx and o.stop_type.startswith("Partial")
        for o in account.open_orders.values()
    )
    if held + len(wanted) > PARTIAL_STOPS:
        raise RefusalError(110061, f"Up to {PARTIAL_STOPS} partial take profit and stop loss orders for a position")
    for kind, trigger, prefix in (
        (stops.TAKE_PROFIT, take_profit, "tp"), (stops.STOP_LOSS, stop_loss, "sl"),
    ):  # fmt: skip
        if trigger:
            order = _partial_order(venue, account, market, position, params, kind, trigger, lots, prefix)
            venue.desk.place(order, venue.now)


def _partial_order(
    venue: Venue, account: Account, market: Market, position: Position, params: Params, kind: str, trigger: int, lots: int,
    prefix: str,
) -> Order:  # fmt: skip
    limit = ticks_of(market, params, f"{prefix}LimitPrice")
    if bool(limit) != (text(params, f"{prefix}OrderType", "Market") == "Limit"):
        raise RefusalError(10001, f"params error: {prefix}OrderType and {prefix}LimitPrice do not match")
    order = stops.order_of(venue.desk, account, position, kind, trigger, lots, venue.now)
    order.stop_type, order.create_type = f"Partial{kind}", f"CreateByPartial{kind}"
    order.trigger_by = text(params, f"{prefix}TriggerBy", "LastPrice")
    order.close_on_trigger = False
    if limit:
        order.kind, order.ticks, order.tif = "Limit", limit, "GTC"
    return order


ROUTES = {
    ("POST", "/v5/position/set-leverage"): set_leverage,
    ("POST", "/v5/position/switch-mode"): switch_mode,
    ("POST", "/v5/position/trading-stop"): trading_stop,
    ("POST", "/v5/account/set-margin-mode"): set_margin_mode,
}
