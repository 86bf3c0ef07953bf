"""Listings of a live bus or of a run directory: status, positions, orders, fills, risk, runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli import views
from cli.context import DEFAULT, Ctx, Format, RunDir
from cli.output import print_json, print_rows, utc
from cli.sources import open_source
from libs.common.errors import HaltedError
from libs.common.events import Halted

Limit = Annotated[int, Parameter(name=["--limit", "-n"], help="The newest so many; 0 for all.")]
Symbol = Annotated[str | None, Parameter(help="This symbol only.")]

HALTED = HaltedError.exit_code


def status(*, output: Format = "table", run_dir: RunDir = None, ctx: Ctx = DEFAULT) -> int:
    """Mode, money, open halts and services at a glance. Exit code 3 when the book is halted."""
    with open_source(ctx, run_dir) as source:
        modes = views.modes_of(source)
        mark = views.last_mark(source)
        services = views.health_rows(source)
        counts = source.lengths()
    halts = [
        {"scope": halt.scope, "reason": str(halt.reason), "id": record.id, "at": record.at}
        for record in modes.open_halts.values()
        if isinstance(halt := record.body, Halted)
    ]
    if output == "csv":
        print_rows(services, ("service", "at", "heartbeats", "order_ack_p95_ms", "api_errors", "gap"), output)
    elif output == "json":
        money = _money(mark[1]) if mark else None
        scopes = {scope: str(mode) for scope, mode in modes.scopes.items()}
        document = {"mode": str(modes.worst), "halted": modes.is_halted, "scopes": scopes, "halts": halts}
        print_json(document | {"at": mark[0].at if mark else 0, "money": money, "services": services, "events": counts})
    else:
        _print_status(modes, mark, services, halts)
    return HALTED if modes.is_halted else 0


def _money(mark: Any) -> dict[str, Any]:
    names = ("wallet", "unrealised", "equity", "peak", "drawdown", "daily_loss", "weekly_loss", "consecutive_losses")
    return {name: getattr(mark, name) for name in names}


def _print_status(modes: views.Modes, mark: Any, services: list[dict[str, Any]], halts: list[dict[str, Any]]) -> None:
    if mark is None:
        print(f"{modes.worst} · nothing valued yet")
    else:
        record, book = mark
        print(
            f"{modes.worst} · {utc(record.at)} · equity {book.equity:,.2f} · day loss {book.daily_loss * 100:.2f} % · "
            f"drawdown {book.drawdown * 100:.2f} % · {len(views.position_rows(book))} positions"
        )
    for halt in halts:
        print(f"halt {halt['scope']}: {halt['reason']} at {utc(halt['at'])}   tidegate resume {halt['id']}")
    print_rows(services, ("service", "at", "heartbeats", "order_ack_p95_ms", "api_errors", "gap"), "table")


def positions(*, output: Format = "table", run_dir: RunDir = None, ctx: Ctx = DEFAULT) -> int:
    """Open positions at mark. Exit code 3 when the book is halted."""
    with open_source(ctx, run_dir) as source:
        mark = views.last_mark(source)
        halted = views.modes_of(source).is_halted
    rows = views.position_rows(mark[1] if mark else None)
    print_rows(rows, ("symbol", "qty", "entry_price", "mark", "unrealised", "notional"), output)
    return HALTED if halted else 0


def orders(
    *,
    limit: Limit = 50,
    symbol: Symbol = None,
    status: Annotated[str | None, Parameter(help="This status only: filled, cancelled, rejected, unknown, ...")] = None,
    output: Format = "table",
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Orders with their last known state, oldest first."""
    from heapq import merge

    with open_source(ctx, run_dir) as source:
        rows = views.order_rows(merge(source.read("order"), source.read("fill"), key=lambda record: record.entry))
    found = [row for row in rows if symbol in (None, row["symbol"]) and status in (None, row["status"])]
    columns = (
        "at",
        "order_link_id",
        "strategy",
        "symbol",
        "side",
        "qty",
        "price",
        "purpose",
        "status",
        "filled",
        "reason",
    )
    print_rows(_newest(found, limit), columns, output)
    return 0


def fills(
    *, limit: Limit = 50, symbol: Symbol = None, output: Format = "table", run_dir: RunDir = None, ctx: Ctx = DEFAULT
) -> int:
    """Executions of our orders, oldest first."""
    with open_source(ctx, run_dir) as source:
        rows = views.fill_rows(source.read("fill"))
    found = [row for row in rows if symbol in (None, row["symbol"])]
    columns = (
        "at",
        "order_link_id",
        "strategy",
        "symbol",
        "side",
        "qty",
        "price",
        "fee",
        "liquidity",
        "purpose",
        "exec_id",
    )
    print_rows(_newest(found, limit), columns, output)
    return 0


def risk(*, output: Format = "table", run_dir: RunDir = None, ctx: Ctx = DEFAULT) -> int:
    """Every limit with what was last measured against it. Exit code 3 when the book is halted."""
    with open_source(ctx, run_dir) as source:
        mark = views.last_mark(source)
        modes = views.modes_of(source)
    rows = views.limit_rows(mark[1] if mark else None)
    if output == "json":
        scopes = {scope: str(mode) for scope, mode in modes.scopes.items()}
        print_json({"mode": str(modes.worst), "scopes": scopes, "limits": rows})
    else:
        print_rows(rows, ("limit", "measured", "allowed", "headroom", "used"), output, title=str(modes.worst))
    return HALTED if modes.is_halted else 0


def runs(*, directory: Path = Path("runs"), output: Format = "table") -> int:
    """Runs kept on this machine, newest last: what each played, how it ended."""
    found = [_run_row(path.parent) for path in sorted(directory.glob("*/config.toml"))]
    columns = ("run", "state", "tape", "orders", "fills", "halts", "equity", "differences", "flat")
    print_rows(found, columns, output)
    return 0


def _run_row(run_dir: Path) -> dict[str, Any]:
    try:
        report = json.loads((run_dir / "report.json").read_text())
    except (OSError, ValueError):
        state = "running or cut off" if any((run_dir / "pids").glob("*.pid")) else "no report"
        return {"run": str(run_dir), "state": state}
    flat = report.get("flat") or {}
    tape = report.get("tape")
    return {
        "run": str(run_dir),
        "state": "finished",
        "tape": tape if isinstance(tape, str) else json.dumps(tape),
        "orders": report.get("orders"),
        "fills": report.get("fills"),
        "halts": len(report.get("halts", ())),
        "equity": report.get("equity", {}).get("end"),
        "differences": (report.get("replay") or {}).get("differences"),
        "flat": bool(flat) and not flat.get("orders") and not flat.get("positions"),
    }


def _newest(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    return rows[-limit:] if limit > 0 else rows
