"""Scenarios in which the market does what markets do, and those in which a strategy or its figures are poison."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from libs.common.events import (
    DataRejected,
    Fill,
    FlatConfirmed,
    FlattenRequested,
    FundingPaid,
    Halted,
    Mode,
    ModeChanged,
    OrderIntent,
    OrderRefused,
    PositionAdjusted,
    Purpose,
    Reason,
    Signal,
    Tick,
)
from tests.scenarios.checks import settled, sound
from tests.scenarios.world import RISK, World

Make = Callable[..., World]
LOSSES = {Reason.MAX_DAILY_LOSS, Reason.MAX_WEEKLY_LOSS, Reason.MAX_DRAWDOWN}


def entries_since(world: World, at: int, symbol: str = "") -> int:
    made = world.of(OrderIntent, since=at)
    return sum(intent.purpose is Purpose.ENTRY and intent.symbol.startswith(symbol) for intent in made)


def test_03_a_delisting_closes_its_ledger_and_others_trade_on(world: Make) -> None:
    here = world()
    here.trading()
    here.until(lambda: here.account.position("ETHUSDT").lots, 60, "a position in what is delisted")
    here.do("status", symbol="ETHUSDT", status="Delivering", refuse=110074, settle_after_s=10)
    here.run(20)
    assert here.account.position("ETHUSDT").lots == 0
    settled_at = here.at
    here.run(60)
    assert entries_since(here, settled_at, "BTCUSDT") > 0
    here.naked_s = 0.0  # a settled market cancels stops and position together, one after the other
    settled(here)


def test_06_a_crash_with_no_depth_and_late_acks_takes_no_entry_and_gets_out(world: Make) -> None:
    here = world()
    here.trading()
    here.do("depth", symbol="BTCUSDT", spread_percent=5_000, depth_percent=2, for_s=60)
    here.do("depth", symbol="ETHUSDT", spread_percent=5_000, depth_percent=2, for_s=60)
    here.fault({"kind": "latency", "where": "reply", "ms": 30_000, "match": {"path": "/v5/order"}})
    struck_at = here.at
    here.run(8)
    quiet_at = here.at
    here.run(20)
    assert entries_since(here, quiet_at) == 0
    here.command(FlattenRequested, reason="get out")
    here.until(lambda: here.of(FlatConfirmed, since=struck_at), 240, "the exchange's word that all is closed")
    assert here.open_lots() == 0
    settled(here)


def test_07_deleveraging_is_booked_once(world: Make) -> None:
    here = world()
    here.trading()
    symbol = next(symbol for symbol, position in here.account.positions.items() if position.lots)
    assert here.do("adl", symbol=symbol)
    here.until(lambda: here.of(PositionAdjusted), 30, "the adjustment")
    assert len({adjusted.exec_id for adjusted in here.of(PositionAdjusted)}) == len(here.of(PositionAdjusted))
    settled(here)


def test_08_a_wick_away_from_the_mark_triggers_nothing(world: Make) -> None:
    here = world()
    here.trading()
    here.run(60)  # a breaker that has seen a minute of the market
    held = {symbol: position.lots for symbol, position in here.account.positions.items() if position.lots}
    stops = sum(bool(order.stop_type) for order in here.account.open_orders.values())
    for symbol in ("BTCUSDT", "ETHUSDT"):
        here.do("wick", symbol=symbol, shift="-0.15", for_s=2)
    struck_at = here.at
    here.run(2)
    assert entries_since(here, struck_at + 1) == 0 or not here.of(Tick, since=struck_at)
    here.run(10)
    shut = [change for change in here.of(ModeChanged, since=struck_at) if change.new is Mode.REDUCE_ONLY]
    assert here.of(DataRejected, since=struck_at) or shut
    assert not [fill for fill in here.of(Fill, since=struck_at) if fill.order_link_id.endswith("-sl")], (
        "a stop was triggered"
    )
    assert not [halt for halt in here.of(Halted) if halt.reason in LOSSES]
    assert stops == 0 or held
    settled(here)


def test_19_funding_is_booked_and_is_no_losing_trade(world: Make) -> None:
    start_ms = 1_704_092_400_000 - 150_000  # 07:00 UTC, the next stamp of an hourly funding
    here = world(tape=f"start={start_ms}")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        here.do("funding", symbol=symbol, rate="0.0075", interval_min=60)
    here.trading()
    here.until(lambda: here.account.position("ETHUSDT").lots, 60, "a position")
    streak = here.core(RISK).state.consecutive_losses if hasattr(here.core(RISK).state, "consecutive_losses") else None
    here.until(lambda: here.of(FundingPaid), 240, "a funding payment")
    if streak is not None:
        assert here.core(RISK).state.consecutive_losses <= streak + 1
    settled(here)


POISON = {
    "nan": {"target": Decimal("NaN")},
    "huge": {"target": Decimal("1e12")},
    "negative stop": {"stop_distance": Decimal(-1)},
    "unknown symbol": {"symbol": "NOSUCHUSDT"},
    "infinite payoff": {"payoff": Decimal("Infinity")},
    "p above one": {"p": Decimal(7)},
}


def signal(**fields: object) -> Signal:
    base = {
        "strategy": "restless",
        "symbol": "BTCUSDT",
        "target": Decimal(1),
        "p": Decimal("0.6"),
        "payoff": Decimal("1.5"),
    }
    more = {"stop_distance": Decimal(300), "horizon_ms": 20_000}
    return Signal(**(base | more | fields))  # type: ignore[arg-type]


def test_12a_poison_is_refused_and_the_others_trade_on(world: Make, seed: int) -> None:
    name = list(POISON)[seed % len(POISON)]
    here = world()
    here.trading()
    before = len(here.of(OrderRefused))
    for _ in range(10):
        here.stage(signal(**POISON[name]), "signal")
        here.step()
    assert len(here.of(OrderRefused)) >= before + 10
    struck_at = here.at
    here.run(60)
    assert [
        intent for intent in here.of(OrderIntent, since=struck_at) if intent.strategy == "steady"
    ] or here.account.position("ETHUSDT").lots
    settled(here)


def test_12b_one_signal_ten_thousand_times_is_few_orders_and_the_strategy_is_off(world: Make, seed: int) -> None:
    here = world()
    here.trading()
    struck_at = here.at
    for _ in range(5):
        for _ in range(2_000 if seed == 1 else 200):
            here.stage(signal(), "signal")
        here.step()
    made = [intent for intent in here.of(OrderIntent, since=struck_at) if intent.strategy == "restless"]
    assert len(made) <= 8
    assert here.mode("strategy:restless") == "HALTED"
    here.crash("risk")
    here.run(40)
    later = [i for i in here.of(OrderIntent, since=here.at - 30_000_000_000) if i.purpose is Purpose.ENTRY]
    assert all(intent.strategy == "steady" for intent in later)
    sound(here)
