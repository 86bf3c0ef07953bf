"""Makes records and venue frames for the tests of marketdata and signal, and runs them through the real stepper."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from libs.common.decider import Core
from libs.common.events import Bar, Event, Instant, InstrumentDefined, RawFrame
from libs.common.record import Record, Started, Timer
from libs.common.stepper import Local, Stepper
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore

MS = 1_000_000
SECOND = 1000 * MS
MINUTE = 60 * SECOND
T0 = 1_700_000_040_000 * MS
"""A whole minute, 2023-11-14 22:14 UTC."""


class Desk:
    """A core behind the stepper; `send` gives one batch and returns the bodies of what it wrote."""

    def __init__(self, core: Core, at: int = T0) -> None:
        self.core, self.at = core, at
        self.stepper = Stepper(core)
        self.seqs: dict[str, int] = {}

    def send(self, *bodies: Event, at: int | None = None) -> list[Event]:
        self.at = self.at if at is None else at
        inputs = [self._input(body) for body in bodies]
        commit = self.stepper.step(inputs)
        return [record.body for record in commit.outputs if not isinstance(record.body, RawFrame)]

    def frames(self, *payloads: dict[str, Any] | str, at: int | None = None) -> list[Event]:
        texts = [payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads]
        return self.send(*(RawFrame(channel="public", payload=text) for text in texts), at=at)

    def reply(
        self, number: int, payload: dict[str, Any] | str, at: int | None = None, status: int = 200
    ) -> list[Event]:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        return self.send(RawFrame(channel="reply", payload=text, request=number, status=status), at=at)

    def start(self, *, fresh: bool = True) -> list[Event]:
        return self.send(Started(fresh=fresh))

    def timer(self, at: int) -> list[Event]:
        return self.send(Timer(), at=at)

    def _input(self, body: Event) -> Record | Local:
        if isinstance(body, RawFrame | Started | Timer):
            return Local(body, self.at)
        stream = {"Instant": "clock", "InstrumentDefined": "instrument", "Halted": "halt", "Resumed": "halt"}.get(
            type(body).__name__, type(body).__name__.lower()
        )
        seq = self.seqs[stream] = self.seqs.get(stream, 0) + 1
        return Record(stream, (self.at // MS, seq), f"{seq:032x}", seq, self.at, (), "0" * 32, body)


def book(symbol: str, update: int, bids: Any, asks: Any, *, kind: str = "delta", ts: int = T0 // MS) -> dict[str, Any]:
    data = {"s": symbol, "b": bids, "a": asks, "u": update, "seq": update}
    return {"topic": f"orderbook.50.{symbol}", "type": kind, "ts": ts, "data": data, "cts": ts}


def snapshot(symbol: str = "BTCUSDT", update: int = 10, ts: int = T0 // MS) -> dict[str, Any]:
    bids, asks = [["100.0", "1"], ["99.9", "2"]], [["100.1", "3"], ["100.2", "4"]]
    return book(symbol, update, bids, asks, kind="snapshot", ts=ts)


def trades(*rows: tuple[int, str, str], symbol: str = "BTCUSDT", tag: str = "t") -> dict[str, Any]:
    """Rows (ms, price, quantity); ids are made from time and place."""
    data = [
        {
            "T": ms,
            "s": symbol,
            "S": "Buy",
            "v": qty,
            "p": price,
            "L": "PlusTick",
            "i": f"{tag}-{ms}-{place}",
            "BT": False,
        }
        for place, (ms, price, qty) in enumerate(rows)
    ]
    return {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": rows[-1][0], "data": data}


def ticker(symbol: str = "BTCUSDT", ts: int = T0 // MS, kind: str = "delta", **fields: str) -> dict[str, Any]:
    return {"topic": f"tickers.{symbol}", "type": kind, "ts": ts, "cs": 1, "data": {"symbol": symbol, **fields}}


def kline(start_ms: int, prices: tuple[str, str, str, str], volume: str, *, confirm: bool = True) -> dict[str, Any]:
    opened, high, low, close = prices
    row = {"start": start_ms, "end": start_ms + 59_999, "interval": "1", "open": opened, "high": high, "low": low}
    row |= {"close": close, "volume": volume, "turnover": "1", "confirm": confirm, "timestamp": start_ms + 60_000}
    return {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": start_ms + 60_000, "data": [row]}


def history(*rows: tuple[int, str, str, str, str, str]) -> dict[str, Any]:
    """A kline reply; rows (start ms, open, high, low, close, volume), oldest first here, newest first in the reply."""
    listed = [[str(row[0]), *row[1:], "1"] for row in reversed(rows)]
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": listed}, "time": 1}


def instrument_reply(symbol: str = "BTCUSDT", tick: str = "0.10") -> dict[str, Any]:
    row = {
        "symbol": symbol,
        "status": "Trading",
        "priceFilter": {"minPrice": "0.10", "tickSize": tick},
        "lotSizeFilter": {
            "maxOrderQty": "1190.000",
            "minOrderQty": "0.001",
            "qtyStep": "0.001",
            "minNotionalValue": "5",
        },
        "leverageFilter": {"maxLeverage": "100.00"},
        "fundingInterval": 480,
        "riskParameters": {"priceLimitRatioX": "0.02"},
    }
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": [row]}}


def bar(start_at: int, close: float, symbol: str = "BTCUSDT", interval_ms: int = 60_000, spread: float = 0.5) -> Bar:
    middle = Decimal(str(round(close, 4)))
    reach = Decimal(str(spread))
    return Bar(
        symbol=symbol,
        interval_ms=interval_ms,
        start_at=start_at,
        open=middle,
        high=middle + reach,
        low=middle - reach,
        close=middle,
        volume=Decimal(1),
    )


def instrument(symbol: str = "BTCUSDT", tick: str = "0.10") -> InstrumentDefined:
    return InstrumentDefined(
        symbol=symbol,
        tick_size=Decimal(tick),
        lot_size=Decimal("0.001"),
        min_qty=Decimal("0.001"),
        max_qty=Decimal(100),
        min_notional=Decimal(5),
    )


def instant(number: int = 1, window_ms: int = 1000) -> Instant:
    return Instant(number=number, window_ms=window_ms)


def of(kind: type[Event], outputs: list[Event]) -> list[Any]:
    return [body for body in outputs if isinstance(body, kind)]


MS0 = T0 // MS
CONFIG = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1m", "5m"), warmup_bars=0)


def desk(config: MarketdataConfig = CONFIG, *, filled: bool = True) -> Desk:
    """A started core; `filled`: it got its instrument and (no) history already."""
    made = Desk(MarketdataCore(config))
    made.start()
    while filled and (pending := [request for request in made.core.requests() if request.method == "GET"]):
        for request in pending:
            made.reply(request.number, instrument_reply() if "instruments" in request.target else history())
    return made


def live(config: MarketdataConfig = CONFIG) -> Desk:
    """A core with a book and a last trade."""
    made = desk(config)
    made.frames(snapshot(), trades((MS0, "100.0", "1")))
    return made
