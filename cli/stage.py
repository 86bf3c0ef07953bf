"""`tidegate stage`: how much of the account is at stake, and the steps up and down. `tidegate upgrade`: a window for new code."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cli.context import DEFAULT, Ctx, Format, RunDir
from cli.desk import SIGNED, Signed
from cli.output import print_json, print_rows
from cli.sources import open_source
from libs.common.errors import UsageError
from libs.common.events import StageChange, StageChanged, UpgradeWindow

LADDER = ("backtest", "paper", "staged", "ramp", "ramp-10", "ramp-25", "ramp-50", "full")

To = Annotated[str, Parameter(help="The stage itself (default: the next one).")]


def status(*, output: Format = "table", run_dir: RunDir = None, ctx: Ctx = DEFAULT) -> int:
    """The stage, its share of equity, since when and by whom; and every change before."""
    rows = _rows(ctx, run_dir)
    if output == "json":
        now = rows[-1] if rows else None
        print_json({"stage": now["stage"] if now else None, "share": now["share"] if now else None, "changes": rows})
    else:
        print_rows(rows, ("at", "stage", "share", "by", "requested_by", "why"), output)
    return 0


def _rows(ctx: Ctx, run_dir: RunDir) -> list[dict[str, object]]:
    with open_source(ctx, run_dir) as source:
        return [
            {
                "at": record.at,
                "stage": record.body.stage,
                "share": record.body.share,
                "by": record.body.operator,
                "requested_by": record.body.requested_by,
                "why": record.body.why,
            }
            for record in source.read("portfolio")
            if isinstance(record.body, StageChanged)
        ]


def promote(
    *,
    to: To = "",
    by: Signed = SIGNED,
    ctx: Ctx = DEFAULT,
) -> int:
    """One stage up. Into stages with real money risk refuses it (NO_EVIDENCE) until the evidence of the stage before is computed."""
    wanted = to or _step(ctx, by.run_dir, 1)
    with by.desk(ctx) as desk:
        return desk.act(by, StageChange, stage=wanted)


def demote(
    *,
    to: To = "",
    by: Signed = SIGNED,
    ctx: Ctx = DEFAULT,
) -> int:
    """One stage down (or to the stage named). One operator's key is enough."""
    wanted = to or _step(ctx, by.run_dir, -1)
    with by.desk(ctx) as desk:
        return desk.act(by, StageChange, stage=wanted)


def _step(ctx: Ctx, run_dir: RunDir, by: int) -> str:
    """The stage next to the present one."""
    rows = _rows(ctx, run_dir)
    stage = str(rows[-1]["stage"]) if rows else ""
    index = LADDER.index(stage) + by if stage in LADDER else -1
    if not 0 <= index < len(LADDER):
        raise UsageError(f"expected a stage next to {stage or 'none'}, was the end; stages: {', '.join(LADDER)}")
    return LADDER[index]


def upgrade(
    *,
    minutes: Annotated[int, Parameter(help="How long services may differ; 0 closes the window.")] = 15,
    by: Signed = SIGNED,
    ctx: Ctx = DEFAULT,
) -> int:
    """Open a window for a rolling upgrade: outside one, services on different code or settings halt the book."""
    with by.desk(ctx) as desk:
        return desk.act(by, UpgradeWindow, minutes=minutes)
