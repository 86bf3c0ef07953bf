"""Strategies on one netted position: whose exit would grow it, and how a stake changes hands at mark."""

from __future__ import annotations

from libs.common import events as e
from libs.common.events import OrderIntent, OrderRefused, Purpose, Reason
from tests.unit.risk.desk import D, Side, halted, of, only, opened


def test_exit_that_would_grow_the_net_is_an_entry() -> None:
    """trend long 0.1, mean short 0.166: the book is short, so trend's exit sells into a short."""
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D("0.1"))
    desk.cancelled(order, "0.1")
    desk.hold("-1", strategy="mean")
    sale = only(desk.signal("0"), OrderIntent)
    assert (sale.side, sale.qty, sale.reduce_only, sale.purpose) == (Side.SELL, D("0.1"), False, Purpose.ENTRY)
    desk.cancelled(sale)
    halted(desk)
    wallet = desk.state.ledger.wallet_units
    desk.tick("60100")
    handed = only(desk.signal("0"), e.StakeTransferred)
    assert (handed.seller, handed.buyer, handed.qty, handed.price) == ("trend", "mean", D("0.1"), D(60_100))
    held = {name: desk.state.ledger.stake_lots(name, "BTCUSDT") for name in ("trend", "mean")}
    assert held == {"trend": 0, "mean": -66}
    assert (desk.state.ledger.lots("BTCUSDT"), desk.state.ledger.wallet_units) == (-66, wallet)
    assert desk.state.ledger.pnl_by_strategy() == {
        "mean": D(-10),
        "trend": D(0) + 10 - D("0.1") * (order.price - 60_000),
    }
    buy = only(desk.signal("0", strategy="mean"), OrderIntent)
    assert (buy.reduce_only, buy.qty) == (True, D("0.066")), "all that is left of it"


def test_no_hand_over_to_whom_has_an_order_under_way() -> None:
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D("0.1"))
    desk.cancelled(order, "0.1")
    desk.hold("-1", strategy="mean")
    only(desk.signal("0", strategy="mean"), OrderIntent)
    halted(desk)
    assert only(desk.signal("0"), OrderRefused).reason is Reason.MODE


def test_exit_beyond_the_net_goes_on_against_the_other() -> None:
    """mean leaves; the book is short only what it holds more, the rest it buys: that is an entry, judged like one."""
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D("0.1"))
    desk.cancelled(order, "0.1")
    desk.hold("-1", strategy="mean")
    buy = only(desk.signal("0", strategy="mean"), OrderIntent)
    desk.fill(buy)
    rest = only(desk.later(), OrderIntent)
    assert (rest.side, rest.qty, rest.reduce_only) == (Side.BUY, D("0.1"), False)
    assert of(desk.later(), OrderIntent) == [], "one at a time"
    desk.fill(rest)
    assert desk.state.tasks == {}
    assert desk.state.ledger.lots("BTCUSDT") == desk.state.ledger.stake_lots("trend", "BTCUSDT") == 100


def test_exit_beyond_the_net_is_handed_over_in_a_halt() -> None:
    desk = opened()
    order = only(desk.signal(), OrderIntent)
    desk.fill(order, D("0.1"))
    desk.cancelled(order, "0.1")
    desk.hold("-1", strategy="mean")
    buy = only(desk.signal("0", strategy="mean"), OrderIntent)
    halted(desk)
    desk.fill(buy)
    handed = only(desk.later(), e.StakeTransferred)
    assert (handed.seller, handed.buyer, handed.qty) == ("trend", "mean", D("0.1"))
    assert [s.lots for s in desk.state.ledger.stakes.values()] == [0, 0]
    assert desk.state.tasks == {}
