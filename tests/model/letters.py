"""The letters of the risk core's world: what strategies, the venue, operators and processes can do to it, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from libs.common import events as e
from libs.common import seal
from libs.common.events import Mode, OrderIntent, Purpose
from libs.common.portfolio import OWN
from libs.common.record import Started
from libs.common.values import Side
from services.risk import modes
from tests.model.book import CALM, CRASH, KEYS, LOT, STRATEGIES, SYMBOL, Book, Live, demand
from tests.unit.risk.desk import DAY, SECOND, D


class Letters(Book):
    """A letter is a method by the part of its name before `_`; it returns False where it means nothing."""

    # --- letters: strategies -----------------------------------------------------------------------------------------------

    def _long(self) -> bool:
        return self._signal("1")

    def _short(self) -> bool:
        return self._signal("-1")

    def _signal(self, target: str) -> bool:
        self._put(_SIGNALS[self.letter.partition("_")[2], target], "signal")
        return True

    def _exit(self) -> bool:
        """T4: below NORMAL too, an exit passes as far as the book holds its side and nothing of it is under way."""
        at, strategy = self.at, self.letter.partition("_")[2]
        held = self.core.state.ledger.stake_lots(strategy, SYMBOL)
        sign = -1 if held > 0 else 1
        closing = sum(o.lots - o.done for o in at.live if o.reduce_only and o.sign == sign)
        possible = min(abs(held), max(-at.lots * sign, 0) - closing)
        busy = any(o.reduce_only and o.strategy == strategy for o in at.live)
        liquidating = at.modes.get(modes.BOOK) == Mode.LIQUIDATING
        made = [x for x in self._put(_SIGNALS[strategy, "0"], "signal") if isinstance(x, OrderIntent) and x.reduce_only]
        if possible > 0 and not busy and not liquidating:
            demand([int(x.qty / LOT) for x in made] == [possible], "T4: a valid exit did not pass whole")
            self.seen["exits demanded"] += 1
        return True

    # --- letters: the venue --------------------------------------------------------------------------------------------------

    def _pick(self) -> Live | None:
        """`_old`: the first approval that stands, else the last one."""
        live = self.at.live
        return (live[0] if self.letter.endswith("_old") else live[-1]) if live else None

    def _part(self) -> bool:
        return self._trade(1)

    def _fill(self) -> bool:
        return self._trade(1_000)

    def _trade(self, most: int) -> bool:
        """The venue fills an order; a reduce-only one only as far as there is a position to reduce."""
        order = self._pick()
        lots = min(most, order.lots - order.done) if order is not None else 0
        if order is not None and order.reduce_only:
            lots = min(lots, max(-self.at.lots * order.sign, 0))
        if order is None or lots <= 0:
            return False
        order.done += lots
        if order.done == order.lots:
            self.at.live.remove(order)
        self._tell(order, lots, order.done)
        return True

    def _tell(self, order: Live, lots: int, done: int) -> None:
        self.at.lots += order.sign * lots
        self.seen["fills"] += 1
        body = e.Fill(
            order_link_id=order.link, order_id="v", exec_id="x", strategy=order.strategy, symbol=SYMBOL, side=_side(order.sign),
            qty=lots * LOT, price=CALM, fee=D(0), is_maker=False, reduce_only=order.reduce_only,
            purpose=_purpose(order), cum_qty=done * LOT, order_qty=order.lots * LOT, exec_at=0,
        )  # fmt: skip
        self._put(body, "fill")

    def _cancel(self) -> bool:
        order = self._pick()
        if order is None:
            return False
        self.at.live.remove(order)
        self._put(e.OrderCancelled(order_link_id=order.link, symbol=SYMBOL, cum_qty=order.done * LOT), "order")
        return True

    def _dead(self) -> bool:
        """A lost request, proven never to have arrived."""
        order = self._pick()
        if order is None or order.done:
            return False
        self.at.live.remove(order)
        body = e.OrderResolved(order_link_id=order.link, symbol=SYMBOL, outcome="dead", cum_qty=D(0))
        self._put(body, "order")
        return True

    def _again(self) -> bool:
        """What execution says of an approval that it has used already: nothing about the order itself."""
        order = self._pick()
        if order is None:
            return False
        self._put(e.OrderRejected(order_link_id=order.link, symbol=SYMBOL, reason="DUPLICATE"), "order")
        return True

    def _late(self) -> bool:
        """The end of an order is told before its last fill; the fill comes with the next `late`."""
        at = self.at
        if at.late:
            order = at.late.pop(0)
            self._tell(order, order.lots, order.done + order.lots)
            return True
        picked = self._pick()
        if picked is None or picked.reduce_only or picked.done == picked.lots:
            return False
        at.live.remove(picked)
        at.late.append(Live(picked.link, picked.strategy, picked.sign, 1, False, picked.done))
        self._put(e.OrderCancelled(order_link_id=picked.link, symbol=SYMBOL, cum_qty=(picked.done + 1) * LOT), "order")
        return True

    def _adl(self) -> bool:
        """The venue takes one lot (ADL), or all of it (liquidation)."""
        at = self.at
        if not at.lots:
            return False
        sign = -1 if at.lots > 0 else 1
        lots = abs(at.lots) if self.letter.endswith("_all") else 1
        at.lots += sign * lots
        body = e.PositionAdjusted(
            symbol=SYMBOL,
            exec_id="x",
            kind="AdlTrade",
            side=_side(sign),
            qty=lots * LOT,
            price=CALM,
            fee=D(0),
            exec_at=0,
        )
        self._put(body, "account")
        return True

    def _price(self) -> bool:
        at = self.at
        at.crashed = not at.crashed
        self._put(_TICKS[at.crashed], "tick")
        return True

    def _feed(self) -> bool:
        self._put(e.FeedDown(symbol=SYMBOL, reason="silence"), "tick")
        return True

    def _time(self) -> bool:
        self.at.now += SECOND
        self._put(_INSTANT, "clock")
        return True

    def _day(self) -> bool:
        self.at.now += DAY
        self._put(_INSTANT, "clock")
        return True

    def _flat(self) -> bool:
        if self.at.lots or self.at.live:
            return False
        self._put(e.FlatConfirmed(checked_at=0, wallet=D(0)), "account")
        return True

    # --- letters: operators and processes ------------------------------------------------------------------------------------

    def _halt(self) -> bool:
        scope = {"symbol": f"symbol:{SYMBOL}", "strategy": "strategy:a"}.get(self.letter.partition("_")[2], modes.BOOK)
        self._put(e.HaltRequested(operator="x", nonce="h", expires_at=0, reason="r", scope=scope), "command")
        demand(self.at.modes.get(scope, "NORMAL") != Mode.NORMAL, "a halt that did not halt")
        return True

    def _pause(self) -> bool:
        self._put(e.PauseRequested(operator="x", nonce="p", expires_at=0), "command")
        return True

    def _flatten(self) -> bool:
        self._put(e.FlattenRequested(operator="x", nonce="f", expires_at=0), "command")
        return True

    def _resume(self) -> bool:
        at, operator = self.at, self.letter.partition("_")[2] or "alice"
        if not at.halts:
            return False
        name = next(iter(at.halts.values()))
        body = e.ResumeRequested(operator=operator, nonce="r", expires_at=at.now + SECOND, halt_id=name)
        made = self._put(_signed(operator, body), "command")
        if any(isinstance(x, e.CommandRefused) and x.reason == "SECOND_OPERATOR" for x in made):
            at.signed[name] = sorted({*at.signed.get(name, ()), operator})
        return True

    def _forge(self) -> bool:
        """A resume with somebody else's seal, and one that is too late."""
        at = self.at
        if not at.halts:
            return False
        name = next(iter(at.halts.values()))
        for key, expires_at in (("bob", at.now + SECOND), ("alice", at.now)):
            body = e.ResumeRequested(operator="alice", nonce="g" + key, expires_at=expires_at, halt_id=name)
            self._put(_signed(key, body), "command")
        return True

    def _tighten(self) -> bool:
        body = e.LimitChange(
            operator="alice", nonce="t", expires_at=self.at.now + SECOND, name="max_position_size", value=LOT
        )
        self._put(_signed("alice", body), "command")
        return True

    def _restart(self) -> bool:
        self.core.restore(self.core.snapshot())
        self._put(Started(fresh=False), "timer")
        return True

    def _reconcile(self) -> bool:
        self._put(_RECONCILED, "account")
        return True


