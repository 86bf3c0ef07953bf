"""What holds in every scenario, whatever went wrong: read off the log, the exchange's own books and the ledger."""

from __future__ import annotations

from collections import Counter

from libs.common.events import (
    Fill,
    Halted,
    Mode,
    ModeChanged,
    OrderCancelled,
    OrderIntent,
    OrderRefused,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    Purpose,
    Reconciled,
    Resumed,
    Signal,
)
from tests.scenarios.world import EXECUTION, World

SETTLE_S = 120
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
    assert world.naked_s <= 2, "a position stood without its stop"


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
    assert {link for link in world.placed if link.startswith("tg-")} <= submitted


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
    """Wallet and positions of our books are the exchange's, to the last digit."""
    ledger = world.core(EXECUTION).state.ledger
    assert ledger.wallet_units == world.account.wallet
    for symbol, position in world.account.positions.items():
        assert ledger.lots(symbol) == position.lots, symbol
