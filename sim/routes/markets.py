"""Public REST routes (/v5/market/...)."""

from __future__ import annotations

from typing import Any

from libs.bybit.lockstep import STREAM_PATH
from libs.common.values import SPOT, SPOT_SUFFIX
from sim.engine.instruments import amount_text
from sim.engine.klines import INTERVALS, MINUTE, Candle
from sim.engine.market import NS_PER_MS, Market
from sim.routes import stats
from sim.routes.params import Params, category_of, linear, market_of, number, scoped, text
from sim.streams.feed import SIDES, topic_symbol, trade_prefix
from sim.trading import status_rows
from sim.venue import Venue
from sim.wiretypes import RefusalError


def server_time(venue: Venue, params: Params) -> dict[str, Any]:
    at = venue.now
    return {"timeSecond": str(at // 1_000_000_000), "timeNano": str(at), "incarnation": venue.incarnation}


def kline(venue: Venue, params: Params) -> dict[str, Any]:
    """Candles of the tape before now, newest first; the first may be unfinished."""
    market, interval = market_of(venue.markets, params), text(params, "interval")
    if interval not in INTERVALS:
        raise RefusalError(10001, "params error: interval invalid")
    start, end = number(params, "start", 0), number(params, "end", venue.now // NS_PER_MS)
    candles = list(market.klines.history.get(interval, ()))
    if (unfinished := market.klines.open.get(interval)) is not None:
        candles.append(unfinished)
    candles = venue.backcast.before(market, interval, candles) + candles
    rows = [_kline_row(market, candle) for candle in reversed(candles) if start <= candle.start <= end]
    limit = number(params, "limit", 200, 1000)
    return {"category": market.instrument.category, "symbol": market.instrument.name, "list": rows[:limit]}


def mark_kline(venue: Venue, params: Params) -> dict[str, Any]:
    linear(params)
    result = kline(venue, params)
    result["list"] = [row[:5] for row in result["list"]]
    return result


def _kline_row(market: Market, candle: Candle) -> list[str]:
    price = market.instrument.price_text
    return [
        str(candle.start),
        price(candle.open),
        price(candle.high),
        price(candle.low),
        price(candle.close),
        market.instrument.plain_qty(candle.lots),
        amount_text(candle.turnover),
    ]


def chosen(venue: Venue, params: Params) -> list[Market]:
    """The market of the symbol, or every one of the category."""
    if params.get("symbol"):
        return [market_of(venue.markets, params)]
    category = category_of(params)
    return [market for market in venue.markets.values() if market.instrument.category == category]


def tickers(venue: Venue, params: Params) -> dict[str, Any]:
    rows = []
    for market in chosen(venue, params):
        feed = venue.feeds[market.instrument.symbol]
        row = feed.ticker_fields()
        if market.instrument.category == SPOT:
            rows.append(row | feed.best_fields())
            continue
        del row["tickDirection"]
        instrument, single = market.instrument, market.open_interest(market.last_at // NS_PER_MS) // 2
        row["singleOpenInterest"] = instrument.qty_text(single)
        row["singleOpenInterestValue"] = amount_text(single * market.mark * instrument.units)
        row |= {"deliveryTime": "0", "predictedDeliveryPrice": "", "basisRate": "", "deliveryFeeRate": "", "basis": ""}
        rows.append(row)
    return {"category": category_of(params), "list": rows}


def instruments_info(venue: Venue, params: Params) -> dict[str, Any]:
    category, status = category_of(params), params.get("status")
    found = [
        market
        for market in venue.markets.values()
        if scoped(params, market.instrument)
        and (market.state.status == (status or "Trading") or (not status and params.get("symbol")))
    ]
    start, limit = number(params, "cursor", 0) if params.get("cursor") else 0, number(params, "limit", 500, 1000)
    page = found if category == SPOT else found[start : start + limit]
    rows = [market.instrument.row(market.state.status, market.state.delivery_ms) for market in page]
    more = str(start + limit) if start + limit < len(found) else ""
    return {"category": category, "list": rows} | ({} if category == SPOT else {"nextPageCursor": more})


def orderbook(venue: Venue, params: Params) -> dict[str, Any]:
    market, limit = market_of(venue.markets, params), number(params, "limit", 25, 1000)
    price, qty, feed = market.instrument.price_text, market.instrument.qty_text, venue.feeds[market.instrument.symbol]
    bids, asks = ([[price(t), qty(n)] for t, n in feed.shown(side, limit).items()] for side in (1, -1))
    ms, stamp = venue.now // NS_PER_MS, market.changed_at // NS_PER_MS
    return {"s": market.instrument.name, "b": bids, "a": asks, "ts": ms, "u": feed.rest_u(), "seq": market.changes,
            "cts": stamp}  # fmt: skip


def recent_trade(venue: Venue, params: Params) -> dict[str, Any]:
    market, limit = market_of(venue.markets, params), number(params, "limit", 500, 1000)
    instrument, rows = market.instrument, []
    prefix = trade_prefix(instrument.symbol)
    for event, trade in list(market.recent)[: -limit - 1 : -1]:
        rows.append(
            {
                "execId": f"{prefix}{trade:012x}",
                "symbol": instrument.name,
                "price": instrument.price_text(event.ticks),
                "size": instrument.qty_text(event.lots),
                "side": SIDES[event.side],
                "time": str(event.at // NS_PER_MS),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(trade),
            }
        )
    return {"category": instrument.category, "list": rows}


def funding_history(venue: Venue, params: Params) -> dict[str, Any]:
    linear(params)
    market, limit = market_of(venue.markets, params), number(params, "limit", 200, 200)
    if params.get("startTime") and not params.get("endTime"):
        raise RefusalError(10001, "params error: startTime needs endTime")
    end = min(number(params, "endTime", venue.now // NS_PER_MS), venue.now // NS_PER_MS)
    start = number(params, "startTime", 0)
    interval = market.instrument.rules.funding_interval_min * MINUTE
    rows: list[dict[str, str]] = []
    stamp = end - end % interval
    while stamp >= start and stamp > 0 and len(rows) < limit:
        rate = amount_text(market.funding_e8(stamp))
        rows.append({"symbol": market.instrument.symbol, "fundingRate": rate, "fundingRateTimestamp": str(stamp)})
        stamp -= interval
    return {"category": "linear", "list": rows}


def price_limit(venue: Venue, params: Params) -> dict[str, Any]:
    market = market_of(venue.markets, params)
    price = market.instrument.price_text
    return {
        "symbol": market.instrument.name,
        "buyLmt": price(market.limit(1)),
        "sellLmt": price(market.limit(-1)),
        "ts": str(venue.now // NS_PER_MS),
    }


def system_status(venue: Venue, params: Params) -> dict[str, Any]:
    """Maintenance windows, newest first."""
    rows = status_rows(venue)
    wanted = {"id": params.get("id"), "state": params.get("state")}
    return {"list": [row for row in rows if all(value in (None, row[name]) for name, value in wanted.items())]}


def stream(venue: Venue, params: Params) -> dict[str, Any]:
    """`resubscribe:[spot:]<topic>` of a client that is served in instants: the window's frame of that book is a snapshot.

    Whatever else is asked of a stream has no meaning there: nothing comes between the client and the exchange.
    """
    verb, _, asked = text(params, "ask").partition(":")
    category, _, topic = asked.rpartition(":")
    inner = topic + SPOT_SUFFIX if category == SPOT else topic
    feed = venue.feeds.get(topic_symbol(inner) or "")
    if verb != "resubscribe" or feed is None or not feed.renew(inner):
        raise RefusalError(10001, f"params error: handler not found,topic:{verb}:{asked}")
    return {}


ROUTES = {
    ("GET", STREAM_PATH): stream,
    ("GET", "/v5/market/time"): server_time,
    ("GET", "/v5/market/kline"): kline,
    ("GET", "/v5/market/mark-price-kline"): mark_kline,
    ("GET", "/v5/market/index-price-kline"): mark_kline,
    ("GET", "/v5/market/tickers"): tickers,
    ("GET", "/v5/market/instruments-info"): instruments_info,
    ("GET", "/v5/market/orderbook"): orderbook,
    ("GET", "/v5/market/recent-trade"): recent_trade,
    ("GET", "/v5/market/funding/history"): funding_history,
    ("GET", "/v5/market/price-limit"): price_limit,
    ("GET", "/v5/system/status"): system_status,
    **stats.ROUTES,
}
