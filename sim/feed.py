"""Public frames: what the watched topics of one symbol say of the window that just ended.

A window gives at most one orderbook delta, one publicTrade and one tickers frame, and the candles it confirmed.
Frames are written by hand: this is the hot path of every tape run.
"""

from __future__ import annotations

from libs.common.values import SPOT, SPOT_SUFFIX
from sim.chance import identifier
from sim.instruments import amount_text
from sim.klines import INTERVALS, MINUTE, Candle
from sim.market import NS_PER_MS, Market
from sim.wiretypes import Frame

DEPTHS = {"1": 1, "50": 50, "200": 200}
KLINES = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D")
SIDES = {1: "Buy", -1: "Sell"}


def trade_prefix(symbol: str) -> str:
    """The first four groups of the trade ids of a symbol; the last is the trade's number."""
    return identifier("trade", symbol)[:24]


def topic_symbol(topic: str) -> str | None:
    """The symbol of a public topic this exchange knows the kind of, else None."""
    parts = topic.split(".")
    if len(parts) == 2 and parts[0] in ("publicTrade", "tickers"):
        return parts[1]
    known = {"orderbook": DEPTHS, "kline": KLINES}.get(parts[0])
    return parts[2] if len(parts) == 3 and known is not None and parts[1] in known else None


def wire_topic(topic: str) -> str:
    """A topic as clients know it: those of spot markets are told apart by the path they are asked for on."""
    return topic.removesuffix(SPOT_SUFFIX)


class BookTopic:
    """One orderbook topic: what was published last, to send differences."""

    def __init__(self, topic: str, depth: int) -> None:
        self.topic, self.depth = topic, depth
        self.name = wire_topic(topic)
        self.bids: dict[int, int] | None = None
        self.asks: dict[int, int] = {}
        self.u = 0
        self.ts = 0


