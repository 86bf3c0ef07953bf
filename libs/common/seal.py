"""Ed25519 seals over approvals and commands (RFC 8032).

What is sealed is the exact event: its type and its JSON with an empty `seal`, so order, epoch, limits version, expiry
and key id are all under the signature. Keys are 32 raw bytes in hex; private ones come from files only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from libs.common.events import AmendIntent, Command, OrderIntent

BAD_SEAL, OLD_EPOCH, OTHER_BOOK, LASTS_TOO_LONG, NO_ORDER = (
    "SEAL",
    "OLD_EPOCH",
    "OTHER_BOOK",
    "LASTS_TOO_LONG",
    "NO_ORDER",
)
FORGERIES = frozenset({BAD_SEAL, OLD_EPOCH, OTHER_BOOK, LASTS_TOO_LONG, NO_ORDER})
"""Why execution refuses an approval that risk cannot have made: somebody else wrote it, or keys and settings do not fit."""

Sealed = TypeVar("Sealed", bound=OrderIntent | AmendIntent | Command)


def sealed_bytes(event: OrderIntent | AmendIntent | Command) -> bytes:
    """The bytes under the signature: type, a newline, the body's JSON with `seal` empty."""
    bare = event if event.seal == "" else msgspec.structs.replace(event, seal="")
    return type(event).__name__.encode() + b"\n" + msgspec.json.encode(bare)


def generate() -> tuple[str, str]:
    """A new key pair as (private hex, public hex)."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw().hex(), key.public_key().public_bytes_raw().hex()


def public_of(private_hex: str) -> str:
    return _private(private_hex).public_key().public_bytes_raw().hex()


def sign(private_hex: str, event: Sealed) -> Sealed:
    """The event with its seal; `key_id` and `epoch` must be in place already."""
    return msgspec.structs.replace(event, seal=_private(private_hex).sign(sealed_bytes(event)).hex())


def verify(public_hex: str, event: OrderIntent | AmendIntent | Command) -> bool:
    """Whether `seal` is this key's signature over exactly this event. Never raises on a malformed seal or key."""
    try:
        _public(public_hex).verify(bytes.fromhex(event.seal), sealed_bytes(event))
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=16)
def _private(private_hex: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_hex))


@lru_cache(maxsize=64)
def _public(public_hex: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))
