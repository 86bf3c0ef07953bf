"""Execution, the watchdog, a bus and the simulated exchange as real processes; the test stands where risk is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from cli.toml import dumps
from libs.bybit import rest
from libs.bybit.sign import Key, rest_headers
from libs.common import seal
from libs.common.appender import append
from libs.common.codec import entry_of
from libs.common.events import CancelIntent, Event, InstrumentDefined, OrderIntent, Purpose, TimeInForce
from libs.common.streams import gate_key
from libs.common.values import Side
from libs.common.wire import Wire
from tests.integration.harness import Bus
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
BOOK = "main"
SYMBOL = "BTCUSDT"
TICK = Decimal("0.1")
T = TypeVar("T")


def free_udp_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rig:
    """`settings` are those of [watchdog]. Everything lies in `directory`."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.dir = directory
        self.bus = Bus(directory)
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        self.url = ""
        self._private, self._public = seal.generate()
        self._settings = settings
        self._count = 0
        self._run = asyncio.Runner()

    def __enter__(self) -> Rig:
        self.bus.start()
        self._write("venue.json", {"key": "book-key", "secret": "book-secret-1"})
        self._write("watchdog.json", {"key": "dog-key", "secret": "dog-secret-12"})
        self._write("accounts.json", [
            {"key": "book-key", "secret": "book-secret-1", "usdt": "100000"},
            {"key": "dog-key", "secret": "dog-secret-12", "account": "book-key"},
        ])  # fmt: skip
        self.start_exchange()
        config: dict[str, Any] = {
            "bus": {"market_url": self.bus.url, "book_url": self.bus.url},
            "venue": {
                "rest_url": self.url, "ws_url": self.url.replace("http", "ws"), "key_file": str(self.dir / "venue.json"),
            },
            "execution": {"seal_keys": {"k": self._public}, "symbols": [SYMBOL], "attach_stops": True},
            "watchdog": {
                "beat_url": f"udp://127.0.0.1:{free_udp_port()}", "key_file": str(self.dir / "watchdog.json"),
                **self._settings,
            },
        }  # fmt: skip
        for section, values in self.more_settings().items():
            config[section] = config.get(section, {}) | values
        (self.dir / "config.toml").write_text(dumps(config))
        self._run.run(self._seed())
        return self

    def more_settings(self) -> dict[str, dict[str, Any]]:
        """By section, for a rig with more services."""
        return {}

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            self.bus.kill()
        self.bus.socket.unlink(missing_ok=True)
        self._run.close()

    def _write(self, name: str, value: Any) -> None:
        (self.dir / name).write_text(json.dumps(value))
        (self.dir / name).chmod(0o600)

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_exchange(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sim", "--port", "0", "--tape", "synthetic:seed=7"]
        command += ["--accounts", str(self.dir / "accounts.json"), *arguments]
        with (self.dir / "sim.log").open("wb") as out:
            process = self.processes["sim"] = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
        self.url = eventually(lambda: self._listening(process), 60)

    def _listening(self, process: subprocess.Popen[Any]) -> str:
        text = (self.dir / "sim.log").read_text()
        assert process.poll() is None, text
        lines = [line for line in text.splitlines() if '"url"' in line]
        return str(json.loads(lines[0])["url"]) if lines else ""

    def start(self, name: str) -> subprocess.Popen[Any]:
        module = "services.execution.watchdog" if name == "watchdog" else f"services.{name}"
        env = {**os.environ, "TIDEGATE_CONFIG": str(self.dir / "config.toml"), "TIDEGATE_RUN_DIR": str(self.dir)}
        with self.log(name).open("ab") as out:
            process = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env=env, stdout=out, stderr=out)
        self.processes[name] = process
        return process

    def log(self, name: str) -> Path:
        return self.dir / f"{name}.log"

    def said(self, name: str) -> list[dict[str, Any]]:
        """Its log as objects."""
        path = self.log(name)
        lines = path.read_text().splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def states(self) -> list[str]:
        """What the watchdog said it does, in order."""
        return [str(line["state"]) for line in self.said("watchdog") if "state" in line]

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self.processes.pop(name)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def start_all(self) -> None:
        """Execution has reconciled, the watchdog hears it and has proved its key."""
        self.start("execution")
        eventually(lambda: self.bus_has("account", b"Reconciled"), 60)
        self.start("watchdog")
        eventually(lambda: "watchdog watches" in self.log("watchdog").read_text(), 60)
        eventually(lambda: self.probe("watchdog", "/readyz")[0] == 200, 60)

    def probe(self, name: str, path: str) -> tuple[int, str]:
        """Status and body of a probe; status 0 while it does not answer."""
        port = self.dir / "ports" / f"{name}.port"
        if not port.is_file():
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().strip()}{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, ValueError):
            return 0, ""

    # --- the bus ------------------------------------------------------------------------------------------------------

    def post_faults(self, *faults: dict[str, Any]) -> None:
        """Switch these on at the exchange, and all others off."""
        body = json.dumps({"seed": 1, "faults": list(faults)}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/sim/faults", body, method="POST"), timeout=10):
            pass

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something asynchronous to its end."""
        return self._run.run(work)

    async def _seed(self) -> None:
        """An open gate and the instrument, as risk and marketdata would have written them."""
        wire = Wire(self.bus.url)
        await wire.ready()
        await wire.call("HSET", gate_key(BOOK), "book", "open")
        await append(wire, BOOK, "marketdata", InstrumentDefined(
            symbol=SYMBOL, tick_size=TICK, lot_size=Decimal("0.001"), min_qty=Decimal("0.001"), max_qty=Decimal(100),
            min_notional=Decimal(5),
        ), "i", time.time_ns())  # fmt: skip
        wire.abort()

    def bus_has(self, stream: str, kind: bytes) -> bool:
        async def read() -> list[Any]:
            wire = Wire(self.bus.url)
            await wire.ready()
            found: list[Any] = await wire.call("XRANGE", f"{{{BOOK}}}:{stream}", "-", "+")
            wire.abort()
            return found

        return any(kind in fields for _, fields in self._run.run(read()))

    def bus_events(self, stream: str) -> list[dict[str, Any]]:
        """Bodies of a stream of the book, in order, each with its `type` and `entry` (ms, n)."""

        async def read() -> list[Any]:
            wire = Wire(self.bus.url)
            await wire.ready()
            found: list[Any] = await wire.call("XRANGE", f"{{{BOOK}}}:{stream}", "-", "+")
            wire.abort()
            return found

        found = []
        for entry, fields in self._run.run(read()):
            values = dict(zip(fields[::2], fields[1::2], strict=True))
            place = {"type": values[b"type"].decode(), "entry": entry_of(entry)}
            found.append({**json.loads(values[b"data"]), **place})
        return found

    def approve(self, *, resting: bool, qty: str = "0.010", link_id: str = "") -> str:
        """A sealed entry: one that rests 1 % below the market, or one that fills at once; with an attached stop."""
        self._count += 1
        last = Decimal(self.account_view()["markets"][SYMBOL]["last"])
        price = (last * (Decimal("0.99") if resting else Decimal("1.005")) / TICK).to_integral_value() * TICK
        link_id = link_id or f"tg-{self._count:032x}"
        intent = OrderIntent(
            order_link_id=link_id, strategy="trend", symbol=SYMBOL, side=Side.BUY, qty=Decimal(qty), price=price,
            time_in_force=TimeInForce.GTC if resting else TimeInForce.IOC, reduce_only=False, purpose=Purpose.ENTRY,
            expires_at=time.time_ns() + 2_000_000_000, limits_version=1, book=BOOK, key_id="k",
            stop_distance=(last / 20).quantize(TICK),
        )  # fmt: skip

        self._write_as_risk(seal.sign(self._private, intent), link_id)
        return link_id

    def withdraw(self, link_id: str) -> None:
        """Have an order cancelled."""
        self._write_as_risk(CancelIntent(order_link_id=link_id, symbol=SYMBOL, reason="test"), f"{link_id}-cancel")

    def _write_as_risk(self, event: Event, nonce: str) -> None:
        async def write() -> None:
            wire = Wire(self.bus.url)
            await wire.ready()
            await append(wire, BOOK, "risk", event, nonce, time.time_ns())
            wire.abort()

        self._run.run(write())

    # --- the exchange -------------------------------------------------------------------------------------------------

    def account_view(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/sim/state", timeout=10) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def _account(self) -> dict[str, Any]:
        found: dict[str, Any] = self.account_view()["accounts"]["book-key"]
        return found

    def entries(self) -> list[str]:
        """Link ids of resting orders that are no stops."""
        return [o["orderLinkId"] for o in self._account()["open_orders"] if not o["stopOrderType"]]

    def stops(self) -> int:
        return sum(bool(order["stopOrderType"]) for order in self._account()["open_orders"])

    def held(self) -> Decimal:
        return sum((Decimal(p["size"]) for p in self._account()["positions"]), Decimal(0))

    def account_fills(self) -> int:
        return int(self._account()["fills"])

    def place(self, *, resting: bool) -> None:
        """An order on the account that no service here sent, as one that was long on its way."""
        last = Decimal(self.account_view()["markets"][SYMBOL]["last"])
        price = (last * (Decimal("0.99") if resting else Decimal("1.005")) / TICK).to_integral_value() * TICK
        call = rest.create_order(
            link_id="tg-late", symbol=SYMBOL, side=Side.BUY, qty=Decimal("0.010"), price=price,
            time_in_force="GTC" if resting else "IOC", reduce_only=False,
        )  # fmt: skip
        self.private(call)

    def cancelled(self) -> int:
        """Closed orders in the exchange's history that were cancelled."""
        result = self.private(rest.order_history("tg-late", SYMBOL))
        return sum(row["orderStatus"] == "Cancelled" for row in result["list"])

    def private(self, call: rest.Call) -> dict[str, Any]:
        """One signed call with the book's key."""
        key = Key("book-key", "book-secret-1")
        headers = rest_headers(key, time.time_ns() // 1_000_000, 5_000, call.method, call.target, call.body)
        body = call.body.encode() if call.body else None
        request = urllib.request.Request(self.url + call.target, body, headers, method=call.method)
        with urllib.request.urlopen(request, timeout=10) as reply:
            answer = json.load(reply)
        assert answer["retCode"] == 0, answer
        found: dict[str, Any] = answer["result"]
        return found

    def enter(self) -> None:
        """A position with its stop, and one resting entry."""
        self.approve(resting=False)
        eventually(lambda: self.held() > 0 and self.stops() == 1, 30)
        link_id = self.approve(resting=True)
        eventually(lambda: self.entries() == [link_id], 30)


@contextlib.contextmanager
def rig(directory: Path, **settings: Any) -> Iterator[Rig]:
    with Rig(directory, **settings) as made:
        yield made
