"""Features of one symbol and interval, updated in O(1) per closed candle; the same code in training and live.

Definitions (n the window of `Windows`, r the log return of closes):
- `ewma_return`, `ewma_variance`: exponential, alpha = 2 / (n + 1), started with the first return; variance about the
  running mean: m' = m + a(r - m), v' = (1 - a)(v + a(r - m)²). `volatility` is its root, per bar.
- `atr`, `rsi`: Wilder's smoothing, alpha = 1 / n, seeded with the plain mean of the first n values.
- `z_score`: (close - mean) / population standard deviation over the last n closes.
- `momentum`: close / close n bars ago - 1.
- `channel_high`, `channel_low`: extremes of the n bars *before* the current one; `breakout` places the close in it, -1 to 1
  inside, beyond outside.
Whatever is not defined yet is NaN.
"""

from __future__ import annotations

import math

import msgspec

NAN = math.nan
NAMES = (
    "log_return",
    "ewma_return",
    "volatility",
    "atr_ratio",
    "rsi",
    "z_score",
    "momentum",
    "breakout",
    "volume_ratio",
)
"""Order of `Features.vector`, scale-free all of them: what models are trained on."""


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Window lengths in bars."""

    volatility: int = 32
    atr: int = 14
    rsi: int = 14
    z_score: int = 20
    momentum: int = 20
    channel: int = 20

    @property
    def longest(self) -> int:
        """Bars after which every feature is defined."""
        return 1 + max(self.volatility, self.atr, self.rsi, self.z_score, self.momentum, self.channel)


class Ring(msgspec.Struct):
    """The last `size` values; `oldest` is the value that the next push drops."""

    size: int
    values: list[float] = []
    place: int = 0

    def push(self, value: float) -> float:
        """Add a value; returns the one that dropped out, NaN while it fills."""
        if len(self.values) < self.size:
            self.values.append(value)
            return NAN
        dropped = self.values[self.place]
        self.values[self.place] = value
        self.place = (self.place + 1) % self.size
        return dropped

    @property
    def full(self) -> bool:
        return len(self.values) == self.size


class RollingMoments(msgspec.Struct):
    """Mean and variance of the last n values. Sums are of differences to `origin`, which is renewed from the ring every
    n values, so rounding does not grow with time."""

    ring: Ring
    origin: float = NAN
    total: float = 0.0
    squares: float = 0.0
    since: int = 0

    def push(self, value: float) -> None:
        if math.isnan(self.origin):
            self.origin = value
        dropped = self.ring.push(value)
        self._add(value, 1.0)
        if not math.isnan(dropped):
            self._add(dropped, -1.0)
        self.since += 1
        if self.since >= self.ring.size:
            self.since, self.origin, self.total, self.squares = 0, value, 0.0, 0.0
            for one in self.ring.values:
                self._add(one, 1.0)

    def _add(self, value: float, sign: float) -> None:
        difference = value - self.origin
        self.total += sign * difference
        self.squares += sign * difference * difference

    def score(self, value: float) -> float:
        """(value - mean) / standard deviation; NaN while filling and when all values are the same."""
        n = self.ring.size
        if not self.ring.full:
            return NAN
        mean = self.total / n
        variance = self.squares / n - mean * mean
        if variance <= 1e-20 * self.origin * self.origin:
            return NAN
        return (value - self.origin - mean) / math.sqrt(variance)


class Extremes(msgspec.Struct):
    """Largest of the last n values, amortised O(1): a queue of falling candidates [index, value]."""

    size: int
    queue: list[tuple[int, float]] = []
    index: int = 0

    def push(self, value: float) -> None:
        queue = self.queue
        while queue and queue[-1][1] <= value:
            queue.pop()
        queue.append((self.index, value))
        self.index += 1
        if queue[0][0] <= self.index - 1 - self.size:
            queue.pop(0)

    @property
    def largest(self) -> float:
        return self.queue[0][1] if self.index >= self.size else NAN


class Wilder(msgspec.Struct):
    """Wilder's moving average: the mean of the first n, then value += (x - value) / n."""

    size: int
    count: int = 0
    total: float = 0.0
    value: float = NAN

    def push(self, x: float) -> None:
        self.count += 1
        if self.count <= self.size:
            self.total += x
            if self.count == self.size:
                self.value = self.total / self.size
        else:
            self.value += (x - self.value) / self.size


