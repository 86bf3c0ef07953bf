"""A small log: a tick, a signal, an approved order, its life, a valuation, a halt; on a bus or in an archive."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import redis

from libs.common import events as e
from libs.common.archive import ArchiveWriter
from libs.common.codec import FIELDS, entry_text, values
from libs.common.record import Cause, Record, event_id
from libs.common.streams import key
from libs.common.values import Side

LINK = "tg-0123456789abcdef"
AT = 1_704_088_800_000_000_000
MS = 1_000_000


class Book:
    """Collects records with contiguous seqs and rising entries."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._seqs: dict[str, int] = {}

    def add(self, stream: str, body: e.Event, at: int, *cause: Cause) -> Record:
        seq = self._seqs[stream] = self._seqs.get(stream, 0) + 1
        identity = event_id(cause or ((stream, seq),), stream, type(body).__name__, 0)
        root = next((r.correlation for r in self.records if (r.stream, r.seq) in cause), identity)
        record = Record(stream, (AT // MS + len(self.records), 0), identity, seq, at, cause, root, body)
        self.records.append(record)
        return record


def log(*, halted: bool) -> Book:
    book = Book()
    book.add(
        "tick", e.Tick(symbol="BTCUSDT", last=D("60000.5"), bids=((D("60000"), D(1)),), asks=((D("60001"), D(2)),)), AT
    )
    signal = e.Signal(
        strategy="trend",
        symbol="BTCUSDT",
        target=D("0.5"),
        p=D("0.55"),
        payoff=D("1.2"),
        stop_distance=D(600),
        horizon_ms=1,
    )
    book.add("signal", signal, AT, ("tick", 1))
    order = {"order_link_id": LINK, "symbol": "BTCUSDT"}
    terms = {
        "strategy": "trend",
        "side": Side.BUY,
        "qty": D("0.01"),
        "price": D("60010"),
        "reduce_only": False,
        "expires_at": AT + MS,
    }
    terms |= {"purpose": e.Purpose.ENTRY, "time_in_force": e.TimeInForce.IOC}
    use = e.LimitUse(e.Reason.MAX_LEVERAGE, D("0.06"), D(5))
    book.add("order-intent", e.OrderIntent(**order, **terms, limits_version=1, limits=(use,)), AT, ("signal", 1))
    book.add("order", e.OrderSubmitted(**order, **terms), AT, ("order-intent", 1))
    book.add("order", e.OrderAccepted(**order, order_id="o1", ack_ms=40), AT + 40 * MS, ("venue", 3))
    fill = {
        "order_id": "o1",
        "exec_id": "x1",
        "strategy": "trend",
        "side": Side.BUY,
        "qty": D("0.01"),
        "price": D("60001"),
        "fee": D("0.33"),
    }
    fill |= {
        "is_maker": False,
        "reduce_only": False,
        "purpose": e.Purpose.ENTRY,
        "cum_qty": D("0.01"),
        "order_qty": D("0.01"),
    }
    book.add("fill", e.Fill(**order, **fill, exec_at=AT + 50 * MS), AT + 50 * MS, ("venue", 4))
    position = e.PositionMark("BTCUSDT", D("0.01"), D("60001"), D("60101"), D(1))
    money = {
        "wallet": D("9999.67"),
        "unrealised": D(1),
        "equity": D("10000.67"),
        "peak": D("10000.67"),
        "drawdown": D(0),
    }
    money |= {
        "daily_loss": D("0.001"),
        "weekly_loss": D(0),
        "consecutive_losses": 0,
        "gross_usd": D("601.01"),
        "net_usd": D("601.01"),
    }
    marked = e.PortfolioMarked(**money, mode=e.Mode.NORMAL, positions=(position,), limits=(use,))
    book.add("portfolio", marked, AT + 60 * MS, ("fill", 1))
    book.add("health:risk", e.Heartbeat(service="risk", commits=12, code="c1"), AT + 60 * MS)
    book.add("halt", e.Resumed(halt_id="born", scope="book", operator="auto"), AT)
    if halted:
        book.add(
            "halt",
            e.Halted(reason=e.Reason.MAX_DRAWDOWN, measured=D("0.101"), limit=D("0.1")),
            AT + 70 * MS,
            ("fill", 1),
        )
    return book


def D(text: str | int) -> Decimal:  # noqa: N802 - it reads as the constructor it is
    return Decimal(text)


def to_bus(book: Book, client: redis.Redis) -> None:
    for record in book.records:
        pairs = dict(zip((name.encode() for name in FIELDS), values(record), strict=True))
        client.xadd(key(record.stream, "main"), pairs, id=entry_text(record.entry))


def to_archive(book: Book, run_dir: Path) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.toml").write_text("")
    writer = ArchiveWriter(run_dir)
    for record in book.records:
        fields = [part for name, value in zip(FIELDS, values(record), strict=True) for part in (name.encode(), value)]
        writer.append(record.stream, [(entry_text(record.entry).encode(), fields)])
    writer.write_manifest(closed=True)
