"""Metrics of a process, and wall-clock latencies for the report.

`CATALOGUE` is every metric Tidegate has: dashboards, alert rules, docs and tests are checked against it. A process
registers a metric when it first uses it, so each service shows what is its own. Names get the prefix `trading_`;
units are base units and stand last in the name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

PREFIX = "trading_"

Kind = Literal["counter", "gauge", "histogram"]
Child = Counter | Gauge | Histogram

FAST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STEP_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)


class Spec(msgspec.Struct, frozen=True):
    """One metric: `owner` is the service that exposes it (`*`: all of them). Counter names end in `_total`."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    owner: str = "*"
    buckets: tuple[float, ...] = ()


CATALOGUE: dict[str, Spec] = {
    "build_info": Spec("gauge", "1; what runs here.", ("service", "version", "revision")),
    "commits_total": Spec("counter", "Steps committed to the log.", ("service",)),
    "step_seconds": Spec("histogram", "Time from reading a batch to its commit.", ("service",), buckets=STEP_BUCKETS),
    "event_lag_seconds": Spec("gauge", "Age of the last event read from a stream.", ("service", "stream")),
    "ready": Spec("gauge", "1 while /readyz says so.", ("service",)),
    "tick_to_order_seconds": Spec(
        "histogram", "From a tick's receipt to its order's submission.", (), "execution", FAST_BUCKETS
    ),
    "order_ack_seconds": Spec(
        "histogram", "From submission to the venue's proof of the order.", (), "execution", ACK_BUCKETS
    ),
    "api_requests_total": Spec("counter", "Requests sent to the exchange.", ("endpoint",), "execution"),
    "api_errors_total": Spec(
        "counter", "Requests the exchange failed or refused.", ("endpoint", "ret_code"), "execution"
    ),
    "rate_limit_remaining": Spec("gauge", "Calls left in the venue's current window.", ("endpoint",), "execution"),
    "watchdog_phase": Spec("gauge", "0 watching, 1 cancelling entries, 2 closing positions.", (), "watchdog"),
    "watchdog_silence_seconds": Spec("gauge", "Since execution was heard, by way.", ("way",), "watchdog"),
    "watchdog_cancels_total": Spec("counter", "Orders the watchdog cancelled.", (), "watchdog"),
    "watchdog_slices_total": Spec(
        "counter", "Reduce-only orders the watchdog sent, by answer.", ("answer",), "watchdog"
    ),
    "watchdog_failures_total": Spec("counter", "Rounds in which the exchange did not answer.", (), "watchdog"),
    "data_rejected_total": Spec("counter", "Market data kept out by the firewall.", ("symbol", "kind"), "monitor"),
    "feed_up": Spec("gauge", "1 while a symbol's feed is alive.", ("symbol",), "monitor"),
    "price": Spec("gauge", "Last trade.", ("symbol",), "monitor"),
    "signal": Spec("gauge", "A strategy's wanted exposure, -1 to 1.", ("strategy", "symbol"), "monitor"),
    "position": Spec("gauge", "Signed position in base units.", ("symbol",), "monitor"),
    "equity_usd": Spec("gauge", "Wallet plus unrealised profit at mark.", (), "monitor"),
    "equity_peak_usd": Spec("gauge", "Highest equity, as re-based by the last resume.", (), "monitor"),
    "strategy_pnl_usd": Spec("gauge", "Profit since the run began.", ("strategy",), "monitor"),
    "drawdown_ratio": Spec("gauge", "(peak - equity) / peak.", (), "monitor"),
    "halted": Spec("gauge", "1 while a scope is halted for this reason.", ("scope", "reason"), "monitor"),
    "mode": Spec("gauge", "0 normal, 1 reduce only, 2 halted, 3 liquidating.", ("scope",), "monitor"),
    "limit_utilisation_ratio": Spec("gauge", "Measured / limit; 1 is a breach.", ("limit",), "monitor"),
    "signals_total": Spec("counter", "Signals seen.", ("strategy",), "monitor"),
    "orders_total": Spec("counter", "Orders by what became of them.", ("outcome",), "monitor"),
    "orders_open": Spec("gauge", "Orders without a terminal outcome.", (), "monitor"),
    "orders_unknown": Spec("gauge", "Orders whose outcome is being asked for.", (), "monitor"),
    "fills_total": Spec("counter", "Executions.", ("strategy", "symbol"), "monitor"),
    "fees_usd_total": Spec("counter", "Fees paid (rebates reduce it).", ("strategy",), "monitor"),
    "refusals_total": Spec("counter", "Signals that became no order.", ("reason",), "monitor"),
    "reconcile_checks_total": Spec("counter", "Three-way reconciliations that agreed.", (), "monitor"),
    "reconcile_mismatches_total": Spec("counter", "Differences with the exchange.", ("kind",), "monitor"),
    "mismatch_open_seconds": Spec("gauge", "Age of an unresolved mismatch; 0 when equal.", (), "monitor"),
    "foreign_orders_total": Spec("counter", "Orders on the account that are not ours.", (), "monitor"),
    "forged_approvals_total": Spec("counter", "Approvals refused as none of risk's.", ("reason",), "monitor"),
    "service_heartbeat_age_seconds": Spec("gauge", "Since a service's last heartbeat.", ("service",), "monitor"),
    "api_key_age_seconds": Spec("gauge", "Age of the API key in use; 0 when it is not known.", (), "monitor"),
    "http_silent": Spec("gauge", "1 while HTTP to the exchange is silent after a 403.", (), "monitor"),
    "fee_differences_total": Spec("counter", "Trades charged at another rate than was told.", ("symbol",), "monitor"),
    "clock_skew_seconds": Spec("gauge", "Exchange time minus ours.", (), "monitor"),
    "model_psi": Spec("gauge", "Population stability index of a strategy's inputs.", ("strategy",), "monitor"),
    "rolling_sharpe": Spec("gauge", "30-day rolling Sharpe ratio.", ("strategy",), "monitor"),
    "alerts_active": Spec("gauge", "Alerts raised and not cleared.", ("severity",), "monitor"),
    "archive_events_total": Spec("counter", "Entries written to the archive.", ("stream",), "monitor"),
    "archive_age_seconds": Spec("gauge", "Since the archive last held everything that was in Redis.", (), "monitor"),
    "redis_used_bytes": Spec("gauge", "Memory used by Redis.", (), "monitor"),
    "redis_days_left": Spec(
        "gauge", "Days until Redis is full at the present growth; -1 when unbounded.", (), "monitor"
    ),
}


