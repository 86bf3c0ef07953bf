"""`tidegate config show`: every setting, its value, and where that came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli.context import DEFAULT, Ctx, Format
from cli.output import print_rows
from libs.common.sections import MASK, mask_url
from libs.common.settings import Settings, secret_key


def show(*, output: Format = "table", ctx: Ctx = DEFAULT) -> int:
    """Print each setting with its value and source; secrets are masked."""
    print_rows(list(rows(ctx.settings())), ("key", "value", "source"), output)
    return 0


def rows(settings: Settings) -> Iterator[dict[str, str]]:
    """One row a setting, by section."""
    for section, values in settings.values().items():
        for key, value in _leaves(section, values):
            yield {"key": key, "value": _shown(key, value), "source": _source(key, settings.sources)}


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        dotted = f"{prefix}.{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(dotted, value)
        else:
            yield dotted, value


def _shown(key: str, value: Any) -> str:
    if secret_key(key) and value:
        return MASK
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _source(key: str, sources: Mapping[str, str]) -> str:
    """The source of the key or of what it lies in (a table that was given as a whole)."""
    while key:
        if key in sources:
            return sources[key]
        key = key.rpartition(".")[0]
    return "default"
