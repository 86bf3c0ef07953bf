"""The hunt for mutants: a pytest session that collects and runs the tests once, then forks a child for every mutant.

The first run notes which tests run which lines. A child applies its mutant and runs only those that run the changed statement,
quickest first, until one fails: it is killed. One that passes them all survives. Nothing is collected or imported twice, so a
mutant costs what its tests cost.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

import coverage
import hypothesis
import msgspec
import pytest
from _pytest.runner import runtestprotocol

from tests.model.mutation import ROOT, Mutant, apply, forget, path_of

TESTS = (
    "tests/unit/risk",
    "tests/property/test_risk.py",
    "tests/property/test_verdict.py",
    "tests/model/test_search.py",
)
MOST_S = 12.0
"""Tests of a mutant that take longer in sum are not asked; as in a child that hangs, this is said of a survivor."""
CHILDREN = 2
KILLED, SURVIVED, HUNG = "killed", "survived", "hung"

Line = tuple[str, int]


class Outcome(msgspec.Struct):
    mutant: Mutant
    fate: str
    tests: int
    """How many tests run the changed statement; 0 means that no test could notice."""


class Hunt:
    """The plugin. `chosen` are hunted in order, for `most_s` after the tests were noted."""

    def __init__(
        self, chosen: Iterable[Mutant], most_s: float = float("inf"), told: Callable[[Outcome], None] = lambda _: None
    ) -> None:
        self.chosen, self.most_s = list(chosen), most_s
        self.outcomes: list[Outcome] = []
        self.told = told
        self.seconds: dict[pytest.Item, float] = {}
        self.ran: dict[Line, list[pytest.Item]] = {}
        self.red: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        noted = coverage.Coverage(data_file=None, config_file=False, include=[str(ROOT / "services/*")])
        noted.start()
        try:
            for item in session.items:
                noted.switch_context(item.nodeid)
                self._note(item)
        finally:
            noted.stop()
        items, data = {item.nodeid: item for item in session.items}, noted.get_data()
        for path in data.measured_files():
            for line, names in data.contexts_by_lineno(path).items():
                self.ran[path, line] = [items[name] for name in names if name in items]
        if not self.red:
            self._hunt()
        return True

    def _note(self, item: pytest.Item) -> None:
        """Run a test as it is, with nothing remembered from the ones before."""
        forget()
        began = time.monotonic()
        reports = runtestprotocol(item, log=False, nextitem=None)
        self.seconds[item] = time.monotonic() - began
        self.red += [item.nodeid for report in reports if report.failed]

    def _hunt(self) -> None:
        running: dict[int, tuple[Mutant, int]] = {}
        until = time.monotonic() + self.most_s
        for mutant in self.chosen:
            if time.monotonic() > until:
                break
            items = self._tests(mutant)
            if not items:
                self._end(Outcome(mutant, SURVIVED, 0))
                continue
            running[_fork(lambda mutant=mutant, items=items: _child(mutant, items))] = (mutant, len(items))  # type: ignore[misc]
            if len(running) >= CHILDREN:
                self._reap(running)
        while running:
            self._reap(running)

    def _tests(self, mutant: Mutant) -> list[pytest.Item]:
        path = str(path_of(mutant.module))
        able = dict.fromkeys(item for line in mutant.lines for item in self.ran.get((path, line), ()))
        items = sorted(able, key=self.seconds.__getitem__)
        spent, kept = 0.0, []
        for item in items:
            spent += self.seconds[item]
            if kept and spent > MOST_S:
                break
            kept.append(item)
        return kept

    def _reap(self, running: dict[int, tuple[Mutant, int]]) -> None:
        pid, status = os.wait()
        mutant, tests = running.pop(pid)
        if os.WIFSIGNALED(status):
            fate = HUNG if os.WTERMSIG(status) == signal.SIGALRM else KILLED
        else:
            fate = SURVIVED if os.WEXITSTATUS(status) == 0 else KILLED
        self._end(Outcome(mutant, fate, tests))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.told(outcome)


def _fork(child: Callable[[], int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os._exit(child())
    except BaseException:  # noqa: BLE001 - whatever went wrong in a mutant's process, it did not pass its tests
        os._exit(1)


def _child(mutant: Mutant, items: list[pytest.Item]) -> int:
    """0 when every test passes the mutant."""
    signal.alarm(int(5 * MOST_S))
    try:
        apply(mutant)
    except Exception:  # noqa: BLE001 - whatever is wrong with a mutant that cannot be made, it must not pass for killed
        return 0
    for item in items:
        item.funcargs = {}  # type: ignore[attr-defined]  # as before its first run
        item._initrequest()  # type: ignore[attr-defined]
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=None)):
            return 1
    return 0


def run(
    chosen: Iterable[Mutant],
    most_s: float = float("inf"),
    tests: tuple[str, ...] = TESTS,
    told: Callable[[Outcome], None] = lambda _: None,
) -> Hunt:
    """Hunt in this process; `red` names tests that fail without any mutant."""
    quiet: dict[str, Any] = {"phases": (hypothesis.Phase.explicit, hypothesis.Phase.generate), "database": None}
    hypothesis.settings.register_profile("hunt", derandomize=True, deadline=None, **quiet)
    hunt = Hunt(chosen, most_s, told)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", "--no-header", "--capture=fd"]
    options += ["--hypothesis-profile=hunt", "-o", "addopts=--import-mode=importlib", "-o", "timeout=0"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    pytest.main([*options, *(str(ROOT / path) for path in tests)], plugins=[hunt])
    return hunt
