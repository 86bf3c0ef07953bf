"""`tidegate backtest`: the same cores, exchange, waves and operator as a demo, in one process without a bus."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cli.cores import core_of
from cli.tapes import with_spot
from libs.bybit.lockstep import as_call
from libs.common import seal
from libs.common.codec import FIELDS, entry_text, values
from libs.common.decider import Request
from libs.common.errors import TidegateError
from libs.common.events import Command, Event, OrderIntent, RawFrame, VenueMessage
from libs.common.mesh import Mesh
from libs.common.record import Record
from libs.common.settings import Settings
from libs.common.stepper import Local
from libs.common.streams import EXECUTION, MARKETDATA, RISK, SIGNAL
from libs.common.values import SPOT, SPOT_SUFFIX
from sim.app import switch_on
from sim.config import SimConfig
from sim.engine.account import AccountSpec
from sim.exchange import Exchange
from sim.instants import FLAT_WITHIN, NS_PER_MS, end_of, instant_record, window_of
from sim.operator import LOOK_EVERY, Script
from sim.script import read_script
from sim.tapes.tape import Tape, open_tape
from sim.wiretypes import Frame, WireReply, WireRequest

KEPT = ("signal", "order-intent", "order", "fill", "account", "halt", "portfolio", "command", "model", "instrument")
"""Streams that a backtest keeps; market data and the exchange's frames can be made again from tape and seed."""
SEGMENT_ROWS = 5_000
PLACE = "backtest"
"""What the scripted operator's seals name, whatever venue the settings were written for."""


class Venue:
    """The exchange in process: the same requests as on the wire, without the wire."""

    def __init__(self, exchange: Exchange, account: str, topics: tuple[str, ...]) -> None:
        """`topics`: of public streams; those of spot end in -SPOT, as the exchange names them to itself."""
        self.exchange, self.account = exchange, account
        for topic in topics:
            if exchange.knows(topic):
                exchange.watch(topic)

    def send(self, service: str, request: Request) -> None:
        request = as_call(request)
        path, _, query = request.target.partition("?")
        self.exchange.submit(
            WireRequest(
                method=request.method,
                path=path,
                query=query,
                body=request.body,
                client=service,
                request_id=f"{service}-{request.number}",
                account=self.account if request.private else "",
            )
        )

    def advance(self, at: int) -> dict[str, list[Local]]:
        """Play to `at`; what each service receives of it: replies by number, then frames."""
        self.exchange.advance(at)
        outbox = self.exchange.collect()
        batches: dict[str, list[Local]] = {}
        for reply in sorted(outbox.replies, key=_number):
            batches.setdefault(reply.client, []).append(_reply(reply, at))
        for frame in sorted(outbox.frames, key=_is_spot):
            if frame.account == "":
                category = SPOT if _is_spot(frame) else ""
                body: Event = RawFrame(channel="public", payload=frame.text, received_at=at, category=category)
                batches.setdefault(MARKETDATA, []).append(Local(body, at))
            elif frame.account == self.account and frame.topic != "execution.fast":
                body = VenueMessage(channel="private", payload=frame.text, received_at=at)
                batches.setdefault(EXECUTION, []).append(Local(body, at))
        return batches


def _is_spot(frame: Frame) -> bool:
    """Of the spot stream, which comes after the other's frames of the instant, as over the wire."""
    return frame.topic.endswith(SPOT_SUFFIX)


def _number(reply: WireReply) -> int:
    return int(reply.request_id.rpartition("-")[2])


def _reply(reply: WireReply, at: int) -> Local:
    if reply.client == MARKETDATA:
        frame = RawFrame(
            channel="reply", payload=reply.body, request=_number(reply), received_at=at, status=reply.status
        )
        return Local(frame, at)
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return Local(
        VenueMessage(
            channel="reply",
            payload=reply.body,
            request=_number(reply),
            status=reply.status,
            headers=headers,
            received_at=at,
        ),
        at,
    )


class Result(msgspec.Struct):
    """What a backtest did. `seconds` is wall clock; `events` counts those delivered to cores or written."""

    events: int
    instants: int
    seconds: float
    flat: dict[str, Any]


