"""A server of its own for each measurement: no disk, a unix socket."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cli.embedded import find_server

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def running_server(directory: Path, *options: str) -> Iterator[str]:
    """Yields `unix:///...`. `options`: of the server, e.g. --appendonly yes."""
    with tempfile.TemporaryDirectory(prefix="tg-") as short:  # a socket's path holds 107 bytes
        path = Path(short) / "bus.sock"
        command = [str(find_server()), "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""]
        process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 20
            while not path.exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"expected a server on {path}, was exit code {process.poll()}")
                time.sleep(0.01)
            yield f"unix://{path}"
        finally:
            process.kill()
            process.wait()
