"""A small supervisor: the processes of one run, restarted when they die, gone when this process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.lifeline import spawn
from libs.common.errors import TidegateError
from libs.common.settings import CONFIG_VARIABLE, PREFIX, RUN_DIR_VARIABLE

ROOT = Path(__file__).resolve().parent.parent
"""Where the packages are: children run `python -m services.<x>` from here."""

GRACE_S = 15.0
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 2.0
_STEADY_S = 10.0
"""A process that lived this long starts over with the first back-off."""

HOPELESS_CODES = (2,)
"""Exit codes that no restart mends: wrong settings."""


@dataclass
class Child:
    """One supervised process. `restarts` counts how often it was started again."""

    name: str
    command: Sequence[str]
    restart: bool = True
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    codes: list[int] = field(default_factory=list)
    started_s: float = 0.0
    due_s: float = 0.0
    backoff_s: float = _FIRST_BACKOFF_S

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Starts `python -m MODULE` for each child; `tend()` is called often by whoever waits.

    Logs go to `<run_dir>/logs/<name>.log`, process ids to `<run_dir>/pids/<name>.pid` while they run. Everything happens
    in the thread that made it: the kernel ties a child to its parent's thread.
    """

    def __init__(self, run_dir: Path, config: Path, on_restart: Callable[[Child, int], None] | None = None) -> None:
        self.run_dir = run_dir.resolve()
        self.children: dict[str, Child] = {}
        self._env = _child_environment(self.run_dir, config.resolve())
        self._on_restart = on_restart
        (self.run_dir / "logs").mkdir(parents=True, exist_ok=True)
        (self.run_dir / "pids").mkdir(exist_ok=True)

    def start(self, name: str, module: str, *arguments: str, restart: bool = True) -> Child:
        """Start one child. `restart=False`: its end is an event for the caller, not a failure."""
        child = Child(name, [sys.executable, "-m", module, *arguments], restart)
        self.children[name] = child
        self._launch(child)
        return child

    def _launch(self, child: Child) -> None:
        env = self._env
        if child.restarts:  # a kill point is passed once: a crash test wants to see the restart
            env = {name: value for name, value in env.items() if name != "TIDEGATE_KILL"}
        child.process = spawn(child.command, log=self.log_of(child.name), env=env, cwd=ROOT)
        child.started_s = time.monotonic()
        child.due_s = 0.0
        self._pid_file(child.name).write_text(f"{child.pid}\n")

    def log_of(self, name: str) -> Path:
        return self.run_dir / "logs" / f"{name}.log"

    def _pid_file(self, name: str) -> Path:
        return self.run_dir / "pids" / f"{name}.pid"

    def tend(self) -> None:
        """Restart what died, with a back-off that starts short. Raises TidegateError when a restart cannot help."""
        now_s = time.monotonic()
        for child in self.children.values():
            if child.process is None or not child.restart:
                continue
            code = child.process.poll()
            if code is None:
                continue
            if child.due_s == 0.0:
                self._died(child, code, now_s)
            elif now_s >= child.due_s:
                child.restarts += 1
                self._launch(child)

    def _died(self, child: Child, code: int, now_s: float) -> None:
        child.codes.append(code)
        if code in HOPELESS_CODES:
            raise TidegateError(f"{child.name} cannot start (exit code {code}):\n{tail(self.log_of(child.name))}")
        if now_s - child.started_s > _STEADY_S:
            child.backoff_s = _FIRST_BACKOFF_S
        child.due_s = now_s + child.backoff_s
        child.backoff_s = min(child.backoff_s * 2, _LAST_BACKOFF_S)
        if self._on_restart is not None:
            self._on_restart(child, code)

    def stop(self, *names: str, grace_s: float = GRACE_S) -> None:
        """SIGTERM to each in the order given (all: in the order started), wait, and SIGKILL what outlives the grace."""
        for name in names or tuple(self.children):
            child = self.children.get(name)
            if child is None or child.process is None:
                continue
            child.restart = False
            if child.is_running():
                child.process.terminate()
                _wait(child.process, grace_s)
            self._pid_file(name).unlink(missing_ok=True)

    def kill(self) -> None:
        """End everything at once, for when the order does not matter any more."""
        for child in self.children.values():
            child.restart = False
            if child.is_running() and child.process is not None:
                child.process.send_signal(signal.SIGKILL)
        for child in self.children.values():
            if child.process is not None:
                child.process.wait()
            self._pid_file(child.name).unlink(missing_ok=True)


def _wait(process: subprocess.Popen[bytes], grace_s: float) -> None:
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _child_environment(run_dir: Path, config: Path) -> dict[str, str]:
    """Ours, without settings in variables: the run directory's config.toml has taken them in and is the truth."""
    env = {name: value for name, value in os.environ.items() if not (name.startswith(PREFIX) and "__" in name)}
    env[CONFIG_VARIABLE] = str(config)
    env[RUN_DIR_VARIABLE] = str(run_dir)
    env["PYTHONUNBUFFERED"] = "1"
    return env


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return f"  ({log} does not exist)"
