"""An instance of any event, every field filled: from its type alone, so that new events are tested without being listed."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Any, cast

import msgspec

from libs.common.events import Event


def example(kind: type[Event]) -> Event:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return cast(Event, kind(**{field.name: _value(field.type) for field in info.fields}))


def _value(kind: msgspec.inspect.Type) -> Any:
    match kind:
        case msgspec.inspect.StrType():
            return "text é"
        case msgspec.inspect.IntType():
            return 2**62
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.DecimalType():
            return Decimal("-12345678901234567890.00000001")
        case msgspec.inspect.EnumType(cls=cls):
            return next(iter(cast(type[Enum], cls)))
        case msgspec.inspect.UnionType(types=types):
            return _value(next(t for t in types if not isinstance(t, msgspec.inspect.NoneType)))
        case msgspec.inspect.VarTupleType(item_type=item):
            return (_value(item), _value(item))
        case msgspec.inspect.TupleType(item_types=items):
            return tuple(_value(item) for item in items)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return {_value(key): _value(value)}
        case msgspec.inspect.StructType(cls=cls):
            return example(cls)
        case _:
            raise AssertionError(f"teach examples.py about {kind}")