class Features(msgspec.Struct):
    """Feature values of one symbol and interval, and what the next update needs. Prices as floats."""

    windows: Windows
    true_range: Wilder
    gain: Wilder
    loss: Wilder
    moments: RollingMoments
    closes: Ring
    highs: Extremes
    lows: Extremes
    """Of negated lows."""
    volumes: Wilder
    count: int = 0
    """Bars taken in."""
    close: float = NAN
    log_return: float = NAN
    ewma_return: float = NAN
    ewma_variance: float = NAN
    momentum: float = NAN
    z_score: float = NAN
    channel_high: float = NAN
    channel_low: float = NAN
    volume_ratio: float = NAN

    def update(self, high: float, low: float, close: float, volume: float) -> None:
        """Take in one closed candle."""
        self.channel_high, self.channel_low = self.highs.largest, -self.lows.largest
        self.highs.push(high)
        self.lows.push(-low)
        if self.count:
            self._move(high, low, close)
        else:
            self.true_range.push(high - low)
        mean_volume = self.volumes.value
        self.volume_ratio = volume / mean_volume if mean_volume > 0 else NAN
        self.volumes.push(volume)
        self.moments.push(close)
        self.z_score = self.moments.score(close)
        before = self.closes.push(close)
        self.momentum = close / before - 1 if not math.isnan(before) else NAN
        self.close = close
        self.count += 1

    def _move(self, high: float, low: float, close: float) -> None:
        """What needs the close before."""
        self.true_range.push(max(high, self.close) - min(low, self.close))
        change = close - self.close
        self.gain.push(max(change, 0.0))
        self.loss.push(max(-change, 0.0))
        self.log_return = math.log(close / self.close)
        if self.count == 1:
            self.ewma_return, self.ewma_variance = self.log_return, 0.0
            return
        alpha = 2 / (self.windows.volatility + 1)
        difference = self.log_return - self.ewma_return
        self.ewma_return += alpha * difference
        self.ewma_variance = (1 - alpha) * (self.ewma_variance + alpha * difference * difference)

    @property
    def atr(self) -> float:
        return self.true_range.value

    @property
    def volatility(self) -> float:
        """Standard deviation of the log return per bar; NaN when there was no movement."""
        return math.sqrt(self.ewma_variance) if self.ewma_variance > 0 else NAN

    @property
    def rsi(self) -> float:
        """0 to 100; 50 when nothing moved."""
        gain, loss = self.gain.value, self.loss.value
        if math.isnan(gain):
            return NAN
        return 100 * gain / (gain + loss) if gain + loss > 0 else 50.0

    @property
    def breakout(self) -> float:
        """-1 at the channel's low, 1 at its high, beyond outside."""
        width = self.channel_high - self.channel_low
        return 2 * (self.close - self.channel_low) / width - 1 if width > 0 else NAN

    @property
    def ready(self) -> bool:
        """Whether every window was filled."""
        return self.count >= self.windows.longest

    def score_of(self, price: float) -> float:
        """The z-score that a price between candles has against the closes so far."""
        return self.moments.score(price)

    def vector(self) -> list[float]:
        """The values of `NAMES`, in order."""
        return [
            self.log_return,
            self.ewma_return,
            self.volatility,
            self.atr / self.close,
            self.rsi,
            self.z_score,
            self.momentum,
            self.breakout,
            self.volume_ratio,
        ]


def features(windows: Windows) -> Features:
    """Empty features for these windows."""
    return Features(
        windows=windows,
        true_range=Wilder(windows.atr),
        gain=Wilder(windows.rsi),
        loss=Wilder(windows.rsi),
        moments=RollingMoments(Ring(windows.z_score)),
        closes=Ring(windows.momentum),
        highs=Extremes(windows.channel),
        lows=Extremes(windows.channel),
        volumes=Wilder(windows.volatility),
    )
