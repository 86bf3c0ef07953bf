"""Write deploy/observability/grafana/dashboards/trading.json: one dashboard, in the order in which one looks at night."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "deploy/observability/grafana/dashboards/trading.json"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, HEIGHT = 24, 7

Panel = tuple[str, str, str, dict[str, str]]
"""Title, kind (stat or timeseries), unit, expression by legend."""

MODES = {"0": "normal", "1": "reduce only", "2": "halted", "3": "liquidating"}

ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it trading?": (
        ("Mode", "stat", "mode", {"{{scope}}": "max by (scope) (trading_mode)"}),
        ("Open halts", "stat", "none", {"halts": "sum(trading_halted) or vector(0)"}),
        ("Equity", "stat", "currencyUSD", {"equity": "trading_equity_usd"}),
        ("Alerts", "stat", "none", {"{{severity}}": "trading_alerts_active"}),
        ("Not ready", "stat", "none", {"services": "count(trading_ready == 0) or vector(0)"}),
        ("Archive behind", "stat", "s", {"age": "trading_archive_age_seconds"}),
    ),
    "Money": (
        (
            "Equity and peak",
            "timeseries",
            "currencyUSD",
            {"equity": "trading_equity_usd", "peak": "trading_equity_peak_usd"},
        ),
        ("Drawdown", "timeseries", "percentunit", {"drawdown": "trading_drawdown_ratio"}),
        ("Profit by strategy", "timeseries", "currencyUSD", {"{{strategy}}": "trading_strategy_pnl_usd"}),
        ("Fees", "timeseries", "currencyUSD", {"{{strategy}}": "trading_fees_usd_total"}),
    ),
    "Risk": (
        ("Limits used", "timeseries", "percentunit", {"{{limit}}": "trading_limit_utilisation_ratio"}),
        ("Position", "timeseries", "none", {"{{symbol}}": "trading_position"}),
        (
            "Refusals",
            "timeseries",
            "ops",
            {"{{reason}}": "sum by (reason) (rate(trading_refusals_total[$__rate_interval]))"},
        ),
        ("Halts by reason", "timeseries", "none", {"{{scope}} {{reason}}": "max by (scope, reason) (trading_halted)"}),
    ),
    "Market and signals": (
        ("Price", "timeseries", "currencyUSD", {"{{symbol}}": "trading_price"}),
        ("Signal", "timeseries", "none", {"{{strategy}} {{symbol}}": "trading_signal"}),
        ("Feed", "timeseries", "bool", {"{{symbol}}": "trading_feed_up"}),
        (
            "Signals",
            "timeseries",
            "ops",
            {"{{strategy}}": "sum by (strategy) (rate(trading_signals_total[$__rate_interval]))"},
        ),
    ),
    "Orders": (
        (
            "Orders",
            "timeseries",
            "ops",
            {"{{outcome}}": "sum by (outcome) (rate(trading_orders_total[$__rate_interval]))"},
        ),
        (
            "Open and unknown",
            "timeseries",
            "none",
            {"open": "trading_orders_open", "unknown": "trading_orders_unknown"},
        ),
        ("Fills", "timeseries", "ops", {"{{symbol}}": "sum by (symbol) (rate(trading_fills_total[$__rate_interval]))"}),
        (
            "Submission to proof",
            "timeseries",
            "s",
            {
                "p50": "histogram_quantile(0.5, sum by (le) (rate(trading_order_ack_seconds_bucket[$__rate_interval])))",
                "p95": "histogram_quantile(0.95, sum by (le) (rate(trading_order_ack_seconds_bucket[$__rate_interval])))",
            },
        ),
        (
            "Tick to order",
            "timeseries",
            "s",
            {
                "p50": "histogram_quantile(0.5, sum by (le) (rate(trading_tick_to_order_seconds_bucket[$__rate_interval])))",
                "p99": "histogram_quantile(0.99, sum by (le) (rate(trading_tick_to_order_seconds_bucket[$__rate_interval])))",
            },
        ),
        (
            "Reconciliation",
            "timeseries",
            "none",
            {
                "agreed": "increase(trading_reconcile_checks_total[$__rate_interval])",
                "differed": "sum(increase(trading_reconcile_mismatches_total[$__rate_interval])) or vector(0)",
                "open for s": "trading_mismatch_open_seconds",
            },
        ),
    ),
    "Exchange": (
        (
            "Calls",
            "timeseries",
            "ops",
            {"{{endpoint}}": "sum by (endpoint) (rate(trading_api_requests_total[$__rate_interval]))"},
        ),
        ("Calls that fail", "timeseries", "percentunit", {"ratio": "job:trading_api_errors:ratio_rate5m"}),
        (
            "Calls left in the window",
            "timeseries",
            "none",
            {"{{endpoint}}": "min by (endpoint) (trading_rate_limit_remaining)"},
        ),
        ("Clock", "timeseries", "s", {"exchange minus ours": "trading_clock_skew_seconds"}),
    ),
    "Services": (
        (
            "Commits",
            "timeseries",
            "ops",
            {"{{service}}": "sum by (service) (rate(trading_commits_total[$__rate_interval]))"},
        ),
        ("Step, p99", "timeseries", "s", {"{{service}}": "service:trading_step_seconds:p99_rate5m"}),
        ("Age of what is read", "timeseries", "s", {"{{service}}": "service:trading_event_lag_seconds:max"}),
        ("Since the last heartbeat", "timeseries", "s", {"{{service}}": "trading_service_heartbeat_age_seconds"}),
        ("Archived", "timeseries", "ops", {"entries": "sum(rate(trading_archive_events_total[$__rate_interval]))"}),
        ("Redis", "timeseries", "bytes", {"used": "trading_redis_used_bytes"}),
    ),
    "Models": (
        ("Drift of the inputs (PSI)", "timeseries", "none", {"{{strategy}}": "trading_model_psi"}),
        ("30-day Sharpe ratio", "timeseries", "none", {"{{strategy}}": "trading_rolling_sharpe"}),
    ),
}


def dashboard() -> dict[str, Any]:
    """The whole dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})  # fmt: skip
        y += 1
        per_line = 6 if row[0][1] == "stat" else min(len(row), 4)
        height = 4 if row[0][1] == "stat" else HEIGHT
        width = COLUMNS // per_line
        for number, panel in enumerate(row):
            place = {"x": number % per_line * width, "y": y + number // per_line * height, "w": width, "h": height}
            panels.append(_panel(len(panels) + 1, panel, place))
        y += -(-len(row) // per_line) * height
    return {
        "uid": "tidegate-trading", "title": "Tidegate", "tags": ["tidegate"], "schemaVersion": 39, "version": 1, "editable": False,
        "timezone": "utc", "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "graphTooltip": 1, "panels": panels,
    }  # fmt: skip


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    title, kind, unit, queries = panel
    defaults: dict[str, Any] = {"unit": unit}
    if unit == "mode":
        options = {value: {"text": text, "index": int(value)} for value, text in MODES.items()}
        steps = [{"color": "green", "value": None}, {"color": "orange", "value": 1}, {"color": "red", "value": 2}]
        mapping = [{"type": "value", "options": options}]
        defaults = {"unit": "none", "mappings": mapping, "thresholds": {"mode": "absolute", "steps": steps}}
    targets = [
        {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend, "datasource": DATASOURCE}
        for at, (legend, query) in enumerate(queries.items())
    ]
    return {
        "id": number, "type": kind, "title": title, "datasource": DATASOURCE, "gridPos": place, "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }  # fmt: skip


def text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
