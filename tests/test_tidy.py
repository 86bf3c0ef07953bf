"""What a reviewer would otherwise have to look for: budgets, banned calls in pure modules, docs that are in step."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("libs", "services", "sim", "cli")
FILE_LINES, FUNCTION_LINES = 400, 70
WHOLE_BY_DESIGN = {"libs/common/events.py"}
"""The schema: one file that can be read from top to bottom, values only."""

PURE = (
    "services/*/core.py",
    "services/execution/watchdog/closing.py",
    "services/execution/watchdog/silence.py",
    "services/risk/*.py",
    "services/signal/features.py",
    "services/signal/drift.py",
    "services/signal/model.py",
    "services/signal/serving.py",
    "services/signal/strategy.py",
    "services/signal/strategies/*.py",
    "services/signal/trees.py",
    "libs/bybit/*.py",
    "libs/common/decider.py",
    "libs/common/events.py",
    "libs/common/portfolio.py",
    "libs/common/record.py",
    "libs/common/stepper.py",
    "libs/common/streams.py",
    "libs/common/values.py",
    "sim/**/*.py",
)
SHELLS = {
    "keyring.py",
    # What lives beside pure modules and is none: composition roots, drivers of sockets and clocks, readers of files.
    "app.py", "__main__.py", "client.py", "measure.py", "lockstep.py", "server.py", "sessions.py", "store.py", "driver.py", "operator.py",
    "paper.py", "publicstreams.py", "accounts.py", "lines.py",
}  # fmt: skip
BANNED_IMPORTS = {
    "asyncio", "time", "datetime", "random", "uuid", "os", "socket", "threading", "logging", "secrets", "subprocess", "httpx",
    "websockets", "redis", "faststream", "opentelemetry", "prometheus_client", "structlog",
}  # fmt: skip


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked() -> list[Path]:
    """Files of the project: those git knows, or would not ignore."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in found.stdout.splitlines() if (ROOT / name).is_file()]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_stay_within_their_budget():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in sources(*PACKAGES, "tests")}
    long = {name: count for name, count in lines.items() if count > FILE_LINES and name not in WHOLE_BY_DESIGN}
    assert not long, f"split by noun: {long}"


def test_functions_stay_within_their_budget():
    long = {f"{name_of(p)}:{name}": n for p in sources(*PACKAGES) for name, n in functions(p) if n > FUNCTION_LINES}
    assert not long, f"split: {long}"


def pure_modules() -> list[Path]:
    found = {path for pattern in PURE for path in ROOT.glob(pattern) if path.name not in SHELLS}
    return sorted(found)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_there_are_pure_modules():
    names = {name_of(path) for path in pure_modules()}
    assert {
        f"services/{service}/core.py" for service in ("marketdata", "signal", "risk", "execution", "monitor")
    } <= names
    assert {"sim/exchange.py", "sim/engine/matching.py", "libs/bybit/sign.py"} <= names


@pytest.mark.parametrize("path", pure_modules(), ids=name_of)
def test_pure_modules_do_no_io_and_know_no_time_or_chance(path: Path):
    tree = ast.parse(path.read_text())
    found = {name for name in imports(tree) if name.partition(".")[0] in BANNED_IMPORTS}
    assert not found, f"move what needs {', '.join(sorted(found))} to the shell"
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"open", "print", "input", "id"}


@pytest.mark.parametrize(
    "path", [p for p in pure_modules() if "strateg" not in name_of(p) and "features" not in name_of(p)], ids=name_of
)
def test_no_floats_where_money_is(path: Path):
    if name_of(path).startswith("services/risk"):
        tree = ast.parse(path.read_text())
        floats = [
            node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, float)
        ]
        assert not floats, f"lines {floats}: use Decimal or integers"


def test_broad_excepts_say_why():
    bare = []
    for path in sources(*PACKAGES):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"except\s*(\(?\s*(Base)?Exception\b|:)", line) and "#" not in line:
                bare.append(f"{name_of(path)}:{number}")
    assert not bare, f"give the reason beside it: {bare}"