@cache
def _signed(operator: str, body: e.Command) -> e.Command:
    return seal.sign(KEYS[operator][0], body)


@contextmanager
def remembered_seals() -> Iterator[None]:
    """For long searches: the same seal on the same event is checked once. A check is a function of key and event alone."""
    shipped = seal.verify
    seal.verify = cache(shipped)
    try:
        yield
    finally:
        seal.verify = shipped


def _side(sign: int) -> Side:
    return Side.BUY if sign > 0 else Side.SELL


def _purpose(order: Live) -> Purpose:
    return (Purpose.FLATTEN if order.strategy == OWN else Purpose.EXIT) if order.reduce_only else Purpose.ENTRY


def _signal(strategy: str, target: str) -> e.Signal:
    return e.Signal(
        strategy=strategy, symbol=SYMBOL, target=D(target), p=D("0.6"), payoff=D("1.5"), stop_distance=D(600),
        horizon_ms=60_000, score=D(0),
    )  # fmt: skip


_SIGNALS = {(name, target): _signal(name, target) for name in STRATEGIES for target in ("1", "-1", "0")}
_TICKS = {
    crashed: e.Tick(symbol=SYMBOL, last=mid, bids=((mid - D("0.1"), D(1)),), asks=((mid + D("0.1"), D(1)),))
    for crashed, mid in ((False, CALM), (True, CRASH))
}
_INSTANT = e.Instant(number=1, window_ms=100)
_RECONCILED = e.Reconciled(checks=1, wallet=D(0), positions=0, open_orders=0)
