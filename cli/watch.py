"""`tidegate watch`: the status, again and again, in place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cli import views
from cli.context import DEFAULT, Ctx, RunDir
from cli.output import decimal_text, utc
from cli.sources import Source, open_source

if TYPE_CHECKING:
    from rich.console import RenderableType


def watch(
    *,
    every: Annotated[float, Parameter(help="Seconds between two looks.")] = 1.0,
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Show mode, money, positions, limits and services until Ctrl-C."""
    from rich.live import Live

    with open_source(ctx, run_dir) as source, Live(picture(source), auto_refresh=False, screen=True) as live:
        try:
            while True:
                live.update(picture(source), refresh=True)
                time.sleep(max(every, 0.1))
        except KeyboardInterrupt:
            return 0


def picture(source: Source) -> RenderableType:
    """One screen."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    modes, found = views.modes_of(source), views.last_mark(source)
    mark = found[1] if found else None
    head = f"{modes.worst}"
    if found and mark:
        head += f"  {utc(found[0].at)}  equity {mark.equity:,.2f}  drawdown {mark.drawdown * 100:.2f} %"
    parts: list[RenderableType] = [Text(head, style="bold red" if modes.is_halted else "bold green")]
    listings = (
        (views.position_rows(mark), ("symbol", "qty", "entry_price", "mark", "unrealised")),
        (sorted(views.limit_rows(mark), key=lambda row: -row["used"])[:8], ("limit", "measured", "allowed", "used")),
        (views.health_rows(source), ("service", "at", "heartbeats", "gap")),
    )
    for rows, columns in listings:
        table = Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(utc(row[c]) if c == "at" else _cell(row[c]) for c in columns))
        parts += [Text(""), table]
    return Group(*parts)


def _cell(value: object) -> str:
    from decimal import Decimal

    return decimal_text(round(value, 4)) if isinstance(value, Decimal) else str(value)
