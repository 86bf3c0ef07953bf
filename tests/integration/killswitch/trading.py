"""Market data, risk and execution as real processes at the simulated exchange; the test stands where the strategies are."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from libs.common import seal
from libs.common.appender import append
from libs.common.events import Signal
from libs.common.wire import Wire
from tests.integration.killswitch.tap import Tap
from tests.integration.watchdog.rig import BOOK, ROOT, SYMBOL, Rig
from tests.waiting import eventually

SERVICES = ("marketdata", "risk", "execution")
MAKERS = tuple(f"maker-{i}" for i in range(5))


class Trading(Rig):
    """`taker` trades at once, a maker rests at the touch."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._seal_key, self._seal_public = seal.generate()
        self._signals = 0

    def more_settings(self) -> dict[str, dict[str, Any]]:
        self.tap = Tap(self.url)
        (self.dir / "seal.key").write_text(self._seal_key)
        (self.dir / "seal.key").chmod(0o600)
        allow = {"symbols": [SYMBOL]}
        return {
            "run": {"seal_key_file": str(self.dir / "seal.key"), "seal_key_id": "r"},
            "venue": {"rest_url": self.tap.url},
            "marketdata": {"symbols": [SYMBOL]},
            "execution": {"seal_keys": {"r": self._seal_public}},
            "risk": {
                "auto_arm": True,
                "allow": {"taker": allow, **dict.fromkeys(MAKERS, allow)},
                "allocation": {"taker": "0.5", **dict.fromkeys(MAKERS, "0.1")},
                "entry": {name: {"style": "post_only", "ttl_ms": 600_000} for name in MAKERS},
                "flatten_slice_usd": "5000",
            },
        }

    def __exit__(self, *about: object) -> None:
        super().__exit__(*about)
        self.tap.close()

    async def _seed(self) -> None:
        """Nothing: the services write what they need themselves."""

    def start_trading(self) -> None:
        """Until the fresh book has armed itself."""
        for name in SERVICES:
            self.start(name)
        eventually(lambda: any(e["type"] == "Resumed" for e in self.bus_events("halt")), 90)

    def signal(self, strategy: str) -> None:
        """A strong wish to buy."""
        last = Decimal(self.account_view()["markets"][SYMBOL]["last"])
        self._signals += 1
        wish = Signal(
            strategy=strategy, symbol=SYMBOL, target=Decimal(1), p=Decimal("0.6"), payoff=Decimal("1.5"),
            stop_distance=(last / 5).quantize(Decimal("0.1")), horizon_ms=3_600_000,
        )  # fmt: skip

        async def write() -> None:
            wire = Wire(self.bus.url)
            await wire.ready()
            await append(wire, BOOK, "signal", wish, f"s{self._signals}", time.time_ns())
            wire.abort()

        self._run.run(write())

    def hold_and_rest(self) -> None:
        """A position with its stop, and an entry in the book."""
        self._asked_until(("taker",) * 9, lambda: self.held() > 0 and self.stops() > 0)
        self._asked_until(MAKERS, lambda: bool(self.entries()))

    def _asked_until(self, strategies: tuple[str, ...], condition: Callable[[], bool]) -> None:
        """One asks after the other: the market may have moved away from an order, or through it, or come late on a slow machine."""
        for strategy in strategies:
            self.signal(strategy)
            deadline = time.monotonic() + 10
            while not condition() and time.monotonic() < deadline:
                threading.Event().wait(0.05)
            if condition():
                return
        told = [event for event in self.bus_events("order-intent") if event["type"] == "OrderRefused"]
        raise AssertionError(f"expected an order of {strategies[0]}, was none; refused: {told[-2:]}")

    def tidegate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", *arguments, "--config", str(self.dir / "config.toml")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    def happened(self, stream: str, kind: str) -> list[dict[str, Any]]:
        """Events of a type, oldest first; as Rig.bus_events."""
        return [event for event in self.bus_events(stream) if event["type"] == kind]
