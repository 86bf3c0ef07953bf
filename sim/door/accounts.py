"""`--accounts FILE`: the keys a simulated exchange knows.

JSON, a list of keys, or TOML with one `[[keys]]` table each; the names are those of `AccountSpec`:

    [[keys]]
    account = "desk"            # keys that name the same account open the same one; the first one's money counts
    key = "trader"
    secret = "trader-secret"
    usdt = "25000"
    ips = ["127.0.0.1"]

    [[keys]]
    account = "desk"
    key = "watcher"
    secret = "watcher-secret"
    read_only = true
    expires_at = 2030-01-01T00:00:00Z
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from pathlib import Path

import msgspec

from libs.common.errors import UsageError
from sim.config import DEFAULT_ACCOUNTS
from sim.door.auth import rsa_key
from sim.engine.account import AccountSpec
from sim.routes.keys import PERMISSIONS


class _Row(AccountSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As in the file: a name that is not known is a mistake, not an extra; a time is written as one."""

    expires_at: datetime | None = None

    def spec(self) -> AccountSpec:
        values = {name: getattr(self, name) for name in AccountSpec.__struct_fields__}
        if self.expires_at is not None:
            values["expires_ms"] = int(self.expires_at.timestamp() * 1000)
        return AccountSpec(**values)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[_Row]


def read_accounts(path: Path | None) -> list[AccountSpec]:
    """The keys of a file; without one the default key. Raises UsageError for a file that cannot be read or used."""
    if path is None:
        return list(DEFAULT_ACCOUNTS)
    try:
        data = path.read_bytes()
        rows = msgspec.toml.decode(data, type=_File).keys if path.suffix == ".toml" else _json(data)
    except OSError as error:
        raise UsageError(f"{path}: expected a readable accounts file, was not: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{path}: expected accounts with key and secret (a JSON list, or [[keys]] in TOML), was not: {error}"
        ) from error
    if not rows or len({row.key for row in rows}) < len(rows):
        raise UsageError(f"{path}: expected at least one account and no key twice")
    for row in rows:
        _check(path, row)
    return [row.spec() for row in rows]


def _json(data: bytes) -> list[_Row]:
    return msgspec.json.decode(data, type=list[_Row])


def _check(path: Path, row: _Row) -> None:
    """Raises UsageError at the first value that cannot be meant."""
    where = f"{path}: key {row.key!r}"
    if not _is_amount(row.usdt):
        raise UsageError(f"{where}: expected usdt to be an amount >= 0, was {row.usdt!r}")
    if unknown := set(row.permissions) - PERMISSIONS:
        raise UsageError(
            f"{where}: expected permissions out of {', '.join(sorted(PERMISSIONS))}, was {', '.join(sorted(unknown))}"
        )
    for address in row.ips:
        if address != "*" and not _is_address(address):
            raise UsageError(f"{where}: expected ips to hold addresses or '*', was {address!r}")
    if row.expires_at is not None and row.expires_at.tzinfo is None:
        raise UsageError(f"{where}: expected expires_at with a time zone (a Z at its end), was {row.expires_at}")
    if row.rsa_public_key:
        try:
            rsa_key(row.rsa_public_key)
        except ValueError as error:
            raise UsageError(f"{where}: expected rsa_public_key to be an RSA public key in PEM, was not") from error


def _is_amount(text: str) -> bool:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return False
    return amount.is_finite() and amount >= 0


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
