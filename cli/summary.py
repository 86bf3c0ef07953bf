"""What a run came to, in a few lines, from the stable keys of report.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.output import decimal_text

_MOST_REASONS = 4


def money_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Events, orders, refusals, equity and halts."""
    equity = report["equity"]
    yield f"  events {sum(report['events'].values()):,} · orders {report['orders']} · fills {report['fills']}"
    commonest = sorted(report["refusals"].items(), key=lambda pair: -pair[1])[:_MOST_REASONS]
    yield f"  refused {', '.join(f'{reason} {count}' for reason, count in commonest) or 'none'}"
    change = _decimal(equity["end"]) - _decimal(equity["start"])
    drawdown = _decimal(equity["max_drawdown"]) * 100
    yield f"  equity {_usd(equity['start'])} → {_usd(equity['end'])} ({change:+,.2f}), max drawdown {drawdown:.2f} %"
    for halt in report["halts"]:
        figures = f" {_number(halt['measured'])} of {_number(halt['limit'])}" if _decimal(halt["limit"]) else ""
        yield f"  halt {halt['reason']}{figures}   tidegate why {halt['id'][:12]}"


def lines(report: Mapping[str, Any], run_dir: Path, restarts: Mapping[str, int]) -> Iterator[str]:
    """The end of a demo."""
    replay, flat = report["replay"], report.get("flat") or {}
    yield from money_lines(report)
    if restarts:
        yield f"  restarted {', '.join(f'{name} {count} times' for name, count in restarts.items())}"
    yield f"  flat: {flat.get('orders', '?')} orders, {flat.get('positions', '?')} positions by the exchange's own answer"
    yield f"  replay: {replay['events']:,} events, {replay['differences']} differences"
    yield f"  report: {run_dir / 'report.html'}"
    yield f"Next: tidegate status --run-dir {run_dir} · tidegate why ORDER --run-dir {run_dir} · edit tidegate.toml"


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value or 0))


def _usd(value: Any) -> str:
    return f"{_decimal(value):,.2f}"


def _number(value: Any) -> str:
    return decimal_text(_decimal(value).quantize(Decimal("0.0001")))
