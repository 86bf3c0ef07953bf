"""One realtime run: the bus, the simulated exchange, five services by the wall clock; stopped in order, nothing left behind."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from cli.bus import LiveBus
from cli.context import Context
from cli.session import Session, free_port
from cli.supervise import tail
from libs.common.errors import TidegateError
from libs.common.settings import Settings
from libs.common.streams import SERVICES, WATCHDOG

EXCHANGE = "sim"
STATE_DIR = "exchange"
_START_S = 60.0
_POLL_S = 0.05
_TICK_S = 0.5


class LiveSession(Session):
    """As Session, with the exchange as a process that is restarted like the others and keeps its state in the run directory."""

    def __init__(self, run_dir: Path, context: Context, settings_of: Callable[[dict[str, object]], Settings]) -> None:
        def with_state(places: dict[str, object]) -> Settings:
            return settings_of(
                places
                | {"sim.state_dir": STATE_DIR, "sim.unconfirmed_klines": True}
                | {"watchdog.beat_url": f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"}
            )

        super().__init__(run_dir, context, with_state)
        self.began_s = 0.0

    def start(self) -> None:
        """Bus, exchange, services. Raises TidegateError with the end of its log when the exchange does not come up."""
        self._open_bus()
        self.supervisor.start(EXCHANGE, "sim.paper")
        deadline_s = time.monotonic() + _START_S
        while self._ask("/v5/market/time") is None:
            child, log = self.supervisor.children[EXCHANGE], self.supervisor.log_of(EXCHANGE)
            if not child.is_running() or time.monotonic() > deadline_s:
                raise TidegateError(f"the simulated exchange did not start; the end of {log}:\n{tail(log)}")
            time.sleep(_POLL_S)
        self.began_s = time.monotonic()
        for service in SERVICES:
            self.supervisor.start(service, f"services.{service}")
        if self.settings.values()[WATCHDOG]["enabled"]:
            self.supervisor.start(WATCHDOG, "services.execution.watchdog")

    def follow(self, look: Callable[[LiveBus], None], seconds: float | None) -> None:
        """Keep everything alive and call `look` about twice a second, for so long; None: until interrupted."""
        next_look_s = 0.0
        while seconds is None or time.monotonic() - self.began_s < seconds:
            self._tend()
            if time.monotonic() >= next_look_s:
                look(self.bus)
                next_look_s = time.monotonic() + _TICK_S
            time.sleep(_POLL_S)

    def finish(self) -> None:
        """The watchdog first, for what ends now ends on purpose; services in the order of the flow, monitor when everything is
        archived, the exchange last; its last answer is kept."""
        self.supervisor.stop(WATCHDOG)
        super().finish()
        answer = self._ask("/sim/state")
        if answer is not None:
            (self.run_dir / "flat.json").write_text(json.dumps(_open_things(answer)) + "\n")
        self.supervisor.stop(EXCHANGE)

    def _ask(self, path: str) -> dict[str, Any] | None:
        """An answer of the exchange; None while it does not listen."""
        try:
            response = httpx.get(f"{self.settings.venue.rest_url}{path}", timeout=5.0, trust_env=False)
            found: dict[str, Any] = response.raise_for_status().json()
        except httpx.HTTPError:
            return None
        return found


def _open_things(state: dict[str, Any]) -> dict[str, Any]:
    """What the one account of a run has open, from the exchange's own state."""
    accounts = list(state["accounts"].values())
    return {
        "orders": sum(len(account["open_orders"]) for account in accounts),
        "positions": sum(len(account["positions"]) for account in accounts),
        "wallet": accounts[0]["wallet"]["totalWalletBalance"] if accounts else "0",
        "at": state["now"],
    }
