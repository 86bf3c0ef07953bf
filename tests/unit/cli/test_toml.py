"""TOML out: what is written is read back as it was."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.toml import dumps

scalars = (
    st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | st.lists(scalars, max_size=3), lambda inner: st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_it_is_read_back_as_it_was(data: dict[str, Any]):
    assert tomllib.loads(dumps(data)) == data


def test_tables_come_after_plain_keys_and_empty_ones_stay():
    assert dumps({"a": {"t": {"x": 1}, "k": "v"}, "b": {}}) == '[a]\nk = "v"\n\n[a.t]\nx = 1\n\n[b]\n'


def test_what_toml_cannot_say_is_refused():
    with pytest.raises(TypeError, match="was NoneType"):
        dumps({"a": None})
