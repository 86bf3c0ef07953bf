"""What a run's archive says, added up for the report: one pass over each stream that matters, memory bounded."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from libs.common import events as e
from libs.common.archive import ArchiveReader
from libs.common.events import EVENTS, Event
from libs.common.segments import Row
from libs.common.telemetry import LatencySummary, read_latencies
from libs.common.values import Side

ZERO = Decimal(0)
_decoders: dict[str, msgspec.json.Decoder[Event]] = {name: msgspec.json.Decoder(kind) for name, kind in EVENTS.items()}


class _LastTrade(msgspec.Struct):
    """The part of a Tick that a price curve needs; most of a run's rows are ticks."""

    symbol: str
    last: Decimal


class Curve(msgspec.Struct):
    """A figure over time: `at` in ns."""

    at: list[int] = []
    value: list[float] = []

    def add(self, at: int, value: float) -> None:
        self.at.append(at)
        self.value.append(value)


class Halt(msgspec.Struct):
    """`ended_at` is 0 when nobody resumed it."""

    id: str
    scope: str
    reason: str
    mode: str
    measured: Decimal
    limit: Decimal
    at: int
    detail: str
    ended_at: int = 0
    operator: str = ""


class Span(msgspec.Struct):
    """A stretch of time in which the whole book was not NORMAL."""

    mode: str
    start_at: int
    end_at: int


class Trades(msgspec.Struct):
    """One strategy's executions in one symbol; `bought` and `sold` are base quantities, `turnover` and `fees` USDT."""

    strategy: str
    symbol: str
    fills: int = 0
    maker: int = 0
    bought: Decimal = ZERO
    sold: Decimal = ZERO
    turnover: Decimal = ZERO
    fees: Decimal = ZERO


class Dot(msgspec.Struct):
    at: int
    price: float
    side: Side


class AlertLine(msgspec.Struct):
    name: str
    severity: str
    summary: str
    at: int
    cleared_at: int = 0


class Figures(msgspec.Struct):
    """Everything the report shows."""

    events: dict[str, int] = {}
    stage: str = ""
    first_at: int = 0
    last_at: int = 0
    equity: Curve = msgspec.field(default_factory=Curve)
    drawdown: Curve = msgspec.field(default_factory=Curve)
    start: Decimal = ZERO
    end: Decimal = ZERO
    peak: Decimal = ZERO
    max_drawdown: Decimal = ZERO
    pnl_by_strategy: dict[str, Decimal] = {}
    limits: dict[str, Decimal] = {}
    worst: dict[str, Decimal] = {}
    """Highest use of each limit, as a share of it."""
    halts: list[Halt] = []
    spans: list[Span] = []
    outcomes: dict[str, int] = {}
    refusals: dict[str, int] = {}
    trades: dict[str, Trades] = {}
    dots: dict[str, list[Dot]] = {}
    prices: dict[str, Curve] = {}
    checks: int = 0
    mismatches: dict[str, int] = {}
    foreign: int = 0
    alerts: list[AlertLine] = []
    latencies: dict[str, LatencySummary] = {}

    @property
    def fills(self) -> int:
        return sum(trades.fills for trades in self.trades.values())


def gather(run_dir: Path) -> Figures:
    """Read a run directory. Raises UsageError when it holds no archive."""
    reader = ArchiveReader(run_dir)
    figures = Figures(latencies=read_latencies(run_dir))
    figures.events = {name: reader.count(name) for name in reader.streams() if not name.startswith("journal:")}
    _portfolio(reader, figures)
    _halts(reader, figures)
    _orders(reader, figures)
    _fills(reader, figures)
    _account(reader, figures)
    _alerts(reader, figures)
    _prices(reader, figures)
    return figures


def _bodies(reader: ArchiveReader, stream: str) -> Iterator[tuple[Row, Any]]:
    for row in reader.rows(stream, columns=("id", "type", "at", "data")):
        decoder = _decoders.get(row["type"])
        if decoder is not None:
            yield row, decoder.decode(row["data"])


def _portfolio(reader: ArchiveReader, figures: Figures) -> None:
    for row, body in _bodies(reader, "portfolio"):
        if isinstance(body, e.PortfolioMarked):
            _mark(figures, row["at"], body)
        elif isinstance(body, e.StageChanged):
            figures.stage = body.stage
        elif isinstance(body, e.LimitChanged):
            figures.limits = dict(body.limits)


def _mark(figures: Figures, at: int, body: e.PortfolioMarked) -> None:
    if not figures.start and body.equity > 0:  # before the opening balance is booked there is nothing to draw
        figures.start, figures.first_at = body.equity, at
    figures.end, figures.last_at = body.equity, at
    figures.peak = max(figures.peak, body.equity)
    figures.max_drawdown = max(figures.max_drawdown, body.drawdown)
    figures.pnl_by_strategy = dict(body.pnl_by_strategy)
    for use in body.limits:
        if use.limit > 0:
            share = use.measured / use.limit
            figures.worst[use.name.value] = max(figures.worst.get(use.name.value, ZERO), share)
    if figures.start:
        figures.equity.add(at, float(body.equity))
        figures.drawdown.add(at, float(body.drawdown))


