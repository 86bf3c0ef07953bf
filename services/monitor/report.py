"""The report of a run, from its archive: `report.json` for machines, `report.html` for people. One file, no script."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from libs.common.events import Reason
from libs.common.telemetry import LatencySummary, write_atomically
from services.monitor import charts
from services.monitor.figures import Dot, Figures, Halt, gather

TEMPLATES = Path(__file__).parent / "templates"
MINUS, DASH = "\u2212", "\u2013"


def build_report(
    run_dir: Path,
    *,
    replay: Mapping[str, int] | None = None,
    flat: Any = None,
    seed: int | None = None,
    tape: str | None = None,
    stage: str | None = None,
) -> dict[str, Any]:
    """Write `report.json` and `report.html` into the run directory and return the former.

    `replay`: events and differences of the verification; `flat`: the exchange's last answer, as it is. `seed`, `tape`,
    `stage` default to what the run's `config.toml` says. Raises UsageError when there is no archive.
    """
    figures = gather(run_dir)
    run = _run_section(run_dir)
    report = _report(figures, replay, flat)
    report["seed"] = run.get("seed") if seed is None else seed
    report["tape"] = ", ".join(run.get("tapes", ())) if tape is None else tape
    report["stage"] = stage or figures.stage or run.get("stage", "")
    encoded = msgspec.json.Encoder(decimal_format="number").encode(report)
    page = render(report, figures, run.get("name", ""))
    write_atomically(run_dir / "report.json", msgspec.json.format(encoded, indent=2), b"\n")
    write_atomically(run_dir / "report.html", page.encode())
    return report


def _run_section(run_dir: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads((run_dir / "config.toml").read_text(encoding="utf-8")).get("run", {})
    except FileNotFoundError:
        return {}
    return dict(found)


def _report(figures: Figures, replay: Mapping[str, int] | None, flat: Any) -> dict[str, Any]:
    return {
        "seed": None,
        "tape": "",
        "stage": "",
        "events": figures.events,
        "orders": figures.outcomes.get("submitted", 0),
        "fills": figures.fills,
        "refusals": dict(sorted(figures.refusals.items())),
        "halts": [_halt(halt) for halt in figures.halts if halt.reason != Reason.BORN.value],
        "equity": {
            "start": figures.start,
            "end": figures.end,
            "peak": figures.peak,
            "max_drawdown": figures.max_drawdown,
        },
        "pnl_by_strategy": dict(sorted(figures.pnl_by_strategy.items())),
        "latency": {f"{name}_ms": _percentiles(figures.latencies.get(name)) for name in ("tick_to_order", "order_ack")},
        "replay": {
            "events": replay["events"] if replay else None,
            "differences": replay["differences"] if replay else None,
        },
        "reconciliation": {"checks": figures.checks, "mismatches": sum(figures.mismatches.values())},
        "flat": flat,
    }


def _halt(halt: Halt) -> dict[str, Any]:
    return {
        "id": halt.id,
        "reason": halt.reason,
        "measured": halt.measured,
        "limit": halt.limit,
        "at": str(halt.at),
    }


def _percentiles(summary: LatencySummary | None) -> dict[str, float | None]:
    return {name: _milliseconds(summary, q) for name, q in (("p50", 0.5), ("p99", 0.99))}


def _milliseconds(summary: LatencySummary | None, q: float) -> float | None:
    seconds = summary.percentile(q) if summary else None
    return None if seconds is None else round(seconds * 1000, 3)


# --- the page ----------------------------------------------------------------------------------------------------


def render(report: Mapping[str, Any], figures: Figures, name: str = "") -> str:
    """The HTML page."""
    import jinja2  # here, not above: only who writes a report needs it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "usd": _usd,
        "signed": _signed,
        "percent": _percent,
        "figure": _figure,
        "measure": _measure,
        "instant": charts.instant_text,
        "span": _span,
        "words": _words,
        "ms": _ms_text,
    }
    page = environment.get_template("report.html.j2")
    return page.render(report=report, f=figures, name=name, **_drawings(figures), **_facts(report, figures))


def _drawings(figures: Figures) -> dict[str, Any]:
    start, end = figures.first_at, figures.last_at
    limit = figures.limits.get("max_drawdown")
    halts = [halt.at for halt in figures.halts if halt.reason != Reason.BORN.value and start <= halt.at <= end]
    spans = [span for span in figures.spans if span.end_at > start]
    equity = charts.draw(figures.equity, start, end, unit="usd", spans=spans, marks=halts)
    drawdown = charts.draw(
        figures.drawdown,
        start,
        end,
        unit="%",
        floor=0.0,
        rule=float(limit) if limit else None,
        rule_text=f"limit {_percent(limit)}" if limit else "",
        spans=spans,
        marks=halts,
    )
    prices = {
        symbol: charts.draw(curve, start, end, spans=spans, dots=_inside(figures, symbol))
        for symbol, curve in sorted(figures.prices.items())
    }
    return {"equity_chart": equity, "drawdown_chart": drawdown, "price_charts": prices}


def _inside(figures: Figures, symbol: str) -> list[Dot]:
    dots = figures.dots.get(symbol, [])
    return [dot for dot in dots if figures.first_at <= dot.at <= figures.last_at][:2000]


def _facts(report: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """What the page says in words."""
    change = figures.end - figures.start
    worst = sorted(figures.worst.items(), key=lambda item: -item[1])
    return {
        "change": change,
        "change_ratio": change / figures.start if figures.start else Decimal(0),
        "fees": sum((trades.fees for trades in figures.trades.values()), Decimal(0)),
        "trades": sorted(figures.trades.values(), key=lambda trades: (trades.strategy, trades.symbol)),
        "refusals": sorted(figures.refusals.items(), key=lambda item: (-item[1], item[0])),
        "worst": worst[:10],
        "halts": [halt for halt in figures.halts if halt.reason != Reason.BORN.value],
        "is_flat": _is_flat(report["flat"]),
        "latencies": [(name, summary) for name, summary in sorted(figures.latencies.items()) if summary.count],
        "total": sum(figures.events.values()),
    }


def _is_flat(flat: Any) -> bool | None:
    """None: the exchange was not asked."""
    if isinstance(flat, Mapping):
        return not (flat.get("orders") or flat.get("positions")) if flat else None
    return None if flat is None else bool(flat)


def _usd(value: Decimal | float) -> str:
    return f"{value:,.2f}"


def _signed(value: Decimal | float) -> str:
    return f"{value:+,.2f}".replace("-", MINUS)


def _percent(value: Decimal | float | None) -> str:
    return DASH if value is None else f"{value * 100:.2f} %"


def _figure(value: Decimal | int) -> str:
    """A number without needless zeros."""
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


RATIOS = ("max_drawdown", "max_daily_loss", "max_weekly_loss", "max_error_rate", "entry_collar", "exit_collar")


def _measure(value: Decimal, reason: str) -> str:
    """A limit's figure as people say it: shares in percent."""
    return _percent(value) if reason in RATIOS else _figure(value)


def _span(ns: int) -> str:
    seconds = max(0, ns) // 1_000_000_000
    days, hours, minutes = seconds // 86400, seconds % 86400 // 3600, seconds % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    return (
        f"{hours} h {minutes:02d} min"
        if hours
        else f"{minutes} min {seconds % 60:02d} s"
        if minutes
        else f"{seconds} s"
    )


def _words(name: str) -> str:
    return name.replace("_", " ").lower()


def _ms_text(summary: LatencySummary, q: float) -> str:
    found = _milliseconds(summary, q)
    return DASH if found is None else f"{found:,.2f}" if found < 100 else f"{found:,.0f}"
