"""The API keys of an account: two files, A and B, one of them in use. A file that changes is read again while we run."""

from __future__ import annotations

from pathlib import Path

import msgspec

from libs.bybit.sign import Key
from libs.common import logs
from libs.common.errors import SettingsError

REFUSED_KEY_CODES = frozenset({10003, 10005, 10010, 33004})
"""Unknown key, missing permission, foreign address, expired: the key is at fault, and the gateway did nothing."""

_Stamp = tuple[int, int, int]


def read_key(path: Path) -> Key:
    """The API key in a JSON file {"key": ..., "secret": ...}. The error never shows what the file holds."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Key)
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f'expected a JSON file {{"key", "secret"}} at {path}, was {type(error).__name__}') from None


class _Slot:
    """One file: its key as last read, and whether the venue refused that one."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.refused = False
        self.stamp = _stamp(path)
        self.key = read_key(path)
        logs.guard(self.key.secret)

    def changed(self) -> bool:
        """Read the file if it is another one than before. What cannot be read leaves the key as it was."""
        stamp = _stamp(self.path)
        if stamp == self.stamp:
            return False
        self.stamp = stamp
        try:
            key = read_key(self.path)
        except SettingsError as error:
            logs.get().warning("key file not taken", slot=self.name, error=str(error))
            return False
        if key == self.key and not self.refused:
            return False
        logs.guard(key.secret)
        self.key, self.refused = key, False
        return True


class KeyRing:
    """`files`: of key A, then of key B where there is one; every one must be readable at the start."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._slots = [_Slot(name, path) for name, path in zip("AB", files, strict=False)]
        self._active = 0

    @property
    def key(self) -> Key:
        return self._slots[self._active].key

    @property
    def keys(self) -> list[tuple[str, Key]]:
        """Every key by its slot, the one in use first."""
        return sorted(((s.name, s.key) for s in self._slots), key=lambda pair: pair[0] != self.slot)

    @property
    def slot(self) -> str:
        """`A` or `B`."""
        return self._slots[self._active].name

    def refresh(self) -> bool:
        """Look at the files; True when another key is in use from now on."""
        changed = [index for index, slot in enumerate(self._slots) if slot.changed()]
        if self._slots[self._active].refused and changed:
            self._active = changed[0]
        return self._active in changed

    def refuse(self, key: Key) -> bool:
        """The venue does not take this key. True when another is in use now; one that was refused comes back only with a new file."""
        if key != self.key:
            return True
        self._slots[self._active].refused = True
        for index, slot in enumerate(self._slots):
            if not slot.refused:
                logs.get().warning("API key refused; changed over", refused=self.slot, now=slot.name)
                self._active = index
                return True
        return False


def _stamp(path: Path) -> _Stamp | None:
    """What tells a file from its successor: a Secret of Kubernetes is another inode, an edit another time or size."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
