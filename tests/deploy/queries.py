"""What the dashboard and the rules ask Prometheus, and which of our metrics that is."""

from __future__ import annotations

import json
import re
from typing import Any

from libs.common.telemetry import CATALOGUE, PREFIX
from tests.deploy.dockerfile import ROOT

OBSERVABILITY = ROOT / "deploy/observability"
DASHBOARD = OBSERVABILITY / "grafana/dashboards/trading.json"
SELECTOR = re.compile(r"\b((?:[a-z]+:)?trading_[a-z0-9_]+(?::[a-z0-9_]+)?|up)(\{[^}]*\})?")


def panels() -> dict[str, list[str]]:
    """Expressions by panel title."""
    loaded = json.loads(DASHBOARD.read_text())["panels"]
    return {panel["title"]: [t["expr"] for t in panel["targets"]] for panel in loaded if panel["type"] != "row"}


def rules() -> list[dict[str, Any]]:
    import yaml  # type: ignore[import-untyped]  # PyYAML comes with kubernetes-validate

    groups = yaml.safe_load((OBSERVABILITY / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def selectors(expression: str) -> list[str]:
    """Each series selector of an expression, without its range."""
    return [name + (labels or "") for name, labels in SELECTOR.findall(expression)]


def metrics(expression: str) -> set[str]:
    """Names in the catalogue (without prefix) that an expression uses; recorded names and `up` are not ours."""
    found = set()
    for name, _ in SELECTOR.findall(expression):
        if ":" in name or name == "up":
            continue
        bare = name.removeprefix(PREFIX)
        found.add(bare if bare in CATALOGUE else re.sub(r"_(bucket|sum|count)$", "", bare))
    return found
