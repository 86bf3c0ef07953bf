"""The market of one symbol as the exchange knows it: last, mark, index, book, candles, 24 h figures, funding."""

from __future__ import annotations

from collections import deque

import msgspec

from libs.common.values import divide_half_even
from sim.chance import digest
from sim.engine.book import DEPTH, Book
from sim.engine.instruments import RATE_SCALE, Instrument, Rules
from sim.engine.klines import Candle, Klines
from sim.engine.tiers import Tiers
from sim.prints import BookChange, MarketEvent, Print

NS_PER_MS = 1_000_000
SMOOTH_NS = 2_000_000_000
"""Time constant of the index: the mark follows the last price within seconds."""

_FINE = 1 << 16
RECENT = 1000
KEPT_FUNDING = 4
HOUR_MS = 3_600_000
INTEREST_VALUE = 50_000_000 * 100_000_000
"""Of the open interest, 1e-8 USDT."""


class MarketState(msgspec.Struct, kw_only=True):
    """What an operator of the exchange decided about a market; kept over restarts. Shifts are fractions of 1e-8."""

    rules: Rules | None = None
    status: str = "Trading"
    refusal: int = 0
    """retCode for orders that could grow a position; 0: they are taken."""
    delivery_ms: int = 0
    rates: dict[int, int] = {}
    """Funding stamp (ms) -> rate."""
    wick_e8: int = 0
    """How far trades are from where the tape has them; mark and index stay."""
    mark_e8: int = 0
    """How far mark and index are from where they would be; trades stay."""
    spread_percent: int = 100
    depth_percent: int = 100


