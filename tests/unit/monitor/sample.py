"""A made-up run: records as the services would write them, and an archive of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from libs.common import events as e
from libs.common.archive import ArchiveWriter
from libs.common.codec import FIELDS, entry_text, values
from libs.common.events import Event, Heartbeat, Mode, Reason
from libs.common.record import Cause, Record, event_id
from libs.common.streams import STREAMS
from libs.common.telemetry import Latencies
from libs.common.values import Side

START = 1_790_000_000_000_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
STREAM_OF = {kind: stream.name for stream in STREAMS for kind in stream.events if kind is not Heartbeat}


class Tape:
    """Writes events as records: seq per stream, rising entry ids."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._seqs: dict[str, int] = defaultdict(int)

    def add(self, body: Event, at: int = 0, cause: Cause | None = None, correlation: str = "") -> Record:
        """`at` in seconds since the start."""
        stream = f"health:{body.service}" if isinstance(body, Heartbeat) else STREAM_OF[type(body)]
        self._seqs[stream] += 1
        seq = self._seqs[stream]
        instant = START + at * SECOND
        causes = (cause or ("clock", seq),)
        identity = event_id(causes, stream, type(body).__name__, seq)
        entry = (instant // 1_000_000, len(self.records))
        record = Record(stream, entry, identity, seq, instant, causes, correlation or identity, body)
        self.records.append(record)
        return record

    def write(self, run_dir: Path) -> None:
        """Archive all of it."""
        writer = ArchiveWriter(run_dir)
        by_stream: dict[str, list[tuple[bytes, list[bytes]]]] = defaultdict(list)
        for record in self.records:
            by_stream[record.stream].append(as_entry(record))
        for stream, page in by_stream.items():
            writer.append(stream, page)
        writer.write_manifest(closed=True)


def as_entry(record: Record) -> tuple[bytes, list[bytes]]:
    fields = [part for pair in zip((name.encode() for name in FIELDS), values(record), strict=True) for part in pair]
    return entry_text(record.entry).encode(), fields


def d(value: object) -> Decimal:
    return Decimal(str(value))


def tick(symbol: str, price: object) -> e.Tick:
    level = ((d(price), Decimal(1)),)
    return e.Tick(symbol=symbol, last=d(price), bids=level, asks=level)


def mark(
    equity: object, peak: object, *, mode: Mode = Mode.NORMAL, pnl: dict[str, Decimal] | None = None
) -> e.PortfolioMarked:
    equity, peak = d(equity), d(peak)
    drawdown = ((peak - equity) / peak).quantize(d("0.000001"))
    return e.PortfolioMarked(
        wallet=equity,
        unrealised=d(0),
        equity=equity,
        peak=peak,
        drawdown=drawdown,
        daily_loss=drawdown,
        weekly_loss=drawdown,
        consecutive_losses=1,
        gross_usd=d(900),
        net_usd=d(-400),
        mode=mode,
        positions=(e.PositionMark("BTCUSDT", d("-0.02"), d(60000), d(60100), d("-2")),),
        pnl_by_strategy=pnl or {},
        limits=(
            e.LimitUse(Reason.MAX_DRAWDOWN, drawdown, d("0.10")),
            e.LimitUse(Reason.MAX_DAILY_LOSS, drawdown, d("0.05")),
            e.LimitUse(Reason.MAX_GROSS_USD, d(900), d(100000)),
        ),
    )


def intent(link: str = "tg-1", symbol: str = "BTCUSDT", side: Side = Side.BUY, qty: object = "0.01") -> e.OrderIntent:
    return e.OrderIntent(
        order_link_id=link,
        strategy="trend",
        symbol=symbol,
        side=side,
        qty=d(qty),
        price=d(60000),
        time_in_force=e.TimeInForce.IOC,
        reduce_only=False,
        purpose=e.Purpose.ENTRY,
        expires_at=START + 2 * SECOND,
        limits_version=1,
    )


def submitted(
    link: str = "tg-1", symbol: str = "BTCUSDT", side: Side = Side.BUY, qty: object = "0.01"
) -> e.OrderSubmitted:
    same = intent(link, symbol, side, qty)
    names = ("order_link_id", "strategy", "symbol", "side", "qty", "price", "time_in_force", "reduce_only", "purpose")
    return e.OrderSubmitted(**{name: getattr(same, name) for name in names}, expires_at=same.expires_at)


def fill(
    link: str = "tg-1",
    *,
    strategy: str = "trend",
    symbol: str = "BTCUSDT",
    side: Side = Side.BUY,
    qty: object = "0.01",
    of: object = "0.01",
    price: object = 60000,
) -> e.Fill:
    return e.Fill(
        order_link_id=link,
        order_id="o1",
        exec_id=f"x-{link}-{qty}",
        strategy=strategy,
        symbol=symbol,
        side=side,
        qty=d(qty),
        price=d(price),
        fee=d("0.33"),
        is_maker=False,
        reduce_only=False,
        purpose=e.Purpose.ENTRY,
        cum_qty=d(qty),
        order_qty=d(of),
        exec_at=START,
    )


def halted(reason: Reason = Reason.MAX_DRAWDOWN, scope: str = "book") -> e.Halted:
    return e.Halted(reason=reason, measured=d("0.1032"), limit=d("0.10"), scope=scope, detail="")


def write_sample_run(run_dir: Path, minutes: int = 240) -> Tape:
    """A day with a crash in the middle: halt, resume, a second halt by an operator, everything flat at the end."""
    tape = Tape()
    tape.add(e.Halted(reason=Reason.BORN, measured=d(0), limit=d(0)), 0)
    tape.add(e.Resumed(halt_id=tape.records[-1].id, scope="book", operator="auto_arm"), 1)
    tape.add(e.LimitChanged(version=1, limits={"max_drawdown": d("0.10"), "max_daily_loss": d("0.05")}), 1)
    tape.add(e.StageChanged(stage="paper", share=d(1)), 1)
    for service in ("marketdata", "signal", "risk", "execution", "monitor"):
        tape.add(Heartbeat(service=service, commits=9), 2)
    _trade(tape, minutes)
    tape.add(e.FlatConfirmed(checked_at=START, wallet=d(9800)), minutes * 60)
    tape.write(run_dir)
    for name, values_ms in {"tick_to_order": (1.1, 1.3, 1.9, 9.0), "order_ack": (4, 6, 7, 30)}.items():
        latencies = Latencies("execution", run_dir)
        for value in values_ms:
            latencies.observe(name, value / 1000)
        latencies.dump()
    (run_dir / "config.toml").write_text(
        '[run]\nname = "demo"\nseed = 7\nstage = "paper"\ntapes = ["synthetic:seed=7"]\n'
    )
    return tape


def _trade(tape: Tape, minutes: int) -> None:
    peak, halt_at, back_at = 10000.0, minutes * 60 * 55 // 100, minutes * 60 * 70 // 100
    halt: Record | None = None
    for at in range(10, minutes * 60, 10):
        share = at / (minutes * 60)
        crash = 900 / (1 + math.exp(-(share - 0.53) * 90))
        equity = 10000 + 420 * share + 55 * math.sin(share * 40) + 18 * math.sin(share * 333) - crash
        price = 60000 - crash * 6 + 500 * math.sin(share * 19) + 90 * math.sin(at)
        peak = max(peak, equity)
        halted_now = halt is not None and at < back_at
        pnl = {"trend": d(round((equity - 10000) * 0.7, 4)), "mean_reversion": d(round((equity - 10000) * 0.3, 4))}
        tape.add(tick("BTCUSDT", round(price, 1)), at)
        tape.add(tick("ETHUSDT", round(price / 21 + 12 * math.cos(at / 300), 2)), at)
        tape.add(mark(round(equity, 4), round(peak, 4), mode=Mode.HALTED if halted_now else Mode.NORMAL, pnl=pnl), at)
        if at % 600 == 0:
            _order(tape, at, price, halted_now)
        if halt is None and at >= halt_at:
            halt = tape.add(halted(), at)
            tape.add(e.AlertRaised(name="halt:book", severity="page", summary="book HALTED: max_drawdown"), at)
        if halt is not None and at == back_at // 10 * 10:
            tape.add(e.Resumed(halt_id=halt.id, scope="book", operator="ana"), at)
            tape.add(e.AlertCleared(name="halt:book"), at)
            peak = equity
    tape.add(halted(Reason.OPERATOR), minutes * 60 - 300)


def _order(tape: Tape, at: int, price: float, halted_now: bool) -> None:
    number = at // 600
    strategy, symbol, ours = ("trend", "BTCUSDT", price) if number % 3 else ("mean_reversion", "ETHUSDT", price / 21)
    if halted_now or number % 5 == 0:
        reason = Reason.MODE if halted_now else (Reason.NO_EDGE, Reason.BELOW_MINIMUM)[number % 2]
        tape.add(e.OrderRefused(strategy=strategy, symbol=symbol, reason=reason), at)
        return
    side = Side.BUY if number % 2 else Side.SELL
    link = f"tg-{number}"
    tape.add(submitted(link, symbol, side), at)
    tape.add(e.OrderAccepted(order_link_id=link, symbol=symbol, order_id="o", ack_ms=5), at)
    tape.add(fill(link, strategy=strategy, symbol=symbol, side=side, price=round(ours, 2)), at)
    tape.add(e.Reconciled(checks=number, wallet=d(9990), positions=1, open_orders=0), at + 1)


def bodies(records: Iterable[Record]) -> list[Event]:
    return [record.body for record in records]
