"""Public frames: what the watched topics of one symbol say of the window that just ended.

A window gives at most one orderbook delta, one publicTrade and one tickers frame, and the candles it confirmed.
Frames are written by hand: this is the hot path of every tape run.
"""

from __future__ import annotations

from collections.abc import Sequence

from libs.common.values import SPOT, SPOT_SUFFIX
from sim.chance import identifier
from sim.engine.instruments import amount_text
from sim.engine.klines import INTERVALS, MINUTE, Candle
from sim.engine.market import NS_PER_MS, Market
from sim.engine.orders import Order
from sim.streams.bookfeed import BookTopic, shown, wire_topic
from sim.wiretypes import Frame

DEPTHS = {"1": 1, "50": 50, "200": 200, "1000": 1000}
KLINES = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D")
SIDES = {1: "Buy", -1: "Sell"}
TICKER_NS, KLINE_NS, LIQUIDATION_NS, LIMIT_NS = (ms * NS_PER_MS for ms in (100, 1000, 500, 300))
"""The least time between two messages of a topic."""
_TOPICS = {
    "publicTrade": "_trades",
    "tickers": "_ticker_topic",
    "allLiquidation": "_liquidation_topic",
    "priceLimit": "_limit_topic",
}
"""Topics without a parameter beside the symbol -> where the feed keeps them."""
PERPETUAL_ONLY = ("allLiquidation", "priceLimit")


def trade_prefix(symbol: str) -> str:
    """The first four groups of the trade ids of a symbol; the last is the trade's number."""
    return identifier("trade", symbol)[:24]


def topic_symbol(topic: str) -> str | None:
    """The symbol of a public topic this exchange knows the kind of, else None."""
    parts = topic.split(".")
    if len(parts) == 2 and parts[0] in _TOPICS:
        return None if parts[0] in PERPETUAL_ONLY and parts[1].endswith(SPOT_SUFFIX) else parts[1]
    known = {"orderbook": DEPTHS, "kline": KLINES}.get(parts[0])
    return parts[2] if len(parts) == 3 and known is not None and parts[1] in known else None