def _halts(reader: ArchiveReader, figures: Figures) -> None:
    standing: dict[str, Halt] = {}
    span: Span | None = None
    for row, body in _bodies(reader, "halt"):
        at, mode = row["at"], None
        if isinstance(body, e.Halted):
            halt = Halt(
                row["id"], body.scope, body.reason.value, body.mode.value, body.measured, body.limit, at, body.detail
            )
            figures.halts.append(halt)
            standing[halt.id] = halt
            mode = body.mode if body.scope == "book" else None
        elif isinstance(body, e.Resumed):
            _end(standing, body, at)
            mode = e.Mode.NORMAL if body.scope == "book" else None
        elif isinstance(body, e.ModeChanged) and body.scope == "book":
            mode = body.new
        if mode is not None:
            span = _turn(figures, span, mode.value, at)
    if span is not None:
        span.end_at = max(figures.last_at, span.start_at)


def _end(standing: dict[str, Halt], body: e.Resumed, at: int) -> None:
    for halt in list(standing.values()):
        if halt.id == body.halt_id or halt.scope == body.scope:
            halt.ended_at, halt.operator = at, body.operator
            del standing[halt.id]


def _turn(figures: Figures, span: Span | None, mode: str, at: int) -> Span | None:
    """The book's mode changes at `at`: close the open span, open the next unless it is NORMAL."""
    if span is not None and span.mode == mode:
        return span
    if span is not None:
        span.end_at = at
    if mode == e.Mode.NORMAL.value:
        return None
    figures.spans.append(Span(mode, at, at))
    return figures.spans[-1]


_OUTCOME = {
    "OrderSubmitted": "submitted",
    "OrderAccepted": "accepted",
    "OrderRejected": "rejected",
    "OrderCancelled": "cancelled",
    "OrderUnknown": "unknown",
    "OrderResolved": "resolved",
}


def _orders(reader: ArchiveReader, figures: Figures) -> None:
    for row in reader.rows("order", columns=("type",)):
        name = _OUTCOME.get(row["type"], str(row["type"]))
        figures.outcomes[name] = figures.outcomes.get(name, 0) + 1
    for _, body in _bodies(reader, "order-intent"):
        if isinstance(body, e.OrderRefused):
            figures.refusals[body.reason.value] = figures.refusals.get(body.reason.value, 0) + 1


def _fills(reader: ArchiveReader, figures: Figures) -> None:
    for row, body in _bodies(reader, "fill"):
        if not isinstance(body, e.Fill):
            continue
        key = f"{body.strategy}|{body.symbol}"
        trades = figures.trades.setdefault(key, Trades(body.strategy, body.symbol))
        trades.fills += 1
        trades.maker += body.is_maker
        trades.turnover += body.qty * body.price
        trades.fees += body.fee
        if body.side.is_buy:
            trades.bought += body.qty
        else:
            trades.sold += body.qty
        figures.dots.setdefault(body.symbol, []).append(Dot(row["at"], float(body.price), body.side))


def _account(reader: ArchiveReader, figures: Figures) -> None:
    polls = told = 0
    for _, body in _bodies(reader, "account"):
        if isinstance(body, e.Reconciled):
            polls, told = polls + 1, body.checks
        elif isinstance(body, e.Mismatch):
            figures.mismatches[body.kind] = figures.mismatches.get(body.kind, 0) + 1
        elif isinstance(body, e.ForeignOrder):
            figures.foreign += 1
    figures.checks = max(polls, told)  # `checks` counts the polls, also those that only found what was known


def _alerts(reader: ArchiveReader, figures: Figures) -> None:
    standing: dict[str, AlertLine] = {}
    for row, body in _bodies(reader, "alert"):
        if isinstance(body, e.AlertRaised):
            standing[body.name] = AlertLine(body.name, body.severity, body.summary, row["at"])
            figures.alerts.append(standing[body.name])
        elif isinstance(body, e.AlertCleared) and body.name in standing:
            standing.pop(body.name).cleared_at = row["at"]


def _prices(reader: ArchiveReader, figures: Figures) -> None:
    decode = msgspec.json.Decoder(_LastTrade).decode
    thin = max(1, reader.count("tick") // 200_000)  # a curve has a thousand points; a week's ticks have millions
    for number, row in enumerate(reader.rows("tick", columns=("type", "at", "data"))):
        if number % thin == 0 and row["type"] == "Tick":
            tick = decode(row["data"])
            figures.prices.setdefault(tick.symbol, Curve()).add(row["at"], float(tick.last))
