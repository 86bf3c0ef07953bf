"""What a process runs on: the hash of its code and of its settings file, put into its heartbeats by the shell.

Services of one book run on the same of both; risk halts when they differ outside a signed upgrade window. Images carry only
their own service, so what is hashed is what all of them hold: the revision they were built from, else the shared library.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from libs.common.events import Event, Heartbeat
from libs.common.settings import Settings
from libs.common.stepper import Finish

REVISION_VARIABLE = "TIDEGATE_REVISION"
"""Set in images: the commit they were built from."""

SHARED = Path(__file__).resolve().parent
DIGITS = 12


def code_hash() -> str:
    """The revision of the image, or a hash over the sources that every service shares."""
    revision = os.environ.get(REVISION_VARIABLE, "")
    if revision:
        return revision[:DIGITS]
    found = hashlib.blake2b(digest_size=DIGITS // 2)
    for path in sorted(SHARED.rglob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def settings_hash(settings: Settings) -> str:
    """A hash of the settings file's bytes, "" without one. What the environment adds to one service is its own affair."""
    if settings.file is None:
        return ""
    return hashlib.blake2b(settings.file.read_bytes(), digest_size=DIGITS // 2).hexdigest()


def stamping(code: str, settings: str, inner: Finish | None = None) -> Finish:
    """`inner`, and both hashes in every heartbeat."""

    def finish(event: Event) -> Event:
        if type(event) is Heartbeat:
            return msgspec.structs.replace(event, code=code, config=settings)
        return inner(event) if inner is not None else event

    return finish
