"""Operators' key files: 64 hex digits, or an encrypted PKCS #8 block; readable by their owner alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common.errors import UsageError
from libs.common.seal import public_of

PEM_BEGIN = "-----BEGIN"
MODE = 0o400


def write_key(path: Path, private_hex: str, passphrase: str = "") -> None:
    """Write a new key file with mode 0400 from its first byte on. Raises UsageError when there is a file already."""
    text = _locked(private_hex, passphrase) if passphrase else f"{private_hex}\n"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"expected no file at {path}, was one; a key is never overwritten, name another") from None
    except OSError as e:
        raise UsageError(f"cannot write the key {path}: {e.strerror}; name another file") from e


def read_key(path: Path, ask: Callable[[Path], str]) -> str:
    """The private key (hex) of a file; `ask` gives the passphrase of a locked one. Raises UsageError."""
    try:
        mode, text = path.stat().st_mode & 0o777, path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "not text"
        raise UsageError(f"cannot read the operator's key {path}: {reason}; name another with --key FILE") from e
    if mode & 0o077 and not _is_mounted(path, mode):
        raise UsageError(f"expected {path} to be readable by its owner alone, was mode {mode:o}; chmod 400 it")
    try:
        private = _unlocked(text, ask(path)) if text.startswith(PEM_BEGIN) else text
        public_of(private)
    except (ValueError, TypeError):
        raise UsageError(
            f"expected {path} to hold an Ed25519 key as `tidegate operator keygen` writes it (and its passphrase), was neither"
        ) from None
    return private


def _is_mounted(path: Path, mode: int) -> bool:
    """A file of root's that one group may read: how Kubernetes mounts a Secret for a process that is not root."""
    return mode & 0o077 == 0o040 and path.stat().st_uid == 0 and os.geteuid() != 0


def _locked(private_hex: str, passphrase: str) -> str:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_hex))
    lock = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock).decode()


def _unlocked(text: str, passphrase: str) -> str:
    key = serialization.load_pem_private_key(text.encode(), passphrase.encode() or None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError("not an Ed25519 key")
    return key.private_bytes_raw().hex()
