"""What holds in every scenario, whatever went wrong: read off the log, the exchange's own books and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from libs.common.events import (
    Event,
    FeedDown,
    Fill,
    ForeignOrder,
    Halted,
    Mismatch,
    Mode,
    ModeChanged,
    OrderCancelled,
    OrderIntent,
    OrderRefused,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    Purpose,
    Reason,
    Reconciled,
    Resumed,
    Signal,
)
from libs.common.values import SPOT, category_of
from tests.model.trace import STREAMS, Checker
from tests.scenarios.world import EXECUTION, SEAL_PUBLIC, S, World

SETTLE_S = 120
ALERT_S = 5
REPLAY_EVERY = 5
"""Seeds of which the log is played again through fresh cores: that takes as long as the scenario."""
OUTCOME_S = 30
"""An approval without an end is announced after this."""
FINAL = ("filled", "cancelled", "rejected", "dead")


def settled(world: World, *, reconciled: bool = True) -> None:
    """The exchange is well again; when log and exchange have come to agree, everything below holds."""
    world.calm()
    world.deaf.clear()
    if reconciled:
        world.run(5)
        seen = len(world.of(Reconciled))
        world.until(lambda: len(world.of(Reconciled)) > seen and not open_orders(world), SETTLE_S, "an agreement")
        ledger_is_the_exchanges(world)
    sound(world)


def sound(world: World) -> None:
    """What must hold at any moment."""
    no_entry_while_shut(world)
    every_order_was_approved(world)
    accepted_once(world)
    decided_once(world)
    ended_once(world)
    booked_once(world)
    theorems_hold(world)
    people_were_told(world)
    assert world.naked_s <= 2, "a position stood without its stop"
    if world.seed % REPLAY_EVERY == 1:
        assert not next(world.replayed(), ""), "T7: the log gives something else when it is played again"


def open_orders(world: World) -> list[str]:
    """Orders of ours that execution still works on, other than such as rest."""
    return [order.link_id for order in world.core(EXECUTION).state.orders.values() if order.time_in_force != "GTC"]


def no_entry_while_shut(world: World) -> None:
    """T1: no entry is approved between a halt (or another mode that is not NORMAL) and the end of it."""
    modes: dict[str, Mode] = {}
    for record in world.log:
        match record.body:
            case Halted(scope=scope, mode=mode) | ModeChanged(scope=scope, new=mode) | Resumed(scope=scope, mode=mode):
                modes[scope] = mode
            case OrderIntent(purpose=Purpose.ENTRY, symbol=symbol, strategy=strategy):
                shut = {s: m for s, m in modes.items() if m is not Mode.NORMAL}
                hit = shut.keys() & {"book", f"symbol:{symbol}", f"strategy:{strategy}"}
                assert not hit, f"an entry of {strategy} in {symbol} was approved in {shut} at {record.at}"


def every_order_was_approved(world: World) -> None:
    """T5: what the exchange has of ours was submitted, and what was submitted is exactly what was approved before it."""
    approved: dict[str, OrderIntent] = {}
    submitted: set[str] = set()
    same = ("symbol", "side", "qty", "price", "time_in_force", "reduce_only", "purpose", "expires_at", "epoch")
    for record in world.log:
        body = record.body
        if isinstance(body, OrderIntent):
            approved[body.order_link_id] = body
        elif isinstance(body, OrderSubmitted):
            intent = approved[body.order_link_id]
            assert [getattr(body, name) for name in same] == [getattr(intent, name) for name in same]
            submitted.add(body.order_link_id)
    assert {link for link in world.placed if link.startswith("tg-")} <= submitted | world.forgotten


def accepted_once(world: World) -> None:
    """T6: an approval is on the exchange's books once at most."""
    twice = {link: n for link, n in Counter(world.placed).items() if n > 1 and link.startswith("tg-")}
    assert not twice


def decided_once(world: World) -> None:
    """T8: every signal that was released has one decision: an order, or a refusal that names the limit."""
    decisions: Counter[int] = Counter()
    for record in world.log:
        if isinstance(record.body, OrderIntent | OrderRefused):
            seqs = {seq for stream, seq in record.cause if stream == "signal"}
            decisions.update(seqs)
    signals = [record.seq for record in world.records(Signal)]
    assert set(decisions) <= set(signals)
    assert all(refusal.reason for refusal in world.of(OrderRefused))


def theorems_hold(world: World) -> None:
    """T1 to T6 and T8 by the checker that shares no code with the services, over the log in the order of its entries."""
    checker = Checker(SEAL_PUBLIC)
    ours = (record for record in world.log if record.stream in STREAMS)
    found = checker.check(sorted(ours, key=lambda record: (record.entry, STREAMS.index(record.stream))))
    broken = [fault for fault in found.broken if "approvals without an end" not in fault]
    assert not broken
    approved_at = {record.body.order_link_id: record.at for record in world.records(OrderIntent)}  # type: ignore[attr-defined]
    whole = {fill.order_link_id for fill in world.of(Fill) if fill.cum_qty >= fill.order_qty}
    for link, approval in checker.approvals.items():
        ended = approval.cum is not None or link in whole
        is_old = world.at - approved_at[link] > OUTCOME_S * S
        assert ended or not is_old or "orders_overdue" in world.alerts(), f"T8: {link} has neither an end nor an alarm"


ALERTS: dict[type[Event], Callable[[Any], tuple[str, ...]]] = {
    Halted: lambda body: (f"halt:{body.scope}",),
    ModeChanged: lambda body: (f"reduce_only:{body.scope}", f"halt:{body.scope}"),
    Mismatch: lambda body: ("mismatch",),
    ForeignOrder: lambda body: ("foreign_order",),
    FeedDown: lambda body: (f"feed:{body.symbol}",),
}
"""What people are told of it: one of these alerts stands."""


def people_were_told(world: World) -> None:
    """Whatever went wrong stood in an alert within five seconds."""
    for record in world.log:
        names = ALERTS.get(type(record.body))
        quiet = isinstance(record.body, ModeChanged) and record.body.new is not Mode.REDUCE_ONLY
        born = isinstance(record.body, Halted) and record.body.reason is Reason.BORN
        if names is not None and not quiet and not born and world.at - record.at > ALERT_S * S:
            wanted = names(record.body)
            assert any(world.stood(name, record.at, record.at + ALERT_S * S) for name in wanted), (
                f"expected an alert {wanted} within {ALERT_S} s of {record.body}"
            )


def ended_once(world: World) -> None:
    """An order ends once, and never comes back."""
    ends: Counter[str] = Counter()
    for record in world.log:
        match record.body:
            case OrderRejected(order_link_id=link, reason=reason) if reason != "DUPLICATE":
                ends[link] += 1
            case OrderCancelled(order_link_id=link):
                ends[link] += 1
            case OrderResolved(order_link_id=link, outcome=outcome) if outcome in FINAL:
                ends[link] += 1
    assert not {link: n for link, n in ends.items() if n > 1}


def booked_once(world: World) -> None:
    """An execution moves the position once."""
    assert not {fill: n for fill, n in Counter(f.exec_id for f in world.of(Fill)).items() if n > 1}


def ledger_is_the_exchanges(world: World) -> None:
    """Wallet and positions of our books are the exchange's, to the last digit. What coins cost stands as coins there."""
    ledger = world.core(EXECUTION).state.ledger
    coins = sum(p.cost_units for name, p in ledger.positions.items() if category_of(name) == SPOT)
    assert ledger.wallet_units - coins == world.account.wallet
    for symbol, position in world.account.positions.items():
        assert ledger.lots(symbol) == position.lots, symbol
