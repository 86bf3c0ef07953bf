"""[marketdata]: which symbols and candles, and what the data-quality firewall lets pass."""

from __future__ import annotations

import msgspec

from libs.common.values import LINEAR, category_of, venue_name

NS_PER_MS = 1_000_000

INTERVALS: dict[str, tuple[int, str]] = {
    "1m": (60_000, "1"),
    "3m": (180_000, "3"),
    "5m": (300_000, "5"),
    "15m": (900_000, "15"),
    "30m": (1_800_000, "30"),
    "1h": (3_600_000, "60"),
    "2h": (7_200_000, "120"),
    "4h": (14_400_000, "240"),
    "6h": (21_600_000, "360"),
    "12h": (43_200_000, "720"),
    "1d": (86_400_000, "D"),
}
"""Interval name -> (length in ms, the venue's code). All are aligned to 00:00 UTC."""


class MarketdataConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the marketdata service. Spans are ms unless the name says otherwise."""

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    """Perpetuals by the venue's name; a spot pair ends in -SPOT."""
    depth: int = 50
    """Order book topic: 50, 200 or 1000 levels."""
    levels: int = 5
    """Book levels a side on a Tick."""
    intervals: tuple[str, ...] = ("1m", "5m", "15m", "1h", "4h")
    """Candles published. The shortest comes from the venue or our own trades; the others are merged from it."""
    warmup_bars: int = 300
    """Closed candles of each interval asked from REST history at the first start."""
    bar_grace_ms: int = 2_000
    """How long after its end a candle waits for the venue's own before our trades decide it."""
    cadence_ms: int = 1_000
    """A symbol is silent after three of these without a usable frame of any topic."""
    cadence_by_symbol: dict[str, int] = {}
    """Cadence of single symbols, where it differs."""
    tape_cadence_ms: int = 20_000
    """Least cadence in a tape run: a candle tape has a print every few seconds of tape time, however liquid the market was.
    Tapes of candles longer than 5m need more (a sixteenth of the candle)."""
    keepalive_ms: int = 1_000
    """A live book that does not change gives a Tick this often."""
    reference_ms: int = 250
    """Least span between two References of a symbol."""
    stale_ms: int = 10_000
    """Frames whose exchange stamp is older than this give no Tick."""
    spike_sigmas: int = 10
    spike_floor_ppm: int = 10_000
    """A trade is held back when it jumps more than `spike_sigmas` and more than this; the next trade confirms or kills it."""
    rejects_per_second: int = 5
    """DataRejected events logged per kind and second; the counts are always exact."""
    resync_ms: int = 5_000
    """A book without a snapshot is asked for again after this span, a failed request too (history: a little later each time)."""
    reconnect_ms: int = 30_000
    """Realtime: a connection that answers pings but brings no data of any symbol for so long is opened anew; 0: never."""
    instrument_refresh_ms: int = 3_600_000
    status_every_ms: int = 60_000
    """How often the exchange is asked when it will be in maintenance."""

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols: expected at least one and none twice, was {list(self.symbols)}")
        if self.depth not in (1, 50, 200, 1000):
            raise ValueError(f"depth: expected 1, 50, 200 or 1000, was {self.depth}")
        _check_intervals(self.intervals)
        for name in (
            "levels",
            "cadence_ms",
            "tape_cadence_ms",
            "stale_ms",
            "rejects_per_second",
            "resync_ms",
            "instrument_refresh_ms",
            "status_every_ms",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, was {getattr(self, name)}")
        if self.reconnect_ms < 0:
            raise ValueError(f"reconnect_ms: expected 0 or more, was {self.reconnect_ms}")
        if not 0 <= self.warmup_bars <= 1000:
            raise ValueError(f"warmup_bars: expected 0 to 1000, was {self.warmup_bars}")

    @property
    def interval_spans(self) -> list[int]:
        """Lengths of the candles in ns, shortest first."""
        return sorted(INTERVALS[name][0] * NS_PER_MS for name in self.intervals)

    def cadence(self, symbol: str) -> int:
        """Declared cadence of a symbol, ms."""
        return self.cadence_by_symbol.get(symbol, self.cadence_ms)

    def topics(self, category: str = LINEAR) -> tuple[str, ...]:
        """Public WebSocket topics to subscribe, all of one category."""
        base = INTERVALS[min(self.intervals, key=lambda name: INTERVALS[name][0])][1]
        kinds = (f"orderbook.{self.depth}", "publicTrade", "tickers", f"kline.{base}")
        names = [venue_name(symbol) for symbol in self.symbols if category_of(symbol) == category]
        return tuple(f"{kind}.{name}" for name in names for kind in kinds)


def venue_code(span_ns: int) -> str:
    """The venue's code of a candle of this length: 3600000000000 -> "60"."""
    return next(code for length, code in INTERVALS.values() if length * NS_PER_MS == span_ns)


def _check_intervals(intervals: tuple[str, ...]) -> None:
    unknown = [name for name in intervals if name not in INTERVALS]
    if unknown or not intervals:
        raise ValueError(f"intervals: expected some of {', '.join(INTERVALS)}, was {list(intervals)}")
    base = min(INTERVALS[name][0] for name in intervals)
    odd = [name for name in intervals if INTERVALS[name][0] % base]
    if odd:
        raise ValueError(f"intervals: expected multiples of the shortest, was {odd[0]} beside it; add 1m")
