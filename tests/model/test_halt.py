"""T1 and T2 by exhaustion: every sequence of a small alphabet of records, through the real core, to a fixed depth.

States are the core's own snapshots with the memory of rates and nonces erased, so that equal situations meet again. What is
allowed is judged from the emitted events alone.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from libs.common import events as e
from libs.common import seal
from libs.common.events import Event, OrderIntent, Purpose
from libs.common.record import Started
from services.risk import kernel
from tests.unit.risk.desk import MINUTE, SECOND, T0, D, Desk, config, opened

DEPTH = 6
LIMIT = 4
PRIVATE, PUBLIC = seal.generate()
SETTINGS = config(
    auto_arm=True,
    operator_keys={"alice": PUBLIC},
    max_position_size=D("0.004"),
    flatten_on_halt=False,
    max_daily_loss=D("0.0005"),
)


class Node(msgspec.Struct):
    """Core state, the venue's orders and position, and the halts that no resume has named."""

    snapshot: bytes
    orders: dict[str, OrderIntent] = {}
    lots: int = 0
    halts: dict[str, str] = {}
    seq: int = 0
    now: int = T0


def _halt(desk: Desk, node: Node) -> list[Event]:
    return desk.put(e.HaltRequested(operator="x", nonce=f"h{desk.seq}", expires_at=0, reason="r"), "command")


def _flatten(desk: Desk, node: Node) -> list[Event]:
    return desk.put(e.FlattenRequested(operator="x", nonce=f"f{desk.seq}", expires_at=0), "command")


def _resume(desk: Desk, node: Node) -> list[Event]:
    named = next(iter(node.halts), "none")
    body = e.ResumeRequested(operator="alice", nonce=f"r{desk.seq}", expires_at=desk.now + MINUTE, halt_id=named)
    return desk.put(seal.sign(PRIVATE, body), "command")


def _forge(desk: Desk, node: Node) -> list[Event]:
    named = next(iter(node.halts), "none")
    return desk.put(
        e.ResumeRequested(operator="alice", nonce="r", expires_at=desk.now + MINUTE, halt_id=named), "command"
    )


def _fill(desk: Desk, node: Node) -> list[Event]:
    if not node.orders:
        return []
    link, order = next(iter(node.orders.items()))
    lots = int(order.qty * 1000)
    if order.reduce_only:
        lots = min(lots, max(-node.lots * order.side.sign, 0))
    del node.orders[link]
    made: list[Event] = []
    if lots:
        node.lots += order.side.sign * lots
        made = desk.fill(order, lots * D("0.001"), D(60_000))
    if lots * D("0.001") < order.qty:
        made += desk.cancelled(order, str(lots * D("0.001")))
    return made


def _restart(desk: Desk, node: Node) -> list[Event]:
    desk.restart()
    return desk.put(Started(fresh=False), "timer") + desk.reconcile()


ALPHABET: dict[str, Callable[[Desk, Node], list[Event]]] = {
    "long": lambda desk, node: desk.signal("1"),
    "short": lambda desk, node: desk.signal("-1", strategy="mean"),
    "exit": lambda desk, node: desk.signal("0"),
    "fill": _fill,
    "crash": lambda desk, node: desk.tick("58000"),
    "rise": lambda desk, node: desk.tick("60000"),
    "time": lambda desk, node: desk.later(SECOND),
    "halt": _halt,
    "flatten": _flatten,
    "resume": _resume,
    "forge": _forge,
    "restart": _restart,
}


def judge(node: Node, made: list[Event], desk: Desk, path: str) -> None:
    """T1 on each event in its order, T2 after the step."""
    ids = iter(record.id for record in desk.out if isinstance(record.body, e.Halted))
    for event in made:
        match event:
            case e.Halted(scope=scope):
                node.halts[next(ids)] = scope
            case e.Resumed(halt_id=halt_id):
                assert path.endswith(" resume"), f"resumed without a valid seal by {path}"
                assert node.halts.pop(halt_id, None) is not None, f"resumed what was not halted by {path}"
            case OrderIntent():
                assert event.purpose is not Purpose.ENTRY or not node.halts, f"T1 broken by {path}"
                assert event.reduce_only == (event.purpose is not Purpose.ENTRY), path
                node.orders[event.order_link_id] = event
            case _:
                pass
    buys, sells = (
        sum(int(o.qty * 1000) for o in node.orders.values() if not o.reduce_only and o.side.sign == sign)
        for sign in (1, -1)
    )
    assert kernel.sided_holds(LIMIT, node.lots, buys, sells), f"T2 broken by {path}"


def erased(desk: Desk) -> bytes:
    """The snapshot without what only counts: rates, nonces, steps."""
    state = desk.state
    state.repeats.clear()
    state.nonces.clear()
    state.refusals.clear()
    state.entries_at.clear()
    state.fills_at.clear()
    state.steps = 0
    return desk.core.snapshot()


def walk(node: Node, letter: str, path: str) -> Node:
    desk = Desk(SETTINGS)
    desk.core.restore(node.snapshot)
    desk.seq, desk.now, desk.instants = node.seq, node.now, node.seq
    after = Node(b"", dict(node.orders), node.lots, dict(node.halts), 0, 0)
    judge(after, ALPHABET[letter](desk, after), desk, path)
    after.snapshot, after.seq, after.now = erased(desk), node.seq + 100, desk.now
    return after


def test_no_entry_between_a_halt_and_its_resume_in_any_sequence() -> None:
    start = opened(SETTINGS)
    start.seq = 1000
    frontier = {"": Node(erased(start), seq=1000)}
    seen: set[tuple[bytes, int]] = set()
    steps = entries = halted = 0
    for _ in range(DEPTH):
        following: dict[str, Node] = {}
        for path, node in frontier.items():
            for letter in ALPHABET:
                steps += 1
                name = f"{path} {letter}"
                after = walk(node, letter, name)
                halted += bool(after.halts)
                entries += any(not order.reduce_only for order in after.orders.values())
                key = (after.snapshot, after.lots)
                if key not in seen:
                    seen.add(key)
                    following[name] = after
        frontier = following
    assert steps > 10_000
    assert min(entries, halted) > 1000, "the search must reach both what it allows and what it forbids"
