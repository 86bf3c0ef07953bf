"""What an operator is told when risk refuses him."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

import pytest

from cli.refusals import SAID, refusal
from libs.common import seal
from services.risk import commands, limitfile


def words_of(module: ModuleType) -> set[str]:
    """The constants in capitals of a module."""
    found = (node.value for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Constant))
    return {word for word in found if isinstance(word, str) and word.replace("_", "").isalpha() and word.isupper()}


def test_every_reason_to_refuse_a_command_is_explained() -> None:
    reasons = words_of(commands) | words_of(limitfile) | {seal.BAD_SEAL, seal.OTHER_BOOK}
    assert reasons == set(SAID)


@pytest.mark.parametrize("reason", sorted(SAID))
def test_a_refusal_names_its_reason_and_a_way_on(reason: str) -> None:
    assert refusal(reason).startswith(f"risk refused the command: {reason}; ")
