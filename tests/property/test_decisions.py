"""T8: every signal gets one decision, whatever it is and whatever state the book is in; no approval's id is used twice."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import events as e
from libs.common.events import OrderIntent, OrderRefused, StakeTransferred
from libs.common.record import Started
from tests.unit.risk.desk import SECOND, D, halted
from tests.unit.risk.pairs import PERP, SPOT, of, paired, traded

good = st.fixed_dictionaries(
    {
        "target": st.sampled_from([D(1), D(-1), D(0), D("0.3")]),
        "strategy": st.sampled_from(["arb", "trend"]),
        "symbol": st.sampled_from([PERP, PERP, SPOT]),
        "hedge": st.sampled_from(["", "", SPOT]),
        "p": st.just(D("0.6")),
        "payoff": st.just(D("1.5")),
        "stop_distance": st.just(D(600)),
        "score": st.integers(0, 10**6).map(D),
        "horizon_ms": st.just(60_000),
    }
)
odd = st.sampled_from([D("NaN"), D("Infinity"), D(-1), D(0), D("1e12"), D("1e-12")])
poison = st.one_of(
    st.tuples(st.sampled_from(["target", "p", "payoff", "stop_distance", "score"]), odd),
    st.tuples(st.just("strategy"), st.sampled_from(["stranger", ""])),
    st.tuples(st.sampled_from(["symbol", "hedge"]), st.just("NOSUCH")),
    st.tuples(st.just("model"), st.just("blocked")),
    st.tuples(st.just("horizon_ms"), st.just(0)),
)
bad = st.tuples(good, poison).map(lambda pair: pair[0] | {pair[1][0]: pair[1][1]})
signals = st.one_of(good, good, good, bad)
moves = st.one_of(signals, st.sampled_from(["fill", "fill", "cancel", "time", "halt", "restart", "flatten", "fall"]))


@settings(max_examples=300, deadline=None)
@given(st.lists(moves, max_size=25))
def test_every_signal_gets_one_decision(steps: list[Any]) -> None:
    desk = paired()
    desk.put(e.ModelBlocked(model="blocked", reason="drift"), "portfolio")
    live: list[OrderIntent] = []
    ids: set[str] = set()
    price = 60_000
    for index, step in enumerate(steps):
        if isinstance(step, dict):
            made = desk.put(e.Signal(**step), "signal")
            refusals, orders, handed = (of(made, kind) for kind in (OrderRefused, OrderIntent, StakeTransferred))
            assert (len(refusals) == 1) != bool(orders or handed), f"one decision, was {made}"
            assert len(orders) <= 2
        elif step in ("fill", "cancel") and live:
            made = traded(desk, live.pop(index % len(live)), None if step == "fill" else 0)
        elif step == "halt":
            made = halted(desk)
        elif step == "flatten":
            made = desk.put(e.FlattenRequested(operator="a", nonce=str(desk.seq), expires_at=0), "command")
        elif step == "restart":
            desk.restart()
            made = desk.put(Started(fresh=False), "timer") + desk.reconcile()
        elif step == "fall":
            price -= 300
            made = desk.tick(price) + desk.tick(price, SPOT, width="0.01")
        else:
            made = desk.later(SECOND)
        for order in of(made, OrderIntent):
            assert order.order_link_id not in ids, "an id is one order's"
            ids.add(order.order_link_id)
            live.append(order)