class Feed:
    """All public topics of one symbol."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._symbol, self._spot = market.instrument.name, market.instrument.category == SPOT
        self._books: dict[str, BookTopic] = {}
        self._trades = ""
        self._ticker: dict[str, str] | None = None
        self._ticker_topic = ""
        self._klines: dict[str, str] = {}
        self._moved = 0
        self._seq = 0
        self._direction, self._before = "ZeroPlusTick", 0
        self._trade_id = trade_prefix(market.instrument.symbol)

    @property
    def watched(self) -> bool:
        return bool(self._books or self._trades or self._ticker_topic or self._klines)

    def watch(self, topic: str) -> None:
        kind, _, rest = topic.partition(".")
        if kind == "orderbook":
            depth = rest.partition(".")[0]
            self._books.setdefault(topic, BookTopic(topic, DEPTHS[depth]))
        elif kind == "publicTrade":
            self._trades = topic
        elif kind == "tickers":
            self._ticker_topic = topic
        else:
            self._klines[rest.partition(".")[0]] = topic

    def unwatch(self, topic: str) -> None:
        kind, _, rest = topic.partition(".")
        if kind == "orderbook":
            self._books.pop(topic, None)
        elif kind == "publicTrade":
            self._trades = ""
        elif kind == "tickers":
            self._ticker_topic, self._ticker = "", None
        else:
            self._klines.pop(rest.partition(".")[0], None)

    def publish(self, at: int, open_klines: bool) -> list[Frame]:
        """The frames of the window that ends at `at`; `open_klines`: unconfirmed candles too (realtime)."""
        market, ts = self.market, at // NS_PER_MS
        fresh = market.fresh
        moved = market.last_at != self._moved
        frames: list[Frame] = []
        if moved:
            self._moved = market.last_at
            self._seq += 1
            texts = [(book.topic, self._book_text(book, ts)) for book in self._books.values()]
            frames.extend([Frame(topic, "", text, at) for topic, text in texts if text])
        if fresh:
            if self._trades:
                frames.append(Frame(self._trades, "", self._trades_text(ts), at))
            fresh.clear()
        if self._ticker_topic and market.last and (moved or self._ticker is None) and (text := self._ticker_text(ts)):
            frames.append(Frame(self._ticker_topic, "", text, at))
        frames.extend(self._kline_frames(at, open_klines and moved))
        return frames

    def _kline_frames(self, at: int, unfinished: bool) -> list[Frame]:
        """Confirmed candles of the window; `unfinished`: the open ones too."""
        market, ts, frames = self.market, at // NS_PER_MS, []
        for interval, candle in market.closed:
            if topic := self._klines.get(interval):
                frames.append(Frame(topic, "", self._kline_text(topic, interval, candle, True, ts), at))
        market.closed.clear()
        if unfinished:
            for interval, topic in self._klines.items():
                if (candle_now := market.klines.open.get(interval)) is not None:
                    frames.append(Frame(topic, "", self._kline_text(topic, interval, candle_now, False, ts), at))
        return frames

    def snapshot(self, topic: str) -> str | None:
        """What a late subscriber is sent first: the topic's state as of the last frame; None before there was one."""
        if (book := self._books.get(topic)) is not None and book.bids is not None:
            bids = self._levels(sorted(book.bids.items(), reverse=True))
            return self._frame_text(book, "snapshot", bids, self._levels(sorted(book.asks.items())))
        if topic == self._ticker_topic and self._ticker is not None:
            return self._ticker_frame("snapshot", self._ticker, self._moved // NS_PER_MS)
        return None

    # --- orderbook ---------------------------------------------------------------------------------------------------

    def _book_text(self, book: BookTopic, ts: int) -> str:
        bids: dict[int, int] = dict(map(tuple, self.market.book.bids[: book.depth]))  # type: ignore[arg-type]
        asks: dict[int, int] = dict(map(tuple, self.market.book.asks[: book.depth]))  # type: ignore[arg-type]
        if not bids and not asks:
            return ""
        snapshot = book.bids is None or book.depth == 1
        if snapshot:
            changed_bids, changed_asks = list(bids.items()), list(asks.items())
            if bids == book.bids and asks == book.asks:
                return ""
        else:
            changed_bids, changed_asks = _changes(book.bids or {}, bids), _changes(book.asks, asks)
            if not changed_bids and not changed_asks:
                return ""
        book.bids, book.asks, book.ts = bids, asks, ts
        book.u += 1
        kind = "snapshot" if snapshot else "delta"
        return self._frame_text(book, kind, self._levels(changed_bids), self._levels(changed_asks))

    def _frame_text(self, book: BookTopic, kind: str, bids: str, asks: str) -> str:
        # The first u is above 1: 1 would say that the service restarted.
        return (
            f'{{"topic":"{book.name}","type":"{kind}","ts":{book.ts},"data":{{"s":"{self._symbol}",'
            f'"b":[{bids}],"a":[{asks}],"u":{book.u + 1},"seq":{self._seq}}},"cts":{self._moved // NS_PER_MS}}}'
        )

    def _levels(self, levels: list[tuple[int, int]]) -> str:
        price, qty = self.market.instrument.price_text, self.market.instrument.qty_text
        return ",".join([f'["{price(t)}","{qty(lots) if lots else 0}"]' for t, lots in levels])

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
        bids, asks = self.market.book.bids, self.market.book.asks
        bid, ask = bids[0] if bids else (0, 0), asks[0] if asks else (0, 0)
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
            "openInterest": "0",
            "openInterestValue": "0",
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
        return f'{{"topic":"{wire_topic(self._ticker_topic)}","type":"{kind}","data":{{{data}}},"cs":{self._seq},"ts":{ts}}}'

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


def _changes(before: dict[int, int], after: dict[int, int]) -> list[tuple[int, int]]:
    """Levels to send: new or resized ones, and 0 for those that are gone."""
    changed = [(ticks, lots) for ticks, lots in after.items() if before.get(ticks) != lots]
    changed.extend((ticks, 0) for ticks in before if ticks not in after)
    return changed
