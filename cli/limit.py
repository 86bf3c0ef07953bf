"""`tidegate limit`: the limits in force, and how to move one."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from cyclopts import Parameter

from cli import views
from cli.context import DEFAULT, Ctx, Format, RunDir
from cli.desk import SIGNED, Signed
from cli.output import print_json, print_rows
from cli.sources import open_source
from libs.common.errors import UsageError
from libs.common.events import LimitChange, LimitChanged

COLUMNS = ("limit", "value", "measured", "headroom", "since_version", "by", "requested_by", "why")


def show(*, output: Format = "table", run_dir: RunDir = None, ctx: Ctx = DEFAULT) -> int:
    """Every limit in force: its value, what was last measured, who set it last and why."""
    with open_source(ctx, run_dir) as source:
        changes = [record.body for record in source.read("portfolio") if isinstance(record.body, LimitChanged)]
        measured = {row["limit"]: row["measured"] for row in views.limit_rows(_mark(source))}
    rows = limit_rows(changes, measured)
    version = changes[-1].version if changes else 0
    if output == "json":
        print_json({"version": version, "limits": rows})
    else:
        print_rows(rows, COLUMNS, output, title=f"limits, version {version}")
    return 0


def _mark(source: Any) -> Any:
    found = views.last_mark(source)
    return found[1] if found else None


def limit_rows(changes: list[LimitChanged], measured: dict[str, Decimal]) -> list[dict[str, Any]]:
    """One row a limit of the newest version, with the change that last moved it."""
    if not changes:
        return []
    movers: dict[str, LimitChanged] = {}
    for change in changes:
        names = {move.name for move in change.changed} or set(change.limits) - set(movers)
        movers |= dict.fromkeys(names, change)
    rows = []
    for name, value in changes[-1].limits.items():
        mover, use = movers[name], measured.get(name)
        rows.append(
            {
                "limit": name,
                "value": value,
                "measured": use,
                "headroom": None if use is None else max(value - use, Decimal(0)),
                "since_version": mover.version,
                "by": mover.operator,
                "requested_by": mover.requested_by,
                "why": mover.why,
            }
        )
    return rows


def set_(
    name: Annotated[str, Parameter(name="NAME", help="The limit, as tidegate limit show lists it.")],
    value: Annotated[str, Parameter(name="VALUE", help="Its new value.")],
    *,
    by: Signed = SIGNED,
    ctx: Ctx = DEFAULT,
) -> int:
    """Move one limit. Lowering needs one operator's key; raising needs two operators in stages with real money."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise UsageError(f"expected a number of 0 or more, was {value!r}; a fraction as 0.02, a sum as 50000")
    with by.desk(ctx) as desk:
        return desk.act(by, LimitChange, name=name, value=number)
