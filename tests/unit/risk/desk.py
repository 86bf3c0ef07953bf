"""A desk for tests: the real core, driven record by record, with the envelopes that the runtime would make."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar

from libs.common import events as e
from libs.common.decider import Linked
from libs.common.events import Event, Purpose, TimeInForce
from libs.common.record import Record, Started, event_id
from libs.common.streams import RISK, stream_of
from libs.common.values import Side
from services.risk.config import Allow, RiskConfig
from services.risk.core import RiskCore

D = Decimal
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
T0 = 20_000 * DAY + 12 * 3600 * SECOND
"""Noon of a Friday (2024-10-04 is 20000 days after 1970)."""

Kind = TypeVar("Kind", bound=Event)

ALLOW = {name: Allow(symbols=("BTCUSDT", "ETHUSDT")) for name in ("trend", "mean")}
SHARES = {"trend": D("0.5"), "mean": D("0.5")}


def config(**changes: Any) -> RiskConfig:
    fields: dict[str, Any] = {"allow": ALLOW, "allocation": SHARES} | changes
    return RiskConfig(**fields)


class Desk:
    """`put` gives a record to the core and returns what it yielded; time is `now`."""

    def __init__(self, settings: RiskConfig | None = None) -> None:
        self.settings = settings or config()
        self.core = RiskCore(self.settings)
        self.now = T0
        self.seq = 0
        self.out: list[Record] = []
        self.instants = 0

    @property
    def state(self) -> Any:
        return self.core.state

    def put(self, body: Event, stream: str = "in", at: int | None = None) -> list[Event]:
        self.seq += 1
        stamp = self.now if at is None else at
        identity = event_id(((stream, self.seq),), stream, type(body).__name__, 0)
        record = Record(stream, (self.seq, 0), identity, self.seq, stamp, ((stream, self.seq),), identity, body)
        self.core.evolve(record)
        made: list[Event] = []
        for index, yielded in enumerate(self.core.decide(record)):
            bare = yielded.body if isinstance(yielded, Linked) else yielded
            target = stream_of(type(bare), RISK)
            name = event_id(record.cause, target, type(bare).__name__, index)
            self.seq += 1
            output = Record(target, (self.seq, 0), name, self.seq, stamp, record.cause, record.correlation, bare)
            self.core.evolve(output)
            self.out.append(output)
            made.append(bare)
        return made

    # --- usual inputs --------------------------------------------------------------------------------------------------

    def later(self, ns: int = SECOND) -> list[Event]:
        """Time moves on, and an instant says so."""
        self.now += ns
        self.instants += 1
        return self.put(e.Instant(number=self.instants, window_ms=100), "clock")

    def instrument(self, symbol: str = "BTCUSDT", lot: str = "0.001", **changes: Any) -> list[Event]:
        fields: dict[str, Any] = {
            "tick_size": D("0.1"), "lot_size": D(lot), "min_qty": D(lot), "max_qty": D(100), "min_notional": D(5),
            "price_limit_ratio": D("0.05"),
        }  # fmt: skip
        return self.put(e.InstrumentDefined(symbol=symbol, **(fields | changes)), "instrument")

    def tick(
        self, price: str | Decimal | int, symbol: str = "BTCUSDT", width: str = "0.1", **changes: Any
    ) -> list[Event]:
        """Touch `width` around the price; last, mark and index follow it (no Reference is sent)."""
        mid, half = D(price), D(width)
        bids, asks = ((mid - half, D(1)),), ((mid + half, D(1)),)
        return self.put(e.Tick(symbol=symbol, last=mid, bids=bids, asks=asks, **changes), "tick")

    def mark(self, price: str | Decimal, symbol: str = "BTCUSDT") -> list[Event]:
        return self.put(e.Reference(symbol=symbol, mark=D(price), index=D(price)), "reference")

    def cash(self, amount: str = "10000") -> list[Event]:
        return self.put(e.CashMoved(amount=D(amount), reference="test"), "account")

    def reconcile(self) -> list[Event]:
        return self.put(e.Reconciled(checks=1, wallet=D(0), positions=0, open_orders=0), "account")

    def signal(
        self, target: str = "1", strategy: str = "trend", symbol: str = "BTCUSDT", **changes: Any
    ) -> list[Event]:
        fields: dict[str, Any] = {
            "p": D("0.6"), "payoff": D("1.5"), "stop_distance": D(600), "horizon_ms": 60_000, "score": D(self.seq),
        }  # fmt: skip
        body = e.Signal(strategy=strategy, symbol=symbol, target=D(target), **(fields | changes))
        return self.put(body, "signal")

    def fill(
        self, order: e.OrderIntent, qty: Decimal | None = None, price: Decimal | None = None, fee: str = "0"
    ) -> list[Event]:
        """The next execution of an order; the whole rest by default, at its limit price."""
        done = (
            self.state.orders[order.order_link_id].filled * D("0.001")
            if order.order_link_id in self.state.orders
            else D(0)
        )
        part = order.qty - done if qty is None else qty
        return self.put(
            e.Fill(
                order_link_id=order.order_link_id, order_id="v", exec_id=str(self.seq), strategy=order.strategy,
                symbol=order.symbol, side=order.side, qty=part, price=order.price if price is None else price, fee=D(fee),
                is_maker=False, reduce_only=order.reduce_only, purpose=order.purpose, cum_qty=done + part,
                order_qty=order.qty, exec_at=self.now,
            ),
            "fill",
        )  # fmt: skip

    def cancelled(self, order: e.OrderIntent, traded: str = "0") -> list[Event]:
        body = e.OrderCancelled(order_link_id=order.order_link_id, symbol=order.symbol, cum_qty=D(traded))
        return self.put(body, "order")

    def adjust(self, side: Side, qty: str, price: str, symbol: str = "BTCUSDT") -> list[Event]:
        """The venue takes a part of the position by itself (ADL)."""
        return self.put(
            e.PositionAdjusted(
                symbol=symbol, exec_id=str(self.seq), kind="AdlTrade", side=side, qty=D(qty), price=D(price), fee=D(0),
                exec_at=self.now,
            ),
            "account",
        )  # fmt: skip

    # --- usual situations ------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """The process dies and a new one takes the snapshot."""
        snapshot = self.core.snapshot()
        self.core = RiskCore(self.settings)
        self.core.restore(snapshot)

    def hold(self, side: str = "1", price: str = "60000", **changes: Any) -> e.OrderIntent:
        """Enter through a signal and fill it."""
        order = only(self.signal(side, **changes), e.OrderIntent)
        self.fill(order, price=D(price))
        return order

    def halts(self) -> list[Record]:
        return [record for record in self.out if isinstance(record.body, e.Halted)]


def opened(settings: RiskConfig | None = None, equity: str = "10000", price: str = "60000") -> Desk:
    """A desk that trades: born, funded, reconciled, resumed, BTCUSDT at `price`."""
    desk = Desk(settings or config(auto_arm=True))
    desk.put(Started(fresh=True), "timer")
    desk.instrument()
    desk.later()
    desk.tick(price)
    desk.cash(equity)
    desk.reconcile()
    assert desk.state.blocks == {}
    return desk


def halted(desk: Desk, *, flatten: bool = False) -> list[Event]:
    desk.seq += 1
    return desk.put(
        e.HaltRequested(operator="alice", nonce=str(desk.seq), expires_at=0, reason="test", flatten=flatten), "command"
    )


def of(made: Iterable[Event], kind: type[Kind]) -> list[Kind]:
    return [event for event in made if isinstance(event, kind)]


def only(made: Iterable[Event], kind: type[Kind]) -> Kind:
    """The single event of a kind; fails with everything that came instead."""
    made = list(made)
    found = of(made, kind)
    assert len(found) == 1, f"expected one {kind.__name__}, was {made}"
    return found[0]


__all__ = [
    "DAY",
    "MINUTE",
    "SECOND",
    "T0",
    "D",
    "Desk",
    "Purpose",
    "Side",
    "TimeInForce",
    "config",
    "halted",
    "of",
    "only",
    "opened",
]
