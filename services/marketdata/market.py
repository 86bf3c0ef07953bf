"""One symbol as the frames tell it: book, trades, reference prices, candles, and whether its feed is alive."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from libs.common.events import FeedDown, FeedUp, InstrumentDefined, Level, Reference, RejectKind, Tick
from libs.common.values import SPOT, category_of
from services.marketdata import frames
from services.marketdata.bars import Bars, Candle, floor
from services.marketdata.book import Book
from services.marketdata.config import NS_PER_MS, MarketdataConfig
from services.marketdata.firewall import Firewall, SpikeGuard, Trade

_KNOWN_IDS = 256


class Feed(msgspec.Struct):
    """`alive_at`: last usable frame; `down_at`: 0 while the feed is up; `delay_ms`: worst since the last heartbeat."""

    alive_at: int = 0
    down_at: int = 0
    delay_ms: int = 0
    down: list[FeedDown] = []
    up: list[FeedUp] = []
    """Both wait to be published in this step."""

    def fall(self, symbol: str, now: int, reason: str) -> None:
        if not self.down_at:
            self.down_at = now
            silent = max(0, now - self.alive_at) // NS_PER_MS if self.alive_at else 0
            self.down.append(FeedDown(symbol=symbol, reason=reason, silent_ms=silent))

    def rise(self, symbol: str, now: int) -> bool:
        """Whether the feed was down until now."""
        if not self.down_at:
            return False
        self.up.append(FeedUp(symbol=symbol, down_ms=(now - self.down_at) // NS_PER_MS))
        self.down_at = 0
        return True


class Quote(msgspec.Struct):
    """The last known fields of the ticker topic; "" and 0 are unknown."""

    last: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    funding_rate: Decimal = Decimal(0)
    next_funding_at: int = 0
    stamp_ms: int = 0
    changed: bool = False
    published_at: int = 0


class Market(msgspec.Struct):
    """State of one symbol."""

    symbol: str
    bars: Bars
    book: Book = msgspec.field(default_factory=Book)
    feed: Feed = msgspec.field(default_factory=Feed)
    quote: Quote = msgspec.field(default_factory=Quote)
    guard: SpikeGuard = msgspec.field(default_factory=SpikeGuard)
    instrument: InstrumentDefined | None = None
    instrument_at: int = 0
    """When it was last asked for."""
    history_failures: int = 0
    """Calls for history that failed in a row."""
    history_after: int = 0
    """Not asked for again before this instant."""
    book_lost_at: int = 0
    """Since when the book waits for a snapshot that was asked for; 0 when it does not."""
    trade_at: int = 0
    trade_ids: dict[str, int] = {}
    volume: Decimal = Decimal(0)
    """Traded since the last Tick."""
    exchange_at: int = 0
    received_at: int = 0
    usable: bool = False
    """A frame worth a Tick came since the last one."""
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()
    """As on the last Tick."""
    last: Decimal | None = None
    """Last trade as on the last Tick."""
    ticked_at: int = 0

    def price(self) -> Decimal | None:
        return self.guard.last or self.quote.last


class Findings:
    """Where the readers of this module report what they keep out."""

    def __init__(self, firewall: Firewall, config: MarketdataConfig, now: int) -> None:
        self.firewall = firewall
        self.config = config
        self.now = now

    def reject(self, symbol: str, kind: RejectKind, expected: str, got: str) -> None:
        self.firewall.reject(self.now, self.config.rejects_per_second, symbol, kind, expected, got)


def read_book(market: Market, frame: frames.Frame, findings: Findings) -> bool:
    """Apply an order book frame; True when it was usable."""
    data = frames.book(frame.data)
    book = market.book
    before = book.update
    if frame.type == "snapshot":
        kind = book.snapshot(data)
    elif book.synced:
        kind = book.delta(data)
    else:
        return False  # a delta after the gap that was reported already
    if kind is not None:
        findings.reject(market.symbol, kind, f"update {before + 1}", f"{frame.type} {data.update}")
        if not book.synced:
            market.feed.fall(market.symbol, findings.now, "gap")
        return False
    market.book_lost_at = 0
    return True


def read_trades(market: Market, frame: frames.Frame, findings: Findings) -> bool:
    """Take in the trades of a frame, oldest first; True when any was believed or held."""
    config, usable = findings.config, False
    for row in frames.trades(frame.data):
        if not _fresh(market, row, findings):
            continue
        usable = True
        trade = Trade(row.time * NS_PER_MS, row.price, row.qty)
        believed, spike = market.guard.pass_on(trade, config.spike_sigmas, config.spike_floor_ppm)
        if spike is not None:
            findings.reject(market.symbol, RejectKind.SPIKE, f"about {market.guard.last}", f"{spike.price}")
        for one in believed:
            market.volume += one.qty
            market.bars.trade(one.at, one.price, one.qty)
    return usable


def _fresh(market: Market, row: frames.TradeData, findings: Findings) -> bool:
    """Whether a trade row is well formed, new and in order; remembers it."""
    symbol = market.symbol
    if not (row.price.is_finite() and row.qty.is_finite() and row.price > 0 and row.qty > 0):
        findings.reject(symbol, RejectKind.MALFORMED, "a positive price and quantity", f"{row.qty} at {row.price}")
    elif row.id in market.trade_ids:
        findings.reject(symbol, RejectKind.DUPLICATE, "a new trade", row.id)
    elif row.time * NS_PER_MS < market.trade_at:
        findings.reject(symbol, RejectKind.OUT_OF_ORDER, f"{market.trade_at // NS_PER_MS} or later", f"{row.time}")
    else:
        market.trade_at = row.time * NS_PER_MS
        ids = market.trade_ids
        ids[row.id] = 0
        if len(ids) > _KNOWN_IDS:
            del ids[next(iter(ids))]
        return True
    return False


def read_ticker(market: Market, frame: frames.Frame, findings: Findings) -> bool:
    """Merge a ticker frame; a field that is absent or empty is unchanged."""
    data, quote = frames.ticker(frame.data), market.quote
    if frame.ts < quote.stamp_ms:
        findings.reject(market.symbol, RejectKind.OUT_OF_ORDER, f"{quote.stamp_ms} or later", f"{frame.ts}")
        return False
    try:
        prices = [Decimal(text) if text else None for text in (data.last, data.mark, data.index or data.coin_index)]
        rate = Decimal(data.funding_rate) if data.funding_rate else quote.funding_rate
        funding_at = int(data.next_funding) * NS_PER_MS if data.next_funding else quote.next_funding_at
    except (InvalidOperation, ValueError) as e:
        raise msgspec.DecodeError(f"expected numbers in a ticker, was {frame.data!r}") from e
    if not rate.is_finite() or any(price is not None and not (price.is_finite() and price > 0) for price in prices):
        raise msgspec.DecodeError("expected positive prices in a ticker")
    last, mark, index = prices
    if category_of(market.symbol) == SPOT:  # no mark price here: the venue values coins at their index, and so do we
        mark = index = prices[2] or last
    before = (quote.mark, quote.index, quote.funding_rate, quote.next_funding_at)
    quote.last, quote.mark, quote.index = last or quote.last, mark or quote.mark, index or quote.index
    quote.funding_rate, quote.next_funding_at, quote.stamp_ms = rate, funding_at, frame.ts
    quote.changed |= before != (quote.mark, quote.index, rate, funding_at)
    return True


def read_kline(market: Market, frame: frames.Frame, findings: Findings) -> bool:
    """Offer closed candles of the base interval; unfinished ones only show that the feed is alive."""
    span = market.bars.base.span
    for row in frames.klines(frame.data):
        candle = Candle(row.start * NS_PER_MS, row.open, row.high, row.low, row.close, row.volume)
        if not sound(candle) or candle.start_at != floor(candle.start_at, span):
            raise msgspec.DecodeError(f"expected a candle with low <= open, close <= high, was {row.start}")
        if row.confirm:
            market.bars.offer(candle)
    return True


def sound(candle: Candle) -> bool:
    """Whether the figures of a candle can be one."""
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    if not all(value.is_finite() for value in values):
        return False
    inside = candle.low <= candle.open <= candle.high and candle.low <= candle.close <= candle.high
    return inside and candle.low > 0 and candle.volume >= 0


READERS = {"orderbook": read_book, "publicTrade": read_trades, "tickers": read_ticker, "kline": read_kline}


def tick(market: Market, now: int, config: MarketdataConfig) -> Tick | None:
    """The Tick of this step, if there is anything new to see or the last one is old."""
    last = market.price()
    if not (market.usable and market.book.synced and last is not None) or market.feed.down_at:
        return None
    bids, asks = market.book.top(config.levels)
    same = bids == market.bids and asks == market.asks and last == market.last and not market.volume
    if same and now - market.ticked_at < config.keepalive_ms * NS_PER_MS:
        return None
    return Tick(
        symbol=market.symbol,
        last=last,
        bids=bids,
        asks=asks,
        volume=market.volume,
        exchange_at=market.exchange_at,
        received_at=market.received_at,
    )


def reference(market: Market, now: int, config: MarketdataConfig) -> Reference | None:
    """The Reference of this step, if one changed and the last is old enough."""
    quote = market.quote
    due = not quote.published_at or now - quote.published_at >= config.reference_ms * NS_PER_MS
    if not quote.changed or not due or quote.mark is None or quote.index is None:
        return None
    return Reference(
        symbol=market.symbol,
        mark=quote.mark,
        index=quote.index,
        funding_rate=quote.funding_rate,
        next_funding_at=quote.next_funding_at,
    )
