"""Rows of the archive, and the Parquet files that hold them.

A row is a Redis entry spread over columns; nothing of the entry is lost, so an archive can fill an empty Redis again. The
chain of hashes runs over the rows, not the files: merging files leaves it as it is.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from libs.common.codec import FIELDS as ENVELOPE
from libs.common.errors import DivergedError

NUMBERS = frozenset(("v", "seq", "at"))
COLUMNS = ("entry_id", *ENVELOPE)
GENESIS = bytes(32)
"""Hash before the first row."""
ALL = (*COLUMNS, "extra")
"""Every column of the entry itself; `prev_hash` and `hash` stand beside them."""
ROW_GROUP = 20_000
BATCH = 4_096
"""Rows that a reader holds as Python values at a time."""

Entry = tuple[bytes, Sequence[bytes]]
"""What Redis gives: entry id, flat list of field, value, field, value."""
Row = dict[str, Any]
"""`entry_id` and the envelope's fields as str, `v`, `seq`, `at` as int, None where the entry has no such field; `extra`
(bytes, msgpack list) is there when it had others."""


def to_row(entry_id: bytes, fields: Sequence[bytes]) -> Row:
    """A Redis entry to a row, keeping everything: what does not fit a column exactly goes to `extra`."""
    row: Row = dict.fromkeys(COLUMNS)
    row["entry_id"] = entry_id.decode()
    rest: list[bytes] = []
    for at in range(0, len(fields), 2):
        name, value = fields[at].decode("utf-8", "replace"), fields[at + 1]
        if name in ENVELOPE and row[name] is None and (fitting := _fitting(name, value)) is not None:
            row[name] = fitting
        else:
            rest += (fields[at], value)
    row["extra"] = msgspec.msgpack.encode(rest) if rest else None
    return row


def _fitting(name: str, value: bytes) -> str | int | None:
    try:
        text = value.decode()
        if name not in NUMBERS:
            return text
        number = int(text)
    except ValueError:
        return None
    return number if str(number) == text and -(2**63) <= number < 2**63 else None


def to_entry(row: Row) -> tuple[bytes, list[bytes]]:
    """A row back to the Redis entry: what `restore` writes with XADD."""
    fields: list[bytes] = []
    for name in ENVELOPE:
        if row[name] is not None:
            fields += (name.encode(), str(row[name]).encode())
    if row.get("extra"):
        fields += msgspec.msgpack.decode(row["extra"], type=list[bytes])
    return row["entry_id"].encode(), fields


_canonical = msgspec.msgpack.Encoder().encode


def chain(previous: bytes, row: Row) -> bytes:
    """Hash of `row` after a row with the hash `previous`."""
    return hashlib.sha256(previous + _canonical([row[name] for name in COLUMNS] + [row.get("extra")])).digest()


# --- files ----------------------------------------------------------------------------------------------------


def segments_of(directory: Path) -> list[tuple[int, int, Path]]:
    """(first, last, path) in order. A file whose rows lie within a longer one's is what a merge has not deleted yet."""
    found = []
    for path in directory.glob("*.parquet"):
        first, dash, last = path.stem.partition("-")
        if dash and first.isdigit() and last.isdigit():
            found.append((int(first), int(last), path))
    found.sort(key=lambda item: (item[0], -item[1]))
    kept: list[tuple[int, int, Path]] = []
    for item in found:
        if not kept or item[1] > kept[-1][1]:
            kept.append(item)
    return kept


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    for values in read_columns(path, columns):
        for row in zip(*values, strict=True):
            yield dict(zip(columns, row, strict=True))


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[list[list[Any]]]:
    """The file a few thousand rows at a time, each time one list a column."""
    import pyarrow as pa  # here, not above: only the archive's readers and writer carry pyarrow
    import pyarrow.parquet as pq

    try:
        # No threads, no read-ahead: segments are small, and waking threads costs more than they save.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(columns), use_threads=False)
                for batch in table.to_batches(max_chunksize=BATCH):
                    yield [batch.column(name).to_pylist() for name in columns]
    except (pa.ArrowException, OSError, ValueError) as e:
        raise DivergedError(f"expected {path} to be a readable segment, was not: {e}") from e


def order(entry_id: str) -> tuple[int, int]:
    ms, _, n = entry_id.partition("-")
    return int(ms), int(n or 0)


def file_name(first: int, last: int) -> str:
    return f"{first:012d}-{last:012d}.parquet"


def parquet(rows: list[Row]) -> bytes:
    import pyarrow as pa  # here, not above: only the archive's readers and writer carry pyarrow

    kinds = {name: pa.int64() if name in NUMBERS else pa.string() for name in COLUMNS}
    kinds |= {"extra": pa.binary(), "prev_hash": pa.binary(32), "hash": pa.binary(32)}
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    return _write_table(pa.table(columns))


def merged(paths: Sequence[Path]) -> bytes:
    import pyarrow as pa  # as above
    import pyarrow.parquet as pq

    return _write_table(pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths]))


def _write_table(table: Any) -> bytes:
    import pyarrow.parquet as pq  # as above

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", use_dictionary=["type", "v", "cause"], row_group_size=ROW_GROUP)
    return buffer.getvalue()
