"""`--script FILE`: operations of the exchange and when they happen, as TOML.

[[operation]]
after = "10m"                    # of tape time since its start; or `at` = an instant with its zone
do = "wick"
symbol = "BTCUSDT"
shift = -0.05
for_s = 3
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from libs.common.errors import UsageError

_AFTER = re.compile(r"(\d+)(ms|s|m|h|d)")
_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}
Timed = tuple[int, dict[str, Any]]


def read_script(path: Path | None, start_at: int) -> list[Timed]:
    """(ns, operation) in order of the file; without a file none. `start_at`: where the tape begins.

    Raises UsageError for a file that cannot be read or an entry without a time; what an operation needs is checked by the
    exchange.
    """
    if path is None:
        return []
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("operation", [])
    except OSError as error:
        raise UsageError(f"{path}: expected a readable script, was not: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected TOML with [[operation]] tables, was not: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path}: expected [[operation]] tables, was operation = {entries!r}")
    return [_timed(path, number, dict(entry), start_at) for number, entry in enumerate(entries, 1)]


def _timed(path: Path, number: int, entry: dict[str, Any], start_at: int) -> Timed:
    after, at = entry.pop("after", None), entry.pop("at", None)
    where = f"{path}: operation {number}"
    if (after is None) == (at is None):
        raise UsageError(f'{where}: expected one of after = "10m" and at = <instant>, was both or none')
    if at is not None:
        if getattr(at, "tzinfo", None) is None:
            raise UsageError(f"{where}: expected at to be an instant with its zone, was {at!r}; add Z")
        return round(at.timestamp() * 1000) * 10**6, entry
    match = _AFTER.fullmatch(str(after))
    if match is None:
        raise UsageError(f'{where}: expected after to be like "10m", was {after!r}')
    return start_at + int(match[1]) * _NS[match[2]], entry
