"""Metrics by their catalogue, and latencies that survive merging and restarts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.telemetry import (
    CATALOGUE,
    Latencies,
    LatencySummary,
    Metrics,
    family,
    metric_names,
    read_latencies,
    write_atomically,
)

UNITS = ("seconds", "bytes", "ratio", "usd", "total", "info")


def test_every_metric_can_be_registered_and_shown() -> None:
    metrics = Metrics("execution", version="1", revision="abc")
    for name, spec in CATALOGUE.items():
        metrics[name].at(*("x" for _ in spec.labels))
    text = metrics.render().decode()
    for name in metric_names():
        assert f"# HELP {name.removesuffix('_total')}" in text or f"# HELP {name} " in text
    assert 'trading_build_info{revision="abc",service="execution",version="1"} 1.0' in text


def test_what_dashboards_need_is_in_the_catalogue() -> None:
    wanted = [
        "price",
        "signal",
        "position",
        "equity_usd",
        "drawdown_ratio",
        "halted",
        "mode",
        "limit_utilisation_ratio",
        "order_ack_seconds",
        "tick_to_order_seconds",
        "event_lag_seconds",
        "api_errors_total",
        "rate_limit_remaining",
        "model_psi",
        "rolling_sharpe",
        "reconcile_mismatches_total",
        "data_rejected_total",
        "build_info",
        "commits_total",
        "step_seconds",
    ]
    assert set(wanted) <= set(CATALOGUE)


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for name, spec in CATALOGUE.items():
        assert name.endswith("_total") == (spec.kind == "counter"), name
        assert not name.endswith(("_ms", "_percent", "_minutes")), name
        assert (spec.kind == "histogram") == bool(spec.buckets), name


def test_a_service_shows_only_what_it_used() -> None:
    metrics = Metrics("signal")
    metrics.committed(0.002)
    metrics.lag("tick", 0.5)
    text = metrics.render().decode()
    assert 'trading_commits_total{service="signal"} 1.0' in text
    assert 'trading_event_lag_seconds{service="signal",stream="tick"} 0.5' in text
    assert 'trading_step_seconds_bucket{le="0.0025",service="signal"} 1.0' in text
    assert "order_ack" not in text


def test_children_are_found_again() -> None:
    metrics = Metrics("execution")
    errors = metrics["api_errors_total"]
    errors.inc(1, "create", "10006")
    errors.inc(2, "create", "10006")
    assert errors.at("create", "10006") is errors.at("create", "10006")
    assert 'trading_api_errors_total{endpoint="create",ret_code="10006"} 3.0' in metrics.render().decode()


def test_an_unknown_metric_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Metrics("risk")["no_such_thing"]
    with pytest.raises(KeyError):
        family("no_such_thing")


# --- latencies ---------------------------------------------------------------------------------------------------

SECONDS = st.floats(min_value=2e-6, max_value=500.0)


@given(st.lists(SECONDS, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_within_a_bucket_of_the_exact_one(seconds: list[float], q: float) -> None:
    summary = LatencySummary()
    for value in seconds:
        summary.observe(value)
    exact = sorted(seconds)[max(0, -(-int(q * 1000) * len(seconds) // 1000) - 1)]
    found = summary.percentile(q)
    assert found is not None
    assert found == pytest.approx(exact, rel=0.0105)


@given(st.lists(SECONDS, max_size=50), st.lists(SECONDS, max_size=50))
def test_merging_is_observing_both(left: list[float], right: list[float]) -> None:
    a, b, both = LatencySummary(), LatencySummary(), LatencySummary()
    for summary, values in ((a, left), (b, right), (both, left + right)):
        for value in values:
            summary.observe(value)
    a.merge(b)
    assert a.counts() == both.counts()
    assert a.count == len(left) + len(right)


def test_nothing_observed_has_no_percentile() -> None:
    assert LatencySummary().percentile(0.5) is None


def test_less_than_a_microsecond_counts_as_one() -> None:
    summary = LatencySummary()
    summary.observe(0.0)
    summary.observe(-1.0)
    assert summary.percentile(1.0) == pytest.approx(1e-6, rel=0.02)


def test_a_restart_goes_on_from_the_file_and_the_report_merges_services(tmp_path: Path) -> None:
    for _ in range(2):
        latencies = Latencies("execution", tmp_path)
        for _ in range(10):
            latencies.observe("order_ack", random.random())
        latencies.dump()
    other = Latencies("risk", tmp_path)
    other.observe("order_ack", 0.1)
    other.dump()
    assert read_latencies(tmp_path)["order_ack"].count == 21


def test_without_a_run_directory_nothing_is_written() -> None:
    latencies = Latencies("execution", None)
    latencies.observe("order_ack", 0.1)
    latencies.dump()


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"tw", b"o")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
