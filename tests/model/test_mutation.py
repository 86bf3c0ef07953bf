"""The maker of mutants itself: it changes what it says, in the function that everybody holds, and nothing else."""

from __future__ import annotations

import ast
import os
from decimal import Decimal

import pytest

from services.risk import kernel, sizing
from tests.model.equivalent import EQUIVALENT
from tests.model.mutation import apply, mutants_of, path_of


def test_mutants_of_the_kernel_are_the_same_each_time():
    names = [mutant.key for mutant in mutants_of("services.risk.kernel")]
    assert names == [mutant.key for mutant in mutants_of("services.risk.kernel")]
    assert len(set(names)) == len(names) > 40


def test_every_excuse_is_of_a_mutant_that_there_is():
    """What was rewritten needs its excuse no more, or another one."""
    modules = {".".join(key.split(".")[:3]) for key in EQUIVALENT}
    keys = {mutant.key for module in modules for mutant in mutants_of(module)}
    assert set(EQUIVALENT) - keys == set()


def test_a_mutant_keeps_its_name_while_the_function_changes_around_it(monkeypatch: pytest.MonkeyPatch):
    def names(body: str) -> set[str]:
        tree = ast.parse(f"def f(a, b):\n{body}")
        monkeypatch.setattr("tests.model.mutation._tree", lambda _: tree)
        return {mutant.key.partition("#")[2] for mutant in mutants_of("m")}

    before = names("    return a > 1 or b > 1")
    assert before == {
        "a > 1: Gt -> GtE", "a > 1: 1 -> 2", "b > 1: Gt -> GtE", "b > 1: 1 -> 2", "a > 1 or b > 1: Or swapped",
        "a > 1 or b > 1: without a > 1", "a > 1 or b > 1: without b > 1",
    }  # fmt: skip
    assert before < names("    a += 5\n    if b:\n        return a > 1\n    return a > 1 or b > 1")
    assert {"a > 1: 1 -> 2", "a > 1 (2): 1 -> 2"} < names("    return a > 1 if b else a > 1 or b > 1")


def test_a_mutant_changes_the_function_that_others_hold_already():
    held = kernel.room
    swapped = next(m for m in mutants_of("services.risk.kernel") if m.function == "room" and m.what == "max -> min")
    child = os.fork()
    if child == 0:
        apply(swapped)
        os._exit(7 if held(5, 3) == 0 and kernel.lots_for(10, 3) == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert kernel.room(5, 3) == 2


def test_a_mutant_of_a_remembered_answer_is_asked_anew():
    """A cached function answers old questions from memory; in a mutant's process it has none."""
    divided = next(m for m in mutants_of("services.risk.sizing") if m.function == "scaled")
    assert sizing.scaled_once(Decimal(2)) == 2 * 10**8
    child = os.fork()
    if child == 0:
        apply(divided)
        os._exit(7 if sizing.scaled_once(Decimal(2)) == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_mutant_names_the_lines_of_its_statement_and_not_those_of_the_block():
    """A test that runs only the block of another branch cannot notice."""
    source = path_of("services.risk.kernel").read_text().splitlines()
    for mutant in mutants_of("services.risk.kernel"):
        assert mutant.line in mutant.lines
        told = [source[line - 1].strip() for line in mutant.lines]
        if told[0].startswith("if "):
            assert not any(line.startswith("return") for line in told), mutant.key
