"""What a run of the proofs found, as it is kept in docs/assurance.json."""

from __future__ import annotations

import msgspec

GOAL = 0.95
"""Mutation score of the risk core."""


class Search(msgspec.Struct):
    world: str
    letters: int
    transitions: int
    states: int
    depth: int
    broken: str = ""
    seen: dict[str, int] = {}


class Proved(msgspec.Struct):
    """One obligation, contract, model or mutant. `expected` and `answer` are alike where all is well."""

    name: str
    theorem: str
    expected: str
    answer: str
    detail: str = ""

    @property
    def is_right(self) -> bool:
        return self.answer.startswith(self.expected)


class Function(msgspec.Struct):
    """All mutants of one function as last hunted. `source`: hash of the function then."""

    source: str
    mutants: int
    survivors: list[str] = []
    date: str = ""


class Results(msgspec.Struct):
    machine: str = ""
    date: str = ""
    commit: str = ""
    seconds: dict[str, int] = {}
    when: dict[str, str] = {}
    """Date and commit of each method's last run."""
    told: dict[str, str] = {}
    """One line a method."""
    search: list[Search] = []
    guards: list[Proved] = []
    """Of the core, removed under the search."""
    removals: list[Proved] = []
    """Other guards, removed under their tests."""
    z3: list[Proved] = []
    crosshair: list[Proved] = []
    tlc: list[Proved] = []
    runs: list[Proved] = []
    tests: dict[str, str] = {}
    """`passed 3`, `failed 1 of 3`, `skipped: why`, `not run` by test id."""
    functions: dict[str, Function] = {}
    sampled: str = ""

    def faults(self) -> list[str]:
        """Everything that is not as it must be; [] when all is shown that is claimed."""
        found = [f"{each.world}: {each.broken}" for each in self.search if each.broken]
        proved = (*self.guards, *self.removals, *self.z3, *self.crosshair, *self.tlc, *self.runs)
        wrong = (each for each in proved if not each.is_right and not each.answer.startswith("not run"))
        found += [f"{each.name}: expected {each.expected}, was {each.answer}" for each in wrong]
        found += [f"{test}: {outcome}" for test, outcome in self.tests.items() if outcome.startswith("failed")]
        score, hunted = self.score()
        if hunted and score < GOAL:
            found.append(f"mutation score {score:.1%}, goal {GOAL:.0%}")
        return found

    def score(self) -> tuple[float, int]:
        """Share of mutants killed, those that change nothing left out, and how many were hunted."""
        from tests.model.equivalent import EQUIVALENT

        mutants = survivors = 0
        for name, function in self.functions.items():
            same = [key for key in function.survivors if f"{name}#{key}" in EQUIVALENT]
            mutants += function.mutants - len(same)
            survivors += len(function.survivors) - len(same)
        return (1 - survivors / mutants if mutants else 0.0), mutants
