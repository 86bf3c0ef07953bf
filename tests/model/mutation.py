"""Mutants of functions: each small change of one function of the risk core that some test ought to notice.

A mutant is a function's code object compiled from its changed syntax tree; `applied` puts it into the function that every
table and caller holds already. Texts, annotations and default arguments are left alone, and so is what stands outside
functions (tables, defaults of structs).
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from functools import _lru_cache_wrapper
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}  # fmt: skip
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}

Change = Callable[[Any], None]


class Mutant(msgspec.Struct, frozen=True):
    """The `variant`-th change of the `node`-th node of a function. `source`: hash of the function as it was."""

    module: str
    function: str
    source: str
    node: int
    variant: int
    line: int
    lines: range
    """Of the changed statement without its block: a test that runs none of them cannot notice."""
    what: str
    where: str
    """The expression that is changed as it is written, with a number where that is written more than once."""

    @property
    def key(self) -> str:
        """A name that lasts while the function around the expression changes."""
        return f"{self.module}.{self.function}#{self.where}: {self.what}"


def mutants_of(module: str) -> list[Mutant]:
    """Every mutant of every function of a module, in source order."""
    found: list[Mutant] = []
    for name, function in _functions(_tree(module)):
        source = hashlib.blake2b(ast.dump(function).encode(), digest_size=8).hexdigest()
        skipped, inside, around = _annotations(function), _statements(function), _expressions(function)
        seen: Counter[str] = Counter()
        for index, node in enumerate(ast.walk(function)):
            if id(node) in skipped:
                continue
            removed = [statement for _, _, statement in _removable(node)]
            for variant, (what, _) in enumerate(_changes(node)):
                line = getattr(node, "lineno", function.lineno)
                lines = _own_lines(removed[variant] if variant < len(removed) else inside[id(node)])
                where = _header(around[id(node)])
                seen[f"{where}{what}"] += 1
                where += f" ({times})" if (times := seen[f"{where}{what}"]) > 1 else ""
                found.append(Mutant(module, name, source, index, variant, line, lines, what, where))
    return found


def apply(mutant: Mutant) -> None:
    """Make the loaded module's function the mutant, for the rest of this process."""
    function = dict(_functions(_tree(mutant.module)))[mutant.function]
    changed = copy.deepcopy(function)
    node = list(ast.walk(changed))[mutant.node]
    list(_changes(node))[mutant.variant][1](node)
    _install(mutant.module, mutant.function, changed)


def rewritten(place: str, old: str, new: str) -> ast.FunctionDef:
    """The function `module:name` with `new` where `old` stands once in its text. LookupError, ValueError: it does not."""
    module, _, name = place.partition(":")
    function = dict(_functions(_tree(module)))[name]
    lines = path_of(module).read_text().splitlines()[function.lineno - 1 : function.end_lineno]
    text = textwrap.dedent("\n".join(lines))
    if text.count(old) != 1:
        raise ValueError(f"expected {old!r} once in {place}, was there {text.count(old)} times: where is it now?")
    (changed,) = ast.parse(text.replace(old, new)).body
    assert isinstance(changed, ast.FunctionDef)
    return changed


def rewrite(place: str, old: str, new: str) -> None:
    """Make the loaded function what `rewritten` gives, for the rest of this process."""
    module, _, name = place.partition(":")
    _install(module, name, rewritten(place, old, new))


def _install(module: str, name: str, changed: ast.FunctionDef) -> None:
    """Give the loaded function the code of another one of the same name."""
    changed.decorator_list = []
    whole = ast.Module([ast.ImportFrom("__future__", [ast.alias("annotations")], 0), changed], [])
    code = compile(ast.fix_missing_locations(whole), str(path_of(module)), "exec")
    (inner,) = [const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == changed.name]
    loaded(module, name).__code__ = inner
    forget()


def forget() -> None:
    """Empty what the services remember of earlier calls, so that a changed function is asked again."""
    loaded_modules = [module for name, module in list(sys.modules.items()) if name.startswith("services.")]
    for held in [held for module in loaded_modules for held in vars(module).values()]:
        if isinstance(held, _lru_cache_wrapper):
            held.cache_clear()


def loaded(module: str, name: str) -> FunctionType:
    """The function object behind a qualified name, through property and classmethod."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = vars(found)[part]
    found = (
        getattr(found, "fget", None) or getattr(found, "__func__", None) or getattr(found, "__wrapped__", None) or found
    )
    assert isinstance(found, FunctionType), f"expected a function at {module}.{name}, was {found!r}"
    return found


def path_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def _tree(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text())


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{part.name}", part) for part in node.body if isinstance(part, ast.FunctionDef))


def _annotations(function: ast.FunctionDef) -> set[int]:
    """Nodes that are no behaviour: annotations, defaults, decorators, docstrings."""
    idle: list[ast.AST] = [*function.decorator_list, function.args]
    idle += [function.returns] if function.returns is not None else []
    idle += [node.annotation for node in ast.walk(function) if isinstance(node, ast.AnnAssign)]
    return {id(inner) for node in idle for inner in ast.walk(node)}


def _statements(function: ast.FunctionDef) -> dict[int, ast.stmt]:
    """The innermost statement around each node (itself, where it is one), by the node's id."""
    found: dict[int, ast.stmt] = {}
    for outer in ast.walk(function):  # breadth first: inner statements come later and win
        if isinstance(outer, ast.stmt):
            found.update((id(node), outer) for node in ast.walk(outer))
    return found


