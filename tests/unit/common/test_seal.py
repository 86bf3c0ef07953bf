"""Seals are over the exact order: change anything and they are void."""

from __future__ import annotations

import msgspec
import pytest

from libs.common import seal
from libs.common.events import HaltRequested, OrderIntent
from tests.unit.common.examples import example

PRIVATE, PUBLIC = seal.generate()


def sealed() -> OrderIntent:
    bare = example(OrderIntent)
    assert isinstance(bare, OrderIntent)
    return seal.sign(PRIVATE, msgspec.structs.replace(bare, seal="", key_id="k1", epoch=4))


def test_a_seal_is_valid_for_its_order_and_key_only() -> None:
    assert seal.public_of(PRIVATE) == PUBLIC
    assert seal.verify(PUBLIC, sealed())
    assert not seal.verify(seal.generate()[1], sealed())


@pytest.mark.parametrize("field", [f for f in OrderIntent.__struct_fields__ if f not in ("seal", "limits")])
def test_no_field_can_be_changed_under_a_seal(field: str) -> None:
    order = sealed()
    value = getattr(order, field)
    changed = {
        str: "other", bool: not value, int: 5,
    }.get(type(value), value)  # fmt: skip
    if changed == value:
        changed = value + 1 if not isinstance(value, str) else next(v for v in type(value) if v != value)  # type: ignore[attr-defined]
    assert not seal.verify(PUBLIC, msgspec.structs.replace(order, **{field: changed}))


@pytest.mark.parametrize("broken", ["", "zz", "00", "f" * 128, "é"])
def test_a_malformed_seal_is_invalid_not_an_error(broken: str) -> None:
    assert not seal.verify(PUBLIC, msgspec.structs.replace(sealed(), seal=broken))
    assert not seal.verify(broken, sealed())


def test_a_seal_of_one_type_is_void_for_another() -> None:
    command = HaltRequested(operator="ana", nonce="1", expires_at=1, reason="x")
    assert seal.sealed_bytes(command).startswith(b"HaltRequested\n")
    assert seal.verify(PUBLIC, seal.sign(PRIVATE, command))
