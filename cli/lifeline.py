"""Children that end when their parent ends, however it ends.

On Linux the kernel does it (PR_SET_PDEATHSIG). Elsewhere a watcher of a few lines polls both processes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_IS_LINUX = sys.platform.startswith("linux")
_LIBC = ctypes.CDLL(None, use_errno=True) if _IS_LINUX else None
"""Loaded here: after a fork nothing may be loaded."""

_POLL_S = 0.2


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    env: dict[str, str],
    cwd: Path,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to `log` and which gets `death_signal` when this process is gone.

    It runs in a session of its own, so a Ctrl-C on the terminal reaches the parent alone, which stops the rest in order.
    """
    parent = os.getpid()
    with log.open("ab") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=(lambda: _tie(parent, int(death_signal))) if _IS_LINUX else None,  # noqa: PLW1509 - only system calls in it
        )
    if not _IS_LINUX:
        watcher = [sys.executable, "-m", "cli.lifeline", str(parent), str(child.pid), str(int(death_signal))]
        subprocess.Popen(watcher, stdin=subprocess.DEVNULL, start_new_session=True, cwd=cwd)
    return child


def _tie(parent: int, death_signal: int) -> None:
    """Runs in the child between fork and exec."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def watch(parent: int, child: int, death_signal: int) -> None:
    """Wait for either to end; end the child when the parent was first."""
    while _is_alive(child):
        if not _is_alive(parent):
            os.kill(child, death_signal)
            return
        time.sleep(_POLL_S)


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
