"""The real exchange's public frames as the simulator's market: what is followed, what is trusted, what is asked for anew.

Pure: `sim/paper.py` holds the sockets. A book that missed a message is emptied at once and stays empty until its next
snapshot: an order that arrives meanwhile finds nobody to trade with, as it should.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from libs.bybit.market import InstrumentRow, InstrumentRows
from libs.bybit.wire import decode
from libs.common.errors import TapeError
from sim.engine.instruments import RATE_SCALE, Instrument, Rules
from sim.engine.market import Market
from sim.tapes.tape import PushTape

DEPTH = 50
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


def topics_of(symbols: tuple[str, ...]) -> tuple[str, ...]:
    """Public topics that fills need: the book, the trades, and mark, index and funding."""
    return tuple(f"{kind}.{symbol}" for symbol in symbols for kind in (f"orderbook.{DEPTH}", "publicTrade", "tickers"))


def instrument_of(result: msgspec.Raw, symbol: str) -> Instrument:
    """The instrument of one symbol in a result of /v5/market/instruments-info. Raises TapeError when it cannot be traded here."""
    try:
        row = next((row for row in decode(InstrumentRows, result).rows if row.symbol == symbol), None)
        if row is None or row.status != "Trading":
            raise TapeError(
                f"expected {symbol} to be traded on the exchange, was {row.status if row else 'not there'}; change marketdata.symbols"
            )
        return Instrument(symbol, _rules(row))
    except (msgspec.DecodeError, ArithmeticError) as error:
        raise TapeError(f"expected the rules of {symbol} in instruments-info, was: {error}") from error


def _rules(row: InstrumentRow) -> Rules:
    lots, risk = row.lot_size_filter, row.risk_parameters
    plain = Rules(
        tick_size=Decimal(row.price_filter.tick_size),
        lot_size=Decimal(lots.qty_step or lots.min_order_qty),
        max_qty=Decimal(lots.max_order_qty),
        max_market_qty=Decimal(lots.max_mkt_order_qty or lots.max_order_qty),
        funding_interval_min=row.funding_interval,
    )
    told = {
        "min_notional": lots.min_notional_value,
        "max_leverage": row.leverage_filter.max_leverage,
        "price_limit_ratio_x": risk.price_limit_ratio_x if risk else "",
        "price_limit_ratio_y": risk.price_limit_ratio_y if risk else "",
    }
    return msgspec.structs.replace(plain, **{name: Decimal(text) for name, text in told.items() if text})


class PublicFeed:
    """`take` each frame; what it returns must be subscribed anew. `lost` when the connection ended."""

    def __init__(self, tape: PushTape, markets: dict[str, Market]) -> None:
        self._tape, self._markets = tape, markets
        self._updates: dict[str, int] = {}
        """Number of the last message of each book that is whole, by topic."""
        self._asked: set[str] = set()
        self.malformed = 0

    def take(self, payload: str) -> str:
        """One public frame. Returns the topic whose book is no longer whole, once; "" when all is well."""
        topic = ""
        try:
            frame = _DECODE(payload)
            topic = str(frame.get("topic", ""))
            return self._taken(frame, topic)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, ArithmeticError):
            self.malformed += 1
            return self._broken(topic) if topic.startswith("orderbook.") else ""

    def lost(self) -> None:
        """The connection ended: no book is known; the next one begins with snapshots."""
        for topic in list(self._updates):
            self._forget(topic)
        self._asked.clear()

    def _taken(self, frame: dict[str, Any], topic: str) -> str:
        if topic.startswith("tickers."):
            self._quote(frame["data"])
            return ""
        if topic.startswith("orderbook."):
            update = int(frame["data"]["u"])
            known = self._updates.get(topic)
            if frame.get("type") == "snapshot":
                self._asked.discard(topic)
            elif known is None:
                return self._broken(topic)
            elif update <= known:
                return ""
            elif update != known + 1:
                return self._broken(topic)
            self._tape.push(frame)
            self._updates[topic] = update
            return ""
        self._tape.push(frame)
        return ""

    def _broken(self, topic: str) -> str:
        self._forget(topic)
        if topic in self._asked:
            return ""
        self._asked.add(topic)
        return topic

    def unanswered(self, topic: str) -> None:
        """The request for a fresh snapshot was lost: the next delta asks again."""
        self._asked.discard(topic)

    def _forget(self, topic: str) -> None:
        if self._updates.pop(topic, None) is not None:
            self._tape.clear(topic.rpartition(".")[2])

    def _quote(self, data: dict[str, Any]) -> None:
        market = self._markets.get(str(data["symbol"]))
        if market is None:
            return
        grid, rate = market.instrument.grid, data.get("fundingRate")
        mark, index = (grid.ticks(Decimal(text)) if text else 0 for text in map(data.get, ("markPrice", "indexPrice")))
        rate_e8 = int(Decimal(rate) * RATE_SCALE) if rate else None
        market.quote(mark, index, int(data.get("nextFundingTime") or 0), rate_e8)
