"""T2 and T4 for integers of any size; skipped where z3-solver is not installed (`make prove` installs it)."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

z3 = pytest.importorskip("z3", reason="needs z3-solver: make prove")

from services.risk import kernel  # noqa: E402
from tests.model.induction import OBLIGATIONS, Obligation, discharge  # noqa: E402
from tests.model.symbolic import Symbol, value  # noqa: E402


@pytest.mark.parametrize("obligation", OBLIGATIONS, ids=lambda obligation: obligation.name)
def test_obligation(obligation: Obligation):
    answer = discharge(obligation)
    assert answer.is_right, f"expected {answer.expected}, was {answer.answer}"


@pytest.mark.parametrize(
    "function", [kernel.sided_use, kernel.closable, kernel.reaches, kernel.lots_for], ids=lambda f: f.__name__
)
def test_a_symbolic_run_says_what_the_function_says(function: Any):
    """The executor itself, against the function on every small argument."""
    count = function.__code__.co_argcount
    symbols = [Symbol(z3.Int(f"x{i}")) for i in range(count)]
    formula = value(function, *symbols)
    for numbers in product((-3, -1, 0, 1, 2), repeat=count):
        put = [(symbol.term, z3.IntVal(number)) for symbol, number in zip(symbols, numbers, strict=True)]
        told = z3.simplify(z3.substitute(formula if z3.is_expr(formula) else z3.BoolVal(formula), *put))
        assert str(told) == str(function(*numbers)), f"{function.__name__}{numbers}"
