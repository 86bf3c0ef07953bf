"""`--accounts FILE`: the keys a simulated exchange knows."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from libs.common.errors import UsageError
from sim.account import AccountSpec
from sim.config import DEFAULT_ACCOUNTS


def read_accounts(path: Path | None) -> list[AccountSpec]:
    """Keys of a JSON file: a list of objects with key, secret, usdt and the like; without a file the default one.

    Raises UsageError for a file that cannot be read or used.
    """
    if path is None:
        return list(DEFAULT_ACCOUNTS)
    try:
        specs = msgspec.json.decode(path.read_bytes(), type=list[AccountSpec])
    except OSError as error:
        raise UsageError(f"{path}: expected a readable accounts file, was not: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: expected a JSON list of accounts with key and secret, was not: {error}") from error
    if not specs or len({spec.key for spec in specs}) < len(specs):
        raise UsageError(f"{path}: expected at least one account and no key twice")
    for spec in specs:
        if not _is_amount(spec.usdt):
            raise UsageError(f"{path}: expected usdt of {spec.key} to be an amount >= 0, was {spec.usdt!r}")
    return specs


def _is_amount(text: str) -> bool:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return False
    return amount.is_finite() and amount >= 0