class Family:
    """A metric with its children cached: finding one costs a dict look-up instead of prometheus' lock."""

    def __init__(self, metric: Child, labels: tuple[str, ...]) -> None:
        self._metric = metric
        self._labels = labels
        self._children: dict[tuple[str, ...], Child] = {}

    def at(self, *values: str) -> Child:
        """The child for these label values, in the order of the catalogue; without labels `at()`."""
        child = self._children.get(values)
        if child is None:
            child = self._metric.labels(*values) if self._labels else self._metric
            self._children[values] = child
        return child

    def inc(self, amount: float = 1.0, *values: str) -> None:
        child = self.at(*values)
        assert not isinstance(child, Histogram)  # the catalogue says which kind this is
        child.inc(amount)

    def set(self, value: float, *values: str) -> None:
        child = self.at(*values)
        assert isinstance(child, Gauge)  # as above
        child.set(value)

    def observe(self, seconds: float, *values: str) -> None:
        child = self.at(*values)
        assert isinstance(child, Histogram)  # as above
        child.observe(seconds)


class Metrics:
    """The registry of one process. `metrics["order_ack_seconds"].observe(0.004)`; KeyError for a name not in the catalogue."""

    def __init__(self, service: str, *, version: str = "", revision: str = "") -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self._families: dict[str, Family] = {}
        self["build_info"].set(1, service, version, revision)
        self._commits = self["commits_total"].at(service)
        self._steps = self["step_seconds"].at(service)

    def __getitem__(self, name: str) -> Family:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = self._register(name)
        return family

    def committed(self, seconds: float) -> None:
        """One step was committed; `seconds` from reading its batch to the acknowledgement."""
        self._commits.inc()  # type: ignore[union-attr]  # a counter, by the catalogue
        self._steps.observe(seconds)  # type: ignore[union-attr]  # a histogram, by the catalogue

    def lag(self, stream: str, seconds: float) -> None:
        self["event_lag_seconds"].set(seconds, self.service, stream)

    def render(self) -> bytes:
        """Prometheus text exposition."""
        return generate_latest(self.registry)

    def _register(self, name: str) -> Family:
        spec = CATALOGUE[name]
        full = PREFIX + name
        metric: Child
        if spec.kind == "histogram":
            metric = Histogram(full, spec.help, spec.labels, registry=self.registry, buckets=spec.buckets)
        else:
            make = Counter if spec.kind == "counter" else Gauge
            metric = make(full, spec.help, spec.labels, registry=self.registry)
        return Family(metric, spec.labels)


