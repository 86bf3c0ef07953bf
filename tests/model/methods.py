"""The methods of `make prove`, each filling its part of the results."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.model import removals
from tests.model.controls import named_tests
from tests.model.guards import GUARDS
from tests.model.letters import remembered_seals
from tests.model.mutation import ROOT, Mutant, mutants_of
from tests.model.results import Function, Proved, Results, Search
from tests.model.search import explore
from tests.model.worlds import worlds

TRANSITIONS = 5_080_000
"""Of all worlds together in a usual run."""
GUARD_TRANSITIONS = 40_000
MUTANT_SECONDS = 60
CORE = (
    "kernel", "sizing", "draft", "limits", "standing", "verdict", "modes", "halts", "orders", "exits", "entries", "hedges",
    "commands", "limitfile", "pricing", "valuation", "markets", "holdings", "facts", "reactions", "core", "cash",
)  # fmt: skip
"""Modules of services/risk whose mutants count."""


def _search_one(task: tuple[int, int]) -> Search:
    index, budget = task
    world = worlds()[index]
    with remembered_seals():
        found = explore(world, budget)
    broken = f"{found.broken} by {' '.join(found.path)}" if found.broken else ""
    return Search(world.name, len(world.letters), found.transitions, found.states, found.depth, broken, found.seen)


def search(results: Results, full: bool) -> None:
    count = len(worlds())
    budget = (10 if full else 1) * TRANSITIONS // count
    with ProcessPoolExecutor(max_workers=2) as pool:
        results.search = list(pool.map(_search_one, [(i, budget) for i in range(count)]))
    total, states = (sum(getattr(each, name) for each in results.search) for name in ("transitions", "states"))
    results.told["search"] = f"{total:,} transitions, {states:,} situations, no theorem broken" if not any(
        each.broken for each in results.search
    ) else "a theorem is broken"  # fmt: skip


def guards(results: Results, full: bool) -> None:
    results.guards = []
    for guard in GUARDS:
        with pytest.MonkeyPatch.context() as patch:
            whole = explore(guard.world(), GUARD_TRANSITIONS, most_depth=5)
            guard.remove(patch)
            found = explore(guard.world(), GUARD_TRANSITIONS, most_depth=8)
        answer = found.broken or "not missed"
        expected = guard.theorem if not whole.broken else "whole"
        results.guards.append(Proved(guard.name, guard.theorem, expected, answer, " ".join(found.path)))
    with ProcessPoolExecutor(max_workers=1) as pool:
        results.removals = pool.submit(removals.judged).result()
    found, missed = (sum(each.is_right for each in rows) for rows in (results.guards, results.removals))
    results.told["guards"] = (
        f"{found} of {len(results.guards)} guards of the core missed by the search, "
        f"{missed} of {len(results.removals)} other guards missed by their tests"
    )


def z3(results: Results, full: bool) -> None:
    from tests.model.induction import discharge_all

    answers = discharge_all()
    results.z3 = [Proved(a.name, a.theorem, a.expected, a.answer, f"{a.ms:.0f} ms") for a in answers]
    right = sum(each.is_right for each in results.z3)
    results.told["z3"] = f"{right} of {len(answers)} obligations answered as expected, integers of any size"


def crosshair(results: Results, full: bool) -> None:
    """Confirmed over all paths, or, for the one mutant, a counterexample."""
    path = ROOT / "tests/model/contracts.py"
    command = [sys.executable, "-m", "crosshair", "check", "--report_all", "--analysis_kind=PEP316"]
    command += [f"--per_condition_timeout={120 if full else 30}", str(path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900).stdout
    lines = path.read_text().splitlines()
    results.crosshair = []
    for number, verdict in re.findall(r"contracts\.py:(\d+): (.*)", told):
        name = next(line[4:].partition("(")[0] for line in reversed(lines[: int(number)]) if line.startswith("def "))
        expected = "error" if "broken" in name else "info: Confirmed over all paths"
        results.crosshair.append(Proved(name.replace("_", " "), "T2, T4", expected, verdict))
    wanted = sum(line.startswith("def ") for line in lines)
    if len(results.crosshair) < wanted:
        results.crosshair.append(Proved("every contract answered", "T2, T4", str(wanted), str(len(results.crosshair))))
    right = sum(each.is_right for each in results.crosshair)
    results.told["crosshair"] = f"{right} of {wanted} contracts answered as expected"


def tlc(results: Results, full: bool) -> None:
    from tests.model import tlc as model

    results.tlc, distinct = [], 0
    for config in model.CONFIGS:
        done = model.check(config, timeout_s=1200 if full else 240)
        theorem = "T8" if config.live else ", ".join(model.INVARIANTS)
        answer = f"not run: {done.failure}" if done.failure else done.broken or "holds"
        distinct += done.distinct
        bounds = f"{done.states:,} states generated, {done.distinct:,} distinct, {done.seconds:.0f} s"
        results.tlc.append(Proved(f"model: {config.name}", theorem, "holds", answer, bounds))
    for without, config, theorem in model.MUTANTS:
        done = model.check(config, without, theorem)
        answer = f"not run: {done.failure}" if done.failure else done.broken or "not missed"
        results.tlc.append(
            Proved(f"without {done.name}", theorem, theorem, answer, f"in {config.name}, {done.distinct:,} states")
        )
    failure = model.missing()
    right = sum(each.is_right for each in results.tlc)
    results.told["tlc"] = (
        f"not run: {failure}"
        if failure
        else f"{right} of {len(results.tlc)} runs as expected, {distinct:,} distinct states"
    )


def runs(results: Results, full: bool) -> None:
    from tests.model import runs as played

    seeds = range(1, (400 if full else 40) + 1)
    with ProcessPoolExecutor(max_workers=2) as pool:
        demo = pool.submit(played.demo, 3, 6)
        results.runs = [*played.summed(list(pool.map(played.by_seed, seeds))), *demo.result()]
    right = sum(each.is_right for each in results.runs)
    results.told["runs"] = (
        f"{len(seeds)} seeds of the five cores and a demo: {right} of {len(results.runs)} as expected"
    )


def tests(results: Results, full: bool) -> None:
    """The tests that the tables name; those with servers and processes only in a full run, their last result stays."""
    named = named_tests()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        chosen = [name for name in named if full or not name.startswith(("tests/e2e/", "tests/integration/"))]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "loadfile",
            f"--junitxml={report}",
            "-p",
            "no:cacheprovider",
        ]
        command += [] if full else ["-m", "not slow"]
        subprocess.run([*command, *chosen], cwd=ROOT, capture_output=True, check=False)
        outcomes = _outcomes(report)
    before = results.tests
    results.tests = {n: _summed(n, outcomes) if n in chosen else before.get(n, "not run") for n in named}
    passed = sum(outcome.startswith("passed") for outcome in results.tests.values())
    waiting = sum(results.tests[name] == "not run" for name in named if name not in chosen)
    later = f", {waiting} with servers and processes not run yet (make prove ARGS=--full)" if waiting else ""
    results.told["tests"] = f"{passed} of {len(named)} named tests passed{later}"


def _outcomes(report: Path) -> dict[str, str]:
    """Outcome by test id without parameters."""
    found: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        parts = case.get("classname", "").split(".")
        depth = next(
            (i for i in range(len(parts), 0, -1) if (ROOT / "/".join(parts[:i])).with_suffix(".py").is_file()),
            len(parts),
        )
        name = "::".join(("/".join(parts[:depth]) + ".py", *parts[depth:], case.get("name", "")))
        bad = case.find("failure") is not None or case.find("error") is not None
        found[name] = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
    return found


def _summed(name: str, outcomes: dict[str, str]) -> str:
    mine = [
        outcome
        for test, outcome in outcomes.items()
        if test == name or test.startswith((f"{name}::", f"{name}[", f"{name}/"))
    ]
    if "failed" in mine:
        return f"failed {mine.count('failed')} of {len(mine)}"
    if not mine:
        return "not run"
    return f"passed {mine.count('passed')}" if "passed" in mine else "skipped here"


def mutants(results: Results, full: bool) -> None:
    """Functions changed since they were last hunted, then those with survivors, then a sample of the others, while there is time."""
    from tests.model import hunt

    every: dict[str, list[Mutant]] = {}
    for module in CORE:
        if (ROOT / f"services/risk/{module}.py").is_file():
            for mutant in mutants_of(f"services.risk.{module}"):
                every.setdefault(f"{mutant.module}.{mutant.function}", []).append(mutant)
    kept = {
        name: each for name, each in results.functions.items() if name in every and each.source == every[name][0].source
    }
    new = [name for name in every if name not in kept]
    rest = sorted(kept)
    random.Random(results.commit).shuffle(rest)
    order = [*new, *sorted(rest, key=lambda name: not kept[name].survivors)]
    most_s = float("inf") if full else MUTANT_SECONDS
    done = hunt.run([mutant for name in order for mutant in every[name]], most_s)
    fates: dict[str, list[hunt.Outcome]] = {}
    for outcome in done.outcomes:
        fates.setdefault(f"{outcome.mutant.module}.{outcome.mutant.function}", []).append(outcome)
    for name, outcomes in fates.items():
        if len(outcomes) == len(every[name]):
            survivors = [o.mutant.key.partition("#")[2] for o in outcomes if o.fate == hunt.SURVIVED]
            kept[name] = Function(every[name][0].source, len(outcomes), survivors, results.date)
    results.functions = dict(sorted(kept.items()))
    total = sum(len(each) for each in every.values())
    score, hunted = results.score()
    results.sampled = f"{len(done.outcomes)} hunted in this run"
    unhunted = f", {total - sum(f.mutants for f in kept.values())} not hunted yet" if len(kept) < len(every) else ""
    results.told["mutants"] = f"{score:.1%} of {hunted} mutants killed{unhunted}; {results.sampled}"
    if done.red:
        results.told["mutants"] = f"not run: {done.red[0]} fails without any mutant"
