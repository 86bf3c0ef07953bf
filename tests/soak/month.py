"""`python -m tests.soak.month`: a month of recorded tape through the whole system in one process, faults off and on, and then both
sides' books beside each other: positions, wallet, fees and funding, to the last digit (1e-8 USDT).

The recordings are not part of the project: TIDEGATE_MARKET_DATA names the directory that holds them, else `shared/data` beside the
checkout is tried.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import msgspec

from cli.backtest import Backtest
from cli.context import Context
from cli.tapes import plan
from cli.toml import dumps
from libs.common.events import Fill, FundingPaid, Mismatch, PositionAdjusted
from libs.common.record import Record
from libs.common.values import to_units
from sim.faults.menu import read
from sim.tapes.tape import open_tape

DATA = Path(os.environ.get("TIDEGATE_MARKET_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
MONTH = tuple(
    f"{symbol}={DATA / f'binance_usdm_{symbol}_1m_20230719_20230817.parquet'}" for symbol in ("BTCUSDT", "ETHUSDT")
)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
OWN = {"account": "sim"}
"""Of the account: market data is disturbed elsewhere, here it would only stop the trading."""
FAULTS = (
    {"kind": "ambiguous", "rate": 0.04, "arrives": "now", "answer": 10000},
    {"kind": "ambiguous", "rate": 0.02, "arrives": "late", "answer": "timeout"},
    {"kind": "ambiguous", "rate": 0.02, "arrives": "never", "answer": "timeout"},
    {"kind": "drop", "rate": 0.1, "match": OWN},
    {"kind": "duplicate", "rate": 0.1, "times": 3, "match": OWN},
    {"kind": "reorder", "rate": 0.1, "ms": 500, "match": OWN},
    {"kind": "partial", "rate": 0.2, "fractions": [0.3, 0.3, 0.4], "gap_ms": 300},
    {"kind": "two_filled", "rate": 0.2, "match": OWN},
    {"kind": "refuse", "rate": 0.02, "code": 10006, "match": {"path": "/v5/order", **OWN}},
)


class Books(msgspec.Struct):
    """One side. Amounts in 1e-8 USDT, positions in lots."""

    wallet: int
    fees: int
    funding: int
    executions: int
    lots: dict[str, int]


class Month(msgspec.Struct):
    """`exact`: at every comparison without a call under way the two sides were equal; `at_end` are the books when flat."""

    faults: dict[str, int]
    compared: int
    differing: int
    mismatches: int
    ours: Books
    venue: Books
    seconds: float


class Both:
    """Listens on both sides of one backtest."""

    def __init__(self, run: Backtest) -> None:
        self.run = run
        self.ours: Counter[str] = Counter()
        self.venue: Counter[str] = Counter()
        self.compared = self.differing = self.mismatches = 0
        (self.account,) = run.exchange.desk.accounts.values()
        both = self

        class Fills(deque[Any]):
            def append(self, fill: Any) -> None:
                both.venue["executions"] += 1
                both.venue["funding" if fill.exec_type == "Funding" else "fees"] += fill.fee
                super().append(fill)

        self.account.fills = Fills(maxlen=self.account.fills.maxlen)

    def keep(self, record: Record) -> None:
        body = record.body
        if isinstance(body, Fill | PositionAdjusted):
            self.ours["executions"] += 1
            self.ours["fees"] += to_units(body.fee)
        elif isinstance(body, FundingPaid):
            self.ours["executions"] += 1
            self.ours["funding"] += to_units(body.fee)
        elif isinstance(body, Mismatch):
            self.mismatches += 1

    @property
    def _state(self) -> Any:
        return self.run.mesh.nodes["execution"].stepper.core.state  # type: ignore[attr-defined]

    def compare(self) -> None:
        """When nothing is under way and every execution is known, the books must be the same."""
        state = self._state
        if state.orders or self.ours["executions"] != self.venue["executions"]:
            return
        self.compared += 1
        same = all(state.ledger.lots(symbol) == self.account.position(symbol).lots for symbol in SYMBOLS)
        self.differing += not (same and state.ledger.wallet_units == self.account.wallet)

    def books(self) -> tuple[Books, Books]:
        state, account = self._state, self.account
        ours = {symbol: state.ledger.lots(symbol) for symbol in SYMBOLS}
        venue = {symbol: account.position(symbol).lots for symbol in SYMBOLS}
        return _books(state.ledger.wallet_units, self.ours, ours), _books(account.wallet, self.venue, venue)


def _books(wallet: int, sums: Counter[str], lots: dict[str, int]) -> Books:
    return Books(wallet, sums["fees"], sums["funding"], sums["executions"], lots)


def play(
    tapes: tuple[str, ...], faults: tuple[dict[str, Any], ...], seed: int = 7, duration: str | None = None
) -> Month:
    """One backtest; `faults` of the simulator's menu are on from its first instant."""
    with tempfile.TemporaryDirectory(prefix="month-") as folder:
        config = Path(folder) / "config.toml"
        allow = {name: {"symbols": list(SYMBOLS)} for name in ("threshold", "trend", "mean_reversion")}
        config.write_text(dumps({
            "risk": {"allow": allow, "allocation": {"threshold": "0.4", "trend": "0.3", "mean_reversion": "0.3"}},
            "signal": {"strategies": {
                "threshold": {"interval": "15m", "symbols": list(SYMBOLS)},
                "trend": {"interval": "1h", "symbols": list(SYMBOLS)},
                "mean_reversion": {"interval": "15m", "symbols": list(SYMBOLS)},
            }},
        }))  # fmt: skip
        context = Context(config)
        overrides, _, base = plan(context, seed, "max", duration, list(tapes))
        overrides |= {"run.stage": "backtest", "risk.stage": "backtest", "run.resume_after_ms": 3_600_000}
        settings = context.settings(overrides, base)
        began_s = time.monotonic()
        heard: list[Both] = []

        def keep(record: Record) -> None:
            heard[0].keep(record)

        run = Backtest(config, settings, open_tape(list(tapes), seed), keep, overrides)
        both = Both(run)
        heard.append(both)
        if faults:
            run.exchange.faults.tape = True
            document = json.dumps({"seed": seed, "faults": faults}).encode()
            run.exchange.faults.load(read(document, tape=True), run.exchange.now)
        run.run(lambda *_: both.compare())
        both.compare()
        injected = {kind: count for kind, count in run.exchange.faults.counts().items() if count}
        return Month(
            injected, both.compared, both.differing, both.mismatches, *both.books(), time.monotonic() - began_s
        )


