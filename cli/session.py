"""One tape run from start to end (a realtime run: cli/live.py): the bus, the simulator with its driver, five services; watched, then stopped in order."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from cli.bus import LiveBus, live_bus
from cli.context import Context, say
from cli.embedded import EmbeddedServer
from cli.models import carried
from cli.rundir import PASSWORDS, make_run_dir, write_accounts, write_config, write_keys, write_passwords
from cli.supervise import Child, Supervisor, tail
from libs.common.errors import TidegateError
from libs.common.settings import Settings
from libs.common.streams import MONITOR, SERVICES

DRIVER = "driver"
_BUS_DIR = "bus"
_POLL_S = 0.05
_TICK_S = 0.5
_ARCHIVE_STALL_S = 60.0


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Session:
    """The processes of one run; a context manager that leaves none behind, however it ends."""

    def __init__(self, run_dir: Path, context: Context, settings_of: Callable[[dict[str, object]], Settings]) -> None:
        """`settings_of` resolves settings with overrides; it is asked once the bus and the ports are known."""
        self.run_dir = make_run_dir(run_dir)
        self._server = None if context.bus else EmbeddedServer(self.run_dir / _BUS_DIR)
        self.settings = carried(settings_of, write_keys(self.run_dir) | self._places(), self.run_dir)
        write_accounts(self.run_dir, self.settings)
        if self._server is not None:
            self._server.access = write_passwords(self.run_dir, self.settings)
        self.config = write_config(self.run_dir, self.settings)
        self.settings = msgspec.structs.replace(self.settings, file=self.config)  # what its paths are relative to
        self.supervisor = Supervisor(self.run_dir, self.config, self._report_restart)
        self.bus: LiveBus

    def _places(self) -> dict[str, object]:
        port = free_port()
        places: dict[str, object] = {
            "run.run_dir": str(self.run_dir),
            "venue.rest_url": f"http://127.0.0.1:{port}",
            "venue.ws_url": f"ws://127.0.0.1:{port}",
            "sim.port": port,
        }
        if self._server is not None:
            places |= {"bus.market_url": self._server.url, "bus.book_url": self._server.url, "bus.passwords": PASSWORDS}
        return places

    def start(self) -> None:
        """Bus, driver, services: the driver first, since it counts what the services owe."""
        self._open_bus()
        driver = self.supervisor.start(DRIVER, "sim.driver", restart=False)
        self._await(self.bus.is_counting, driver)
        for service in SERVICES:
            self.supervisor.start(service, f"services.{service}")

    def _open_bus(self) -> None:
        if self._server is not None:
            self._server.start()
        self.bus = live_bus(self.settings)
        if self._server is None and self.bus.lengths():
            raise TidegateError("expected an empty bus for a run, was one with events; use another server or database")

    def _await(self, condition: Callable[[], bool], driver: Child) -> None:
        while not condition():
            self._check_driver(driver)
            time.sleep(_POLL_S)

    def _check_driver(self, driver: Child) -> None:
        if not driver.is_running() and driver.process is not None and driver.process.returncode != 0:
            log = self.supervisor.log_of(DRIVER)
            code = driver.process.returncode
            raise TidegateError(f"the simulator ended with exit code {code}; the end of {log}:\n{tail(log)}")

    def watch(self, look: Callable[[LiveBus], None]) -> None:
        """Until the driver is done: keep the services alive and call `look` about twice a second."""
        driver = self.supervisor.children[DRIVER]
        next_look_s = 0.0
        while driver.is_running():
            self._tend()
            if time.monotonic() >= next_look_s:
                look(self.bus)
                next_look_s = time.monotonic() + _TICK_S
            time.sleep(_POLL_S)
        self._check_driver(driver)
        look(self.bus)

    def _tend(self) -> None:
        self.supervisor.tend()
        if self._server is not None and not self._server.is_alive():
            raise TidegateError(f"the bus ended unexpectedly; see {self.run_dir / _BUS_DIR / 'server.log'}")

    def finish(self) -> None:
        """Stop the services, the monitor only when everything is archived, and check that it is."""
        self.supervisor.stop(*(name for name in SERVICES if name != MONITOR))
        self._await_archive()
        self.supervisor.stop(MONITOR, grace_s=_ARCHIVE_STALL_S)
        missing = self._unarchived()
        if missing:
            raise TidegateError(
                f"expected every event in {self.run_dir / 'events'}, are missing: {missing}; see logs/monitor.log"
            )

    def _await_archive(self) -> None:
        """Wait while the archive still grows; monitor's own streams are checked when it has stopped."""
        own = {f"health:{MONITOR}", "alert"}
        before: dict[str, int] = {}
        deadline_s = time.monotonic() + _ARCHIVE_STALL_S
        while missing := {name: count for name, count in self._unarchived().items() if name not in own}:
            self.supervisor.tend()
            if missing != before:
                before, deadline_s = missing, time.monotonic() + _ARCHIVE_STALL_S
            if time.monotonic() > deadline_s:
                return  # finish() says what is missing
            time.sleep(_POLL_S * 2)

    def _unarchived(self) -> dict[str, int]:
        """Events (and journal entries) that the archive does not have yet, by bare stream name."""
        from libs.common.archive import ArchiveReader

        events = self.run_dir / "events"
        reader = ArchiveReader(events) if events.is_dir() else None
        counts = self.bus.lengths(journals=True)
        lack = {name: count - (reader.count(name) if reader else 0) for name, count in counts.items()}
        return {name: count for name, count in lack.items() if count > 0}

    def _report_restart(self, child: Child, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        say(f"{child.name} {how}; starting it again (logs/{child.name}.log)")

    def restarts(self) -> dict[str, int]:
        return {child.name: child.restarts for child in self.supervisor.children.values() if child.restarts}

    def close(self) -> None:
        """End whatever still runs; nothing is left behind."""
        if hasattr(self, "bus"):
            self.bus.close()
        self.supervisor.kill()
        if self._server is not None:
            self._server.stop()

    def __enter__(self) -> Session:  # noqa: PYI034 - this class is final in spirit
        try:
            self.start()
        except BaseException:  # whatever it was: close, and let it go on
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
