"""Whatever comes between two legs, the pair ends whole or flat, and no leg stands alone for longer than a second of tape time."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import events as e
from libs.common.events import OrderIntent
from libs.common.record import Started
from tests.unit.risk.desk import SECOND, D, Side
from tests.unit.risk.pairs import PERP, SPOT, ask, of, paired, stakes, traded

SHARES = (D(1), D(0), D("0.5"))
STEP = SECOND // 10
"""The tape's instant."""


class Between:
    """A venue that fills, cuts and answers late as it is told; asks how long the legs have differed."""

    def __init__(self) -> None:
        self.desk = paired(order_rate=D(10**6), signal_repeats=D(10**6), fills_per_minute=D(10**6))
        self.live: list[OrderIntent] = []
        self.naked_since: int | None = None
        self.longest_ns = 0

    def take(self, made: list[e.Event]) -> None:
        orders = of(made, OrderIntent)
        entries = [order for order in orders if not order.reduce_only]
        assert {order.symbol for order in entries} in (set(), {PERP, SPOT}), "both legs or none"
        assert len({order.qty for order in entries}) <= 1
        self.live += orders

    def answer(self, number: int) -> None:
        """One order ends: whole, in part, or not at all. What only reduces fills, as the venue's book allows."""
        if not self.live:
            return
        order = self.live[number % len(self.live)]
        self.end(order, D(1) if order.reduce_only else SHARES[number % 3])

    def end(self, order: OrderIntent, share: Decimal) -> None:
        self.live.remove(order)
        step = D("0.001") if order.symbol == PERP else D("0.000001")
        self.take(traded(self.desk, order, (order.qty * share) // step * step))

    def look(self) -> None:
        """How long the legs have differed by more than a lot, by the venue's own clock."""
        perp, spot = stakes(self.desk)
        if abs(perp + spot) < D("0.0015"):
            self.naked_since = None
        else:
            self.naked_since = self.desk.now if self.naked_since is None else self.naked_since
            self.longest_ns = max(self.longest_ns, self.desk.now - self.naked_since)

    def step(self, verb: str, number: int) -> None:
        desk = self.desk
        match verb:
            case "in":
                self.take(ask(desk, "-1"))
            case "out":
                self.take(ask(desk, "0"))
            case "answer":
                self.answer(number)
            case "halt":
                self.take(
                    desk.put(e.HaltRequested(operator="a", nonce=str(desk.seq), expires_at=0, reason="r"), "command")
                )
            case "adl" if (short := -stakes(desk)[0]) > 0:
                self.take(desk.adjust(Side.BUY, str(min(short, D("0.02"))), "60000"))
            case "restart":
                desk.restart()
                self.take(desk.put(Started(fresh=False), "timer") + desk.reconcile())
            case _:
                self.take(desk.later(STEP))

    def settle(self) -> None:
        """The venue answers everything within an instant; time passes."""
        for _ in range(30):
            for number in range(len(self.live)):
                self.answer(3 * number)
            self.take(self.desk.later(STEP))


VERBS = st.sampled_from(("in", "out", "answer", "answer", "answer", "halt", "adl", "restart", "time"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(VERBS, st.integers(0, 1000)), max_size=30))
def test_a_pair_ends_whole_or_flat(moves: list[tuple[str, int]]) -> None:
    venue = Between()
    for verb, number in moves:
        venue.step(verb, number)
    venue.settle()
    perp, spot = stakes(venue.desk)
    assert abs(perp + spot) < D("0.0015"), "no leg stands alone"
    assert perp <= 0 <= spot


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SHARES), st.sampled_from(SHARES), st.integers(0, 9), st.booleans(), st.booleans())
def test_no_naked_leg_for_longer_than_a_second_of_tape(
    first: Decimal, second: Decimal, late: int, halt: bool, flip: bool
) -> None:
    """Each leg fills, half fills or dies; the second answers up to 0.9 s after the first; a halt may come between."""
    venue = Between()
    venue.take(ask(venue.desk))
    entries = venue.live[::-1] if flip else list(venue.live)
    for instant in range(late + 15):
        if instant == 0:
            venue.end(entries[0], first)
        if halt and instant == late // 2:
            venue.step("halt", 0)
        if instant == late:
            venue.end(entries[1], second)
        for order in [order for order in venue.live if order.reduce_only]:
            venue.end(order, D(1))
        venue.look()
        venue.take(venue.desk.later(STEP))
    assert venue.longest_ns <= SECOND
    assert venue.naked_since is None