def naps(tree: ast.AST, polling: bool = False) -> Iterator[int]:
    """Lines that sleep outside a `while` that waits for a condition."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep":
            zero = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if not polling and not zero:
                yield node.lineno
        yield from naps(node, polling or isinstance(node, ast.While))


def test_tests_wait_for_conditions_and_never_just_sleep():
    found = [f"{name_of(path)}:{line}" for path in sources("tests") for line in naps(ast.parse(path.read_text()))]
    assert not found, f"wait with tests.waiting.eventually: {found}"


def test_no_addresses_of_registries_and_no_paths_of_a_machine():
    marks = re.compile(
        r"^\s*(--(extra-)?index-url|-i )|pypi\.org|pythonhosted|registry\.npmjs|/wo[r]k/(main|shared)", re.MULTILINE
    )
    text = {".py", ".toml", ".txt", ".md", ".lua", ".yaml", ".yml", ".json", ""}
    files = [path for path in tracked() if path.suffix in text and path != Path(__file__)]
    found = [name_of(path) for path in files if marks.search(path.read_text(errors="replace"))]
    assert not found


def test_there_is_no_lock_file_that_spells_out_addresses():
    assert not (ROOT / "uv.lock").exists()


@pytest.mark.parametrize("name", ["dev", "demo", "tools", "marketdata", "signal", "risk", "execution", "monitor"])
def test_requirements_are_pinned_with_hashes_and_agree(name: str):
    everything = pins("dev")
    for package, (version, hashes) in pins(name).items():
        assert hashes > 0, f"{package} has no hash"
        assert everything[package][0] == version, f"{name}.txt and dev.txt differ on {package}; run make lock"


def pins(name: str) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    for block in re.split(r"\n(?=\S)", text):
        if match := re.match(r"([A-Za-z0-9_.\[\]-]+)==(\S+)( ; [^\\]+)?", block):
            found[match[1] + (match[3] or "").strip()] = (match[2], block.count("--hash=sha256:"))
    assert found
    return found


def test_generated_pages_are_current():
    from cli.docs import pages

    stale = [
        str(path) for path, text in pages().items() if not (ROOT / path).is_file() or (ROOT / path).read_text() != text
    ]
    assert not stale, "run make docs"


def verbs() -> set[str]:
    from cli.main import GROUPS, VERBS

    return {name for name, *_ in VERBS} | {name for name, *_ in GROUPS}


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_pages_name_only_verbs_and_targets_that_exist(page: str):
    text = (ROOT / page).read_text()
    named = set(re.findall(r"(?:^|[`$( ])tidegate ([a-z]+)", text, re.MULTILINE))
    assert named - verbs() <= {"is"}, f"{page} names verbs that do not exist"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b", text)) <= targets
    links = re.findall(r"\]\((?!http|#)([^)#]+)", text)
    assert not [link for link in links if not (ROOT / link).exists()]


def test_readme_names_every_verb():
    assert verbs() <= set(re.findall(r"`(?:tidegate )?([a-z]+)", (ROOT / "README.md").read_text()))


def test_make_has_the_targets_that_are_promised():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"help", "setup", "demo", "test", "check", "bench"} <= targets


def test_continuous_integration_calls_the_commands_of_the_readme():
    text = (ROOT / ".ci/run").read_text()
    assert "make check" in text
    assert "make test" in text


def test_the_example_settings_file_is_valid_and_changes_nothing():
    from cli.context import section_types
    from libs.common.settings import load

    example = load(section_types(), ROOT / "tidegate.toml", env={})
    assert example.values() == load(section_types(), None, env={}).values()


def test_every_commented_setting_of_the_example_exists(tmp_path: Path):
    from cli.context import section_types
    from libs.common.settings import load

    text = re.sub(r"^# ?(?=(\[|[a-z_]+ = ))", "", (ROOT / "tidegate.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(text)
    load(section_types(), tmp_path / "all.toml", env={})
