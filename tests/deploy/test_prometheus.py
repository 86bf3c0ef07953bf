"""Every query of the dashboard and every alert's selector, asked of a real Prometheus that scrapes a real run."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.paper import PROCESSES, Paper, free_port, running_paper
from tests.deploy.queries import OBSERVABILITY, metrics, panels, rules, selectors
from tests.waiting import eventually

pytest.importorskip("yaml", reason="needs PyYAML: make setup")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (apt: prometheus)"),
]

NOT_IN_EVERY_RUN = {
    "model_psi": "a model strategy measures drift; the settings of the run have none",
    "rolling_sharpe": "as model_psi",
}


class Prometheus:
    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.base}/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            loaded = json.load(answer)
        assert loaded["status"] == "success", loaded
        return loaded["data"]

    def series(self, expression: str) -> list[Any]:
        """What an instant query returns now."""
        found: list[Any] = self.get("query", query=expression)["result"]
        return found

    def is_up(self) -> bool:
        with contextlib.suppress(OSError):
            targets = self.get("targets")["activeTargets"]
            return len(targets) == len(PROCESSES) and all(target["health"] == "up" for target in targets)
        return False


def configuration(paper: Paper) -> str:
    """The committed scrape configuration at this run's ports, a second apart."""
    text = (OBSERVABILITY / "prometheus.yml").read_text()
    for service, port in paper.ports.items():
        assert f'"{service}:8080"' in text
        text = text.replace(f'"{service}:8080"', f'"127.0.0.1:{port}"')
    text = text.replace("interval: 5s", "interval: 1s")
    return text.replace("[rules.yml]", f"[{OBSERVABILITY / 'rules.yml'}]")


@contextlib.contextmanager
def running_prometheus(folder: Path, paper: Paper) -> Iterator[Prometheus]:
    (folder / "prometheus.yml").write_text(configuration(paper))
    port = free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("ab") as log:
        child = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        prometheus = Prometheus(port)
        eventually(prometheus.is_up, 60)
        yield prometheus
    finally:
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Scraping a run that has traded and was then halted by an operator."""
    folder = tmp_path_factory.mktemp("paper")
    with running_paper(folder) as paper, running_prometheus(folder, paper) as found:
        eventually(lambda: found.series('trading_orders_total{outcome="filled"} > 0'), 120)
        paper.tidegate("halt", "--reason", "a test looks at the alerts")
        eventually(lambda: found.series('trading_halted{reason!="BORN"}'), 30)
        eventually(lambda: found.series("trading_refusals_total"), 90)
        yield found


def asked(expression: str) -> str:
    """Without what only Grafana fills in, and without what stands in where a series does not exist yet."""
    return expression.replace("$__rate_interval", "1m").removesuffix(" or vector(0)")


def always_empty(prometheus: Prometheus, queries: list[str], within_s: float = 60) -> list[str]:
    """Queries that return nothing until then; each has to succeed once (a rate needs two scrapes, a rule its turn)."""
    left = list(queries)

    def look() -> bool:
        left[:] = [query for query in left if not prometheus.series(asked(query))]
        return not left

    with contextlib.suppress(AssertionError):
        eventually(look, within_s)
    return left


def test_every_panel_returns_data(prometheus: Prometheus):
    queries = [query for queries in panels().values() for query in queries if not is_a_count_of_trouble(query)]
    assert len(queries) > 30
    assert always_empty(prometheus, [q for q in queries if not metrics(q) & set(NOT_IN_EVERY_RUN)]) == []


def is_a_count_of_trouble(query: str) -> bool:
    """Counts services that are not ready: without trouble it is 0 by its `or`."""
    return "== 0" in query


def test_every_panel_is_a_valid_query_whatever_it_finds(prometheus: Prometheus):
    for queries in panels().values():
        for query in queries:
            prometheus.series(query.replace("$__rate_interval", "1m"))
    assert prometheus.series("count(trading_ready == 0) or vector(0)")[0]["value"][1] == "0"


def test_every_selector_of_a_rule_matches_series_that_exist(prometheus: Prometheus):
    found = {selector for rule in rules() for selector in selectors(rule["expr"])}
    assert always_empty(prometheus, sorted(s for s in found if not metrics(s) & set(NOT_IN_EVERY_RUN))) == []


def test_rules_are_evaluated_without_error_and_the_halt_pages(prometheus: Prometheus):
    groups = prometheus.get("rules")["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert {name: rule["lastError"] for name, rule in found.items() if rule.get("lastError")} == {}
    assert "err" not in {rule["health"] for rule in found.values()}

    def firing() -> set[str]:
        alerts = prometheus.get("alerts")["alerts"]
        names = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
        return names if "TradingHalted" in names else set()

    names = eventually(firing, 30)
    assert "DeadManSwitch" in names
    assert not names & {"ServiceDown", "MonitorAbsent", "HeartbeatSilent", "MismatchUnresolved", "ArchiveStale"}
