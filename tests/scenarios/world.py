"""The real cores, all five, against the real exchange in tape time and one process; a scenario says what goes wrong, and when.

Nothing is put in the place of anything: cores, stepper, batches, gate and seals are those of the services, the exchange is the
simulator's, its troubles are its own menu of faults and operations. What a seed decides is the tape, the exchange's chance, the
faults' and the moment at which the scenario strikes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cli.backtest import Venue
from cli.context import section_types
from libs.bybit.rest import SENT_AT_HEADER
from libs.common import seal
from libs.common.decider import Core
from libs.common.errors import UsageError
from libs.common.events import AlertCleared, AlertRaised, Command, Event, OrderIntent, OrderSubmitted, VenueMessage
from libs.common.record import Record
from libs.common.settings import Settings, load
from libs.common.stepper import Local, Stepper
from libs.common.streams import EXECUTION, LOCKSTEP_SERVICES, MARKETDATA, MONITOR, RISK, SERVICES, SIGNAL
from libs.common.values import SPOT, SPOT_SUFFIX
from services.execution.core import ExecutionCore
from services.marketdata.core import MarketdataCore
from services.monitor.core import MonitorCore
from services.risk.core import RiskCore
from services.risk.modes import gate_changes, scope_mode
from services.signal.core import SignalCore
from sim.config import SimConfig
from sim.engine.account import Account, AccountSpec
from sim.exchange import Exchange
from sim.faults.menu import read
from sim.instants import instant_record
from sim.tapes.tape import open_tape
from tests.scenarios.journal import Journalled, Kept, Replay

NS_PER_MS, S = 1_000_000, 1_000_000_000
E = TypeVar("E", bound=Event)
SEAL_KEY, SEAL_PUBLIC = seal.generate()
OPERATORS = {name: seal.generate() for name in ("ana", "ben")}
CORES: dict[str, Any] = {
    MARKETDATA: MarketdataCore,
    RISK: RiskCore,
    EXECUTION: ExecutionCore,
    MONITOR: MonitorCore,
}
FILE = Path(__file__).parent / "tidegate.toml"


def sealed(intent: OrderIntent, epoch: int) -> Event:
    """What risk's shell adds to an approval."""
    shell = {"book": "main", "epoch": epoch, "key_id": "scenario"}
    return seal.sign(SEAL_KEY, msgspec.structs.replace(intent, **shell))


@lru_cache(maxsize=32)
def settings_of(changes: bytes) -> Settings:
    """The settings of a scenario; `changes` by dotted key, as JSON."""
    keys = {name: public for name, (_, public) in OPERATORS.items()}
    own = {
        "risk.operator_keys": keys,
        "execution.seal_keys": {"scenario": SEAL_PUBLIC},
        "execution.book": "main",
    }
    return load(section_types(), FILE, env={}, overrides=msgspec.json.decode(changes) | own)


class Mark(msgspec.Struct, frozen=True):
    """An instant of the log: a snapshot of every service, the gate, how many events and orders there were."""

    kept: dict[str, Kept]
    gate: dict[str, str]
    events: int
    placed: int


