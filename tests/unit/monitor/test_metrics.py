"""The read model as Prometheus sees it."""

from __future__ import annotations

from libs.common import events as e
from libs.common.events import Heartbeat, Mode
from libs.common.telemetry import CATALOGUE, PREFIX, Metrics
from services.monitor.config import MonitorConfig
from services.monitor.core import MonitorCore
from services.monitor.metrics import register
from tests.unit.monitor.sample import Tape, d, fill, halted, mark, submitted, tick


def scraped() -> str:
    tape, core = Tape(), MonitorCore(MonitorConfig())
    tape.add(tick("BTCUSDT", "60123.5"), 1)
    tape.add(e.DataRejected(symbol="BTCUSDT", kind=e.RejectKind.GAP), 1)
    tape.add(submitted(), 2)
    tape.add(fill(), 2)
    tape.add(mark(9500, 10000, mode=Mode.HALTED, pnl={"trend": d("-12.5")}), 3)
    tape.add(halted(), 3)
    tape.add(e.Mismatch(kind="wallet", symbol="", ours="1", venue="2"), 4)
    tape.add(e.DriftMeasured(strategy="trend", model="m", psi=d("0.12"), rolling_sharpe=d("1.1"), factor=d(1)), 4)
    tape.add(Heartbeat(service="execution", clock_offset_ms=-40), 5)
    tape.add(Heartbeat(service="risk"), 9)
    for record in tape.records:
        core.evolve(record)
    metrics = Metrics("monitor")
    register(metrics, lambda: core.state)
    return metrics.render().decode()


def test_figures_are_in_base_units() -> None:
    text = scraped()
    for line in (
        'trading_price{symbol="BTCUSDT"} 60123.5',
        'trading_data_rejected_total{kind="gap",symbol="BTCUSDT"} 1.0',
        'trading_position{symbol="BTCUSDT"} -0.02',
        "trading_equity_usd 9500.0",
        "trading_drawdown_ratio 0.05",
        'trading_limit_utilisation_ratio{limit="max_drawdown"} 0.5',
        'trading_halted{reason="max_drawdown",scope="book"} 1.0',
        'trading_mode{scope="book"} 2.0',
        'trading_strategy_pnl_usd{strategy="trend"} -12.5',
        'trading_fills_total{strategy="trend",symbol="BTCUSDT"} 1.0',
        'trading_fees_usd_total{strategy="trend"} 0.33',
        'trading_orders_total{outcome="filled"} 1.0',
        'trading_reconcile_mismatches_total{kind="wallet"} 1.0',
        'trading_fee_differences_total{symbol="BTCUSDT"} 0.0',
        "trading_mismatch_open_seconds 5.0",
        'trading_model_psi{strategy="trend"} 0.12',
        'trading_service_heartbeat_age_seconds{service="execution"} 4.0',
        "trading_clock_skew_seconds -0.04",
    ):
        assert line in text.splitlines(), line


def test_labels_are_those_of_the_catalogue() -> None:
    for line in scraped().splitlines():
        name, brace, rest = line.partition("{")
        if brace and not line.startswith("#") and not name.endswith(("_bucket", "_created", "_sum", "_count")):
            spec = CATALOGUE[name.removeprefix(PREFIX)]
            labels = {part.partition("=")[0] for part in rest.rpartition("}")[0].split(",")}
            assert labels == set(spec.labels), name


def test_an_empty_monitor_can_be_scraped() -> None:
    metrics = Metrics("monitor")
    core = MonitorCore(MonitorConfig())
    register(metrics, lambda: core.state)
    assert "trading_equity_usd 0.0" in metrics.render().decode()
