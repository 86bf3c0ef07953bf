"""Run a shipped function on unbounded symbolic integers: every path of it, each with the condition under which it is taken.

A comparison of symbols asks which way to go when Python wants its truth; the function is run again for each way that Z3
cannot rule out. Nothing of the function is typed again here, so what is proved is what runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import z3


class Paths:
    """The decisions of one run: a prefix that is given, then True first."""

    def __init__(self, assumed: z3.BoolRef) -> None:
        self.solver = z3.Solver()
        self.solver.add(assumed)
        self.given: list[bool] = []
        self.taken: list[tuple[z3.BoolRef, bool]] = []

    def decide(self, condition: z3.BoolRef) -> bool:
        known = z3.simplify(condition)
        if z3.is_true(known) or z3.is_false(known):
            return bool(z3.is_true(known))
        index = len(self.taken)
        way = self.given[index] if index < len(self.given) else self._possible(condition)
        self.taken.append((condition, way))
        return way

    def _possible(self, condition: z3.BoolRef) -> bool:
        return bool(self.solver.check(self.condition(), condition) != z3.unsat)

    def condition(self) -> z3.BoolRef:
        return z3.And([taken if way else z3.Not(taken) for taken, way in self.taken])


_paths: list[Paths] = []


class Truth:
    """A symbolic truth; Python's `if`, `and` and `max` make it choose."""

    def __init__(self, condition: z3.BoolRef) -> None:
        self.condition = condition

    def __bool__(self) -> bool:
        return _paths[-1].decide(self.condition)


class Symbol:
    """A symbolic integer that behaves as Python's: `//` and `%` round toward minus infinity, for positive divisors."""

    __hash__ = None  # type: ignore[assignment]  # equality is symbolic

    def __init__(self, term: Any) -> None:
        self.term = term

    def __add__(self, other: Any) -> Symbol:
        return Symbol(self.term + term(other))

    def __radd__(self, other: Any) -> Symbol:
        return Symbol(term(other) + self.term)

    def __sub__(self, other: Any) -> Symbol:
        return Symbol(self.term - term(other))

    def __rsub__(self, other: Any) -> Symbol:
        return Symbol(term(other) - self.term)

    def __mul__(self, other: Any) -> Symbol:
        return Symbol(self.term * term(other))

    __rmul__ = __mul__

    def __neg__(self) -> Symbol:
        return Symbol(-self.term)

    def __abs__(self) -> Symbol:
        return self if self >= 0 else -self

    def __floordiv__(self, other: Any) -> Symbol:
        return Symbol(self.term / _positive(other))

    def __mod__(self, other: Any) -> Symbol:
        return Symbol(self.term % _positive(other))

    def __lt__(self, other: Any) -> Truth:
        return Truth(self.term < term(other))

    def __le__(self, other: Any) -> Truth:
        return Truth(self.term <= term(other))

    def __gt__(self, other: Any) -> Truth:
        return Truth(self.term > term(other))

    def __ge__(self, other: Any) -> Truth:
        return Truth(self.term >= term(other))

    def __eq__(self, other: object) -> Truth:  # type: ignore[override]
        return Truth(self.term == term(other))

    def __bool__(self) -> bool:
        return _paths[-1].decide(self.term != 0)


def term(value: Any) -> Any:
    """The Z3 term of a symbol, a truth or a plain number."""
    if isinstance(value, Symbol):
        return value.term
    return value.condition if isinstance(value, Truth) else value


def _positive(divisor: Any) -> Any:
    if not Symbol(z3.IntVal(0)) < divisor:
        raise ArithmeticError(
            "expected a divisor above 0, was one that need not be; Z3 divides otherwise than Python there"
        )
    return term(divisor)


def paths(function: Callable[..., Any], *arguments: Any, assumed: z3.BoolRef | None = None) -> list[tuple[Any, Any]]:
    """(condition, result) of every path of `function(*arguments)` that `assumed` allows; symbols in, terms out."""
    found: list[tuple[Any, Any]] = []
    todo: list[list[bool]] = [[]]
    while todo:
        run = Paths(z3.BoolVal(True) if assumed is None else assumed)
        run.given = todo.pop()
        _paths.append(run)
        try:
            result = term(function(*arguments))
        finally:
            _paths.pop()
        found.append((run.condition(), result))
        for index in range(len(run.given), len(run.taken)):
            condition, way = run.taken[index]
            before = z3.And([c if w else z3.Not(c) for c, w in run.taken[:index]])
            if way and run.solver.check(before, z3.Not(condition)) != z3.unsat:
                todo.append([w for _, w in run.taken[:index]] + [False])
    return found


def value(function: Callable[..., Any], *arguments: Any, assumed: z3.BoolRef | None = None) -> Any:
    """The function's result as one Z3 term: its paths under each other."""
    (_, result), *others = reversed(paths(function, *arguments, assumed=assumed))
    for condition, other in others:
        result = z3.If(condition, other, result)
    return result
