"""The simulated exchange: a pure function of a tape, a seed and the requests that arrive.

    exchange = Exchange(config, tape, seed=7)
    exchange.submit(request)        # arrives now, reaches the engine after its seeded latency
    exchange.advance(at_ns)         # plays tape and requests up to and with that instant
    exchange.collect()              # frames and replies that left by then

Latency hangs on the seed and the request's id (or content), never on the order of arrival within an instant: two runs
that submit the same requests at the same instants give the same bytes. No sockets, no clock, no chance.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.values import category_of, to_units
from sim.chance import digest, identifier
from sim.config import DEFAULT_ACCOUNTS, SimConfig
from sim.door.gateway import Gateway
from sim.engine import booking
from sim.engine.account import Account, AccountSpec
from sim.engine.desk import Desk
from sim.engine.market import NS_PER_MS, Market
from sim.engine.orders import Position
from sim.engine.spot import twins_of
from sim.faults.injector import Injector
from sim.faults.mishaps import Mishaps
from sim.operations import Operations
from sim.overview import overview
from sim.routes.dcp import PRODUCT_OF, Deadman
from sim.state import Changes, Saved, state_of
from sim.streams.feed import Feed, topic_symbol
from sim.streams.housefeed import HOUSE_TOPICS, HouseFeed
from sim.streams.privaterows import private_rows
from sim.tapes.backcast import Backcast
from sim.tapes.tape import SyntheticSource, Tape
from sim.trading import MARKET_DATA, PRIVATE_WS
from sim.venue import Venue
from sim.wiretypes import Frame, Outbox, WireReply, WireRequest

MINUTE_NS = 60_000 * NS_PER_MS
PRIVATE_TOPICS = ("order", "execution", "execution.fast", "position", "wallet")
DEFAULT_LISTENING = frozenset({"order", "execution", "position", "wallet"})
_JSON = msgspec.json.Encoder()


class Exchange:
    """See the module. `journal`: keep changes for a store (`changes()` must then be called); `script`: operations to come."""

    def __init__(
        self,
        config: SimConfig,
        tape: Tape,
        seed: int,
        accounts: Iterable[AccountSpec] = DEFAULT_ACCOUNTS,
        incarnation: str = "",
        journal: bool = False,
        script: Iterable[tuple[int, dict[str, Any]]] = (),
    ) -> None:
        self.config, self.tape, self.seed = config, tape, seed
        self.incarnation = incarnation or identifier("incarnation", seed)
        markets = {
            name: Market(item, seed, tape.native_ms[name], config.depth) for name, item in tape.instruments.items()
        }
        twins = twins_of(markets, seed) if config.spot else {}
        self.desk = Desk(markets, self.incarnation, twins)
        self.venue = Venue(markets, self.desk, _backcast(tape, seed), self.incarnation, seed)
        self.venue.now = tape.start_at
        self.venue.order_limit *= config.rate_factor
        specs = list(accounts)
        self.gateway = Gateway(self.venue, self.desk.accounts, specs, config.rate_factor)
        self.deadman = Deadman()
        self.operations = Operations(self.venue, script)
        self.house = HouseFeed(self.venue, self.operations)
        self._operations_kept = -1 if self.operations.scheduled else 0
        for spec in specs:
            self._open(spec)
        self.listening: frozenset[str] = DEFAULT_LISTENING
        """Private topics whose frames are produced; a realtime server narrows it to what somebody subscribed to."""
        self._journal = journal
        self._changes = Changes()
        self._incoming: list[tuple[int, str, int, WireRequest, int]] = []
        self._outgoing: list[tuple[int, int, WireReply | Frame]] = []
        self._outbox = Outbox([], [])
        self._tokens = self._sent = 0
        self._funding_ms = self._next_funding(tape.start_at)
        self.faults = Injector()
        """What goes wrong; switched on by `faults.load`."""
        self.mishaps = Mishaps(self.faults, self.venue, self.gateway.keys)

    # --- the wire ----------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Exchange time in ns, as the exchange tells it."""
        return self.venue.now + self.faults.skew_ns(self.venue.now)

    @property
    def due_at(self) -> int | None:
        """When the next request reaches the engine or the next reply or message leaves, unless something comes between."""
        heads = [heap[0][0] for heap in (self._incoming, self._outgoing) if heap]
        return min(heads) if heads else None

    def submit(self, request: WireRequest, at: int | None = None) -> int:
        """A request arrived (`at` ns, default now); gives the token of its reply."""
        self._tokens += 1
        arrived = self.venue.now if at is None else max(at, self.venue.now)
        key = request.request_id or f"{digest(0, request.method, request.path, request.query, request.body):016x}"
        reached = arrived + self._latency(self.config.latency_in_ms, "in", key)
        if self.faults:
            leaves = reached + self._latency_out(key)
            reaches, reply = self.mishaps.admit(request, self._tokens, arrived, reached, leaves)
            if reply is not None:
                self._send(reply.at, reply)
            if reaches is None:
                return self._tokens
            reached = reaches
        heapq.heappush(self._incoming, (reached, key, self._tokens, request, arrived))
        return self._tokens

    def advance(self, at: int) -> None:
        """Play everything up to and with `at` (ns)."""
        incoming, desk = self._incoming, self.desk
        if self.faults:
            self._mischief(at)
        for event in self.tape.window(at):
            while incoming and incoming[0][0] <= event.at:
                self._serve()
            self._pass(event.at)
            desk.on_event(event)
            if desk.touched:
                self._tell(event.at)
        while incoming and incoming[0][0] <= at:
            self._serve()
        self._pass(at)
        if self.deadman.gone_at:
            self._protect(at)
        self._publish(at)
        while self._outgoing and self._outgoing[0][0] <= at:
            item = heapq.heappop(self._outgoing)[2]
            if isinstance(item, Frame):
                self._outbox.frames.append(item)
            else:
                self._outbox.replies.append(item)

    def skip(self, at: int) -> None:
        """What happened up to `at` while this exchange was not there: the markets saw it, nobody traded on it."""
        for event in self.tape.window(at):
            self.desk.see(event)
        for market in self.venue.markets.values():
            market.roll(at)
            market.fresh.clear()
            market.closed.clear()
        self.venue.now = at
        self._funding_ms = self._next_funding(at)

    def collect(self) -> Outbox:
        """What left since the last time; each request's reply once."""
        outbox, self._outbox = self._outbox, Outbox([], [])
        return outbox

    def answer(self, request: WireRequest) -> WireReply:
        """Serve a request at once, without latency: look-ups and actions from outside a tape run's clients."""
        status, body, headers = self._handle(request, self.venue.now)
        self._tell(self.venue.now)
        return WireReply(
            token=0, client=request.client, request_id=request.request_id, status=status, at=self.venue.now,
            body=_timed(body, self.venue.now), headers=headers,
        )  # fmt: skip

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def knows(self, topic: str) -> bool:
        """Is this a public topic of a symbol that is traded here?"""
        return topic in HOUSE_TOPICS or topic_symbol(topic) in self.venue.markets

    def watch(self, topic: str) -> None:
        """From now on the topic's frames are produced; the first is a snapshot."""
        self._feed(topic).watch(topic)

    def unwatch(self, topic: str) -> None:
        self._feed(topic).unwatch(topic)

    def snapshot(self, topic: str) -> str | None:
        """What a subscriber who joins a watched topic gets first; None when its next frame will be a snapshot anyway."""
        return self._feed(topic).snapshot(topic)

    def _feed(self, topic: str) -> Feed | HouseFeed:
        return self.house if topic in HOUSE_TOPICS else self.venue.feeds[str(topic_symbol(topic))]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _latency_out(self, key: str) -> int:
        return self._latency(self.config.latency_out_ms, "out", key)

    def _latency(self, span: tuple[int, int], way: str, key: object) -> int:
        low, high = span[0] * NS_PER_MS, span[1] * NS_PER_MS
        return low + digest(self.seed, way, key) % (high - low + 1)

    def _pass(self, at: int) -> None:
        """Time moves on to `at`; operations, funding stamps, and orders that fill in their own time have their turn."""
        while self.mishaps.late and self.mishaps.proceed(at):
            self._tell(self.venue.now)
        while self.operations.due(at):
            self._pass_funding(self.operations.scheduled[0][0])
            self.operations.next()
            self._operated()
        self._pass_funding(at)
        self.venue.now = at

    def operate(self, document: dict[str, Any]) -> dict[str, Any]:
        """Make something happen now; see sim/operations.py. Raises UsageError when it cannot be done."""
        answer = self.operations.apply(document)
        self._operated()
        return answer

    def _operated(self) -> None:
        self._funding_ms = self._next_funding(self.venue.now)
        self._tell(self.venue.now)

    def _pass_funding(self, at: int) -> None:
        while self._funding_ms and at >= self._funding_ms * NS_PER_MS:
            stamp = self._funding_ms
            self.venue.now = stamp * NS_PER_MS
            booking.charge_funding(self.desk, stamp)
            self._tell(self.venue.now)
            self._funding_ms = self._next_funding(self.venue.now)

    def _next_funding(self, at: int) -> int:
        markets = self.venue.markets
        return min((markets[symbol].next_funding_ms(at) for symbol in self.tape.instruments), default=0)

    def _serve(self) -> None:
        """The engine takes the next request."""
        at, key, token, request, arrived = heapq.heappop(self._incoming)
        self._pass(at)
        fate = self.mishaps.fate(token)
        overtaken = self.mishaps.overtaken(fate, request, at) if fate is not None else None
        status, body, headers = overtaken or self._handle(request, arrived)
        leaves = at + self._latency_out(key) + (fate.wait if fate is not None else 0)
        reply = WireReply(
            token=token, client=request.client, request_id=request.request_id, status=status, at=leaves,
            body=_timed(body, leaves), headers=headers,
        )  # fmt: skip
        if fate is None:
            self._send(leaves, reply)
        elif fate.answer is None:
            self._send(leaves, self.faults.reply(reply))
        if self.desk.touched:
            self._tell(at)

    def _handle(self, request: WireRequest, arrived: int) -> tuple[int, dict[str, Any], dict[str, str]]:
        """What the gateway, whose clock may be off, says to a request that arrived at that time."""
        return self.gateway.handle(request, (arrived + self.faults.skew_ns(arrived)) // NS_PER_MS)

    def _mischief(self, at: int) -> None:
        """Strangers trade."""
        for request in self.mishaps.deeds(at):
            self._handle(request, self.venue.now)
            self._tell(self.venue.now)

    def _protect(self, at: int) -> None:
        """Cancel what accounts left behind whose connections are dead for too long."""
        for account, product in self.deadman.due(self.desk.accounts, at):
            for order in list(account.open_orders.values()):
                if PRODUCT_OF[category_of(order.symbol)] == product:
                    self.desk.cancel(order, at, "EC_PerCancelRequest", "CancelByDCP")
        self._tell(at)

    def _publish(self, at: int) -> None:
        if self.house.watched:
            self._outbox.frames.extend(self.house.publish(at))
        silent = bool(self.venue.windows) and self.venue.down(MARKET_DATA)
        for symbol, market in self.venue.markets.items():
            market.roll(at)
            feed = self.venue.feeds[symbol]
            if feed.watched and not silent:
                frames = feed.publish(at, self.config.unconfirmed_klines)
                if self.faults:
                    for frame in frames:
                        self._emit(frame)
                else:
                    self._outbox.frames.extend(frames)
            else:
                market.fresh.clear()
                market.closed.clear()
                market.liquidations.clear()

    def _tell(self, at: int) -> None:
        """Turn what the desk changed into private frames and into changes for the store."""
        touched, self.desk.touched = self.desk.touched, {}
        silent = bool(self.venue.windows) and self.venue.down(PRIVATE_WS)
        for name, change in touched.items():
            account = self.desk.accounts[name]
            leaves = at + self._latency(self.config.latency_out_ms, "frame", self._sent)
            for topic, category, rows in (
                () if silent else private_rows(account, change, self.listening, self.venue.markets)
            ):
                self._sent += 1
                body = {
                    "id": identifier(self.incarnation, "message", self._sent),
                    "topic": topic,
                    "creationTime": leaves // NS_PER_MS,
                }
                text = _JSON.encode(body | {"data": rows}).decode()
                self._emit(Frame(topic, name, text, leaves, category))
            if self._journal:
                self._changes.orders.update({key: msgspec.structs.replace(o) for key, o in change.orders.items()})
                self._changes.fills.extend(change.fills)
                self._changes.entries.extend(change.entries)
                self._changes.accounts[name] = state_of(account)

    def _emit(self, frame: Frame) -> None:
        """Send a message, or what faults make of it."""
        for item in self.faults.messages(frame) if self.faults else (frame,):
            self._send(item.at, item)

    def _send(self, at: int, item: WireReply | Frame) -> None:
        self._sent += 1
        heapq.heappush(self._outgoing, (at, self._sent, item))

    # --- state -------------------------------------------------------------------------------------------------------

    def _open(self, spec: AccountSpec) -> None:
        if spec.name in self.desk.accounts:
            return
        opening = to_units(Decimal(spec.usdt))
        account = Account(spec.name, opening, spec.taker_e8, spec.maker_e8, self.tape.start_at)
        account.dcp_offered = spec.dcp
        account.spot_e8 = spec.spot_e8
        for symbol in self.tape.instruments:
            account.positions[symbol] = Position(
                symbol=symbol, leverage_e2=self.config.leverage * 100, created_at=self.tape.start_at
            )
        self.desk.accounts[spec.name] = account

    def changes(self) -> Changes:
        """What a store must write before anything collected leaves; empties the list."""
        changes, self._changes = self._changes, Changes()
        changes.counters = msgspec.structs.replace(self.desk.counters)
        if self.operations.applied != self._operations_kept:
            self._operations_kept, changes.venue = self.operations.applied, self.operations.state()
        return changes

    def restore(self, saved: Saved) -> None:
        """Take over what a store kept: wallets, positions, orders, executions, counters."""
        self.desk.counters = saved.counters
        if saved.venue is not None:
            self.operations.restore(saved.venue)
            self._operations_kept = self.operations.applied
        for state in saved.accounts:
            account = self.desk.accounts.get(state.uid)
            if account is None:
                continue
            account.opening, account.wallet, account.realised = state.opening, state.wallet, state.realised
            account.margin_mode, account.dcp_s = state.margin_mode, state.dcp_s
            # Whoever was connected is not connected to this process.
            self.deadman.gone_at |= {(state.uid, product): self.venue.now for product in state.dcp_s}
            account.coins, account.hedge = dict(state.coins), set(state.hedge)
            for position in state.positions:
                if position.symbol in self.venue.markets:
                    account.restore(position)
        known = self.desk.accounts
        markets = self.venue.markets
        self.desk.restore_orders(o for o in saved.orders if o.account in known and o.symbol in markets)
        for fill in saved.fills:
            if fill.account in known and fill.symbol in markets:
                known[fill.account].fills.append(fill)
        for entry in saved.entries:
            if entry.account in known and (not entry.symbol or entry.symbol in markets):
                known[entry.account].log.append(entry)

    def summary(self) -> dict[str, Any]:
        """Everything that is open, for people: GET /sim/state."""
        return overview(self.venue, self.tape.finished)


def _timed(body: dict[str, Any], at: int) -> str:
    body["time"] = at // NS_PER_MS
    return _JSON.encode(body).decode()


def _backcast(tape: Tape, seed: int) -> Backcast:
    opening: dict[str, int] = {}
    for source in tape.sources:
        if isinstance(source, SyntheticSource):
            opening |= source.opening_ticks()
    return Backcast(seed, tape.start_at, opening)
