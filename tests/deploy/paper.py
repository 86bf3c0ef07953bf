"""A short real run for tests: Redis, the simulator, five services and the watchdog in wall-clock time, as the images start them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.keys import write_files
from libs.common.streams import SERVICES, WATCHDOG
from tests.deploy.dockerfile import ROOT
from tests.redis_server import running_server
from tests.waiting import eventually

PROCESSES = {service: f"services.{service}" for service in SERVICES} | {WATCHDOG: "services.execution.watchdog"}

SETTINGS = ROOT / "deploy/k8s/components/simulator/tidegate.toml"


@dataclass
class Paper:
    folder: Path
    env: dict[str, str]
    ports: dict[str, int]
    """Of the probes, by service."""

    def tidegate(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "cli.main", "--config", str(self.folder / "tidegate.toml"), *arguments]
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in (0, 3), done.stderr
        return done.stdout


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(folder: Path, bus: str, venue: int) -> None:
    """The settings of the containers, with this machine's places."""
    text = SETTINGS.read_text()
    for old, new in (
        ("redis://redis:6379/0", bus),
        ("//sim:8090", f"//127.0.0.1:{venue}"),
        ('"/keys/seal.key"', '"keys/risk/seal.key"'),
        ('"/keys/bus"', '"keys/operator/bus"'),
        ('"/keys/venue.json"', '"keys/execution/venue.json"'),
        ('probes_host = "0.0.0.0"', 'probes_host = "127.0.0.1"'),
        ("probes_port = 8080", "probes_port = 0"),
        ("udp://watchdog:9099", f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"),
        ('listen_host = "0.0.0.0"', 'listen_host = ""'),
        ('"/keys/watchdog.json"', '"keys/watchdog/watchdog.json"'),
    ):
        assert old in text, f"{SETTINGS} does not say {old}"
        text = text.replace(old, new)
    (folder / "tidegate.toml").write_text(text)


@contextlib.contextmanager
def running_paper(folder: Path) -> Iterator[Paper]:
    """Yields when all are ready; every process is gone afterwards."""
    write_files(folder / "keys")
    (folder / "bus").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    env = clean | {"PYTHONPATH": str(ROOT)}
    with (
        running_server(folder / "bus", "--aclfile", str(folder / "keys/redis/users.acl")) as bus,
        contextlib.ExitStack() as stack,
    ):
        venue = free_port()
        settings(folder, bus, venue)
        accounts = str(folder / "keys/sim/accounts.json")
        sim = ["sim", "--tape", "synthetic:seed=7,minutes=600", "--port", str(venue), "--accounts", accounts]
        stack.enter_context(process(folder, env, "sim", *sim))
        eventually(lambda: listens(venue), 30)
        places = {"TIDEGATE_CONFIG": str(folder / "tidegate.toml"), "TIDEGATE_RUN_DIR": str(folder)}
        for service, module in PROCESSES.items():
            secrets = folder / "keys" / service / "settings"
            own = {"TIDEGATE_BUS__PASSWORDS": str(folder / "keys" / service / "bus")}
            own |= {"TIDEGATE_SECRETS_DIR": str(secrets)} if secrets.is_dir() else {}
            stack.enter_context(process(folder, env | places | own, service, module))
        files = {service: folder / "ports" / f"{service}.port" for service in PROCESSES}
        eventually(lambda: all(file.is_file() for file in files.values()), 60)
        yield Paper(folder, env, {service: int(file.read_text()) for service, file in files.items()})


@contextlib.contextmanager
def process(folder: Path, env: dict[str, str], name: str, module: str, *arguments: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("ab") as log:
        command = [sys.executable, "-m", module, *arguments]
        child = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        child.kill()
        child.wait()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
