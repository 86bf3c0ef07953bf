"""Dashboard, rules and runbook: in step with the catalogue of metrics and with each other; the rules do what they say."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess

import pytest

from libs.common.telemetry import CATALOGUE
from tests.deploy.dockerfile import ROOT
from tests.deploy.queries import DASHBOARD, OBSERVABILITY, metrics, panels, rules

yaml = pytest.importorskip("yaml", reason="needs PyYAML: make setup")
with_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (apt: prometheus)")


def alerts() -> dict[str, dict[str, object]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def test_the_dashboard_is_what_the_script_writes():
    made = runpy.run_path(str(ROOT / "scripts/dashboard.py"))["text"]()
    assert DASHBOARD.read_text() == made, "run python scripts/dashboard.py"


def test_every_expression_uses_metrics_that_exist():
    expressions = [query for queries in panels().values() for query in queries] + [rule["expr"] for rule in rules()]
    assert len(expressions) > 60
    unknown = {name for expression in expressions for name in metrics(expression)} - set(CATALOGUE)
    assert not unknown
    named = {name for expression in expressions for name in re.findall(r"\b[a-z]+:trading_[a-z0-9_:]+", expression)}
    assert named <= recorded()


def test_labels_of_expressions_are_labels_of_their_metrics():
    for expression in [query for queries in panels().values() for query in queries] + [r["expr"] for r in rules()]:
        for name, matchers in re.findall(r"trading_([a-z0-9_]+)\{([^}]*)\}", expression):
            used = set(re.findall(r"([a-z]+)\s*[=!]", matchers))
            assert used <= set(CATALOGUE[name].labels), expression


def test_legends_name_labels_that_the_query_keeps():
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                by = re.search(r"by \(([^)]*)\)", target["expr"])
                names = metrics(target["expr"])
                kept = set(by[1].replace(" ", "").split(",")) if by else set()
                kept |= {label for name in names for label in CATALOGUE[name].labels} if not by else set()
                kept |= {"service"} if target["expr"].startswith("service:") else set()
                assert label in kept, target["expr"]


def test_panels_are_distinct_and_do_not_overlap():
    loaded = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in loaded}) == len(loaded)
    cells = [
        (x, y)
        for p in loaded
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_provisioning_and_dashboard_agree_on_the_data_source():
    sources = yaml.safe_load((OBSERVABILITY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    assert set(re.findall(r'"uid": "(\w+)"', DASHBOARD.read_text())) == uids


def test_few_pages_and_every_alert_has_a_runbook_heading_and_a_test():
    pages = [name for name, rule in alerts().items() if rule["labels"] == {"severity": "page"}]
    assert 1 <= len(pages) <= 8
    headings = set(re.findall(r"^## (\w+)$", (ROOT / "docs/runbook/alerts.md").read_text(), re.MULTILINE))
    assert headings == set(alerts())
    tests = yaml.safe_load((OBSERVABILITY / "rules_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fired == set(alerts())
    assert quiet == set(alerts()) - {"DeadManSwitch"}
    for name, rule in alerts().items():
        assert set(rule["annotations"]) == {"summary", "runbook"}  # type: ignore[call-overload]  # YAML has no types
        assert rule["annotations"]["runbook"] == f"docs/runbook/alerts.md#{name.lower()}"  # type: ignore[index]


@with_promtool
def test_promtool_agrees_with_every_rule(tmp_path: object):
    for command in (
        ["check", "rules", "rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "rules_test.yml"],
    ):
        done = subprocess.run(
            ["promtool", *command], cwd=OBSERVABILITY, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_every_service():
    from libs.common.streams import MONITOR, SERVICES, WATCHDOG

    (job,) = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["scrape_configs"]
    (targets,) = job["static_configs"]
    assert targets == {"targets": [f"{name}:8080" for name in (*SERVICES[:-1], WATCHDOG, MONITOR)]}
    assert job["job_name"] == "tidegate"  # the rules select it
