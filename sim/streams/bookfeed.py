"""The orderbook topics of one symbol: who is told which levels, how often, and what changed since."""

from __future__ import annotations

from collections.abc import Sequence

from libs.common.values import SPOT_SUFFIX
from sim.engine.market import NS_PER_MS, Market
from sim.engine.orders import Order
from sim.wiretypes import Frame

PUSH_NS = {1: 10 * NS_PER_MS, 50: 20 * NS_PER_MS, 200: 100 * NS_PER_MS, 1000: 200 * NS_PER_MS}
"""Depth -> the least time between two messages."""
REPEAT_NS = 3_000 * NS_PER_MS
"""An unchanged level 1 is said again after so long, under the same u."""


def wire_topic(topic: str) -> str:
    """A topic as clients know it: those of spot markets are told apart by the path they are asked for on."""
    return topic.removesuffix(SPOT_SUFFIX)


def shown(market: Market, resting: Sequence[Order], side: int, depth: int) -> dict[int, int]:
    """ticks -> lots of the best `depth` levels of a side (1: bids): the market's and the orders that wait here."""
    levels = market.book.bids if side > 0 else market.book.asks
    own = [order for order in resting if order.side == side] if resting else ()
    if not own:
        return {level[0]: level[1] for level in levels[:depth]}
    merged = {level[0]: level[1] for level in levels}
    for order in own:
        merged[order.ticks] = merged.get(order.ticks, 0) + order.leaves
    return {ticks: merged[ticks] for ticks in sorted(merged, reverse=side > 0)[:depth]}


class BookTopic:
    """One topic: what was published last, to send differences."""

    def __init__(self, topic: str, depth: int, market: Market, resting: Sequence[Order]) -> None:
        self.topic, self.depth = topic, depth
        self._name, self._symbol = wire_topic(topic), market.instrument.name
        self._market, self._resting = market, resting
        self._bids: dict[int, int] | None = None
        self._asks: dict[int, int] = {}
        self._seen = -1
        self._due = self._sent_at = self._seq = self._cts = 0
        self.u = 1
        """Of the last message. The first is above 1: 1 would say that the service restarted."""

    def publish(self, at: int) -> Frame | None:
        """The message of the window that ends at `at`, if there is one."""
        market, text = self._market, ""
        if market.changes != self._seen and at >= self._due:
            self._seen, self._seq, self._cts = market.changes, market.changes, market.changed_at
            text = self._changed(at)
        if not text and self.depth == 1 and self._bids is not None and at - self._sent_at >= REPEAT_NS:
            text = self._text("snapshot", self._bids, self._asks, at)
        if not text:
            return None
        self._due, self._sent_at = at + PUSH_NS[self.depth], at
        return Frame(self.topic, "", text, at)

    def renew(self) -> None:
        """Somebody lost the thread: the next message is a snapshot, due at once, changed or not. Its u goes on."""
        self._bids, self._seen, self._due = None, -1, 0

    def snapshot(self) -> str | None:
        """For somebody who joins late: the state as of the last message; None before there was one."""
        return self._text("snapshot", self._bids, self._asks, self._sent_at) if self._bids is not None else None

    def _changed(self, at: int) -> str:
        bids, asks = (shown(self._market, self._resting, side, self.depth) for side in (1, -1))
        before = self._bids
        if (not bids and not asks) or (bids == before and asks == self._asks):
            return ""
        old_bids, old_asks = before or {}, self._asks
        self._bids, self._asks = bids, asks
        self.u += 1
        if before is None or self.depth == 1:
            return self._text("snapshot", bids, asks, at)
        return self._text("delta", _changes(old_bids, bids), _changes(old_asks, asks), at)

    def _text(self, kind: str, bids: dict[int, int], asks: dict[int, int], at: int) -> str:
        return (
            f'{{"topic":"{self._name}","type":"{kind}","ts":{at // NS_PER_MS},"data":{{"s":"{self._symbol}",'
            f'"b":[{self._levels(bids)}],"a":[{self._levels(asks)}],"u":{self.u},"seq":{self._seq}}},'
            f'"cts":{self._cts // NS_PER_MS}}}'
        )

    def _levels(self, levels: dict[int, int]) -> str:
        price, qty = self._market.instrument.price_text, self._market.instrument.qty_text
        return ",".join([f'["{price(t)}","{qty(lots) if lots else 0}"]' for t, lots in levels.items()])


def _changes(before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
    """Levels to send: new or resized ones, and 0 for those that are gone."""
    changed = {ticks: lots for ticks, lots in after.items() if before.get(ticks) != lots}
    changed.update((ticks, 0) for ticks in before if ticks not in after)
    return changed
