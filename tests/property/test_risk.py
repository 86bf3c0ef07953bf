"""T2, T2n, T3 and T4 on the real core: a venue of our own, any interleaving of signals, fills, cancels, ADL, halts, restarts."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from libs.common import events as e
from libs.common.events import Event, Mode, OrderIntent
from libs.common.record import Started
from libs.common.values import Side
from services.risk import kernel
from services.risk.config import Allow, EntryStyle, RiskConfig
from services.risk.modes import effective_mode
from tests.unit.risk.desk import SECOND, D, Desk, config, of, opened

LIMIT = 5
"""Lots (0.001) of max_position_size."""

STRATEGIES = ("trend", "mean", "third")

SETTINGS = config(
    auto_arm=True,
    allow={name: Allow(symbols=("BTCUSDT",)) for name in STRATEGIES},
    allocation=dict.fromkeys(STRATEGIES, D("0.33")),
    max_position_size=D("0.005"),
    entry={"mean": EntryStyle(style="post_only", ttl_ms=2000)},
    order_rate=D(1000),
    fills_per_minute=D(1000),
)

LOT = D("0.001")


class Venue:
    """Keeps its own books of approvals and position, from the events alone, and obeys reduce-only as Bybit does."""

    def __init__(self, settings: RiskConfig = SETTINGS) -> None:
        self.desk: Desk = opened(settings)
        self.live: dict[str, OrderIntent] = {}
        self.done: dict[str, int] = {}
        self.late: dict[str, tuple[OrderIntent, int]] = {}
        """Cancelled orders of which a fill is still to be told."""
        self.lots = 0
        self.halted = False

    def take(self, made: list[Event]) -> None:
        for event in made:
            if isinstance(event, OrderIntent):
                assert not (self.halted and not event.reduce_only), "T1: an entry after the halt"
                if event.reduce_only:
                    assert event.side.sign * self.lots < 0, "an exit that would not reduce"
                    assert event.qty <= abs(self.lots) * LOT, "an exit beyond the position"
                self.live[event.order_link_id] = event
                self.done[event.order_link_id] = 0
            elif isinstance(event, e.Halted) and event.scope == "book":
                self.halted = True
        self.check()

    def check(self) -> None:
        """T2, by the venue's own count."""
        opened_lots = {Side.BUY: 0, Side.SELL: 0}
        for link, order in self.live.items():
            if not order.reduce_only:
                opened_lots[order.side] += int(order.qty / LOT) - self.done[link]
        for order, lots in self.late.values():
            opened_lots[order.side] += lots
        assert kernel.sided_holds(LIMIT, self.lots, opened_lots[Side.BUY], opened_lots[Side.SELL])
        assert self.desk.state.ledger.lots("BTCUSDT") == self.lots

    def step(self, verb: str, number: int) -> None:
        desk = self.desk
        match verb:
            case "signal":
                target = ("1", "-1", "0", "0.3")[number % 4]
                self.take(desk.signal(target, strategy=STRATEGIES[number % 3]))
            case "fill":
                self.fill(number)
            case "cancel" | "lost":
                self.end(number, verb)
            case "late":
                self.cancel_before_fill(number)
            case "adl" if self.lots:
                side, lots = (Side.SELL, -1) if self.lots > 0 else (Side.BUY, 1)
                self.lots += lots
                self.take(desk.adjust(side, "0.001", "60000"))
            case "price":
                self.take(desk.tick(60_000 + 100 * (number % 7 - 3)))
            case "time":
                self.take(desk.later(SECOND))
            case "halt":
                body = e.HaltRequested(operator="a", nonce=str(desk.seq), expires_at=0, reason="r")
                self.take(desk.put(body, "command"))
            case "restart":
                desk.restart()
                self.take(desk.put(Started(fresh=False), "timer"))
                self.take(desk.reconcile() if number % 2 else [])
            case _:
                pass

    def cancel_before_fill(self, number: int) -> None:
        """The cancel is told first, the last fill of the order only later."""
        if self.late:
            link, (order, lots) = self.late.popitem()
            self.lots += order.side.sign * lots
            self.take(self.desk.fill(order, lots * LOT, D(60_000)))
            return
        picked = self.pick(number)
        if picked is None or picked[1].reduce_only:
            return
        link, order = picked
        lots = 1 + number % (int(order.qty / LOT) - self.done[link])
        del self.live[link]
        self.late[link] = (order, lots)
        self.take(self.desk.cancelled(order, str((self.done[link] + lots) * LOT)))

    def pick(self, number: int) -> tuple[str, OrderIntent] | None:
        return list(self.live.items())[number % len(self.live)] if self.live else None

    def fill(self, number: int) -> None:
        picked = self.pick(number)
        if picked is None:
            return
        link, order = picked
        lots = 1 + number % (int(order.qty / LOT) - self.done[link])
        if order.reduce_only:
            lots = min(lots, max(-self.lots * order.side.sign, 0))
        if lots == 0:
            self.end(number, "cancel")
            return
        self.done[link] += lots
        self.lots += order.side.sign * lots
        if self.done[link] * LOT == order.qty:
            del self.live[link]
        self.take(self.desk.fill(order, lots * LOT, D(60_000)))

    def end(self, number: int, verb: str) -> None:
        picked = self.pick(number)
        if picked is None:
            return
        link, order = picked
        del self.live[link]
        if verb == "cancel":
            self.take(self.desk.cancelled(order, str(self.done[link] * LOT)))
        else:
            outcome = "cancelled" if self.done[link] else "dead"
            body = e.OrderResolved(
                order_link_id=link, symbol=order.symbol, outcome=outcome, cum_qty=Decimal(self.done[link]) * LOT
            )
            self.take(self.desk.put(body, "order"))