class Market:
    def __init__(self, instrument: Instrument, seed: int, native_ms: int, depth: int = DEPTH) -> None:
        self.instrument = instrument
        self.state = MarketState()
        self.tiers = Tiers(instrument.name)
        self._mark_e8 = self._wick_e8 = 0
        self._seed = seed
        self.book = Book(instrument.symbol, instrument.units, seed, depth)
        self.last = self.fair = 0
        """Price of the last trade, and what it is on the tape: they differ in a wick."""
        self.last_at = 0
        self.recent: deque[tuple[Print, int]] = deque(maxlen=RECENT)
        """Prints with their trade number, oldest first."""
        self.fresh: list[tuple[Print, int]] = []
        """Prints since the feed last published."""
        self.closed: list[tuple[str, Candle]] = []
        """Confirmed candles since the feed last published."""
        self.liquidations: list[tuple[int, int, int, int]] = []
        """(at, side of the position, lots, bankruptcy ticks) since the feed last published."""
        self.changes = self.changed_at = 0
        """How often the book moved, and when last."""
        self.trades = 0
        self.klines = Klines(instrument.units, native_ms, self._on_closed)
        self._index_fine = 0
        self._hours: deque[list[int]] = deque(maxlen=24)
        """[hour, open, high, low, lots, turnover] of the last 24 hours."""
        self.volume = 0
        self.turnover = 0
        self.opening = 0
        self._hour_ends_ms = 0
        self._funding = self._interest = (-1, 0)
        self._interest_lots = 0
        self._quoted_mark = self._quoted_index = 0
        self._quoted_funding: dict[int, int] = {}

    @property
    def mark(self) -> int:
        mark = self._quoted_mark or self._index_fine // _FINE
        return mark + mark * self._mark_e8 // RATE_SCALE if self._mark_e8 else mark

    @property
    def index(self) -> int:
        index = self._quoted_index
        return index + index * self._mark_e8 // RATE_SCALE if index else self.mark

    def apply(self, state: MarketState) -> None:
        """What the operator decided comes into force. Raises UsageError when the rules do not fit; nothing is changed then."""
        if state.rules is not None:
            self.instrument.change(state.rules)
        self.state, self._mark_e8, self._wick_e8 = state, state.mark_e8, state.wick_e8
        self.book.scale(state.spread_percent, state.depth_percent, self.instrument.tick_step, state.wick_e8)

    def quote(self, mark: int = 0, index: int = 0, funding_ms: int = 0, rate_e8: int | None = None) -> None:
        """What a real exchange says instead of us: mark and index in ticks, the next funding stamp and its rate. What is left
        out stays as it was."""
        self._quoted_mark, self._quoted_index = mark or self._quoted_mark, index or self._quoted_index
        rates = self._quoted_funding
        last = next(reversed(rates), 0)
        stamp = funding_ms or last
        if stamp and (rate_e8 is not None or last):
            rates[stamp] = rates[last] if rate_e8 is None else rate_e8
            if len(rates) > KEPT_FUNDING:
                del rates[next(iter(rates))]

    @property
    def high(self) -> int:
        return max((hour[2] for hour in self._hours), default=self.last)

    @property
    def low(self) -> int:
        return min((hour[3] for hour in self._hours), default=self.last)

    @property
    def hour_ago(self) -> int:
        return self._hours[-1][1] if self._hours else self.last

    def touch(self, at: int) -> None:
        """The book is not what it was: an order of an account came, went or took."""
        self.changes += 1
        self.changed_at = at

    def take(self, event: MarketEvent) -> None:
        self.changes += 1
        self.changed_at = event.at
        if isinstance(event, Print):
            self.on_print(event)
        else:
            self.on_change(event)

    def on_print(self, event: Print) -> None:
        at_ms = event.at // NS_PER_MS
        self._move(event.at, event.ticks)
        if self._wick_e8 or self.instrument.tick_step > 1:
            event = self._shifted(event)
            self.last = event.ticks
        self.book.on_print(event)
        self.klines.on_print(at_ms, event.ticks, event.lots)
        if at_ms >= self._hour_ends_ms:
            self._next_hour(at_ms, event.ticks)
        hour = self._hours[-1]
        hour[2], hour[3] = max(hour[2], event.ticks), min(hour[3], event.ticks)
        if event.lots:
            value = event.ticks * event.lots * self.instrument.units
            hour[4] += event.lots
            hour[5] += value
            self.volume += event.lots
            self.turnover += value
            self.trades += 1
            entry = (event, self.trades)
            self.recent.append(entry)
            self.fresh.append(entry)

    def on_change(self, change: BookChange) -> None:
        self.book.on_change(change)
        bids, asks = self.book.bids, self.book.asks
        if bids and asks:
            middle = (bids[0][0] + asks[0][0]) // 2
            self._move(change.at, middle * RATE_SCALE // (RATE_SCALE + self._wick_e8))
            self.last = middle

    def _shifted(self, event: Print) -> Print:
        """The print at the price it has here: away from the tape's in a wick, on the published tick."""
        step = self.instrument.tick_step
        ticks = event.ticks + event.ticks * self._wick_e8 // RATE_SCALE
        return Print(event.at, event.symbol, max(step, (ticks + step // 2) // step * step), event.lots, event.side)

    def roll(self, at: int) -> None:
        """Time moved to `at` (ns): candles that ended are confirmed."""
        self.klines.roll(at // NS_PER_MS)

    def funding_e8(self, stamp_ms: int) -> int:
        """Funding rate of the stamp as 1e-8: as it was quoted last, else a basis point, give or take two; seeded."""
        if (decided := self.state.rates.get(stamp_ms)) is not None:
            return decided
        if stamp_ms in self._quoted_funding:
            return self._quoted_funding[stamp_ms]
        if self._funding[0] != stamp_ms:
            rate = digest(self._seed, "funding", self.instrument.symbol, stamp_ms) % 40_001 - 10_000
            self._funding = (stamp_ms, rate)
        return self._funding[1]

    def limit(self, side: int) -> int:
        """Ticks of the highest bid (1) or lowest ask (-1) that is taken."""
        return self.instrument.ratio_ticks(self.mark, self.instrument.rules.price_limit_ratio_y, side)

    def open_interest(self, at_ms: int) -> int:
        """Lots held by everybody: about 50 million USDT, seeded, another figure every five minutes."""
        if not self._interest_lots and self.mark:
            self._interest_lots = INTEREST_VALUE // (self.mark * self.instrument.units)
        slot = at_ms // 300_000
        if self._interest[0] != slot:
            self._interest = slot, 950 + digest(self._seed, "interest", self.instrument.symbol, slot) % 101
        return self._interest_lots * self._interest[1] // 1000

    def next_funding_ms(self, at: int) -> int:
        interval = self.instrument.rules.funding_interval_min * 60_000
        return (at // NS_PER_MS // interval + 1) * interval

    def _move(self, at: int, ticks: int) -> None:
        target = ticks * _FINE
        if not self._index_fine:
            self._index_fine = target
        else:
            passed = max(0, at - self.last_at)
            self._index_fine += divide_half_even((target - self._index_fine) * passed, passed + SMOOTH_NS)
        self.last, self.fair, self.last_at = ticks, ticks, at

    def _next_hour(self, at_ms: int, ticks: int) -> None:
        if len(self._hours) == self._hours.maxlen:
            old = self._hours[0]
            self.volume -= old[4]
            self.turnover -= old[5]
        self._hours.append([at_ms // HOUR_MS, ticks, ticks, ticks, 0, 0])
        self._hour_ends_ms = (at_ms // HOUR_MS + 1) * HOUR_MS
        self.opening = self._hours[0][1]

    def _on_closed(self, interval: str, candle: Candle) -> None:
        self.closed.append((interval, candle))
