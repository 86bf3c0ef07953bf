"""`tidegate replay --set`: what a run would have decided under other settings.

Two answers, which must not be mixed up. *On the recorded inputs* the service whose settings change is run again on exactly
what it consumed: exact up to the first difference; after it the market, the fills and everybody else still behave as they
did. *Re-simulated* the same tape and seed go through all cores and the exchange in one process, once as recorded and once
changed: fills follow the orders, so this one has a profit and loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from cli.backtest import Backtest
from cli.context import section_types
from cli.cores import core_of
from cli.recording import AT, SEQ, OutputRow, body_of
from cli.replay import WHOLE, Progress, ServiceReplay, Window, is_recorded
from cli.rundir import config_of
from cli.words import words
from libs.common import events as e
from libs.common.archive import ArchiveReader
from libs.common.errors import TapeError, UsageError
from libs.common.events import Event
from libs.common.record import Record
from libs.common.settings import Settings, load
from libs.common.streams import SERVICES
from sim.tapes.tape import open_tape

KINDS: tuple[tuple[str, tuple[type[Event], ...]], ...] = (
    ("signals", (e.Signal,)),
    ("orders", (e.OrderIntent,)),
    ("cancels", (e.CancelIntent, e.AmendIntent)),
    ("refusals", (e.OrderRefused,)),
    ("halts", (e.Halted,)),
    ("modes", (e.ModeChanged, e.Resumed)),
    ("feed", (e.FeedDown, e.FeedUp, e.DataRejected)),
    ("venue orders", (e.OrderSubmitted, e.OrderRejected, e.OrderCancelled)),
    ("fills", (e.Fill,)),
    ("alerts", (e.AlertRaised, e.AlertCleared)),
)
_KIND_OF = {kind.__name__: name for name, kinds in KINDS for kind in kinds}
_VOLATILE = frozenset(("limits", "limits_version", "book", "epoch", "key_id", "seal", "halt_id", "order_id", "exec_id"))
"""Fields that repeat settings or name other events: they differ without anything being decided differently."""


class Decision(msgspec.Struct, frozen=True):
    """Something decided, without what only identifies it. `key` finds its counterpart on the other side."""

    at: int
    kind: str
    key: tuple[str, ...]
    what: str
    value: bytes


class Change(msgspec.Struct, frozen=True):
    """`how`: `new` (only under the changed settings), `gone` (only as recorded), `other` (on both sides, otherwise)."""

    at: int
    how: str
    kind: str
    what: str
    was: str = ""


class Comparison(msgspec.Struct):
    """Counts by kind as [before, after], what changed in order of time, and when it began (ns; 0: nothing differs)."""

    counts: dict[str, tuple[int, int]]
    changes: list[Change]
    first_at: int = 0


class Outcome(msgspec.Struct):
    """What one simulated run came to. `equity`: the wallet when the exchange was flat at the end."""

    orders: int
    fills: int
    fees: str
    halts: list[str]
    equity: str


class Simulation(msgspec.Struct):
    """The same tape and seed, twice. `repeats`: whether the unchanged re-simulation made the recorded orders (those of the
    final flattening apart, whose ids come from the operator's command). `recorded_equity` is "" for a run that was not flattened."""

    repeats: bool
    recorded_equity: str
    recorded_orders: int
    repeated_orders: int
    before: Outcome
    after: Outcome
    comparison: Comparison

    @property
    def pnl(self) -> str:
        """Equity at the end, changed minus unchanged."""
        return str(Decimal(self.after.equity) - Decimal(self.before.equity))


class WhatIf(msgspec.Struct):
    """`settings`: [as recorded, changed] by dotted key. `simulation` is None with the reason in `not_simulated`."""

    settings: dict[str, tuple[str, str]]
    on_record: dict[str, Comparison] = {}
    simulation: Simulation | None = None
    not_simulated: str = ""


def what_if(
    run_dir: Path,
    changes: Mapping[str, str],
    services: tuple[str, ...] = SERVICES,
    window: Window = WHOLE,
    progress: Progress | None = None,
    *,
    simulate: bool = True,
) -> WhatIf:
    """Run again under changed settings, both ways. Raises UsageError or SettingsError for settings that cannot be changed."""
    config = config_of(run_dir)
    before = load(section_types(), config, env={})
    after = load(section_types(), config, env={}, overrides=changes)
    sections = _sections(changes)
    result = WhatIf({key: (_setting(before, key), _setting(after, key)) for key in changes})
    archive = ArchiveReader(run_dir)
    for service in services:
        if service in sections and is_recorded(archive, service):
            result.on_record[service] = _on_record(archive, service, config, changes, window)
    if not simulate:
        result.not_simulated = "not asked for"
    elif before.run.mode != "tape" or not before.run.tapes:
        result.not_simulated = "the run had no tape: its market cannot be played again"
    else:
        try:
            result.simulation = _simulate(run_dir, (before, after), changes, window, progress)
        except TapeError as error:
            result.not_simulated = f"its tape cannot be played: {error}"
    if not result.on_record and result.simulation is None:
        raise UsageError(f"expected journals of {', '.join(sections)} or a tape in {run_dir}, was neither")
    return result


def _sections(changes: Mapping[str, str]) -> set[str]:
    sections = {key.partition(".")[0] for key in changes}
    odd = sections - {*SERVICES, "sim"}
    if odd:
        raise UsageError(
            f"--set: expected settings of {', '.join(SERVICES)} or sim, was [{', '.join(sorted(odd))}]; those do not decide anything"
        )
    return sections


def _setting(settings: Settings, key: str) -> str:
    section, *path = key.split(".")
    value: Any = settings.values().get(section, {})
    for part in path:
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


# --- on the recorded inputs -----------------------------------------------------------------------------------------


def _on_record(
    archive: ArchiveReader, service: str, config: Path, changes: Mapping[str, str], window: Window
) -> Comparison:
    own = {key: value for key, value in changes.items() if key.startswith(f"{service}.")}
    replay = ServiceReplay(archive, core_of(service, config, own), {}, window)
    replay.stepper.finish = None  # no seal: what is decided is compared, not what is signed
    after = [found for outputs in replay.steps() for record in outputs if (found := decision(record, window))]
    rows = (row for stream in replay.recording.outputs for row in replay.recording.rows(stream))
    before = [found for row in rows if (found := _recorded_decision(row, window))]
    return compare(before, after)


def _recorded_decision(row: OutputRow, window: Window) -> Decision | None:
    if row[2] not in _KIND_OF:
        return None
    return decision(Record("", (0, 0), row[1], row[SEQ], row[AT], (), "", body_of(row)), window)


def decision(record: Record, window: Window = WHOLE) -> Decision | None:
    """What a record decides, or None for what is not compared (marks, heartbeats, market data)."""
    body = record.body
    kind = _KIND_OF.get(type(body).__name__)
    if kind is None or not window.start <= record.at < window.end:
        return None
    fields: dict[str, Any] = msgspec.to_builtins(body, str_keys=True)
    link = fields.pop("order_link_id", "")
    names = tuple(str(fields.get(name, "")) for name in ("strategy", "symbol", "scope", "reason", "exec_at"))
    key = (type(body).__name__, link) if link and kind != "fills" else (type(body).__name__, str(record.at), *names)
    value = msgspec.json.encode({name: value for name, value in fields.items() if name not in _VOLATILE})
    return Decision(record.at, kind, key, words(record).replace(record.id[:12], "").rstrip(), value)


def compare(before: Iterable[Decision], after: Iterable[Decision]) -> Comparison:
    """Match both sides by what they are about; repeated keys are matched in order."""
    old, new = _numbered(before), _numbered(after)
    tally = Counter((found.kind, side) for side, held in enumerate((old, new)) for found in held.values())
    counts = {kind: (tally[kind, 0], tally[kind, 1]) for kind, _ in KINDS if tally[kind, 0] or tally[kind, 1]}
    changes = [Change(o.at, "gone", o.kind, o.what) for key, o in old.items() if key not in new]
    changes += [Change(n.at, "new", n.kind, n.what) for key, n in new.items() if key not in old]
    for key, n in new.items():
        o = old.get(key)
        if o is not None and (o.value, o.at) != (n.value, n.at):
            changes.append(Change(min(n.at, o.at), "other", n.kind, n.what, o.what))
    changes.sort(key=lambda change: (change.at, change.how, change.what))
    return Comparison(counts, changes, changes[0].at if changes else 0)


def _numbered(found: Iterable[Decision]) -> dict[tuple[str, ...], Decision]:
    seen: Counter[tuple[str, ...]] = Counter()
    held: dict[tuple[str, ...], Decision] = {}
    for item in found:
        seen[item.key] += 1
        held[*item.key, str(seen[item.key])] = item
    return held


# --- re-simulated ---------------------------------------------------------------------------------------------------


def _simulate(
    run_dir: Path,
    settings: tuple[Settings, Settings],
    changes: Mapping[str, str],
    window: Window,
    progress: Progress | None,
) -> Simulation:
    config = config_of(run_dir)
    stage = {"risk.stage": settings[0].values()["risk"]["stage"]}
    before, first = _play(config, settings[0], stage, "as recorded", progress)
    after, second = _play(config, settings[1], {**stage, **changes}, "changed", progress)
    recorded = dict(_orders(ArchiveReader(run_dir)))
    repeated = {body.order_link_id for record in before if isinstance(body := record.body, e.OrderSubmitted)}
    repeats = {link for link, purpose in recorded.items() if purpose != e.Purpose.FLATTEN} <= repeated
    decided = [[found for record in records if (found := decision(record, window))] for records in (before, after)]
    both = len(recorded.keys() & repeated)
    return Simulation(repeats, _wallet(run_dir), len(recorded), both, first, second, compare(*decided))


def _wallet(run_dir: Path) -> str:
    """What the exchange said at the end of the run."""
    try:
        return str(msgspec.json.decode((run_dir / "flat.json").read_bytes())["wallet"])
    except (FileNotFoundError, KeyError):
        return ""


def _orders(archive: ArchiveReader) -> Iterator[tuple[str, str]]:
    """(order link id, purpose) of every order that was submitted."""
    for row in archive.rows("order", columns=("type", "data")):
        if row["type"] == "OrderSubmitted":
            body = msgspec.json.decode(row["data"])
            yield body["order_link_id"], body["purpose"]


def _play(
    config: Path, settings: Settings, changes: Mapping[str, Any], name: str, progress: Progress | None
) -> tuple[list[Record], Outcome]:
    run = settings.run
    kept: list[Record] = []
    tape = open_tape(list(run.tapes), run.seed)

    def move(at: int, start_at: int, end_at: int) -> None:
        if progress is not None:
            progress(name, at - start_at, end_at - start_at)

    result = Backtest(config, settings, tape, kept.append, changes).run(move)
    fills = [body for record in kept if isinstance(body := record.body, e.Fill)]
    orders = sum(isinstance(record.body, e.OrderSubmitted) for record in kept)
    halts = [str(body.reason) for record in kept if isinstance(body := record.body, e.Halted)]
    fees = str(sum((fill.fee for fill in fills), start=Decimal(0)))
    return kept, Outcome(orders, len(fills), fees, halts, result.flat["wallet"])
