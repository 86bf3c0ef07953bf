"""Closed candles of one symbol, in order, each once.

The shortest interval (the base) is closed by whichever comes first:
1. the venue's own closed candle (kline frame with `confirm`), which wins because it misses no trade;
2. `grace` after its end, the candle of our own trades, flat at the last close when there was none, but only while the
   feed was up during all of the candle;
3. otherwise (the feed was down, or candles are missing) REST history, during which live candles wait.
Longer intervals are merged from base candles, aligned to 00:00 UTC; one that misses its first base candle is not published.
At the first start history fills all intervals, longest first, so that warm-up bars come before live ones.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.common.events import Bar
from services.marketdata.config import NS_PER_MS

MOST_ROWS = 1000
"""Candles of one REST reply."""
_MOST_HISTORY = 10 * MOST_ROWS
"""Older candles are not asked for."""
_MOST_FLAT = 120
_MOST_OPEN = 4


class Candle(msgspec.Struct):
    start_at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def add(self, later: Candle) -> None:
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume


class Series(msgspec.Struct):
    """One interval. `next_at`: start of the next candle to publish; `open`: the one being merged."""

    span: int
    next_at: int = 0
    open: Candle | None = None


class Gap(msgspec.Struct, frozen=True):
    """History that is wanted: candles of `span` ns that start in [start_at, end_at)."""

    span: int
    start_at: int
    end_at: int


class Bars(msgspec.Struct):
    symbol: str
    series: list[Series]
    """Shortest first."""
    live: list[Candle] = []
    """Base candles under construction from our trades, oldest first."""
    waiting: list[Candle] = []
    """Closed base candles that wait for history."""
    filling: list[int] = []
    """Spans that history is asked for, the one under way first."""
    trusted_at: int = 0
    """Our trades are complete from here on."""
    last_close: Decimal | None = None
    late_trades: int = 0
    begun: bool = False
    ready: list[Bar] = []
    """Published in this step."""

    @property
    def base(self) -> Series:
        return self.series[0]

    def begin(self, now: int, warmup: int) -> None:
        """First start: ask history for `warmup` candles of each interval, and for what the longest has of its open one."""
        for series in self.series:
            series.next_at = max(0, floor(now, series.span) - warmup * series.span)
        longest = floor(now, self.series[-1].span)
        self.base.next_at = min(self.base.next_at, longest)
        self.filling = [series.span for series in reversed(self.series)]
        self.trusted_at = now
        self.begun = True

    def distrust(self, now: int) -> None:
        """The feed came back: our trades before now are incomplete."""
        self.trusted_at = now
        self.live = [candle for candle in self.live if candle.start_at >= now]

    def gap(self, now: int) -> Gap | None:
        """The history wanted next, if any."""
        if not self.filling:
            return None
        series = self._of(self.filling[0])
        latest = floor(now, series.span)
        start = max(series.next_at, latest - _MOST_HISTORY * series.span)
        return Gap(series.span, start, min(latest, start + MOST_ROWS * series.span))

    def trade(self, at: int, price: Decimal, qty: Decimal) -> None:
        start = floor(at, self.base.span)
        if start < self.base.next_at:
            self.late_trades += 1
            return
        for candle in reversed(self.live):
            if candle.start_at == start:
                candle.add(Candle(start, price, price, price, price, qty))
                return
        self.live.append(Candle(start, price, price, price, price, qty))
        self.live.sort(key=lambda candle: candle.start_at)
        del self.live[:-_MOST_OPEN]

    def offer(self, candle: Candle) -> None:
        """A closed base candle of the venue."""
        if candle.start_at < self.base.next_at:
            return
        if not self.filling and candle.start_at > self.base.next_at:
            self._miss(candle.start_at)
        if self.filling:
            self.waiting.append(candle)
        else:
            self._publish(candle)

    def elapse(self, now: int, grace: int) -> None:
        """Time moved on and the feed is up: close what our own trades can close, ask history for the rest."""
        base = self.base
        due = (now - grace - base.next_at) // base.span
        if self.filling or due < 1:
            return
        if base.next_at < self.trusted_at or due > _MOST_FLAT or (self.last_close is None and not self.live):
            self._miss(floor(now - grace, base.span))
            return
        for _ in range(due):
            candle = self._own(base.next_at)
            if candle is None:
                base.next_at += base.span
            else:
                self._publish(candle)

    def filled(self, gap: Gap, candles: list[Candle]) -> None:
        """History came (or did not: no candles): publish it and what waited for it."""
        series = self._of(gap.span)
        found = False
        for candle in sorted(candles, key=lambda candle: candle.start_at):
            if series.next_at <= candle.start_at < gap.end_at:
                found = True
                if series is self.base:
                    self._publish(candle)
                else:
                    series.next_at = candle.start_at + series.span
                    self._emit(series, candle)
        series.next_at = max(series.next_at, gap.end_at)
        if found and gap.end_at - gap.start_at >= MOST_ROWS * gap.span:
            return  # a full reply: there may be more
        if gap.span in self.filling:
            self.filling.remove(gap.span)
        if not self.filling:
            waiting, self.waiting = self.waiting, []
            for candle in waiting:
                self.offer(candle)

    def _miss(self, until: int) -> None:
        """Candles before `until` are missing: history of the base, or of everything when one reply cannot hold it."""
        missing = (until - self.base.next_at) // self.base.span
        self.filling = [self.base.span] if missing <= MOST_ROWS else [series.span for series in reversed(self.series)]

    def _own(self, start: int) -> Candle | None:
        if self.live and self.live[0].start_at == start:
            return self.live[0]
        if self.last_close is None:
            return None
        close = self.last_close
        return Candle(start, close, close, close, close, Decimal(0))

    def _publish(self, candle: Candle) -> None:
        base = self.base
        base.next_at = candle.start_at + base.span
        self.live = [other for other in self.live if other.start_at >= base.next_at]
        self.last_close = candle.close
        self._emit(base, candle)
        for series in self.series[1:]:
            self._merge(series, candle)

    def _merge(self, series: Series, candle: Candle) -> None:
        start = floor(candle.start_at, series.span)
        if start < series.next_at:
            return
        merged = series.open
        if merged is not None and merged.start_at != start:
            if merged.start_at >= series.next_at:  # its last base candles never came: late is better than never
                self._close(series, merged)
            merged = series.open = None
        if merged is not None:
            merged.add(candle)
        elif candle.start_at == start:
            merged = series.open = msgspec.structs.replace(candle)
        if merged is not None and candle.start_at + self.base.span == start + series.span:
            self._close(series, merged)

    def _close(self, series: Series, merged: Candle) -> None:
        series.next_at = merged.start_at + series.span
        series.open = None
        self._emit(series, merged)

    def _emit(self, series: Series, candle: Candle) -> None:
        self.ready.append(
            Bar(
                symbol=self.symbol,
                interval_ms=series.span // NS_PER_MS,
                start_at=candle.start_at,
                open=candle.open,
                high=candle.high,
                low=candle.low,
                close=candle.close,
                volume=candle.volume,
            )
        )

    def _of(self, span: int) -> Series:
        return next(series for series in self.series if series.span == span)


def floor(at: int, span: int) -> int:
    """Start of the aligned window that holds an instant."""
    return at - at % span
