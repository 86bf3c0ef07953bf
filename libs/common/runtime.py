"""The live runtime of one service: read, decide, commit, then do what the state says is due.

One batch at a time, one commit a batch. Any exception ends the process (exit 75) and a supervisor starts it again: state is
rebuilt from the log, so leaving is always safe and going on half evolved never is.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import hiredis
import msgspec

from libs.common import killpoints
from libs.common.batch import Accepted, Answer, News, work
from libs.common.bus import BLOCK_MS, Closed, Log, gap, subscribe
from libs.common.clock import now_ns
from libs.common.decider import Core, Request
from libs.common.errors import StepError
from libs.common.events import Event, Instant
from libs.common.logs import redact
from libs.common.outside import Driver, OutsideMessage, recorded
from libs.common.record import UNREADABLE, Record, Started, Timer
from libs.common.restore import JournalEntry, encode_snapshot, restore
from libs.common.sections import mask_url
from libs.common.startup import came_up
from libs.common.stepper import NS_PER_MS, Commit, Finish, Input, Local, Stepper

SNAPSHOT_EVERY = 1000
"""Commits between two snapshots: bounds what a restart has to decide again."""

STOP_WITHIN_S = 5.0
"""After SIGTERM a step that cannot be committed is given up: the next start takes it again."""
LEAVE_CODE = StepError.exit_code
INBOX_LIMIT = 100_000
"""Outside messages held in memory at most."""


class Watch(Protocol):
    """What observes a service without taking part: metrics, traces, probes."""

    def consumed(self, records: list[Record]) -> None: ...

    def committed(self, commit: Commit, seconds: float) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def alive(self, *, ready: bool, reason: str) -> None: ...


class Runtime:
    """`timer_ms`: between two Timer records (never in tape runs). `linger_ms`: how long to let events gather before each read,
    for a service whose promptness matters less than the CPU it takes from others."""

    def __init__(
        self,
        core: Core,
        log: Log,
        *,
        lockstep: bool,
        timer_ms: int = 1000,
        linger_ms: int = 0,
        outside: Driver | None = None,
        finish: Finish | None = None,
        gate: Callable[[Event], dict[str, str]] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.core, self.log, self.lockstep, self.timer_ms, self.linger_ms = core, log, lockstep, timer_ms, linger_ms
        self.outside, self.finish, self.gate, self.watch = outside, finish, gate, watch
        self.stepper: Stepper
        self._batches: list[tuple[list[OutsideMessage], int | None, int | None]] = []
        self._locals: list[Local] = []
        self._records: list[Record] = []
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._reading: asyncio.Future[Any] | None = None
        self._announced: set[int] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._stuck = ""
        self._tape_at = 0
        self._whole = False
        """The batch is one commit: the next read may begin while it is under way."""
        self._snapshot_due = SNAPSHOT_EVERY

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._stopping.set)
        if self.watch is not None:
            await self.watch.start()
        if await came_up(self._recover(), self._stopping, self._waiting):
            # What start-up made stays for good: a full collection in the midst of trading would walk all of it, for tens of ms.
            gc.collect()
            gc.freeze()
            await self._live()
        if self.watch is not None:
            await self.watch.stop()
        self.log.close()

    async def _live(self) -> None:
        position = self.stepper.position
        # A start is decided under the settings of that start, once: the commit that holds it keeps the state as well.
        self._snapshot_due = position.version + 1
        pending = self.core.requests()
        self._announced = {request.number for request in pending}
        self._tape_at = max(self._tape_at, position.clock[0] * NS_PER_MS)
        self._set_time(self._tape_at)
        fresh = position.version == 0
        if fresh or not self.lockstep:
            self._locals.append(Local(Started(fresh=fresh), self._now()))
        if self.outside is not None:
            await self.outside.start(self, position.instant)
            if self.outside.failed is not None:
                self.outside.failed.add_done_callback(self._driver_failed)
            if self.lockstep:
                self._call(pending)
            else:
                lost = [OutsideMessage(channel="lost", request=request.number) for request in pending]
                self.put(lost)
        timers = [asyncio.create_task(self._overdue())]
        if not self.lockstep:
            timers.append(asyncio.create_task(self._tick()))
        self._news.set()
        stop = await subscribe(self.log, self._wait, self._handle)
        await self._stopping.wait()
        self._news.set()
        try:
            await asyncio.wait_for(self._idle.wait(), STOP_WITHIN_S)
        except TimeoutError:
            _leave(
                self.core.service,
                StepError("the bus did not answer while stopping; what was not committed is decided again"),
            )
        await stop()
        if not self.lockstep:
            await self._keep()
        for task in timers:
            task.cancel()
        if self.outside is not None:
            await self.outside.stop()

    async def _keep(self) -> None:
        """A last commit with a snapshot: whoever comes next, on newer code perhaps, decides nothing again."""
        self._snapshot_due, self._whole = 0, False
        await self._commit(self.stepper.step([]))

    async def _recover(self) -> None:
        """Come back to the last commit."""
        self.stepper = await restore(self.core, self.log, self.finish)
        killpoints.passing("restored")
        self._tape_at = await self.log.tape_start() if self.lockstep else 0

    def _waiting(self) -> str:
        return "" if self.log.epoch else f"{self.core.service}: waiting for the bus at {mask_url(self.log.writer.url)}"

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        """The inbox of the outside driver. In a tape run a batch is one instant's: its tape time and number come along.

        Raises StepError when this process cannot keep up: it starts again with a fresh snapshot instead of trading on old news.
        """
        if len(self._batches) >= INBOX_LIMIT:
            raise StepError(
                f"expected at most {INBOX_LIMIT} undigested messages, was more; {self.core.service} cannot keep up"
            )
        if messages or number is not None:
            self._batches.append((messages, at, number))
            self._news.set()

    def _now(self) -> int:
        return self._tape_at if self.lockstep else now_ns()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.timer_ms / 1000)
            if not self._locals:
                self._locals.append(Local(Timer(), now_ns()))
                self._news.set()

    # --- reading --------------------------------------------------------------------------------------------------

    async def _wait(self) -> bool:
        """Until there is something to do; False when stopping."""
        while not self._stopping.is_set():
            if self.watch is not None:
                self.watch.alive(ready=not self._stuck, reason=self._stuck)
            if self._stuck:
                await self._stopping.wait()
                break
            if self._batches or self._locals:
                return True
            if self._reading is None:
                await self._begin_read()
            elif self._reading.done():
                if await self._take_read():
                    return True
            else:
                await self._news.wait()
                self._news.clear()
        self._idle.set()
        await asyncio.sleep(0.05)
        return False

    async def _begin_read(self) -> None:
        """Ask the streams for more; the answer is kept until `_wait` takes it."""
        if self._reading is None:
            self._reading = await self.log.begin_read(self.stepper.position, BLOCK_MS)
            self._reading.add_done_callback(self._woken)

    def _woken(self, _: asyncio.Future[Any]) -> None:
        self._news.set()

    async def _take_read(self) -> bool:
        assert self._reading is not None
        reading, self._reading = self._reading, None
        try:
            self._records = self.log.records(reading.result())
        except OSError:
            await asyncio.sleep(0.02)
        except hiredis.ReplyError as e:
            if "LOADING" not in str(e):
                raise StepError(f"expected the bus to answer XREAD, was {e}") from e
            await asyncio.sleep(0.05)
        return bool(self._records)

    async def _overdue(self) -> None:
        """Notice a bus that hangs without closing its connections."""
        while True:
            await asyncio.sleep(0.5)
            self.log.check()

    # --- stepping -------------------------------------------------------------------------------------------------

    async def _handle(self) -> None:
        """FastStream handed over: work until asked to stop. Going back to it between batches costs more than a batch."""
        try:
            await self._step()
            while await self._wait():
                await self._step()
                if self.linger_ms:
                    await asyncio.sleep(self.linger_ms / 1000)
        except BaseException as e:  # noqa: BLE001 - FastStream would swallow it and go on with a state half evolved
            _leave(self.core.service, e)

    async def _step(self) -> None:
        killpoints.passing("read")
        records, self._records = self._records, []
        records, hole = gap(records, self.stepper.position)
        if self.watch is not None:
            self.watch.consumed(records)
        locals_, self._locals = self._locals, []
        batches, self._batches = self._batches, []
        if self.lockstep:
            await self._process([*locals_, *records])
            for messages, at, number in batches:
                await self._outside_batch(messages, at, number)
        else:
            messages = [message for batch, _, _ in batches for message in batch]
            outside = [self._local(message, message.received_at or now_ns()) for message in messages]
            await self._process([*outside, *records, *locals_])
        if hole is not None:
            await self._process([Local(hole, records[-1].at if records else self._now())])
            got = "an entry that cannot be read" if hole.got == UNREADABLE else str(hole.got)
            self._stuck = f"expected {hole.stream} seq {hole.expected}, was {got}; restore the stream from the archive, or upgrade"

    async def _outside_batch(self, messages: list[OutsideMessage], at: int | None, number: int | None) -> None:
        assert at is not None
        if number is not None and number <= self.stepper.position.instant:
            return
        self._set_time(at)
        inputs: list[Input] = [self._local(message, at) for message in messages]
        await self._commit(self.stepper.step(inputs, number), number)

    def _local(self, message: OutsideMessage, at: int) -> Local:
        return Local(recorded(message, self.core.service, at), at)

    def _set_time(self, at: int) -> None:
        self._tape_at = at
        if self.lockstep and self.outside is not None:
            self.outside.set_time(at)

    async def _process(self, inputs: list[Input]) -> None:
        for item in inputs:
            if isinstance(item, Record) and isinstance(item.body, Instant):
                self._set_time(item.at)
        self._whole = not any(isinstance(item, Record) and self.core.guards(item) for item in inputs)
        todo = work(self.stepper, inputs)
        answer: Answer | None = None
        with contextlib.suppress(StopIteration):
            while True:
                step = todo.send(answer)  # type: ignore[arg-type]  # None starts a generator
                match step:
                    case Commit():
                        answer = await self._commit(step)
                    case News():
                        answer = await self._news_beyond(step)
                    case Accepted():
                        self._send_due()

    async def _news_beyond(self, asked: News) -> list[Input]:
        """What came since the batch was read. In a tape run nothing can: a wave is released as a whole."""
        if self.lockstep:
            return []
        if self._reading is None:
            self._reading = await self.log.begin_read(asked.position, 1)
        reading, self._reading = self._reading, None
        records = self.log.records(await reading)
        good, hole = gap(records, asked.position)
        last_at = good[-1].at if good else self._now()
        return [*good] if hole is None else [*good, Local(hole, last_at)]

    async def _commit(self, commit: Commit, instant: int | None = None) -> bool:
        """Write one step and send what it makes due; False when the gate is closed."""
        started = time.perf_counter()
        killpoints.passing("decided")
        stepper, proposed, guarded = self.stepper, not commit.is_learnt, bool(commit.scopes)
        position = stepper.proposed if proposed else stepper.position
        calls = self.core.calls(commit.outputs) if proposed else len(self._new_requests())
        entry = JournalEntry(commit.journal, guarded, instant)
        snapshot = b""
        if not guarded and position.version >= self._snapshot_due:
            snapshot = encode_snapshot(stepper)
            self._snapshot_due = position.version + SNAPSHOT_EVERY
        gate: dict[str, str] = {}
        if self.gate is not None:
            for record in commit.outputs:
                gate |= self.gate(record.body)
        try:
            journal, meanwhile = (
                msgspec.json.encode(entry),
                self._begin_read if self._whole and not self.linger_ms else None,
            )
            await self.log.commit(commit, position, journal, snapshot, gate, calls, meanwhile)
        except Closed:
            return False
        killpoints.passing("submitted" if guarded else "snapshotted" if snapshot else "committed")
        if not proposed:
            self._send_due()
        if self.watch is not None:
            self.watch.committed(commit, time.perf_counter() - started)
        return True

    def _new_requests(self) -> list[Request]:
        pending = self.core.requests()
        if len(self._announced) > 4 * len(pending) + 64:
            self._announced &= {request.number for request in pending}
        return [request for request in pending if request.number not in self._announced]

    def _send_due(self) -> None:
        """Send every request that the state has under way and this process has not sent yet."""
        new = self._new_requests()
        self._announced.update(request.number for request in new)
        self._call(new)

    def _call(self, requests: list[Request]) -> None:
        if self.outside is None:
            return
        for request in requests:
            if not self.lockstep and self.core.expired(request.number, now_ns()):
                self.put([OutsideMessage(channel="unsent", request=request.number)])
                continue
            task = asyncio.create_task(self.outside.send(request))
            self._calls.add(task)
            task.add_done_callback(self._called)

    def _called(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._driver_failed(task)

    def _driver_failed(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled() and future.exception() is not None:
            _leave(self.core.service, future.exception())


def _leave(service: str, error: BaseException | None) -> None:
    """End the process at once, saying why; no secret may show in a crash."""
    known = isinstance(error, StepError) or error is None
    lines = [] if known else traceback.format_exception(error)
    sys.stderr.write(redact("".join([*lines, f"{service}: {type(error).__name__}: {error}\n"])))
    sys.stderr.flush()
    os._exit(LEAVE_CODE)