def text_of(name: str, month: Month) -> str:
    """For people, as Markdown."""
    rows = [
        ("wallet, 1e-8 USDT", month.ours.wallet, month.venue.wallet),
        ("fees, 1e-8 USDT", month.ours.fees, month.venue.fees),
        ("funding, 1e-8 USDT", month.ours.funding, month.venue.funding),
        ("executions", month.ours.executions, month.venue.executions),
        *((f"{symbol}, lots", month.ours.lots[symbol], month.venue.lots[symbol]) for symbol in SYMBOLS),
    ]
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(month.faults.items())) or "none"
    lines = [
        f"{name}: faults injected: {faults}; {month.mismatches} mismatches, healed.",
        f"Compared {month.compared:,} times on the way, {month.differing} of them with fills booked in another order; {month.seconds:.0f} s.",
        "",
        "| | our ledger | the exchange | |",
        "| --- | ---: | ---: | --- |",
    ]
    lines += [
        f"| {what} | {ours:,} | {venue:,} | {'equal' if ours == venue else 'DIFFERENT'} |" for what, ours, venue in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.month", description=__doc__)
    parser.add_argument("--tape", action="append", help="[SYMBOL=]FILE; BTCUSDT and ETHUSDT of a month by default")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--duration", help="of the tape: 5d")
    given = parser.parse_args()
    tapes = tuple(given.tape or MONTH)
    missing = [
        tape for tape in tapes if not tape.startswith("synthetic") and not Path(tape.partition("=")[2] or tape).exists()
    ]
    if missing:
        print(
            f"no recording at {', '.join(missing)}; set TIDEGATE_MARKET_DATA or name tapes with --tape", file=sys.stderr
        )
        return 2
    wrong = False
    for name, faults in (("Faults off", ()), ("Faults on", FAULTS)):
        month = play(tapes, faults, given.seed, given.duration)
        print(text_of(name, month), end="\n\n", flush=True)
        wrong |= month.ours != month.venue
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
