"""`tidegate audit`: who did what, when and why, and what came of it; risk's own halts among it."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import merge
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from cli.context import DEFAULT, Ctx, Format, RunDir
from cli.output import print_rows
from cli.sources import open_source
from cli.words import outcome
from libs.common.events import (
    Command,
    CommandRefused,
    Halted,
    LimitChanged,
    LooserLimitsIgnored,
    ModeChanged,
    ModelPromoted,
    ModelRefused,
    ModelRolledBack,
    Resumed,
    StageChanged,
    UpgradeOpened,
)
from libs.common.record import Record

STREAMS = ("command", "halt", "portfolio", "model")
COLUMNS = ("at", "who", "what", "why", "came_of_it", "id")
OUTCOMES = (
    Halted, ModeChanged, Resumed, CommandRefused, LimitChanged, LooserLimitsIgnored, StageChanged, UpgradeOpened, ModelPromoted,
    ModelRolledBack, ModelRefused,
)  # fmt: skip
NO_SEAL = " (no seal)"
"""Behind a name that nobody proved: to go down needs no key."""
ENVELOPE = {*Command.__struct_fields__}


def audit(
    *,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="The newest so many; 0 for all.")] = 50,
    who: Annotated[str | None, Parameter(help="Of this operator (or `risk`, `file`) only.")] = None,
    output: Format = "table",
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Every command with its operator and reason and what risk made of it; every halt, clearing and change that nobody asked for."""
    with open_source(ctx, run_dir) as source:
        rows = audit_rows(merge(*(source.read(name) for name in STREAMS), key=lambda record: record.entry))
    found = [row for row in rows if who in (None, row["who"], row["who"].removesuffix(NO_SEAL))]
    print_rows(found[-limit:] if limit > 0 else found, COLUMNS, output)
    return 0


def audit_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row a command, and one a change of mode, limits or stage without one. Records in the order of the log."""
    rows: list[dict[str, Any]] = []
    commands: dict[int, dict[str, Any]] = {}
    for record in records:
        body = record.body
        if isinstance(body, Command):
            row = _row(record, body.operator + ("" if body.seal else NO_SEAL), _asked(body), body.reason)
            rows.append(row)
            commands[record.seq] = row
        elif isinstance(body, OUTCOMES):
            asked = [commands[seq] for stream, seq in record.cause if stream == "command" and seq in commands]
            for row in asked:
                row["came_of_it"] = "; ".join(filter(None, (row["came_of_it"], outcome(body))))
            if not asked:
                rows.append(_row(record, getattr(body, "operator", "") or "risk", outcome(body), _why(body)))
    return rows


def _row(record: Record, who: str, what: str, why: str) -> dict[str, Any]:
    return {"at": record.at, "who": who, "what": what, "why": why, "came_of_it": "", "id": record.id[:12]}


def _asked(command: Command) -> str:
    fields = {name: value for name, value in msgspec.to_builtins(command).items() if name not in ENVELOPE}
    return " ".join([type(command).__name__, *(f"{name}={value}" for name, value in fields.items())])


def _why(body: Any) -> str:
    return str(getattr(body, "why", "") or getattr(body, "detail", ""))
