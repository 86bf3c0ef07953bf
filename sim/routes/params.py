"""Parameters of a request and pages of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from libs.common.values import LINEAR, SPOT, SPOT_SUFFIX, symbol_of
from sim.engine.instruments import Instrument
from sim.engine.market import Market
from sim.wiretypes import RefusalError, WireRequest

Params = dict[str, Any]
Row = dict[str, Any]
T = TypeVar("T")

_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


def params_of(request: WireRequest) -> Params:
    """Query or body as a dict; nulls are as good as absent."""
    if request.method == "GET":
        return dict(parse_qsl(request.query, keep_blank_values=False)) if request.query else {}
    if not request.body:
        return {}
    try:
        values = _DECODE(request.body)
    except msgspec.DecodeError as error:
        raise RefusalError(10001, "params error: body is not a JSON object") from error
    return {name: value for name, value in values.items() if value is not None}


def text(params: Params, name: str, default: str = "") -> str:
    return str(params.get(name, default))


def number(params: Params, name: str, default: int, most: int | None = None) -> int:
    """An integer parameter, cut to 1..most when `most` is given."""
    value = params.get(name, default)
    try:
        result = int(value)
    except (TypeError, ValueError) as error:
        raise RefusalError(10001, f"params error: {name} invalid") from error
    return result if most is None else max(1, min(result, most))


def flag(params: Params, name: str) -> bool:
    return str(params.get(name, "")).lower() in ("true", "1")


def linear(params: Params) -> None:
    """Only perpetuals have this."""
    if text(params, "category", LINEAR) != LINEAR:
        raise RefusalError(10001, "params error: category invalid, expected linear")


def category_of(params: Params) -> str:
    """linear or spot."""
    category = text(params, "category", LINEAR)
    if category not in (LINEAR, SPOT):
        raise RefusalError(10001, "params error: category invalid, the simulator has linear and spot")
    return category


def key_of(params: Params) -> str:
    """The name that the symbol of the request has inside the exchange."""
    return symbol_of(text(params, "symbol"), category_of(params))


def market_of(markets: dict[str, Market], params: Params) -> Market:
    key = key_of(params)
    if key not in markets or key.endswith(SPOT_SUFFIX) != (category_of(params) == SPOT):
        raise RefusalError(10001, f"params error: symbol invalid {text(params, 'symbol')}".rstrip())
    return markets[key]


def ticks_of(market: Market, params: Params, name: str) -> int:
    """A price parameter in ticks; 0 when absent, empty or "0"."""
    value = params.get(name)
    if value is None or value == "":
        return 0
    ticks = market.instrument.ticks_exact(value)
    if ticks is None:
        raise RefusalError(10001, f"params error: {name} invalid")
    return ticks


def scoped(params: Params, instrument: Instrument) -> bool:
    """Do category and symbol, baseCoin or settleCoin of the request select the instrument?"""
    if category_of(params) != instrument.category:
        return False
    if symbol := params.get("symbol"):
        return bool(symbol == instrument.name)
    if base := params.get("baseCoin"):
        return bool(base == instrument.base_coin)
    return bool(params.get("settleCoin", "USDT") == "USDT")


def page(items: Iterable[T], key: Callable[[T], int], row: Callable[[T], Row], params: Params, limit: int) -> Row:
    """One page of items that come newest first. The cursor names the last item shown: `<key>%3A<key>` as Bybit writes it."""
    cursor = unquote(text(params, "cursor")).partition(":")[0]
    before = int(cursor) if cursor.isdigit() else None
    rows: list[Row] = []
    last = 0
    for item in items:
        if before is not None and key(item) >= before:
            continue
        if len(rows) == limit:
            return {"nextPageCursor": f"{last}%3A{last}", "category": category_of(params), "list": rows}
        rows.append(row(item))
        last = key(item)
    return {"nextPageCursor": "", "category": category_of(params), "list": rows}