def family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    """An empty sample family of the catalogue, for collectors that compute values when asked."""
    spec = CATALOGUE[name]
    make = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    return make(PREFIX + name, spec.help, labels=spec.labels)


# --- latencies for the report ------------------------------------------------------------------------------------------

_GROWTH = math.log(1.02)
_SMALLEST = 1e-6


class LatencySummary:
    """A distribution of seconds in buckets 2 % wide from 1 µs up: percentiles within 1 %, memory bounded, mergeable."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self._counts: dict[int, int] = dict(counts or {})

    def observe(self, seconds: float) -> None:
        bucket = int(math.log(seconds / _SMALLEST) / _GROWTH) if seconds > _SMALLEST else 0
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def percentile(self, q: float) -> float | None:
        """Seconds below which a share `q` in (0, 1] of the observations lies; None when there are none."""
        rank = math.ceil(q * self.count)
        for bucket in sorted(self._counts):
            rank -= self._counts[bucket]
            if rank <= 0:
                return _SMALLEST * math.exp((bucket + 0.5) * _GROWTH)
        return None

    def merge(self, other: LatencySummary) -> None:
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count

    def counts(self) -> dict[int, int]:
        """Observations by bucket number, for storing."""
        return dict(sorted(self._counts.items()))


class Latencies:
    """The named latencies of one service, kept in `<run-dir>/latency/<service>.json`; a restart goes on from the file."""

    def __init__(self, service: str, run_dir: Path | None) -> None:
        self._path = run_dir / "latency" / f"{service}.json" if run_dir else None
        self.summaries: dict[str, LatencySummary] = _read(self._path) if self._path and self._path.exists() else {}

    def observe(self, name: str, seconds: float) -> None:
        """`name`: tick_to_order or order_ack (anything else is shown by its name)."""
        summary = self.summaries.get(name)
        if summary is None:
            summary = self.summaries[name] = LatencySummary()
        summary.observe(seconds)

    def dump(self) -> None:
        """Write the file; nothing when there is no run directory or nothing was measured."""
        if self._path and self.summaries:
            counts = {name: summary.counts() for name, summary in self.summaries.items()}
            write_atomically(self._path, msgspec.json.encode(counts))


def read_latencies(run_dir: Path) -> dict[str, LatencySummary]:
    """The latencies of all services of a run, merged by name."""
    merged: dict[str, LatencySummary] = {}
    for path in sorted((run_dir / "latency").glob("*.json")):
        for name, summary in _read(path).items():
            merged.setdefault(name, LatencySummary()).merge(summary)
    return merged


def _read(path: Path) -> dict[str, LatencySummary]:
    counts = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[int, int]])
    return {name: LatencySummary(of) for name, of in counts.items()}


def write_atomically(path: Path, *parts: bytes) -> None:
    """Make `path` hold exactly these bytes, durably, or leave it as it was: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` survive power loss."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def metric_names(owner: str | None = None) -> Iterable[str]:
    """Full names of the catalogue, all or one owner's (with what every service has)."""
    return [PREFIX + name for name, spec in CATALOGUE.items() if owner is None or spec.owner in ("*", owner)]
