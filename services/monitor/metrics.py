"""The read model as Prometheus metrics, computed when it is asked for: nothing is counted twice, nor lost by a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from libs.common.events import Mode, RejectKind
from libs.common.seal import FORGERIES
from libs.common.telemetry import Metrics, family
from services.monitor.view import OrderStatus, State

MODES = tuple(Mode)
MISMATCH_KINDS = ("position", "wallet", "order", "execution")
"""Told as 0 from the start, like every reason to reject data: a rate over a counter needs the counter."""
NS_PER_S = 1e9

Samples = dict[tuple[str, ...], float]
"""Label values (in the order of the catalogue) to value."""


class ReadModelCollector(Collector):
    """Register with `Metrics.registry`; `state` is called at each scrape."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        state = self._state()
        for name, samples in {**_book(state), **_market(state), **_orders(state), **_health(state)}.items():
            metric = family(name)
            for labels, value in samples.items():
                metric.add_metric(labels, value)
            yield metric


def register(metrics: Metrics, state: Callable[[], State]) -> None:
    metrics.registry.register(ReadModelCollector(state))


def _book(state: State) -> dict[str, Samples]:
    book = state.book
    modes: Samples = {(scope,): float(MODES.index(mode)) for scope, mode in state.modes.items()}
    positions: Samples = {(name,): 0.0 for name in state.symbols}  # flat is told too
    positions.update({(mark.symbol,): float(mark.qty) for mark in book.positions})
    modes.setdefault(("book",), float(MODES.index(book.mode)) if book.marked_at else 0.0)
    return {
        "equity_usd": {(): float(book.equity)},
        "equity_peak_usd": {(): float(book.peak)},
        "drawdown_ratio": {(): float(book.drawdown)},
        "position": positions,
        "strategy_pnl_usd": _by(book.pnl_by_strategy),
        "limit_utilisation_ratio": {
            (name,): float(use.measured / use.limit) for name, use in book.limits.items() if use.limit
        },
        "mode": modes,
        "halted": {(halt.scope, halt.reason.value): 1.0 for halt in state.halts.values()},
    }


def _market(state: State) -> dict[str, Samples]:
    symbols = state.symbols.items()
    return {
        "price": {(name,): float(symbol.last) for name, symbol in symbols if symbol.tick_at},
        "feed_up": {(name,): float(not symbol.down) for name, symbol in symbols},
        "data_rejected_total": {
            (name, kind.value): float(symbol.rejected.get(kind.value, 0))
            for name, symbol in symbols
            for kind in RejectKind
        },
        "signal": {(s.strategy, s.symbol): float(s.target) for s in state.signals.values()},
        "signals_total": _by(state.counters.signals),
        "model_psi": {(name,): float(model.psi) for name, model in state.models.items()},
        "rolling_sharpe": {(name,): float(model.rolling_sharpe) for name, model in state.models.items()},
    }


def _orders(state: State) -> dict[str, Samples]:
    counters = state.counters
    unknown = sum(order.status is OrderStatus.UNKNOWN for order in state.orders.values())
    fills: Samples = {(*name.split("|", 1),): float(count) for name, count in counters.fills.items()}
    return {
        "orders_total": _by(counters.outcomes),
        "orders_open": {(): float(len(state.orders))},
        "orders_unknown": {(): float(unknown)},
        "fills_total": fills,
        "fees_usd_total": _by(counters.fees),
        "refusals_total": _by(counters.refusals),
    }


def _health(state: State) -> dict[str, Samples]:
    counters, services = state.counters, state.services
    severities = [alert.severity for alert in state.alerts.values()]
    execution = services.get("execution")
    age: Samples = {(name,): max(0, state.now - service.seen_at) / NS_PER_S for name, service in services.items()}
    return {
        "reconcile_checks_total": {(): float(counters.checks)},
        "reconcile_mismatches_total": _by(dict.fromkeys(MISMATCH_KINDS, 0) | counters.mismatches),
        "mismatch_open_seconds": {(): (state.now - state.mismatch_at) / NS_PER_S if state.mismatch_at else 0.0},
        "foreign_orders_total": {(): float(counters.foreign)},
        "forged_approvals_total": {(reason,): float(counters.forgeries.get(reason, 0)) for reason in FORGERIES},
        "service_heartbeat_age_seconds": age,
        "api_key_age_seconds": {(): execution.key_age_days * 86_400.0 if execution else 0.0},
        "http_silent": {(): float(bool(execution and execution.http_silent_ms))},
        "fee_differences_total": _by(dict.fromkeys(state.symbols, 0) | counters.fee_differences),
        "clock_skew_seconds": {(): execution.clock_offset_ms / 1000 if execution else 0.0},
        "alerts_active": {(severity,): float(severities.count(severity)) for severity in ("page", "ticket")},
    }


def _by(counts: dict[str, Any]) -> Samples:
    return {(name,): float(count) for name, count in counts.items()}
