"""Listings as table, JSON or CSV on stdout."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.codec import entry_text
from libs.common.record import Record

NS_PER_S = 1_000_000_000
_WIDE = 400
"""Columns of a table that goes to a pipe or a file: nothing is folded there."""


def plain(value: Any) -> Any:
    """JSON-ready data: Decimals and instants (`at`, `..._at`: ns, beyond what a double holds) as strings."""
    return _instants_as_text(msgspec.to_builtins(value))


def _instants_as_text(data: Any) -> Any:
    if isinstance(data, dict):
        return {
            key: str(value) if _is_instant(key) and isinstance(value, int) else _instants_as_text(value)
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [_instants_as_text(value) for value in data]
    return data


def _is_instant(key: object) -> bool:
    return isinstance(key, str) and (key == "at" or key.endswith("_at"))


def event_row(record: Record) -> dict[str, Any]:
    """One exported event: `stream` (bare), `entry_id`, the envelope, then its own fields."""
    row: dict[str, Any] = {
        "stream": record.stream,
        "entry_id": entry_text(record.entry),
        "id": record.id,
        "type": type(record.body).__name__,
        "v": type(record.body).VERSION,
        "seq": record.seq,
        "at": str(record.at),
        "cause": [list(cause) for cause in record.cause],
        "correlation": record.correlation,
    }
    row.update(plain(record.body))
    return row


def print_json(document: Any) -> None:
    """One document, one trailing newline."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain(document)), indent=2).decode() + "\n")


def print_json_line(row: Mapping[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(row).decode() + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], how: str, title: str = "") -> None:
    """Rows of the same keys: a table for people, one JSON document, or CSV with a header line."""
    if how == "json":
        print_json([dict(row) for row in rows])
    elif how == "csv":
        writer = csv.DictWriter(sys.stdout, list(columns), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(key, plain({key: row.get(key)})[key], how) for key in columns} for row in rows)
    else:
        _print_table(rows, columns, title)


def _print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_number = bool(rows) and isinstance(rows[0].get(name), (int, float, Decimal)) and not _is_instant(name)
        table.add_column(
            name.removesuffix("_at").replace("_", " "), justify="right" if is_number else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_cell(name, row.get(name), "table")) for name in columns))
    if not rows:
        table.add_row(*(Text("none" if i == 0 else "") for i, _ in enumerate(columns)))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)


def _cell(key: str, value: Any, how: str) -> str:
    if value is None:
        return ""
    if _is_instant(key) and how == "table":
        return utc(int(value))
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, (dict, list, tuple)):
        return msgspec.json.encode(plain(value)).decode()
    return str(value)


def decimal_text(value: Decimal) -> str:
    """Without exponent and trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def utc(at: int) -> str:
    """Nanoseconds to `2021-05-19 13:02:11.250`; `-` for 0."""
    if at <= 0:
        return "-"
    text = datetime.fromtimestamp(at // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{at % NS_PER_S // 1_000_000:03d}"
