"""The edges of sizes: the book around a symbol, what exits may take, who takes over from whom."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common import events as e
from libs.common.events import CancelIntent, OrderIntent, OrderRefused, Purpose, Reason, StakeTransferred
from libs.common.values import Grid
from services.risk import draft, exits, limits
from services.risk.config import EntryStyle
from services.risk.draft import Draft, Exposure
from services.risk.state import Market, Order, RiskState
from tests.unit.risk.desk import SECOND, D, Desk, Side, TimeInForce, config, halted, of, only, opened

KEY = "trend|BTCUSDT"


def order(symbol: str, sign: int, lots: int, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "order_link_id": f"{symbol}{sign}{lots}", "strategy": "trend", "symbol": symbol, "sign": sign, "lots": lots,
        "filled": 0, "price": D(1), "lot_units": 7, "time_in_force": TimeInForce.IOC, "reduce_only": False,
        "purpose": Purpose.ENTRY, "at": 0,
    }  # fmt: skip
    return Order(**(fields | changes))


class Held:
    """Positions only; a wallet that is empty."""

    wallet_units = 0

    def __init__(self, **lots: int) -> None:
        self._lots = lots
        self.grids = {name: Grid(tick_size=D("0.1"), lot_size=D("0.001")) for name in lots}

    def lots(self, symbol: str) -> int:
        return self._lots[symbol]


def book(*orders: Order, **lots: int) -> RiskState:
    state = RiskState(orders={o.order_link_id: o for o in orders})
    state.markets = {name: Market(name, mark_units=10) for name in lots}
    state.ledger = Held(**lots)  # type: ignore[assignment]
    return state


def test_the_book_around_a_symbol_counts_each_side_at_its_worst() -> None:
    """A +3 lots and buys of 2 at 10 (its mark is worse), sells of 5 at 20; B -4 lots and sells of 1 at 10."""
    state = book(
        order("A", 1, 2), order("A", -1, 5, lot_units=20), order("B", -1, 1), order("A", -1, 9, reduce_only=True),
        order("gone", 1, 9), A=3, B=-4,
    )  # fmt: skip
    assert draft.exposure(state, "A") == Exposure(
        lots=3, mark_units=10, open_buys=2, open_sells=5, buy_units=20, sell_units=100, gross_others_units=50,
        net_long_units=30 + 20 - 40, net_short_units=100 - 30 + 10 + 40,
    )  # fmt: skip
    around_b = draft.exposure(state, "B")
    assert (around_b.lots, around_b.open_sells, around_b.sell_units, around_b.gross_others_units) == (-4, 1, 10, 100)
    assert (around_b.net_long_units, around_b.net_short_units) == (10, 120)


def test_a_partly_filled_order_counts_for_its_rest_and_two_add_up() -> None:
    state = book(order("A", 1, 5, filled=2), order("A", 1, 4), A=0)
    assert (draft.exposure(state, "A").open_buys, draft.exposure(state, "A").buy_units) == (7, 70)


@pytest.mark.parametrize(
    ("part", "whole", "share", "expected"),
    [(1, 2, "1", "0.5"), (0, 2, "1", "0"), (1, 0, "1", "0"), (1, 2, "0", "0"), (-1, 2, "1", "0"), (1, 1, "1", "1"),
     (5, 2, "0.5", "5"), (1, 1, "0.5", "2")],
)  # fmt: skip
def test_ratios_divide_by_nothing_less_than_one(part: int, whole: int, share: str, expected: str) -> None:
    assert draft.ratio(part, whole, D(share)) == D(expected)


def test_the_least_order_at_a_lot_of_one_unit() -> None:
    market = Market("A", min_lots=2, min_notional_units=9)
    assert draft.minimum_lots(market, 1) == 9
    assert draft.minimum_lots(market, 0) == 2, "a lot without a value says nothing of the notional"


# --- limits ----------------------------------------------------------------------------------------------------------


def test_net_exposure_counts_the_order_on_its_own_side_only() -> None:
    state = book(A=0)
    asked = Draft("trend", "A", Side.BUY, 3, D(1), D(1), 10**8)
    asked.exposure = Exposure(net_long_units=5 * 10**8, net_short_units=2 * 10**8)
    assert limits.max_net_usd(state, asked)[0] == 8
    asked.side = Side.SELL
    assert limits.max_net_usd(state, asked)[0] == 5
    asked.exposure = Exposure(net_long_units=-9 * 10**8, net_short_units=9 * 10**8)
    assert limits.max_net_usd(state, asked)[0] == 12


@pytest.mark.parametrize(
    ("side", "used", "room"), [(Side.BUY, (5, 30), 45), (Side.SELL, (5, 30), 20), (Side.SELL, (0, 0), 50)]
)
def test_room_under_the_net_limit(side: Side, used: tuple[int, int], room: int) -> None:
    desk = opened(config(auto_arm=True, max_net_usd=D(50)))
    asked = Draft("trend", "BTCUSDT", side, 100, D(1), D(1), 10**8)
    asked.exposure = Exposure(
        net_long_units=used[0] * 10**8, net_short_units=used[1] * 10**8, capital_units=desk.state.capital_units()
    )
    assert limits.most(desk.state, asked) == room


def test_room_under_the_symbols_limit_is_what_the_side_has_left() -> None:
    desk = opened(config(auto_arm=True, position_limit_usd=D(50)))
    asked = Draft("trend", "BTCUSDT", Side.BUY, 100, D(1), D(1), 10**8)
    asked.exposure = Exposure(
        lots=10, mark_units=10**8, buy_units=5 * 10**8, sell_units=30 * 10**8, capital_units=desk.state.capital_units()
    )
    assert limits.most(desk.state, asked) == 35
    asked.side = Side.SELL
    assert limits.most(desk.state, asked) == 20


# --- exits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["1", "-1"])
def test_the_smallest_stake_is_stopped_and_liquidated_on_its_own_side(side: str) -> None:
    for how in ("stop", "flatten"):
        desk = opened()
        entry = only(desk.signal(side), OrderIntent)
        desk.fill(entry, D("0.001"), D(60_000))
        desk.cancelled(entry, "0.001")
        made = halted(desk, flatten=True) if how == "flatten" else desk.tick("59400" if side == "1" else "60600")
        out = only(made, OrderIntent)
        assert (out.side, out.qty, out.reduce_only) == (entry.side.opposite, D("0.001"), True)


@pytest.mark.parametrize("side", ["1", "-1"])
def test_a_second_try_is_on_the_same_side_and_clears_its_way(side: str) -> None:
    desk = opened(config(auto_arm=True, entry={"mean": EntryStyle(style="post_only", ttl_ms=600_000)}))
    entry = only(desk.signal(side), OrderIntent)
    desk.fill(entry, D("0.001"), D(60_000))
    desk.cancelled(entry, "0.001")
    first = only(desk.signal("0"), OrderIntent)
    desk.cancelled(first)
    resting = only(desk.signal(side, "mean"), OrderIntent)
    made = desk.later()
    again = only(made, OrderIntent)
    assert (again.side, again.qty, again.reduce_only) == (entry.side.opposite, D("0.001"), True)
    assert [event.order_link_id for event in of(made, CancelIntent)] == [resting.order_link_id]


def test_each_slice_clears_its_way() -> None:
    desk = opened(config(auto_arm=True, entry={"mean": EntryStyle(style="post_only", ttl_ms=600_000)}))
    desk.hold()
    resting = only(desk.signal("1", "mean"), OrderIntent)
    slice_ = only(halted(desk, flatten=True), OrderIntent)
    made = desk.cancelled(slice_)
    assert [event.order_link_id for event in of(made, CancelIntent)] == [resting.order_link_id]
    only(made, OrderIntent)


def test_a_liquidation_begins_with_what_is_worth_most() -> None:
    """ETHUSDT was entered first and is more lots; BTCUSDT is worth more."""
    desk = opened()
    desk.instrument("ETHUSDT", "0.001")
    desk.tick("3000", "ETHUSDT")
    for symbol, price, quantity in (("ETHUSDT", 3000, "0.5"), ("BTCUSDT", 60_000, "0.1")):
        entry = only(desk.signal("1", symbol=symbol, stop_distance=D(price) / 100), OrderIntent)
        desk.fill(entry, D(quantity), D(price))
        desk.cancelled(entry, quantity)
    assert [slice_.symbol for slice_ in of(halted(desk, flatten=True), OrderIntent)] == ["BTCUSDT", "ETHUSDT"]


def test_a_venue_that_takes_one_lot_at_a_time_gets_one() -> None:
    desk = opened()
    desk.hold()
    desk.instrument(max_qty=D("0.001"))
    out = only(desk.signal("0"), OrderIntent)
    assert out.qty == D("0.001")
    assert list(desk.state.tasks) == [KEY], "and it goes on"


def test_an_exit_under_way_keeps_its_task_and_its_cause() -> None:
    desk = opened()
    desk.hold()
    first = only(desk.signal("0"), OrderIntent)
    task = desk.state.tasks[KEY]
    assert (task.order_link_id, task.correlation) == (first.order_link_id, desk.out[-1].correlation)
    cause = (task.stream, task.seq, task.correlation)
    assert task.seq > 0
    desk.cancelled(first)
    assert task.tries == 1
    again = only(desk.later(), OrderIntent)
    task = desk.state.tasks[KEY]
    assert (task.stream, task.seq, task.correlation) == cause
    assert (task.order_link_id, task.tries) == (again.order_link_id, 1)


def hands(desk: Desk, strategy: str, lots: int) -> list[StakeTransferred]:
    return of(exits.transfers(desk.state, strategy, "BTCUSDT", lots), StakeTransferred)


def test_a_stake_is_handed_to_the_largest_first_and_never_more_than_it_is() -> None:
    desk = opened(config(auto_arm=True, allow=config().allow | {"late": config().allow["mean"]},
                         allocation={"trend": D("0.4"), "mean": D("0.3"), "late": D("0.3")}))  # fmt: skip
    for side, strategy, quantity in (("1", "trend", "0.1"), ("-1", "mean", "0.03"), ("-1", "late", "0.05")):
        entry = only(desk.signal(side, strategy), OrderIntent)
        desk.fill(entry, D(quantity), D(60_000))
        desk.cancelled(entry, quantity)
    handed = [(x.buyer, x.seller, x.qty) for x in hands(desk, "trend", 100)]
    assert handed == [("late", "trend", D("0.05")), ("mean", "trend", D("0.03"))]
    handed = [(x.buyer, x.seller, x.qty) for x in hands(desk, "trend", 51)]
    assert handed == [("late", "trend", D("0.05")), ("mean", "trend", D("0.001"))]
    handed = [(x.buyer, x.seller, x.qty) for x in hands(desk, "trend", 50)]
    assert handed == [("late", "trend", D("0.05"))]
    handed = [(x.buyer, x.seller, x.qty) for x in hands(desk, "late", 50)]
    assert handed == [("late", "trend", D("0.05"))]


@pytest.mark.parametrize("side", ["1", "-1"])
def test_stakes_of_one_lot_change_hands_too(side: str) -> None:
    desk = opened()
    for way, strategy in ((side, "trend"), (str(-int(side)), "mean")):
        entry = only(desk.signal(way, strategy), OrderIntent)
        desk.fill(entry, D("0.001"), D(60_000))
        desk.cancelled(entry, "0.001")
    halted(desk)
    handed = only(desk.signal("0"), StakeTransferred)
    sides = ("trend", "mean") if side == "1" else ("mean", "trend")
    assert (handed.seller, handed.buyer, handed.qty) == (*sides, D("0.001"))


def test_nothing_changes_hands_among_the_same_side() -> None:
    desk = opened()
    desk.hold()
    desk.hold(strategy="mean")
    assert hands(desk, "trend", 1) == []


# --- orders and time -------------------------------------------------------------------------------------------------


def test_exits_count_for_no_rate_and_bring_no_stop() -> None:
    desk = opened()
    desk.hold()
    desk.now += 2 * SECOND
    only(desk.signal("0"), OrderIntent)
    assert [at for at in desk.state.entries_at if at == desk.now] == []
    assert desk.state.stops == {KEY: D(600)}


def test_what_began_a_second_ago_does_not_count_any_more() -> None:
    desk = opened(config(auto_arm=True, order_rate=D(1)))
    only(desk.signal("1"), OrderIntent)
    desk.later(SECOND - 1)
    assert only(desk.signal("1", "mean"), OrderRefused).reason is Reason.ORDER_RATE
    desk.later(1)
    only(desk.signal("0.9", "mean"), OrderIntent)
    assert len(desk.state.entries_at) == 1


def test_a_late_and_smaller_count_takes_nothing_back() -> None:
    """Two executions told out of order: what traded stays traded."""
    desk = opened()
    entry = only(desk.signal("1"), OrderIntent)
    desk.fill(entry, D("0.1"))
    held = desk.state.orders[entry.order_link_id]
    assert held.filled == 100
    body = e.Fill(
        order_link_id=entry.order_link_id, order_id="v", exec_id="late", strategy="trend", symbol="BTCUSDT", side=Side.BUY,
        qty=D("0.02"), price=D(60_000), fee=D(0), is_maker=False, reduce_only=False, purpose=Purpose.ENTRY, cum_qty=D("0.05"),
        order_qty=entry.qty, exec_at=desk.now,
    )  # fmt: skip
    desk.put(body, "fill")
    assert desk.state.orders[entry.order_link_id].filled == 100