class World:
    """`changes`: settings by dotted key; `tape`: more of the synthetic tape's own words. Time only passes in `step`, `run` and `until`."""

    def __init__(self, seed: int, changes: dict[str, Any] | None = None, minutes: int = 12, tape: str = "") -> None:
        self.seed, self.dice = seed, random.Random(f"scenario-{seed}")
        self._changes = msgspec.json.encode(changes or {})
        settings = settings_of(self._changes)
        self.window_ms = settings.run.instant_ms
        spec_text = ",".join(filter(None, (f"synthetic:seed={seed}", f"minutes={minutes}", "crash=0", tape)))
        played = open_tape([spec_text], seed)
        spec = AccountSpec(usdt=settings.section("sim", SimConfig).usdt)
        self.exchange = Exchange(settings.section("sim", SimConfig), played, seed, [spec])
        self.exchange.faults.tape = True
        self.account: Account = self.exchange.desk.accounts[spec.name]
        self.placed: list[str] = []
        """Order link ids in the order in which the exchange took the orders on its books."""
        self.forgotten: set[str] = set()
        """Those that the log lost."""
        self._listen()
        cores = [self._make(service) for service in SERVICES]
        topics: Any = cores[0]
        spot = tuple(topic + SPOT_SUFFIX for topic in topics.config.topics(SPOT))
        self.venue = Venue(self.exchange, spec.name, topics.config.topics() + spot)
        self.epoch = {RISK: 1}
        self._finish = {RISK: self._finish_risk}
        self.mesh = Journalled(cores, self._send, gate_changes, self._finish, self._sink)
        self.log: list[Record] = []
        self.number = self._commands = 0
        self.at = self.began_at = played.start_at
        self.stamped = False
        """Replies tell execution when their request left, as its shell does by the wall clock; then it can measure the clock."""
        self._sent_at: dict[int, int] = {}
        self.deaf: set[str] = set()
        """Services whose messages from the exchange are held back."""
        self._held: dict[str, list[Any]] = {}
        self._nonces = 0
        self.naked_s = 0.0
        """The longest that a position of ours stood without a stop at the exchange."""
        self.exits_cover = False
        """An exit that was approved within the last two seconds is as good as a stop."""
        self.requests: list[tuple[int, str]] = []
        """(when, path) of every HTTP request that left, whoever sent it."""
        self._bare: dict[str, int] = {}
        self.mesh.start(self.at)

    # --- the world's parts ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Hear of every order from the exchange's own books."""
        add = self.account.add

        def placed(order: Any) -> None:
            self.placed.append(order.link_id)
            add(order)

        self.account.add = placed  # type: ignore[method-assign]

    def _make(self, service: str) -> Core:
        """A fresh core, as the service's composition root builds it."""
        section: Any = settings_of(self._changes).sections[service]
        if service == SIGNAL:
            return SignalCore(section, {})
        return CORES[service](section)

    def _finish_risk(self, event: Event) -> Event:
        return sealed(event, self.epoch[RISK]) if isinstance(event, OrderIntent) else event

    def _send(self, service: str, request: Any) -> None:
        if request.method != "WS":
            self.requests.append((self.at, request.target.partition("?")[0]))
        if service == EXECUTION:
            self._sent_at[request.number] = self.at
        self.venue.send(service, request)

    def _sink(self, record: Record) -> None:
        self.log.append(record)

    def core(self, service: str) -> Any:
        return self.mesh.nodes[service].stepper.core

    # --- time ------------------------------------------------------------------------------------------------------------

    @property
    def next_at(self) -> int:
        return self.at + self.window_ms * NS_PER_MS

    def step(self) -> None:
        """One instant."""
        self.number += 1
        self.at = self.next_at
        batches = self.venue.advance(self.at)
        self.deaf |= self.mesh.stuck
        for service in LOCKSTEP_SERVICES:
            held = self._held.setdefault(service, [])
            held += [self._stamp(item) for item in batches.pop(service, [])]
            if held and service not in self.deaf:
                batches[service], self._held[service] = held, []
        self.mesh.instant(instant_record(self.number, self.at, self.window_ms), batches)
        self._look_for_stops()

    def _stamp(self, item: Local) -> Local:
        body = item.body
        if not self.stamped or not isinstance(body, VenueMessage) or body.request not in self._sent_at:
            return item
        headers = body.headers | {SENT_AT_HEADER: str(self._sent_at[body.request])}
        return Local(msgspec.structs.replace(body, headers=headers), item.at)

    def _look_for_stops(self) -> None:
        covered: dict[str, int] = {}
        for order in self.account.open_orders.values():
            if order.stop_type:
                covered[order.symbol] = covered.get(order.symbol, 0) + order.leaves
        leaving = self._leaving() if self.exits_cover else ()
        for symbol, position in self.account.positions.items():
            if abs(position.lots) <= covered.get(symbol, 0) or symbol in leaving:
                self._bare.pop(symbol, None)
                continue
            since = self._bare.setdefault(symbol, self.at)
            self.naked_s = max(self.naked_s, (self.at - since) / S)

    def _leaving(self) -> set[str]:
        found: set[str] = set()
        for record in reversed(self.log):
            if record.at < self.at - 2 * S:
                break
            if isinstance(record.body, OrderIntent) and record.body.reduce_only:
                found.add(record.body.symbol)
        return found

    def run(self, seconds: float) -> None:
        end = self.at + int(seconds * S)
        while self.at < end:
            self.step()

    def until(self, seen: Callable[[], Any], within_s: float, what: str = "") -> float:
        """Step until something is seen; gives the seconds it took. Fails when it takes longer than `within_s` of tape."""
        began = self.at
        while not seen():
            assert self.at - began < within_s * S, f"expected {what or seen} within {within_s} s of tape"
            self.step()
        return (self.at - began) / S

    def trading(self, *, positions: bool = True) -> None:
        """Armed, reconciled, and in a position somewhere; then on to a moment that the seed draws."""
        self.until(lambda: self.mode() == "NORMAL", 60, "a book that trades")
        if positions:
            self.until(self.open_lots, 90, "a position")
        self.run(self.dice.randrange(0, 40) / 2)

    # --- what a scenario does -----------------------------------------------------------------------------------------------

    def fault(self, *faults: dict[str, Any]) -> None:
        """Switch on these faults of the exchange, and all others off."""
        document = json.dumps({"seed": self.seed, "faults": faults}).encode()
        self.exchange.faults.load(
            read(document, tape=not any(f["kind"] == "restart" for f in faults)), self.exchange.venue.now
        )

    def calm(self) -> None:
        self.exchange.faults.clear()

    def do(self, name: str, **fields: Any) -> bool:
        """An operation of the exchange; False when it has nothing to do it to."""
        try:
            self.exchange.operate({"do": name} | fields)
        except UsageError:
            return False
        return True

    def command(self, kind: type[Command], by: str = "ana", *, sealed: bool = True, **fields: Any) -> Command:
        """An operator's command, to be read at the next instant."""
        self._nonces += 1
        base = {"operator": by, "nonce": f"{by}-{self._nonces}", "expires_at": self.at + 600 * S, "key_id": by}
        body = kind(**(base | fields))
        if sealed and not body.seal:
            body = seal.sign(OPERATORS[by][0], body)
        self.stage(body)
        return body

    def stage(self, event: Event, stream: str = "command") -> None:
        """Whatever somebody wrote to a stream, to be read at the next instant."""
        self._commands += 1
        identity, at, number = f"{self._commands:032x}", self.next_at, 1_000_000 + self._commands
        # A number that the stream's own writer does not come to: its records stay apart from these.
        self.mesh.stage(Record(stream, (at // NS_PER_MS, number), identity, number, at, (), identity, event))

    def crash(self, *services: str, kept: Kept | None = None) -> None:
        """The process dies and another takes over: all it has is what the dead one committed, or (of one service) an older
        snapshot, from which it decides again what its journal says."""
        for service in services:
            node, core = self.mesh.nodes[service], self._make(service)
            position = node.stepper.position.copy()
            if kept is None:
                core.restore(node.stepper.core.snapshot())
            else:
                replay = Replay(self.mesh, self.log, core, sealed, kept)
                assert not list(replay.differences())
                assert replay.stepper.position == position
            node.stepper = Stepper(core, self._finish.get(service), position)
            self.epoch[service] = self.epoch.get(service, 1) + 1

    def lose(self, service: str, stream: str) -> None:
        """The next record of a stream is gone before the service reads it; it meets the hole with the one after."""
        self.mesh.losing[service] = stream

    def mend(self, service: str) -> None:
        """The stream is restored from the archive, the service started again."""
        self.crash(service)
        self.mesh.take_up(service, self.log)
        self.deaf.discard(service)

    def mark(self) -> Mark:
        """The log as it is now, for `forget`."""
        kept = {service: self.mesh.kept(service) for service in self.mesh.nodes}
        return Mark(kept, dict(self.mesh.gate), len(self.log), len(self.placed))

    def forget(self, mark: Mark) -> list[str]:
        """The bus comes back as it was at the mark, for everybody. The exchange did not forget; what it said since went to
        connections that are no more. Gives the orders that are on its books and not in the log any more."""
        self.at = self.next_at
        self.venue.advance(self.at)
        del self.log[mark.events :]
        self.mesh.fall_back(mark.kept, mark.gate)
        for service, kept in mark.kept.items():
            replay = Replay(self.mesh, self.log, self._make(service), sealed, kept)
            self.mesh.nodes[service].stepper = Stepper(
                replay.stepper.core, self._finish.get(service), replay.stepper.position
            )
            self.epoch[service] = self.epoch.get(service, 1) + 1
        self._held.clear()
        self._sent_at.clear()
        self.mesh.restart(self.at)
        known = {order.order_link_id for order in self.of(OrderSubmitted)}
        lost = [link for link in self.placed[mark.placed :] if link.startswith("tg-") and link not in known]
        self.forgotten.update(lost)
        return lost

    # --- what it sees ----------------------------------------------------------------------------------------------------------

    def of(self, kind: type[E], since: int = 0) -> list[E]:
        """Bodies of a type, from the instant `since` (ns) on."""
        return [record.body for record in self.log if type(record.body) is kind and record.at >= since]  # type: ignore[misc]

    def of_at(self, kind: type[Event], since: int = 0) -> list[int]:
        """When events of a type were (ns), from the instant `since` on."""
        return [record.at for record in self.log if type(record.body) is kind and record.at >= since]

    def records(self, kind: type[Event]) -> Iterator[Record]:
        return (record for record in self.log if type(record.body) is kind)

    def mode(self, scope: str = "book") -> str:
        return str(scope_mode(self.core(RISK).state, scope).value)

    def halts(self) -> list[str]:
        """Halts that stand, as risk names them."""
        return [block.halt_id for block in self.core(RISK).state.blocks.values() if block.halt_id]

    def open_lots(self) -> int:
        """Lots held at the exchange, all symbols."""
        return sum(abs(position.lots) for position in self.account.positions.values())

    def replayed(self) -> Iterator[str]:
        """What comes out differently when fresh cores take the log again, down to the state they end in."""
        for service, node in self.mesh.nodes.items():
            replay = Replay(self.mesh, self.log, self._make(service), sealed)
            yield from replay.differences()
            if replay.stepper.core.snapshot() != node.stepper.core.snapshot():
                yield f"{service} ended in another state"

    def stood(self, alert: str, since: int, until: int) -> bool:
        """Whether an alert stood at any time between two instants (ns)."""
        stands = False
        for record in self.log:
            if record.at > until:
                break
            if isinstance(record.body, AlertRaised | AlertCleared) and record.body.name == alert:
                if record.at >= since and (stands or isinstance(record.body, AlertRaised)):
                    return True
                stands = isinstance(record.body, AlertRaised)
        return stands

    def told_s(self, alert: str, since: int) -> float:
        """Seconds from an instant (ns) until people were told; infinite when they were not."""
        raised = (r.at for r in self.records(AlertRaised) if r.body.name == alert and r.at >= since)  # type: ignore[attr-defined]
        return (next(raised, 2**63) - since) / S

    def alerts(self) -> set[str]:
        return set(self.core(MONITOR).state.alerts)


__all__ = ["EXECUTION", "LOCKSTEP_SERVICES", "MARKETDATA", "MONITOR", "RISK", "SIGNAL", "S", "World"]
