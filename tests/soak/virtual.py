"""The real execution core against the real exchange in virtual time, as the realtime runtime drives it: timers ten times a
second, one commit a step, calls read off the state after it, time-outs, a private stream that breaks; and a process that dies
at named points and comes back from snapshot and journal by the shipped `restore`.

What a socket does is done here: a call is lost when it is not answered in time, frames are lost while nobody is connected.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.batch import Accepted, Answer, News, work
from libs.common.decider import Request
from libs.common.events import (
    CancelIntent,
    Event,
    ForeignOrder,
    InstrumentDefined,
    Mismatch,
    OrderAccepted,
    OrderSubmitted,
    Reconciled,
    TimeInForce,
    VenueMessage,
)
from libs.common.record import Record, Started, Timer
from libs.common.restore import encode_snapshot, restore
from libs.common.stepper import Commit, Input, Local, Stepper
from services.execution.config import ExecutionConfig
from services.execution.core import ExecutionCore
from sim.config import SimConfig
from sim.engine.account import AccountSpec
from sim.exchange import Exchange
from sim.faults.menu import read
from sim.tapes.tape import open_tape
from sim.wiretypes import WireRequest
from tests.soak import plan
from tests.soak.desk import ACCOUNT, PUBLIC_KEY, SYMBOLS, entry, exit_of, listen
from tests.soak.memlog import MemoryLog
from tests.soak.tally import Tally

MS = 1_000_000
STEP_MS = 100
TIMEOUT_MS = 5_000
CONNECT_MS = 200
SNAPSHOT_EVERY = 200
"""More often than the shipped runtime: each death repeats the journal behind it, and there are a thousand of them."""
MOST_OPEN = 40
ENTRIES_A_STEP = 2
ENTRY_CHANCE = 0.3
"""Six intents a second, the most the rate limit leaves for entries."""
QUIET_MS = 60_000
STUCK_MS = 300_000
FLAT_TRIES = 20
TOPICS = ("order", "execution", "position", "wallet")


class Killed(Exception):  # noqa: N818 - not an error of anything: kill -9
    """The process is gone."""


class Life:
    """One process: what is in its memory and nowhere else."""

    def __init__(self, stepper: Stepper, born_at: int) -> None:
        self.stepper = stepper
        self.core = stepper.core
        self.connects_at = born_at + CONNECT_MS * MS
        self.connected = False
        self.announced = {request.number for request in self.core.requests()}
        self.first: list[Input] = []
        self.waiting: dict[int, tuple[int, int]] = {}
        """Token of a call -> its number, and when it is given up."""
        self.snapshot_due = stepper.position.version + SNAPSHOT_EVERY


class VirtualRun:
    """`intents` orders, one after another as fast as the account's rate limit allows."""

    def __init__(self, intents: int, seed: int) -> None:
        self.intents, self.dice = intents, random.Random(seed)
        minutes = 60 + intents // 120
        tape = open_tape([f"synthetic:seed={seed},minutes={minutes},crash=0"], seed)
        spec = AccountSpec(usdt="50000000")
        self.exchange = Exchange(SimConfig(), tape, seed, [spec])
        self.exchange.faults.load(read(plan.faults_document(seed)), self.exchange.now)
        self.tally = Tally(intents)
        listen(self.exchange.desk.accounts[ACCOUNT], self.tally)
        config = ExecutionConfig(seal_keys={"k": PUBLIC_KEY}, symbols=SYMBOLS)
        self._fresh_core = lambda: ExecutionCore(config)
        self.log = MemoryLog("execution")
        self.now = self.exchange.now
        self.life: Life | None = None
        self.begun = self.kills = self.dead_until = 0
        self._seqs: dict[str, int] = {}
        self._clock = (0, 0)
        self.mismatched, self._mismatched_at = False, 0
        """Risk takes no entries then, until the two agree again."""
        self._queue: deque[Record] = deque()
        """What the reader has not been given since it was born."""
        self._cancels: list[tuple[int, str, str]] = []
        self._kill_at: dict[str, str] = {}
        """Order link id -> the point at which its process dies."""
        self._numbers: dict[int, str] = {}
        """Create calls under way: number -> link id."""
        self._define()
        self._boot(fresh=True)

    # --- the world ----------------------------------------------------------------------------------------------------

    def _define(self) -> None:
        for symbol in SYMBOLS:
            grid = self.exchange.desk.markets[symbol].instrument.grid
            self._publish("instrument", InstrumentDefined(
                symbol=symbol, tick_size=grid.tick_size, lot_size=grid.lot_size, min_qty=grid.lot_size,
                max_qty=Decimal(1000), min_notional=Decimal(5),
            ))  # fmt: skip

    def _publish(self, stream: str, body: Event) -> None:
        """As another service would write it."""
        self._clock = max((self.now // MS, 0), (self._clock[0], self._clock[1] + 1))
        seq = self._seqs[stream] = self._seqs.get(stream, 0) + 1
        record = Record(stream, self._clock, f"{seq:032x}", seq, self.now, (), f"{seq:032x}", body)
        self.log.write(record)
        self._queue.append(record)

    def intend(self) -> None:
        """The next intent: an entry that trades at once or rests, near the market, smaller the more is held."""
        index, self.begun = self.begun, self.begun + 1
        kind = plan.draw(self.dice)
        self.tally.intend(index, kind)
        link = plan.link_id(kind, index)
        if kind.kill:
            self._kill_at[link] = kind.kill
        intent = entry(self.exchange, self.dice, link, self.now)
        self._publish("order-intent", intent)
        if intent.time_in_force is TimeInForce.GTC:
            heapq.heappush(self._cancels, (self.now + self.dice.randrange(500, 3_000) * MS, link, intent.symbol))

    # --- one step of time -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        self.now += STEP_MS * MS
        while self._cancels and self._cancels[0][0] <= self.now:
            _, link, symbol = heapq.heappop(self._cancels)
            self._publish("order-intent", CancelIntent(order_link_id=link, symbol=symbol, reason="soak"))
        self.exchange.advance(self.now)
        outbox = self.exchange.collect()
        try:
            if self.life is None:
                if self.now >= self.dead_until:
                    self._boot(fresh=False)
                return
            self._take(self.life, outbox)
        except Killed:
            self.life = None
            self.kills += 1
            self.dead_until = self.now + self.dice.randrange(100, 3_000) * MS

    def _take(self, life: Life, outbox: Any) -> None:
        messages, life.first = life.first, []
        for reply in outbox.replies:
            number, _ = life.waiting.pop(reply.token, (0, 0))
            if number and reply.status:
                messages.append(self._reply(number, reply))
            elif number:  # the exchange keeps silent: the client has to give it up itself
                life.waiting[-reply.token] = (number, self.now + TIMEOUT_MS * MS)
        for token in [token for token, (_, until) in life.waiting.items() if until <= self.now]:
            number, _ = life.waiting.pop(token)
            messages.append(self._message("lost", "ReadTimeout", number))
        if life.connected:
            messages += [self._message("private", f.text) for f in outbox.frames if f.topic in TOPICS]
        elif self.now >= life.connects_at:
            life.connected = True
            messages.append(self._message("connected"))
        records = list(self._queue)
        self._queue.clear()
        self._process(life, [*messages, *records, Local(Timer(), self.now)])

    def _message(self, channel: str, payload: str = "", number: int = 0) -> Local:
        return Local(VenueMessage(channel=channel, payload=payload, request=number, received_at=self.now), self.now)

    def _reply(self, number: int, reply: Any) -> Local:
        self._die_at("answered", self._numbers.pop(number, ""))
        headers = {name.lower(): value for name, value in reply.headers.items()}
        body = VenueMessage(
            channel="reply",
            payload=reply.body,
            request=number,
            status=reply.status,
            headers=headers,
            received_at=self.now,
        )
        return Local(body, self.now)

    # --- the runtime -----------------------------------------------------------------------------------------------------

    def _boot(self, *, fresh: bool) -> None:
        """As Runtime._recover and _live: from snapshot and journal; what was under way is lost, what was not read is read."""
        stepper = _finished(restore(self._fresh_core(), self.log, None))  # type: ignore[arg-type]  # as much of a Log as it asks for
        life = self.life = Life(stepper, self.now)
        pending = life.core.requests()
        lost = [self._message("lost", "", request.number) for request in pending]
        life.first = [*lost, Local(Started(fresh=fresh), self.now)]
        self._numbers.clear()
        self._queue = deque(self._unread(stepper))

    def _unread(self, stepper: Stepper) -> list[Record]:
        from libs.common.codec import decode

        found = []
        for name, key in self.log.keys.items():
            cursor = stepper.position.cursors.get(name, (0, 0))
            found += [decode(name, entry, fields) for entry, fields in self.log.stream(key).after(cursor, 1 << 30)]
        return sorted(found, key=lambda record: record.entry)

    def _process(self, life: Life, inputs: list[Input]) -> None:
        todo = work(life.stepper, inputs)
        answer: Answer | None = None
        try:
            while True:
                match todo.send(answer):  # type: ignore[arg-type]  # None starts a generator
                    case Commit() as commit:
                        answer = self._commit(life, commit)
                    case News():
                        answer = []
                    case Accepted():
                        self._send_due(life)
        except StopIteration:
            return

    def _commit(self, life: Life, commit: Commit) -> bool:
        submitted = [r.body.order_link_id for r in commit.outputs if isinstance(r.body, OrderSubmitted)]
        for link in submitted:
            self._die_at("decided", link)
        stepper = life.stepper
        proposed, guarded = not commit.is_learnt, bool(commit.scopes)
        position = stepper.proposed if proposed else stepper.position
        snapshot = b""
        if not guarded and position.version >= life.snapshot_due:
            snapshot = encode_snapshot(stepper)
            life.snapshot_due = position.version + SNAPSHOT_EVERY
        self.log.commit(commit, position, guarded, snapshot)
        for record in commit.outputs:
            if record.stream != "venue":
                self.tally.wrote(record.body, self.now // MS)
                self._learn(record.body)
        for link in submitted:
            self._die_at("committed", link)
        if not proposed:
            self._send_due(life)
        return True

    def _learn(self, body: Event) -> None:
        if isinstance(body, OrderAccepted):
            self.tally.proved(body.order_link_id, self.now // MS)
        elif isinstance(body, Mismatch | Reconciled):
            if isinstance(body, Mismatch) and not self.mismatched:
                self._mismatched_at = self.now
            self.mismatched = isinstance(body, Mismatch)

    def _send_due(self, life: Life) -> None:
        pending = life.core.requests()
        new = [request for request in pending if request.number not in life.announced]
        life.announced = {request.number for request in pending}
        for request in new:
            self._send(life, request)

    def _send(self, life: Life, request: Request) -> None:
        if life.core.expired(request.number, self.now):
            life.first.append(self._message("unsent", "", request.number))
            return
        if request.method == "WS":
            return
        link = ""
        if request.target.endswith("/order/create"):
            link = msgspec.json.decode(request.body)["orderLinkId"]
            self._numbers[request.number] = link
            self.tally.sends(link)
        path, _, query = request.target.partition("?")
        wire = WireRequest(method=request.method, path=path, query=query, body=request.body, account=ACCOUNT)
        token = self.exchange.submit(wire)
        life.waiting[token] = (request.number, self.now + TIMEOUT_MS * MS)
        if plan.index_of(link) >= 0 and plan.BY_CODE[link[3:5]].doubled:
            self.exchange.submit(wire)
        self._die_at("sent", link)

    def _die_at(self, point: str, link: str) -> None:
        if link and self._kill_at.get(link) == point:
            del self._kill_at[link]
            raise Killed

    # --- the whole ---------------------------------------------------------------------------------------------------------

    @property
    def open_orders(self) -> int:
        return len(self.life.core.state.orders) if self.life is not None else MOST_OPEN  # type: ignore[attr-defined]

    def run(self, tell: Callable[[VirtualRun], None] | None = None) -> None:
        """All intents, then quiet until nothing is under way any more. `tell(run)` is called each 5 %."""
        while not self.tally.counts[Reconciled.__name__]:
            self.step()
        every = max(1, self.intents // 20)
        told = 0
        while self.begun < self.intents and not self.stuck:
            for _ in range(ENTRIES_A_STEP):
                room = not self.mismatched and self.open_orders < MOST_OPEN and len(self._queue) < ENTRIES_A_STEP
                if room and self.begun < self.intents and self.dice.random() < ENTRY_CHANCE:
                    self.intend()
            self.step()
            if tell is not None and self.begun // every > told:
                told = self.begun // every
                tell(self)
        self.settle()

    @property
    def stuck(self) -> bool:
        """Log and exchange have differed for so long that nothing heals it."""
        return self.mismatched and self.now - self._mismatched_at > STUCK_MS * MS

    def settle(self) -> None:
        """Quiet until nothing is under way, then flat."""
        self._pass(QUIET_MS)
        account = self.exchange.desk.accounts[ACCOUNT]
        for _ in range(FLAT_TRIES):
            if not any(account.position(symbol).lots for symbol in SYMBOLS):
                break
            self._flatten()
            self._pass(5_000)
        self._pass(QUIET_MS)

    def _pass(self, ms: int) -> None:
        end = self.now + ms * MS
        while self.now < end or self.life is None:
            self.step()

    def _flatten(self) -> None:
        for symbol in SYMBOLS:
            if self.exchange.desk.accounts[ACCOUNT].position(symbol).lots:
                self._publish("order-intent", exit_of(self.exchange, symbol, self.now))

    def differences(self) -> list[str]:
        """Where execution's ledger and the exchange's disagree, to the last digit; [] is agreement."""
        assert self.life is not None
        state = self.life.core.state  # type: ignore[attr-defined]
        account = self.exchange.desk.accounts[ACCOUNT]
        found = []
        if self.stuck:
            found.append(f"a mismatch that nothing healed, at intent {self.begun:,}")
        if state.ledger.wallet_units != account.wallet:
            found.append(f"wallet: ours {state.ledger.wallet_units}, the exchange's {account.wallet} (1e-8 USDT)")
        for symbol in SYMBOLS:
            ours, theirs = state.ledger.lots(symbol), account.position(symbol).lots
            if ours != theirs:
                found.append(f"{symbol}: ours {ours} lots, the exchange's {theirs}")
        if state.orders:
            found.append(f"{len(state.orders)} orders are still open in execution")
        if account.open_orders:
            found.append(f"{len(account.open_orders)} orders are still open at the exchange")
        if not self.tally.same_fills:
            found.append(f"fills: {self.tally.fills} in the log, {self.tally.venue_fills} at the exchange, or others")
        if foreign := self.tally.counts[ForeignOrder.__name__]:
            found.append(f"{foreign} of our own orders were taken for a stranger's")
        return found


def _finished(work_: Coroutine[Any, Any, Stepper]) -> Stepper:
    """The result of a coroutine that never waits."""
    try:
        work_.send(None)
    except StopIteration as end:
        result: Stepper = end.value
        return result
    raise AssertionError("it waited")