class Feed:
    """All public topics of one symbol. `resting`: the orders that wait at the exchange for this symbol."""

    def __init__(self, market: Market, resting: Sequence[Order] = ()) -> None:
        self.market, self._resting = market, resting
        self._symbol, self._spot = market.instrument.name, market.instrument.category == SPOT
        self._books: dict[str, BookTopic] = {}
        self._ticker: dict[str, str] | None = None
        self._trades = self._ticker_topic = self._liquidation_topic = self._limit_topic = ""
        self._klines: dict[str, str] = {}
        self._ticker_seen, self._klines_seen = -1, -1
        self._ticker_due = self._klines_due = self._limit_due = self._liquidation_due = self._moved = 0
        self._direction, self._before = "ZeroPlusTick", 0
        self._trade_id = trade_prefix(market.instrument.symbol)

    @property
    def watched(self) -> bool:
        return bool(
            self._books
            or self._trades
            or self._ticker_topic
            or self._klines
            or self._liquidation_topic
            or self._limit_topic
        )

    def watch(self, topic: str) -> None:
        kind, _, rest = topic.partition(".")
        if kind == "orderbook":
            depth = DEPTHS[rest.partition(".")[0]]
            self._books.setdefault(topic, BookTopic(topic, depth, self.market, self._resting))
        elif kind == "kline":
            self._klines[rest.partition(".")[0]] = topic
        else:
            setattr(self, _TOPICS[kind], topic)

    def unwatch(self, topic: str) -> None:
        kind, _, rest = topic.partition(".")
        if kind == "orderbook":
            self._books.pop(topic, None)
        elif kind == "kline":
            self._klines.pop(rest.partition(".")[0], None)
        else:
            setattr(self, _TOPICS[kind], "")
            if kind == "tickers":
                self._ticker = None

    def renew(self, topic: str) -> bool:
        """Begin a watched topic anew: its next message is a snapshot. False: nobody watches such a book."""
        book = self._books.get(topic)
        if book is not None:
            book.renew()
        return book is not None

    def publish(self, at: int, open_klines: bool) -> list[Frame]:
        """The frames of the window that ends at `at`; `open_klines`: unconfirmed candles too (realtime)."""
        market, ts = self.market, at // NS_PER_MS
        frames = [frame for book in self._books.values() if (frame := book.publish(at)) is not None]
        if market.fresh:
            if self._trades:
                frames.append(Frame(self._trades, "", self._trades_text(ts), at))
            market.fresh.clear()
        if self._ticker_topic and market.last and at >= self._ticker_due and market.changes != self._ticker_seen:
            self._ticker_seen, self._moved = market.changes, market.last_at
            if text := self._ticker_text(ts):
                self._ticker_due = at + TICKER_NS
                frames.append(Frame(self._ticker_topic, "", text, at))
        unfinished = open_klines and market.changes != self._klines_seen and at >= self._klines_due
        if market.closed or (unfinished and self._klines):
            frames.extend(self._kline_frames(at, unfinished))
        if market.liquidations or self._limit_topic:
            frames.extend(self._rare_frames(at))
        return frames

    def rest_u(self) -> int:
        """The update number that a REST book shows: that of the deepest topic."""
        deepest = next((book for book in self._books.values() if book.depth == 1000), None)
        return deepest.u if deepest is not None else self.market.changes + 2

    def shown(self, side: int, depth: int) -> dict[int, int]:
        """ticks -> lots of the best levels of a side (1: bids)."""
        return shown(self.market, self._resting, side, depth)

    def _rare_frames(self, at: int) -> list[Frame]:
        """Liquidations and price limits."""
        market, ts, frames = self.market, at // NS_PER_MS, []
        if not self._liquidation_topic:
            market.liquidations.clear()
        elif market.liquidations and at >= self._liquidation_due:
            frames.append(Frame(self._liquidation_topic, "", self._liquidations_text(ts), at))
            self._liquidation_due = at + LIQUIDATION_NS
            market.liquidations.clear()
        if self._limit_topic and market.mark and at >= self._limit_due:
            buy, sell = (market.instrument.price_text(market.limit(side)) for side in (1, -1))
            text = (f'{{"topic":"{self._limit_topic}","ts":{ts},"data":{{"symbol":"{self._symbol}",'
                    f'"buyLmt":"{buy}","sellLmt":"{sell}"}}}}')  # fmt: skip
            frames.append(Frame(self._limit_topic, "", text, at))
            self._limit_due = at + LIMIT_NS
        return frames

    def _liquidations_text(self, ts: int) -> str:
        instrument = self.market.instrument
        rows = ",".join(
            [
                f'{{"T":{at // NS_PER_MS},"s":"{self._symbol}","S":"{SIDES[side]}",'
                f'"v":"{instrument.plain_qty(lots)}","p":"{instrument.price_text(ticks)}"}}'
                for at, side, lots, ticks in self.market.liquidations
            ]
        )
        return f'{{"topic":"{self._liquidation_topic}","type":"snapshot","ts":{ts},"data":[{rows}]}}'

    def _kline_frames(self, at: int, unfinished: bool) -> list[Frame]:
        """Confirmed candles of the window; `unfinished`: the open ones too."""
        market, ts, frames = self.market, at // NS_PER_MS, []
        for interval, candle in market.closed:
            if topic := self._klines.get(interval):
                frames.append(Frame(topic, "", self._kline_text(topic, interval, candle, True, ts), at))
        market.closed.clear()
        if unfinished:
            self._klines_seen, self._klines_due = market.changes, at + KLINE_NS
            for interval, topic in self._klines.items():
                if (candle_now := market.klines.open.get(interval)) is not None:
                    frames.append(Frame(topic, "", self._kline_text(topic, interval, candle_now, False, ts), at))
        return frames

    def snapshot(self, topic: str) -> str | None:
        """What a late subscriber is sent first: the topic's state as of the last frame; None before there was one."""
        if (book := self._books.get(topic)) is not None:
            return book.snapshot()
        if topic == self._ticker_topic and self._ticker is not None:
            return self._ticker_frame("snapshot", self._ticker, self._moved // NS_PER_MS)
        return None

    # --- trades, tickers, candles ------------------------------------------------------------------------------------

    def _trades_text(self, ts: int) -> str:
        instrument, rows = self.market.instrument, []
        for event, number in self.market.fresh[-1024:]:
            self._direction = self._tick_direction(self._before, event.ticks)
            self._before = event.ticks
            rows.append(
                f'{{"T":{event.at // NS_PER_MS},"s":"{self._symbol}","S":"{SIDES[event.side]}",'
                f'"v":"{instrument.qty_text(event.lots)}","p":"{instrument.price_text(event.ticks)}",'
                f'"L":"{self._direction}","i":"{self._trade_id}{number:012x}","BT":false,"RPI":false,"seq":{number}}}'
            )
        return f'{{"topic":"{wire_topic(self._trades)}","type":"snapshot","ts":{ts},"data":[{",".join(rows)}]}}'

    def _tick_direction(self, before: int, ticks: int) -> str:
        if before == ticks or not before:
            return "ZeroPlusTick" if "Plus" in self._direction else "ZeroMinusTick"
        return "PlusTick" if ticks > before else "MinusTick"

    def ticker_fields(self) -> dict[str, str]:
        """The fields of tickers, REST and stream."""
        return self._spot_fields() if self._spot else self._linear_fields()

    def best_fields(self) -> dict[str, str]:
        """The best prices: part of the perpetuals' tickers, for spot of the REST row alone."""
        price, qty = self.market.instrument.price_text, self.market.instrument.qty_text
        if self._resting:
            bid, ask = (next(iter(self.shown(side, 1).items()), (0, 0)) for side in (1, -1))
        else:
            bids, asks = self.market.book.bids, self.market.book.asks
            bid, ask = ((side[0][0], side[0][1]) if side else (0, 0) for side in (bids, asks))
        return {
            "bid1Price": price(bid[0]) if bid[0] else "",
            "bid1Size": qty(bid[1]),
            "ask1Price": price(ask[0]) if ask[0] else "",
            "ask1Size": qty(ask[1]),
        }

    def _spot_fields(self) -> dict[str, str]:
        market, instrument = self.market, self.market.instrument
        price, opening = instrument.price_text, market.opening or market.last
        return {
            "symbol": self._symbol,
            "lastPrice": price(market.last),
            "highPrice24h": price(market.high),
            "lowPrice24h": price(market.low),
            "prevPrice24h": price(opening),
            "volume24h": instrument.plain_qty(market.volume),
            "turnover24h": amount_text(market.turnover),
            "price24hPcnt": _change(market.last, opening),
            "usdIndexPrice": price(market.index),
        }

    def _linear_fields(self) -> dict[str, str]:
        market, instrument = self.market, self.market.instrument
        price, qty = instrument.price_text, instrument.qty_text
        next_ms = market.next_funding_ms(market.last_at)
        interest = market.open_interest(market.last_at // NS_PER_MS)
        opening = market.opening or market.last
        return {
            "symbol": self._symbol,
            "tickDirection": self._direction,
            "price24hPcnt": _change(market.last, opening),
            "lastPrice": price(market.last),
            "prevPrice24h": price(opening),
            "highPrice24h": price(market.high),
            "lowPrice24h": price(market.low),
            "prevPrice1h": price(market.hour_ago),
            "markPrice": price(market.mark),
            "indexPrice": price(market.index),
            "openInterest": qty(interest),
            "openInterestValue": _turnover(interest * market.mark * instrument.units),
            "turnover24h": _turnover(market.turnover),
            "volume24h": qty(market.volume),
            "fundingIntervalHour": str(instrument.rules.funding_interval_min // 60),
            "fundingCap": "0.00375",
            "nextFundingTime": str(next_ms),
            "fundingRate": amount_text(market.funding_e8(next_ms)),
            **self.best_fields(),
            "preOpenPrice": "",
            "preQty": "",
            "curPreListingPhase": "",
        }

    def _ticker_text(self, ts: int) -> str:
        fields, before = self.ticker_fields(), self._ticker
        self._ticker = fields
        if before is None or self._spot:
            return self._ticker_frame("snapshot", fields, ts) if fields != before else ""
        changed = {name: value for name, value in fields.items() if before[name] != value}
        if not changed:
            return ""
        return self._ticker_frame("delta", {"symbol": self._symbol, **changed}, ts)

    def _ticker_frame(self, kind: str, fields: dict[str, str], ts: int) -> str:
        data = ",".join([f'"{name}":"{value}"' for name, value in fields.items()])
        return f'{{"topic":"{wire_topic(self._ticker_topic)}","type":"{kind}","data":{{{data}}},"cs":{self.market.changes},"ts":{ts}}}'

    def _kline_text(self, topic: str, interval: str, candle: Candle, confirm: bool, ts: int) -> str:
        instrument = self.market.instrument
        price, end = instrument.price_text, candle.start + INTERVALS[interval] * MINUTE - 1
        return (
            f'{{"topic":"{wire_topic(topic)}","data":[{{"start":{candle.start},"end":{end},"interval":"{interval}",'
            f'"open":"{price(candle.open)}","close":"{price(candle.close)}","high":"{price(candle.high)}",'
            f'"low":"{price(candle.low)}","volume":"{instrument.qty_text(candle.lots)}",'
            f'"turnover":"{amount_text(candle.turnover)}","confirm":{"true" if confirm else "false"},'
            f'"timestamp":{min(ts, end + 1)}}}],"ts":{ts},"type":"snapshot"}}'
        )


def _change(last: int, opening: int) -> str:
    """Change as a fraction with six decimals."""
    millionths = (last - opening) * 1_000_000 // opening if opening else 0
    return f"{'-' if millionths < 0 else ''}{abs(millionths) // 1_000_000}.{abs(millionths) % 1_000_000:06d}"


def _turnover(units: int) -> str:
    whole, rest = divmod(units, 100_000_000)
    return f"{whole}.{rest // 10_000:04d}"
