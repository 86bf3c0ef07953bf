"""Execution's core trading at the simulated exchange, both pure, instant by instant: the two ledgers never differ."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common import seal
from libs.common.events import (
    Event,
    Fill,
    FlatConfirmed,
    ForeignOrder,
    Halted,
    Instant,
    InstrumentDefined,
    Mismatch,
    Mode,
    ModeChanged,
    OrderAccepted,
    OrderIntent,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    Purpose,
    Reason,
    Reconciled,
    TimeInForce,
    VenueMessage,
)
from libs.common.record import Record, Started
from libs.common.stepper import Local, Stepper
from libs.common.values import SPOT_SUFFIX, Side, from_units
from services.execution.config import ExecutionConfig
from services.execution.core import ExecutionCore
from sim.config import SimConfig
from sim.exchange import Exchange
from sim.tapes.tape import open_tape
from sim.wiretypes import WireRequest

PRIVATE_KEY, PUBLIC_KEY = seal.generate()
MS = 1_000_000
WINDOW_MS = 1_000
TOPICS = ("order", "execution", "position", "wallet")
SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Run:
    """A lockstep tape run without processes: what the wave driver and the runtime do, in a loop."""

    def __init__(self, seed: int, lose: float = 0.0, symbols: tuple[str, ...] = SYMBOLS) -> None:
        tape = open_tape([f"synthetic:seed={seed}"], seed)
        spot = any(symbol.endswith(SPOT_SUFFIX) for symbol in symbols)
        self.exchange = Exchange(SimConfig(window_ms=WINDOW_MS, spot=spot), tape, seed)
        self.symbols = symbols
        self.core = ExecutionCore(
            ExecutionConfig(seal_keys={"k": PUBLIC_KEY}, symbols=symbols, reconcile_every_instants=7)
        )
        self.stepper = Stepper(self.core)
        self.dice, self.lose = random.Random(seed), lose
        self.now = self.exchange.now
        self.events: list[Event] = []
        self._sent: set[int] = set()
        self._count = 0
        self._define()
        self._step([Local(Started(fresh=True), self.now)])

    def _define(self) -> None:
        for symbol, market in self.exchange.desk.markets.items():
            grid = market.instrument.grid
            self.feed("instrument", InstrumentDefined(
                symbol=symbol, tick_size=grid.tick_size, lot_size=grid.lot_size, min_qty=grid.lot_size,
                max_qty=Decimal(1000), min_notional=Decimal(5),
            ))  # fmt: skip

    def feed(self, stream: str, body: Event) -> None:
        self._count += 1
        entry = (self.now // MS, self.stepper.position.clock[1] + 1)
        record = Record(stream, entry, f"{stream}-{self._count}", self._count, self.now, (), "c", body)
        scopes = self.core.guards(record)
        if scopes:
            commit = self.stepper.propose(record, scopes)
            self.stepper.accept(commit)
            self.events += [output.body for output in commit.outputs]
        else:
            self._step([record])

    def _step(self, inputs: list[Any]) -> None:
        commit = self.stepper.step(inputs)
        self.events += [record.body for record in commit.outputs if not isinstance(record.body, VenueMessage)]

    def instant(self) -> None:
        """Send what is pending, play a window, deliver the batch, then the instant."""
        for request in self.core.requests():
            if request.number not in self._sent:
                self._sent.add(request.number)
                path, _, query = request.target.partition("?")
                self.exchange.submit(WireRequest(
                    method=request.method, path=path, query=query, body=request.body, account="sim",
                    client="execution", request_id=f"execution-{request.number}",
                ))  # fmt: skip
        self.now += WINDOW_MS * MS
        self.exchange.advance(self.now)
        outbox = self.exchange.collect()
        replies = sorted(outbox.replies, key=lambda reply: int(reply.request_id.rpartition("-")[2]))
        batch: list[Event] = [self._reply(reply) for reply in replies]
        batch += [VenueMessage(channel="private", payload=f.text) for f in outbox.frames if f.topic in TOPICS]
        if batch:
            self._step([Local(body, self.now) for body in batch])
        self.feed("clock", Instant(number=self._count, window_ms=WINDOW_MS))

    def _reply(self, reply: Any) -> VenueMessage:
        number = int(reply.request_id.rpartition("-")[2])
        if self.dice.random() < self.lose:
            return VenueMessage(channel="lost", payload="ReadTimeout", request=number)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return VenueMessage(channel="reply", payload=reply.body, request=number, status=reply.status, headers=headers)

    def order(self, **changes: Any) -> None:
        """A random approval around the market: IOC through it or GTC near it."""
        symbol = self.dice.choice(self.symbols)
        market = self.exchange.desk.markets[symbol]
        side, rests = self.dice.choice((Side.BUY, Side.SELL)), self.dice.random() < 0.4
        offset = side.sign * (-1 if rests else 1) * self.dice.randrange(1, 40)
        fields: dict[str, Any] = {
            "order_link_id": f"tg-{self._count:030x}", "strategy": "trend", "symbol": symbol, "side": side,
            "qty": market.instrument.grid.quantity(self.dice.randrange(1, 12)),
            "price": market.instrument.grid.price(market.last + offset),
            "time_in_force": TimeInForce.GTC if rests else TimeInForce.IOC, "reduce_only": False,
            "purpose": Purpose.ENTRY, "expires_at": self.now + 2_000 * MS, "limits_version": 1, "key_id": "k",
            "stop_distance": market.instrument.grid.price(market.last // 50) if self.dice.random() < 0.5 else Decimal(0),
        }  # fmt: skip
        self.feed("order-intent", seal.sign(PRIVATE_KEY, OrderIntent(**(fields | changes))))

    def flatten(self) -> None:
        """Reduce-only IOC orders for whatever is held, through the market."""
        for symbol, market in self.exchange.desk.markets.items():
            held = self.core.state.ledger.quantity(symbol)
            side = Side.SELL if held > 0 else Side.BUY
            if held:
                price = market.instrument.grid.price(market.last + side.sign * (market.last // 250))
                self.order(
                    symbol=symbol, side=side, qty=abs(held), price=price, time_in_force=TimeInForce.IOC,
                    reduce_only=True, purpose=Purpose.FLATTEN,
                )  # fmt: skip

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def play(seed: int, instants: int, lose: float = 0.0) -> Run:
    run = Run(seed, lose)
    while not run.of(Reconciled):  # risk passes no entry before
        run.instant()
    for _ in range(instants):
        for _ in range(run.dice.choice((0, 0, 1, 2))):
            run.order()
        run.instant()
    run.feed("halt", Halted(reason=Reason.OPERATOR, measured=Decimal(0), limit=Decimal(0)))
    run.feed("halt", ModeChanged(scope="book", old=Mode.HALTED, new=Mode.LIQUIDATING, reason=Reason.OPERATOR))
    for _ in range(60):
        if not any(order.purpose is Purpose.FLATTEN for order in run.core.state.orders.values()):
            run.flatten()
        run.instant()
        if run.of(FlatConfirmed):
            break
    return run


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_two_ledgers_agree_to_the_last_digit_and_end_flat(seed: int) -> None:
    run = play(seed, 150)
    assert len(run.of(Fill)) > 40
    assert run.of(Mismatch) == []
    assert run.of(ForeignOrder) == []
    assert len(run.of(Reconciled)) > 10
    (flat,) = run.of(FlatConfirmed)
    account = run.exchange.desk.accounts["sim"]
    assert run.core.state.ledger.wallet_units == account.wallet
    assert flat.wallet == from_units(account.wallet)
    assert not account.open_orders
    assert all(0 < event.ack_ms < 1_000 for event in run.of(OrderAccepted))


@pytest.mark.parametrize("seed", [4, 5])
def test_with_a_fifth_of_the_replies_lost_it_is_the_same(seed: int) -> None:
    run = play(seed, 150, lose=0.2)
    assert len(run.of(FlatConfirmed)) == 1
    assert run.core.state.ledger.wallet_units == run.exchange.desk.accounts["sim"].wallet
    assert run.of(ForeignOrder) == []
    assert run.of(Mismatch) == []
    ended = run.core.state.closed
    assert {event.order_link_id for event in run.of(OrderSubmitted)} <= ended.keys()
    created = [order.link_id for order in run.exchange.desk.accounts["sim"].closed if order.link_id.startswith("tg-")]
    assert len(created) == len(set(created)), "no order was ever sent twice"


def test_a_run_is_the_same_every_time() -> None:
    first, second = play(6, 60), play(6, 60)
    assert msgspec.msgpack.encode(first.events) == msgspec.msgpack.encode(second.events)
    assert first.core.snapshot() == second.core.snapshot()


def test_an_order_dead_on_the_way_is_resolved() -> None:
    """The create is lost before it reaches the exchange: three queries deny it after its time."""
    run = Run(8)
    run.instant()
    run.order(time_in_force=TimeInForce.IOC)
    (pending,) = [request for request in run.core.requests() if request.target.endswith("/create")]
    run._sent.add(pending.number)
    run._step([Local(VenueMessage(channel="lost", request=pending.number), run.now)])
    for _ in range(12):
        run.instant()
    assert [event.outcome for event in run.of(OrderResolved)] == ["dead"]
    assert run.of(OrderRejected) == []
