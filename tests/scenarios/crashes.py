"""`python -m tests.scenarios.crashes`: real crashes as tapes, with and without the breakers, and what each book lost.

Two books, both at full Kelly: the shipped strategies, and a `Holder` that is long and never gets out by itself. "Without" means that
no loss limit, streak, velocity, spread, latency or feed limit can be reached; sizes stay limited. "Halt" is the default: a breaker takes no
new risk and leaves what is held to its stops; "halt, flatten" (`flatten_on_halt`) closes it. A halt is resumed after a day, as a person would.
The recordings are not part of the project: TIDEGATE_MARKET_DATA names the directory that holds them, else `shared/data` beside the
checkout is tried.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cli.backtest import Backtest
from cli.context import Context
from cli.tapes import plan
from cli.toml import dumps
from libs.common.events import Halted, Mode, ModeChanged, PortfolioMarked
from libs.common.record import Record
from sim.tapes.tape import open_tape

DATA = Path(os.environ.get("TIDEGATE_MARKET_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
NS = 1_000_000_000
OFF = {
    "max_daily_loss": "10", "max_weekly_loss": "10", "max_drawdown": "10", "max_consecutive_losses": "100000",
    "velocity": "100000", "spread": "100000", "max_latency_ms": "1000000", "feed_delay_ms": "1000000",
    "feed_silence": "100000000", "fills_per_minute": "100000",
}  # fmt: skip
"""Limits out of reach."""


WITHOUT, HALT, FLATTEN = "without", "halt", "halt, flatten"
BREAKERS = (WITHOUT, HALT, FLATTEN)


class Crash(msgspec.Struct, frozen=True):
    """`day`: the UTC day of the crash; played from `before` days earlier to the end of the day `after` days later."""

    name: str
    files: dict[str, str]
    day: str
    before: int
    after: int
    days: int = 1
    """How long the crash took."""


CRASHES = (
    Crash(
        "2021-05-19",
        {s: f"binance_spot_{s}_1m_20210402_20210520.parquet" for s in ("BTCUSDT", "ETHUSDT")},
        "2021-05-19", before=4, after=0,
    ),
    Crash(
        "2022-11 FTX",
        {s: f"binance_usdm_{s}_5m_20220701_20221124.parquet" for s in ("BTCUSDT", "ETHUSDT")},
        "2022-11-08", before=5, after=4, days=3,
    ),
    Crash(
        "2023-08-17",
        {s: f"binance_usdm_{s}_1m_20230810_20230824.parquet" for s in ("FILUSDT", "NEARUSDT")},
        "2023-08-17", before=4, after=1,
    ),
)  # fmt: skip
BOOKS: dict[str, dict[str, dict[str, Any]]] = {
    "shipped": {
        "trend": {"kind": "trend", "interval": "1h"},
        "mean_reversion": {"kind": "mean_reversion", "interval": "15m"},
    },
    "holder": {"holder": {"kind": "tests.scenarios.holder:Holder", "interval": "1h"}},
}


class Played(msgspec.Struct):
    """Equity in USDT; `halts` counts breakers by reason, transient ones too."""

    start: float = 0.0
    day_start: float = 0.0
    day_low: float = 0.0
    day_end: float = 0.0
    end: float = 0.0
    halts: dict[str, int] = {}

    @property
    def crash(self) -> float:
        return self.day_end - self.day_start

    @property
    def worst(self) -> float:
        """The deepest point of the crash against its beginning."""
        return self.day_low - self.day_start


def days(crash: Crash) -> tuple[datetime, datetime, datetime, datetime]:
    """When the tape, the crash, the crash's end and the tape's end are."""
    day = datetime.fromisoformat(crash.day).replace(tzinfo=UTC)
    return (
        day - timedelta(days=crash.before),
        day,
        day + timedelta(days=crash.days),
        day + timedelta(days=crash.days + crash.after),
    )


def cut(crash: Crash, folder: Path) -> list[str]:
    """The part of each recording that is played, as files of its own."""
    first, _, _, last = (int(at.timestamp() * 1000) for at in days(crash))
    tapes = []
    for symbol, name in crash.files.items():
        table = pq.read_table(DATA / name).select(["ts", "open", "high", "low", "close", "volume"])
        inside = pc.and_(pc.greater_equal(table["ts"], first), pc.less(table["ts"], last))
        pq.write_table(table.filter(inside), folder / f"{symbol}.parquet")
        tapes.append(f"{symbol}={folder / symbol}.parquet")
    return tapes


def play(crash: Crash, book: str, breakers: str, seed: int = 7) -> Played:
    """One backtest of a crash; `breakers` is one of BREAKERS."""
    found = Played()
    _, begin, end, _ = (int(at.timestamp()) * NS for at in days(crash))

    def note(record: Record) -> None:
        body = record.body
        if isinstance(body, PortfolioMarked):
            _mark(found, record.at, float(body.equity), begin, end)
        elif (isinstance(body, Halted) and body.reason not in ("BORN", "OPERATOR")) or (
            isinstance(body, ModeChanged) and body.new is Mode.REDUCE_ONLY and not body.cleared
        ):
            found.halts[str(body.reason)] = found.halts.get(str(body.reason), 0) + 1

    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        place = Path(folder)
        tapes = cut(crash, place)
        config = place / "config.toml"
        config.write_text(dumps(settings(crash, book, breakers)))
        overrides, _, base = plan(Context(config=config), seed, "max", None, tapes)
        resolved = Context(config=config).settings(overrides | {"run.run_dir": str(place)}, base)
        config.write_text(dumps(resolved.values()))
        Backtest(config, resolved, open_tape(tapes, seed), note).run()
    return found


def settings(crash: Crash, book: str, breakers: str) -> dict[str, Any]:
    symbols, strategies = list(crash.files), BOOKS[book]
    names = {"threshold", "trend", "mean_reversion"} | set(strategies)
    share = f"{1 / len(strategies):.2f}"
    return {
        "risk": {
            "allow": {name: {"symbols": symbols} for name in strategies},
            "allocation": {name: share if name in strategies else "0" for name in names},
            "kelly_fraction": "1",
            "max_position_size": "100000",
            **(OFF if breakers == WITHOUT else {"flatten_on_halt": breakers == FLATTEN}),
        },
        "signal": {"strategies": {
            name: {**strategies[name], "symbols": symbols} if name in strategies else {"enabled": False} for name in names
        }},
    }  # fmt: skip


def _mark(found: Played, at: int, equity: float, begin: int, end: int) -> None:
    found.start = found.start or equity
    found.end = equity
    if at <= begin:
        found.day_start = found.day_low = found.day_end = equity
    elif at <= end:
        found.day_start = found.day_start or equity
        found.day_low, found.day_end = min(found.day_low or equity, equity), equity


def _line(crash: Crash, book: str, breakers: str, found: Played, without: Played) -> str:
    tripped = ", ".join(f"{reason} {count}" for reason, count in sorted(found.halts.items())) or "-"
    gain = found.crash - without.crash
    verdict = (
        "-"
        if breakers == WITHOUT
        else f"{gain:+,.2f} {'saved' if gain > 0 else 'cost' if gain < 0 else 'no difference'}"
    )
    figures = f"{found.crash:+,.2f} | {found.worst:+,.2f} | {found.end - found.start:+,.2f}"
    return f"| {crash.name} | {book} | {breakers} | {figures} | {verdict} | {tripped} |"


def main() -> int:
    if not all((DATA / name).is_file() for crash in CRASHES for name in crash.files.values()):
        print(f"skipped: expected the recordings of three crashes in {DATA}, were not all there", file=sys.stderr)
        return 0
    print("| crash | book | breakers | in the crash | at its worst | whole tape | against without | tripped |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | --- |")
    for crash in CRASHES:
        for book in BOOKS:
            without = play(crash, book, WITHOUT)
            for breakers in BREAKERS:
                found = without if breakers == WITHOUT else play(crash, book, breakers)
                print(_line(crash, book, breakers, found, without), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
