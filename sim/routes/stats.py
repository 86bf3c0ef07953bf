"""Public REST routes about the whole market: risk tiers, open interest, account ratio, insurance fund, deleveraging, indices."""

from __future__ import annotations

from typing import Any

from libs.common.values import LINEAR, UNITS_PER_COIN
from sim.chance import digest
from sim.engine.instruments import amount_text
from sim.engine.klines import INTERVALS, MINUTE
from sim.engine.market import NS_PER_MS, Market
from sim.engine.spot import Basis
from sim.routes.params import Params, linear, market_of, number, text
from sim.venue import Venue
from sim.wiretypes import RefusalError

PERIODS = {"5min": 5, "15min": 15, "30min": 30, "1h": 60, "4h": 240, "1d": 1440}
SYMBOLS_A_PAGE = 15
HISTORY_MS = 400 * 86_400_000


def risk_limit(venue: Venue, params: Params) -> dict[str, Any]:
    """Tiers of the symbol, or of 15 symbols a page."""
    linear(params)
    markets = [market_of(venue.markets, params)] if params.get("symbol") else perpetuals(venue)
    start = number(params, "cursor", 0) if params.get("cursor") else 0
    page = markets[start : start + SYMBOLS_A_PAGE]
    rows = [row for market in page for row in market.tiers.table(market.instrument.name)]
    more = start + SYMBOLS_A_PAGE < len(markets)
    return {"category": LINEAR, "list": rows, "nextPageCursor": str(start + SYMBOLS_A_PAGE) if more else ""}


def perpetuals(venue: Venue) -> list[Market]:
    return [market for market in venue.markets.values() if market.instrument.category == LINEAR]


def open_interest(venue: Venue, params: Params) -> dict[str, Any]:
    linear(params)
    market, instrument = market_of(venue.markets, params), market_of(venue.markets, params).instrument
    stamps, cursor = _stamps(venue, params, "intervalTime", 200)
    rows = []
    for at in stamps:
        lots = market.open_interest(at)
        both, single = instrument.qty_text(lots), instrument.qty_text((lots + 1) // 2)
        rows.append({"openInterest": both, "singleOpenInterest": single, "timestamp": str(at)})
    return {"symbol": instrument.name, "category": LINEAR, "list": rows, "nextPageCursor": cursor}


def account_ratio(venue: Venue, params: Params) -> dict[str, Any]:
    """Share of the accounts that are long and short: seeded, between 40 and 60 %."""
    linear(params)
    name = market_of(venue.markets, params).instrument.name
    stamps, cursor = _stamps(venue, params, "period", 500)
    rows = []
    for stamp in stamps:
        buy = 4_000 + digest(venue.seed, "ratio", name, stamp) % 2_001
        rows.append(
            {"symbol": name, "buyRatio": f"0.{buy:04d}", "sellRatio": f"0.{10_000 - buy:04d}", "timestamp": str(stamp)}
        )
    return {"list": rows, "nextPageCursor": cursor}


def _stamps(venue: Venue, params: Params, name: str, most: int) -> tuple[list[int], str]:
    """(ms of the periods asked for, newest first; the cursor that goes on after them)."""
    minutes = PERIODS.get(text(params, name))
    if minutes is None:
        raise RefusalError(10001, f"params error: {name} invalid")
    step, now = minutes * MINUTE, venue.now // NS_PER_MS
    start = number(params, "startTime", now - HISTORY_MS)
    end = min(number(params, "endTime", now), now)
    if params.get("cursor"):
        end = min(end, number(params, "cursor", end))
    newest, limit = end - end % step, number(params, "limit", 50, most)
    stamps = list(range(newest, max(start, 1) - 1, -step))
    return stamps[:limit], str(stamps[limit]) if len(stamps) > limit else ""


def insurance(venue: Venue, params: Params) -> dict[str, Any]:
    if params.get("coin") not in (None, "USDT"):
        return {"updatedTime": str(_day(venue)), "list": []}
    return {"updatedTime": str(_day(venue)), "list": [insurance_row(venue)]}


def _day(venue: Venue) -> int:
    ms = venue.now // NS_PER_MS
    return ms - ms % 86_400_000


def insurance_row(venue: Venue) -> dict[str, str]:
    balance = amount_text(venue.desk.counters.insurance)
    symbols = ",".join(market.instrument.name for market in perpetuals(venue))
    return {"coin": "USDT", "symbols": symbols, "balance": balance, "value": balance}


def adl_alert(venue: Venue, params: Params) -> dict[str, Any]:
    rows = [
        {"coin": "USDT", "symbol": market.instrument.name, "balance": amount_text(venue.desk.counters.insurance),
         "maxBalance": "", "insurancePnlRatio": "-0.3", "pnlRatio": "0", "adlTriggerThreshold": "10000", "adlStopRatio": "-0.25"}
        for market in perpetuals(venue)
        if params.get("symbol") in (None, market.instrument.name)
    ]  # fmt: skip
    minute = venue.now // NS_PER_MS // MINUTE * MINUTE
    return {"updatedTime": str(minute), "list": rows}


def adl_rows(venue: Venue) -> list[dict[str, Any]]:
    """Rows of the topic adlAlert: the same under short names, as numbers."""
    balance = venue.desk.counters.insurance / UNITS_PER_COIN
    return [
        {"c": "USDT", "s": market.instrument.name, "b": balance, "mb": "", "i_pr": -0.3, "pr": 0, "adl_tt": 10_000, "adl_sr": -0.25}
        for market in perpetuals(venue)
    ]  # fmt: skip


def premium_kline(venue: Venue, params: Params) -> dict[str, Any]:
    """Candles of the premium of the perpetual over its spot market, fractions."""
    linear(params)
    market, minutes = market_of(venue.markets, params), INTERVALS.get(text(params, "interval"))
    if minutes is None:
        raise RefusalError(10001, "params error: interval invalid")
    basis, step, now = Basis(venue.seed, market.instrument.symbol), minutes * MINUTE, venue.now // NS_PER_MS
    end, limit = min(number(params, "end", now), now), number(params, "limit", 200, 1000)
    start = number(params, "start", 0)
    rows: list[list[str]] = []
    stamp = end - end % step
    while stamp >= max(start, 1) and len(rows) < limit:
        inside = [basis.at_e8(at * NS_PER_MS) for at in range(stamp, stamp + step + 1, max(MINUTE, step // 4))]
        prices = inside[0], max(inside), min(inside), inside[-1]
        rows.append([str(stamp), *(f"{'-' if p < 0 else ''}0.{abs(p) // 100:06d}" for p in prices)])
        stamp -= step
    return {"category": LINEAR, "symbol": market.instrument.name, "list": rows}


ROUTES = {
    ("GET", "/v5/market/premium-index-price-kline"): premium_kline,
    ("GET", "/v5/market/risk-limit"): risk_limit,
    ("GET", "/v5/market/open-interest"): open_interest,
    ("GET", "/v5/market/account-ratio"): account_ratio,
    ("GET", "/v5/market/insurance"): insurance,
    ("GET", "/v5/market/adlAlert"): adl_alert,
}