class Backtest:
    """One run over a tape. Events of `KEPT` go to `keep`."""

    def __init__(
        self,
        config: Path,
        settings: Settings,
        tape: Tape,
        keep: Callable[[Record], None],
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """`changes`: settings of cores by dotted key that win over those of `config`."""
        self.settings, self.tape, self.keep = settings, tape, keep
        run = settings.run
        private, public = seal.generate()
        operator_private, operator_public = seal.generate()
        symbols = with_spot(list(tape.symbols), settings)
        own: dict[str, dict[str, Any]] = {
            MARKETDATA: {"marketdata.symbols": symbols},
            SIGNAL: {},
            RISK: {
                "risk.operator_keys": {run.operator: operator_public},
                "risk.stage": "backtest",
                "risk.place": PLACE,
            },
            EXECUTION: {"execution.seal_keys": {"backtest": public}, "execution.symbols": symbols},
        }
        cores = [core_of(service, config, {**keys, **_of_section(service, changes)}) for service, keys in own.items()]
        sim = settings.section("sim", SimConfig)
        account = AccountSpec(usdt=sim.usdt)
        script = read_script(settings.path(sim.script) if sim.script else None, tape.start_at)
        self.exchange = Exchange(sim, tape, run.seed, [account], script=script)
        switch_on(self.exchange, settings.path(sim.faults_file) if sim.faults_file else None, tape=True)
        market: Any = cores[0]
        spot = tuple(topic + SPOT_SUFFIX for topic in market.config.topics(SPOT))
        self.venue = Venue(self.exchange, account.name, market.config.topics() + spot)

        def sealed(event: Event) -> Event:
            if isinstance(event, OrderIntent):
                return seal.sign(
                    private, msgspec.structs.replace(event, book=settings.bus.book, epoch=1, key_id="backtest")
                )
            return event

        from services.risk.modes import gate_changes

        self.mesh = Mesh(cores, self.venue.send, gate_changes, {RISK: sealed}, self._sink)
        self.script = Script(run.operator, operator_private, run.resume_after_ms * NS_PER_MS, PLACE)
        self.events = self.number = self._commands = 0
        self.at = tape.start_at
        self._window_ms = window_of(tape, run.instant_ms)

    def run(self, progress: Callable[[int, int, int], None] | None = None) -> Result:
        """Play the tape, flatten, and confirm. `progress(at, start_at, end_at)` is called now and then."""
        began = time.perf_counter()
        end_at = end_of(self.tape, self.settings.run.duration_ms)
        self.mesh.start(self.at)
        while self.at < end_at:
            self._instant()
            if self.number % LOOK_EVERY == 0:
                for command in self.script.due(self.at, self._next_at):
                    self._command(command)
                if progress is not None:
                    progress(self.at, self.tape.start_at, end_at)
        self._command(self.script.flatten(self._next_at))
        for _ in range(FLAT_WITHIN):
            self._instant()
            if self.script.flat_at is not None:
                return Result(self.events, self.number, time.perf_counter() - began, self._flat())
        raise TidegateError(
            f"expected the exchange flat within {FLAT_WITHIN} instants of the end of the tape, was {self._flat()}"
        )

    @property
    def _next_at(self) -> int:
        return self.at + self._window_ms * NS_PER_MS

    def _instant(self) -> None:
        self.number += 1
        self.at = self._next_at
        batches = self.venue.advance(self.at)
        self.mesh.instant(instant_record(self.number, self.at, self._window_ms), batches)

    def _command(self, command: Command) -> None:
        self._commands += 1
        identity = f"{self._commands:032x}"
        at = self._next_at
        entry = (at // NS_PER_MS, self._commands)
        self.mesh.stage(Record("command", entry, identity, self._commands, at, (), identity, command))

    def _sink(self, record: Record) -> None:
        self.events += 1
        if record.stream in KEPT:
            self.script.note(record)
            self.keep(record)

    def _flat(self) -> dict[str, Any]:
        (account,) = self.exchange.summary()["accounts"].values()
        wallet = account["wallet"]["totalWalletBalance"]
        return {
            "orders": len(account["open_orders"]),
            "positions": len(account["positions"]),
            "wallet": wallet,
            "at": self.at,
        }


class Keeper:
    """Writes kept events as an archive, so that a finished backtest can be looked at like any other run."""

    def __init__(self, run_dir: Path, key_file: Path | None = None) -> None:
        """`key_file`: the key that signs the manifest."""
        from libs.common.archive import ArchiveWriter, manifest_signer

        sign, key_id = manifest_signer(key_file.read_text().strip()) if key_file else (None, "")
        self._writer = ArchiveWriter(run_dir, sign=sign, key_id=key_id)
        self._waiting: dict[str, list[tuple[bytes, list[bytes]]]] = {}

    def keep(self, record: Record) -> None:
        fields = [part for name, value in zip(FIELDS, values(record), strict=True) for part in (name.encode(), value)]
        waiting = self._waiting.setdefault(record.stream, [])
        waiting.append((entry_text(record.entry).encode(), fields))
        if len(waiting) >= SEGMENT_ROWS:
            self._writer.append(record.stream, self._waiting.pop(record.stream))

    def close(self) -> None:
        for stream, waiting in self._waiting.items():
            self._writer.append(stream, waiting)
        self._writer.write_manifest(closed=True)


def _of_section(section: str, changes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (changes or {}).items() if key.startswith(f"{section}.")}


def backtest(
    config: Path, settings: Settings, run_dir: Path, progress: Callable[[int, int, int], None] | None = None
) -> tuple[Result, dict[str, Any]]:
    """Run the settings' tapes and write archive and report into `run_dir`; returns the result and report.json's content."""
    from services.monitor.report import build_report

    run = settings.run
    tape = open_tape(list(run.tapes), run.seed)
    key_file = str(settings.values().get("monitor", {}).get("archive_key_file", ""))
    keeper = Keeper(run_dir, config.parent / key_file if key_file else None)
    result = Backtest(config, settings, tape, keeper.keep).run(progress)
    keeper.close()
    report = build_report(
        run_dir, replay=None, flat=result.flat, seed=run.seed, tape=", ".join(run.tapes), stage="backtest"
    )
    return result, report
