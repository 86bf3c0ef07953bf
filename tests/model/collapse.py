"""A situation as a row of numbers, one for each of its parts; equal parts have equal numbers.

A letter changes few of a core's fields. So each group of fields is encoded for itself, every encoding is kept once, and to go
back to a situation only those groups are decoded that a letter has changed. Two situations are equal exactly when their rows
are: nothing rests on a hash. (SPIN calls it collapse compression.)
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, is_
from typing import Any

import msgspec

Row = tuple[int, ...]

_encode = msgspec.msgpack.Encoder().encode


class Group:
    """Fields of one struct that are encoded together.

    `frozen` ones, two or more, hold immutable values: the same objects are the same part, without a look at their bytes.
    """

    def __init__(self, kind: type[msgspec.Struct], names: tuple[str, ...], *, frozen: bool = False) -> None:
        types = {field.name: field.type for field in msgspec.structs.fields(kind)}
        self.names, self.frozen = names, frozen
        self.read: Callable[[Any], Any] = attrgetter(*names)
        shape = tuple[tuple(types[name] for name in names)] if len(names) > 1 else types[names[0]]  # type: ignore[misc]
        self.decode = msgspec.msgpack.Decoder(shape).decode

    def write(self, target: Any, values: Any) -> None:
        if len(self.names) == 1:
            setattr(target, self.names[0], values)
            return
        for name, value in zip(self.names, values, strict=True):
            setattr(target, name, value)


def groups(kind: type[msgspec.Struct], *chosen: tuple[str, ...], frozen: tuple[str, ...] = ()) -> tuple[Group, ...]:
    """All fields of a struct: those named in groups, and every other one in a last group."""
    named = {name for names in (*chosen, frozen) for name in names}
    rest = tuple(name for name in kind.__struct_fields__ if name not in named)
    found = [Group(kind, names) for names in (*chosen, rest) if names]
    return (*found, Group(kind, frozen, frozen=True)) if frozen else tuple(found)


class Parts:
    """The parts met so far, and the row of what the targets hold.

    `layout`: groups of each target. `marks_of`: the names in a text as bits, for `used`.
    """

    def __init__(self, layout: tuple[tuple[Group, ...], ...], marks_of: Callable[[bytes], int]) -> None:
        self.layout = [(i, group) for i, of_target in enumerate(layout) for group in of_target]
        self.marks_of = marks_of
        self.numbers: dict[bytes, int] = {}
        self.texts: list[bytes] = []
        self.marks: list[int] = []
        self.held: list[Any] = [()] * len(self.layout)
        """Of the frozen groups, the values of `row`."""
        self.row: Row = (-1,) * len(self.layout)

    def pack(self, *targets: Any) -> Row:
        """The row of what the targets hold now."""
        encode, numbers, row = _encode, self.numbers, []
        for place, (i, group) in enumerate(self.layout):
            values = group.read(targets[i])
            if group.frozen:
                if self.row[place] >= 0 and all(map(is_, values, self.held[place])):
                    row.append(self.row[place])
                    continue
                self.held[place] = values
            text = encode(values)
            number = numbers.get(text)
            row.append(self._new(text) if number is None else number)
        self.row = tuple(row)
        return self.row

    def _new(self, text: bytes) -> int:
        number = self.numbers[text] = len(self.texts)
        self.texts.append(text)
        self.marks.append(self.marks_of(text))
        return number

    def unpack(self, row: Row, *targets: Any) -> None:
        """Bring the targets from what was packed last to `row`; a part that is the same in both stays as it is."""
        before = self.row
        for place, (i, group) in enumerate(self.layout):
            if before[place] != row[place]:
                values = group.decode(self.texts[row[place]])
                group.write(targets[i], values)
                self.held[place] = values if group.frozen else ()
        self.row = row

    def used(self) -> int:
        """Bits of all names in the row."""
        bits = 0
        for number in self.row:
            bits |= self.marks[number]
        return bits