VERBS = (
    "signal",
    "signal",
    "signal",
    "fill",
    "fill",
    "cancel",
    "lost",
    "late",
    "late",
    "adl",
    "price",
    "time",
    "restart",
)
steps = st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 1000)), max_size=40)
any_steps = st.lists(st.tuples(st.sampled_from((*VERBS, "halt")), st.integers(0, 1000)), max_size=40)


SHORT_THEN_TWO_BUYS_THEN_ADL = [("signal", 9), ("fill", 4), ("signal", 4), ("signal", 8), ("adl", 0), ("adl", 0)]
"""What breaks the rule "position + open buys <= limit"."""


@settings(max_examples=150, deadline=None)
@example(SHORT_THEN_TWO_BUYS_THEN_ADL)
@given(steps)
def test_sided_rule_holds_under_every_interleaving(moves: list[tuple[str, int]]) -> None:
    venue = Venue()
    for verb, number in moves:
        venue.step(verb, number)
    for order in venue.desk.state.orders.values():
        assert order.order_link_id in (*venue.live, *venue.late), "a reservation outlived its order"


VALUE_LIMIT = D(301)
"""Five lots are 300 USD at 60000 and 301.50 at 60300."""


@settings(max_examples=150, deadline=None)
@example([("signal", 0), ("fill", 4), ("price", 6), ("signal", 1), ("time", 0), ("price", 3)])
@given(steps)
def test_no_entry_is_worth_more_than_the_limit_and_a_price_made_breach_is_reduce_only_at_that_mark(
    moves: list[tuple[str, int]],
) -> None:
    venue = Venue(msgspec.structs.replace(SETTINGS, position_limit_usd=VALUE_LIMIT))
    for verb, number in moves:
        before = set(venue.live)
        venue.step(verb, number)
        mark = venue.desk.state.markets["BTCUSDT"].mark
        held = abs(venue.lots) * LOT * mark
        if verb == "price" and held > VALUE_LIMIT:
            assert effective_mode(venue.desk.state, "any", "BTCUSDT") is not Mode.NORMAL
        for order in [order for link, order in venue.live.items() if link not in before and not order.reduce_only]:
            assert held <= VALUE_LIMIT
            rest = [o for o in venue.live.values() if o.side is order.side and not o.reduce_only]
            at_worst = sum(max(o.price, mark) * (o.qty - venue.done[o.order_link_id] * LOT) for o in rest)
            assert max(venue.lots * order.side.sign, 0) * LOT * mark + at_worst <= VALUE_LIMIT


@settings(max_examples=100, deadline=None)
@given(any_steps)
def test_valid_exits_always_pass_in_a_halt(moves: list[tuple[str, int]]) -> None:
    """After anything and a halt, whatever else is breached: each strategy can leave as far as the book holds its side."""
    venue = Venue()
    for verb, number in moves:
        venue.step(verb, number)
    venue.step("halt", 0)
    desk = venue.desk
    for number in range(len(venue.live)):
        venue.end(number, "cancel")
    desk.state.reconciled = False
    desk.state.limits = config(max_position_size=D(0), max_order_usd=D(0), order_rate=D(0)).limits
    for strategy in STRATEGIES:
        held, net = desk.state.ledger.stake_lots(strategy, "BTCUSDT"), venue.lots
        busy = any(order.reduce_only for order in desk.state.orders.values())
        if held * net > 0 and not busy:
            made = of(desk.signal("0", strategy=strategy), OrderIntent)
            assert [order.reduce_only for order in made] == [True]
            assert made[0].qty == min(abs(held), abs(net)) * LOT
            venue.take(list(made))


@settings(max_examples=100, deadline=None)
@given(any_steps, any_steps)
def test_halt_is_sticky(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """No signal, fill, price, passing of time or restart lets an entry out after a halt (asserted in `take`)."""
    venue = Venue()
    for verb, number in [*before, ("halt", 0), *after]:
        venue.step(verb, number)
    assert venue.halted
    assert any(block.halt_id for block in venue.desk.state.blocks.values())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-9, 9), max_size=15), st.lists(st.integers(-9_000, 100_000), max_size=6))
def test_cash_neither_hides_nor_makes_a_loss(prices: list[int], flows: list[int]) -> None:
    """Whatever comes or goes, the loss over its base stays what it was (to the rounding of one unit in 1e-8)."""
    desk = opened(config(auto_arm=True, max_daily_loss=D(1), max_weekly_loss=D(1), max_drawdown=D(1)))
    desk.hold()
    desk.state.stops.clear()
    for move in prices:
        desk.tick(60_000 + 50 * move)
    before = of(desk.cash("1"), e.PortfolioMarked)[0]
    for amount in flows:
        if before.equity + amount > 100:
            made = desk.cash(str(amount))
            desk.cash(str(-amount))
            assert of(made, e.Halted) == []
            after = of(made, e.PortfolioMarked)[0]
            assert abs(after.daily_loss - before.daily_loss) <= D("0.000001")
            assert abs(after.drawdown - before.drawdown) <= D("0.000001")
