"""C23: every control and theorem names tests that exist, and the page is the one that its results give."""

from __future__ import annotations

import ast

import pytest

from tests.model import page
from tests.model.controls import CONTROLS, THEOREMS, named_tests
from tests.model.mutation import ROOT

METHODS = {"search", "z3", "crosshair", "tlc", "runs"}


@pytest.mark.parametrize("name", named_tests())
def test_a_named_test_exists(name: str):
    path, _, function = name.partition("::")
    assert (ROOT / path).exists(), f"{path} is gone; name what shows the control now"
    if not function:
        return
    tree = ast.parse((ROOT / path).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert function in names, f"{function} is gone from {path}; name what shows the control now"


def test_every_theorem_has_two_methods_and_every_control_a_test():
    for theorem in THEOREMS:
        assert len(theorem.methods) >= 2, theorem.name
        assert all(method in METHODS or method.startswith("tests/") for method in theorem.methods)
    assert [control.name for control in CONTROLS] == [f"C{n}" for n in range(1, 26)]
    assert all(control.shown for control in CONTROLS)


def test_the_page_is_the_one_of_its_results():
    assert page.PAGE.read_text() == page.text(page.read()), "run make prove ARGS=--page"