def _expressions(function: ast.FunctionDef) -> dict[int, ast.AST]:
    """What each node is to be told by: itself, or what it is part of where it says little alone (a number)."""
    found: dict[int, ast.AST] = {id(function): function}
    for outer in ast.walk(function):
        for inner in ast.iter_child_nodes(outer):
            is_number = isinstance(inner, ast.Constant) or isinstance(getattr(inner, "op", None), ast.USub)
            found[id(inner)] = found[id(outer)] if is_number else inner
    return found


def _header(node: ast.AST) -> str:
    """The first line of a node's source; the name of a function."""
    return node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node).splitlines()[0]


def _own_lines(statement: ast.stmt) -> range:
    """A statement's lines without those of its block; a whole function."""
    block = getattr(statement, "body", None) or getattr(statement, "cases", None)
    if isinstance(statement, ast.FunctionDef) or not block:
        return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    first = block[0].pattern if isinstance(block[0], ast.match_case) else block[0]
    return range(statement.lineno, max(first.lineno, statement.lineno + 1))


# --- what may be changed ---------------------------------------------------------------------------------------------------


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    yield from _removals(node)
    yield from _drops(node)
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                other = COMPARE[type(op)]
                yield f"{type(op).__name__} -> {other.__name__}", _setter("ops", i, other)
        case ast.BoolOp(op=op):
            yield type(op).__name__ + " swapped", _swap_bool
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield f"{type(op).__name__} -> {ARITHMETIC[type(op)].__name__}", _swap_arithmetic
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"{type(node.op).__name__} dropped", _undo
        case ast.Constant(value=bool()):
            yield f"{node.value} negated", _negate_constant
        case ast.Constant(value=int()):
            yield f"{node.value} -> {node.value + 1}", _increment
        case ast.Call(func=ast.Name(id=name)) if name in SWAPPED:
            yield f"{name} -> {SWAPPED[name]}", _swap_call
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(
            test, ast.Compare | ast.BoolOp | ast.UnaryOp
        ):
            yield "condition negated", _negate_test


def _drops(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """One guard less: an operand of `and` or `or`, a filter of a comprehension."""
    if isinstance(node, ast.BoolOp):
        for i, operand in enumerate(node.values):
            yield f"without {ast.unparse(operand)}", _dropper("values", i)
    if isinstance(node, ast.comprehension):
        for i, condition in enumerate(node.ifs):
            yield f"without {ast.unparse(condition)}", _dropper("ifs", i)


def _removals(node: ast.AST) -> Iterator[tuple[str, Change]]:
    for field, i, statement in _removable(node):
        yield f"removed: {ast.unparse(statement).splitlines()[0][:60]}", _remover(field, i)


def _removable(node: ast.AST) -> Iterator[tuple[str, int, ast.stmt]]:
    for field in ("body", "orelse"):
        block = getattr(node, field, None)
        for i, statement in enumerate(block if isinstance(block, list) else ()):
            if _may_go(statement):
                yield field, i, statement


def _may_go(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):  # a local would only make the next line raise
        return any(not isinstance(target, ast.Name | ast.Tuple) for target in statement.targets)
    return isinstance(statement, ast.AugAssign | ast.Delete | ast.Continue) or (
        isinstance(statement, ast.Return) and statement.value is None
    )


def _setter(field: str, index: int, kind: type[Any]) -> Change:
    def change(node: Any) -> None:
        getattr(node, field)[index] = kind()

    return change


def _remover(field: str, index: int) -> Change:
    """The statement stays under `if 0`, so that a generator stays one."""

    def change(node: Any) -> None:
        block = getattr(node, field)
        block[index] = ast.If(test=ast.Constant(value=False), body=[block[index]], orelse=[])
        if isinstance(block[index].body[0], ast.Return | ast.Continue):
            block[index] = ast.Pass()

    return change


def _dropper(field: str, index: int) -> Change:
    """An operand that is left alone stands twice: `and` wants two."""

    def change(node: Any) -> None:
        kept = getattr(node, field)
        del kept[index]
        if field == "values" and len(kept) == 1:
            kept *= 2

    return change


def _swap_bool(node: Any) -> None:
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _swap_arithmetic(node: Any) -> None:
    node.op = ARITHMETIC[type(node.op)]()


def _undo(node: Any) -> None:
    node.operand = ast.UnaryOp(op=type(node.op)(), operand=node.operand)


def _negate_constant(node: Any) -> None:
    node.value = not node.value


def _increment(node: Any) -> None:
    node.value += 1


def _swap_call(node: Any) -> None:
    node.func.id = SWAPPED[node.func.id]


def _negate_test(node: Any) -> None:
    node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
