"""Curves as SVG paths that stretch to any width; the words beside them are HTML, so they stay readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from services.monitor.figures import Curve, Dot, Span

WIDTH, HEIGHT = 1000.0, 240.0
POINTS = 500
"""Columns a curve is drawn with: the lowest and highest value of each are kept."""


class Label(msgspec.Struct, frozen=True):
    """`at` in percent from the top or the left."""

    at: float
    text: str


class Band(msgspec.Struct, frozen=True):
    """A shaded stretch of time; `x` and `width` in the units of the drawing."""

    x: float
    width: float
    kind: str


class Chart(msgspec.Struct, frozen=True):
    """What the template draws. Paths are in a box of WIDTH x HEIGHT; dots are (x, y, kind)."""

    line: str
    area: str
    y_labels: list[Label]
    x_labels: list[Label]
    bands: list[Band]
    dots: list[tuple[float, float, str]]
    marks: list[float]
    rule: float | None = None
    rule_text: str = ""
    width: float = WIDTH
    height: float = HEIGHT


class Frame(msgspec.Struct, frozen=True):
    """The part of the world that a chart shows: ns from left to right, values from bottom to top."""

    start: int
    end: int
    low: float
    high: float

    def x(self, at: int) -> float:
        span = self.end - self.start
        return WIDTH * min(1.0, max(0.0, (at - self.start) / span)) if span else 0.0

    def y(self, value: float) -> float:
        span = self.high - self.low
        return HEIGHT * (1 - (value - self.low) / span) if span else HEIGHT / 2


def draw(
    curve: Curve,
    start: int,
    end: int,
    *,
    unit: str = "",
    floor: float | None = None,
    rule: float | None = None,
    rule_text: str = "",
    spans: Iterable[Span] = (),
    dots: Sequence[Dot] = (),
    marks: Iterable[int] = (),
) -> Chart:
    """One curve between two instants (ns). `floor`: lowest value shown; `rule`: a limit drawn as a line; `unit`: `usd`, `%`."""
    points = thin(curve, start, end)
    values = [value for _, value in points] + [dot.price for dot in dots] or [0.0]
    low, high = min(values), max(values)
    if rule is not None and rule <= high * 2.5:
        high = max(high, rule)
    frame, ticks = _fit(start, end, low if floor is None else floor, high)
    line = " ".join(
        f"{'L' if i else 'M'}{frame.x(at):.1f} {frame.y(value):.1f}" for i, (at, value) in enumerate(points)
    )
    area = (
        f"{line} L{frame.x(points[-1][0]):.1f} {HEIGHT:g} L{frame.x(points[0][0]):.1f} {HEIGHT:g} Z" if points else ""
    )
    shown = rule if rule is not None and rule <= frame.high else None
    return Chart(
        line=line,
        area=area,
        y_labels=[Label(100 * frame.y(tick) / HEIGHT, value_text(tick, ticks, unit)) for tick in ticks],
        x_labels=_time_labels(start, end),
        bands=[_band(span, frame) for span in spans],
        dots=[(frame.x(dot.at), frame.y(dot.price), "buy" if dot.side.is_buy else "sell") for dot in dots],
        marks=[frame.x(at) for at in marks],
        rule=None if shown is None else frame.y(shown),
        rule_text=rule_text if shown is not None else "",
    )


def _band(span: Span, frame: Frame) -> Band:
    left, right = frame.x(span.start_at), frame.x(span.end_at)
    return Band(left, max(1.0, right - left), span.mode.lower())


def _fit(start: int, end: int, low: float, high: float) -> tuple[Frame, list[float]]:
    """A frame with room around the values, and round numbers within it."""
    if high <= low:
        pad = abs(low) * 0.001 or 1.0
        low, high = (low - pad, high + pad) if low else (0.0, pad)
    step = _round_step((high - low) / 3)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    ticks = [bottom + step * i for i in range(round((top - bottom) / step) + 1)]
    return Frame(start, end, bottom, top), ticks


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)


def thin(curve: Curve, start: int, end: int) -> list[tuple[int, float]]:
    """At most POINTS columns; of each its first, lowest, highest and last point, in order of time."""
    inside = [(at, value) for at, value in zip(curve.at, curve.value, strict=True) if start <= at <= end]
    if len(inside) <= 2 * POINTS:
        return inside
    columns: list[list[tuple[int, float]]] = [[] for _ in range(POINTS)]
    width = (end - start) / POINTS or 1
    for point in inside:
        columns[min(POINTS - 1, int((point[0] - start) / width))].append(point)
    kept: list[tuple[int, float]] = []
    for column in columns:
        if column:
            ends = {column[0], column[-1], min(column, key=_value), max(column, key=_value)}
            kept += sorted(ends)
    return kept


def _value(point: tuple[int, float]) -> float:
    return point[1]


def _time_labels(start: int, end: int) -> list[Label]:
    """Five instants from left to right; the date is shown where days pass."""
    span_s = (end - start) / 1e9
    form = (
        "%d %b" if span_s > 5 * 86400 else "%d %b %H:%M" if span_s > 86400 else "%H:%M:%S" if span_s < 600 else "%H:%M"
    )
    if end <= start:
        return []
    return [Label(25.0 * i, instant_text(start + (end - start) * i // 4, form)) for i in range(5)]


def instant_text(at: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """UTC time of an instant in ns."""
    return datetime.fromtimestamp(at / 1e9, UTC).strftime(form)


def value_text(value: float, ticks: Sequence[float], unit: str) -> str:
    """A number with the decimals that tell neighbouring ticks apart."""
    step = abs(ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
    if unit == "%":
        return f"{100 * value:.{_decimals(100 * step)}f} %"
    return f"{value:,.{_decimals(step)}f}"


def _decimals(step: float) -> int:
    for decimals in range(7):
        if abs(step * 10**decimals - round(step * 10**decimals)) < 1e-6:
            return decimals
    return 7
