"""Each image holds its service only: the COPY lines are replayed into a folder, and Python sees nothing but that folder
and the distributions of that image's requirements. No Docker needed; what is not there cannot be imported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from libs.common.streams import SERVICES
from tests.deploy.dockerfile import ROOT, chain, lines, replay, stages

IMAGES = (*SERVICES, "tools")
TRY = """
import importlib, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
        found[name] = ""
    except ImportError as error:
        found[name] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(image: str) -> set[str]:
    """Distributions that the image installs, as pip reads its file here."""
    text = (ROOT / "requirements" / f"{image}.txt").read_text()
    return {canonical(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==", text, re.MULTILINE)}


@cache
def installed() -> dict[str, tuple[Path, list[str]]]:
    """By distribution: the site-packages it lies in and its files there. RECORD itself: its parser costs seconds."""
    found = {}
    for distribution in metadata.distributions():
        lines = (distribution.read_text("RECORD") or "").splitlines()
        files = [line.partition(",")[0] for line in lines if not line.startswith(("..", "/"))]
        found[canonical(distribution.name)] = (Path(str(distribution.locate_file(""))), files)
    return found


@cache
def owners() -> dict[str, set[str]]:
    """Top-level entries of site-packages: which distributions have files there."""
    found: dict[str, set[str]] = {}
    for name, (_, files) in installed().items():
        for top in {file.partition("/")[0] for file in files}:
            found.setdefault(top, set()).add(name)
    return found


def link_distributions(names: set[str], site: Path) -> None:
    """Whole folders where one distribution owns them, single files where several share one (`google`, `opentelemetry`)."""
    site.mkdir()
    for name in names & set(installed()):
        place, files = installed()[name]
        tops = {file.partition("/")[0] for file in files}
        shared = {top for top in tops if owners()[top] != {name}}
        for entry in (tops - shared) | {file for file in files if file.partition("/")[0] in shared}:
            link = site / entry
            link.parent.mkdir(parents=True, exist_ok=True)
            if (place / entry).exists() and not link.exists():
                link.symlink_to(place / entry)


def attempt(app: Path, site: Path, modules: list[str]) -> dict[str, str]:
    """Import each module in a Python that sees those two folders and its standard library."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{app}:{site}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-s", "-P", "-c", TRY, json.dumps(modules)]
    done = subprocess.run(command, env=env, cwd=app, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    link_distributions(required(name), folder / "site")
    return name, replay(name, folder), folder / "site"


@pytest.mark.parametrize("image", IMAGES, indirect=True)
def test_an_image_runs_what_it_is_for_and_holds_nothing_of_others(image: tuple[str, Path, Path]):
    name, app, site = image
    wanted = [f"services.{service}.app" for service in SERVICES if name in (service, "tools")]
    wanted += ["sim.app", "cli.demo", "cli.keys"] if name == "tools" else []
    wanted += (
        [
            "cli.main",
            "cli.listing",
            "cli.act",
            "cli.audit",
            "cli.limit",
            "cli.stage",
            "cli.operator",
            "cli.why",
            "cli.history",
        ]
        if name in ("tools", "monitor")
        else []
    )
    others = [f"services.{service}" for service in SERVICES if name not in (service, "tools")]
    others += [] if name == "tools" else ["sim", "cli.demo", "cli.keys"]
    others += [] if name in ("tools", "monitor") else ["cli", "pyarrow"]
    others += [] if name in ("tools", "signal") else ["sklearn"]
    others += [] if name in ("tools", "marketdata", "execution") else ["httpx", "websockets"]
    others += ["pytest", "tests"]
    answer = attempt(app, site, wanted + others)
    assert {module: answer[module] for module in wanted} == dict.fromkeys(wanted, "")
    assert {module: answer[module].partition(":")[0] for module in others} == dict.fromkeys(
        others, "ModuleNotFoundError"
    )


@pytest.mark.parametrize("image", ["monitor"], indirect=True)
def test_monitor_offers_the_verbs_that_look_and_act_and_they_start(image: tuple[str, Path, Path], tmp_path: Path):
    _, app, site = image
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{app}:{site}", "COLUMNS": "120"}

    def tidegate(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", "-s", "-P", "-m", "cli.main", *arguments]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    offered = set(re.findall(r"│ ([a-z]+) ", tidegate("--help").stdout))
    assert {"status", "risk", "orders", "fills", "halt", "resume", "flatten", "why", "events"} <= offered
    assert not offered & {"demo", "sim", "backtest", "up"}
    for words in (["status"], ["halt", "--reason", "x"]):  # they come as far as the bus
        done = tidegate(*words, "--bus", "redis://127.0.0.1:1/0")
        assert (done.returncode, done.stdout) == (5, ""), done.stderr


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_runs_as_root(image: str):
    users = [stage.user for stage in chain(image) if stage.user]
    assert users
    assert users[-1] == "10001:10001"


def test_packages_are_installed_by_hash_and_bases_are_named_by_tag():
    text = " ".join(lines())
    assert "--require-hashes" in text
    assert "--no-deps" in text
    found, _ = stages()
    public = {stage.base for stage in found.values()} - set(found)
    assert public == {"python:3.11-slim-bookworm"}


def test_the_build_context_holds_what_is_copied_and_no_more():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for image in IMAGES:
        for sources, _ in (copy for stage in chain(image) for copy in stage.copies):
            for source in sources:
                assert any(source == name or source.startswith(f"{name}/") for name in allowed), source
    packages = [sources for sources, _ in stages()[0]["packages"].copies]
    assert packages == [["requirements/${SERVICE}.txt"]]
