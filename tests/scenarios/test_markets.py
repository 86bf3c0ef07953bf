"""Scenarios in which the market does what markets do, and those in which a strategy or its figures are poison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal

from libs.common.events import (
    Fill,
    FlatConfirmed,
    FlattenRequested,
    FundingPaid,
    Halted,
    Mode,
    ModeChanged,
    OrderIntent,
    OrderRefused,
    PortfolioMarked,
    PositionAdjusted,
    Purpose,
    Reason,
    Reference,
    Signal,
)
from libs.common.portfolio import Ledger
from libs.common.values import from_units, to_units
from tests.scenarios.checks import ALERT_S, settled, sound
from tests.scenarios.world import EXECUTION, RISK, S, World

Make = Callable[..., World]
SYMBOLS = ("BTCUSDT", "ETHUSDT")
CRASH_TAPE_MIN, BEFORE_CRASH = 4, 590
"""Minutes of a tape with a crash in it, and the thousandths of it that come before the crash."""
NOT_OURS = {Reason.UNKNOWN_SYMBOL, Reason.ALLOW_LIST}
MOST_OPEN, MOST_CALLS = 8, 40
LOSSES = {Reason.MAX_DAILY_LOSS, Reason.MAX_WEEKLY_LOSS, Reason.MAX_DRAWDOWN}


def entries_since(world: World, at: int, symbol: str = "") -> int:
    made = world.of(OrderIntent, since=at)
    return sum(intent.purpose is Purpose.ENTRY and intent.symbol.startswith(symbol) for intent in made)


def test_03_a_delisting_closes_its_ledger_and_others_trade_on(world: Make) -> None:
    here = world()
    here.trading()
    here.until(lambda: here.account.position("ETHUSDT").lots, 60, "a position in what is delisted")
    delisted_at = here.at
    here.do("status", symbol="ETHUSDT", status="Delivering", refuse=110074, settle_after_s=10)
    here.run(20)
    assert here.account.position("ETHUSDT").lots == 0
    assert here.core(RISK).state.ledger.lots("ETHUSDT") == 0, "the settlement closed the ledger"
    settled_at = here.at
    here.until(lambda: entries_since(here, settled_at, "BTCUSDT"), 240, "an entry in the other symbol")
    taken = {
        fill.order_link_id
        for fill in here.of(Fill, since=delisted_at + S)
        if fill.symbol == "ETHUSDT" and not fill.reduce_only
    }
    assert not taken, "nothing is added in what is delisted"
    here.naked_s = 0.0  # a settled market cancels stops and position together, one after the other
    settled(here)


DEPEG = {
    "sim.spot": True,
    "marketdata.symbols": ["BTCUSDT", "ETHUSDT", "USDCUSDT-SPOT"],
    "execution.symbols": ["BTCUSDT", "ETHUSDT", "USDCUSDT-SPOT"],
    "risk.max_position_size": 1_000_000,  # base units: coins of a dollar each
    "risk.allocation": {"restless": 0.25, "steady": 0.25, "saver": 0.5},
    "risk.allow": {
        "restless": {"symbols": ["BTCUSDT"]},
        "steady": {"symbols": ["ETHUSDT"]},
        "saver": {"symbols": ["USDCUSDT-SPOT"]},
    },
    "signal.strategies.saver": {"kind": "tests.scenarios.holder:Saver", "symbols": ["USDCUSDT-SPOT"]},
}
USDC = "USDCUSDT-SPOT"


def test_05_a_coin_off_its_peg_counts_at_its_market_price(world: Make) -> None:
    """A fifth of the equity is USDC when it falls to 0.87 for a minute and more. There is no breaker for pegs: the symbol is
    shut by its speed, the book by the loss, which is measured at market price."""
    here = world(DEPEG, tape="symbols=BTCUSDT+ETHUSDT+USDCUSDT")
    here.trading()
    here.until(lambda: here.core(RISK).state.ledger.lots(USDC), 60, "USDC in the account")
    here.run(5)
    before = here.core(RISK).state.equity_units
    room = here.core(RISK).state.capital_units()
    struck_at = here.at
    fall = str(Decimal("-0.12") - here.dice.randrange(0, 3) * Decimal("0.01"))
    for what in ("wick", "mark"):
        here.do(what, symbol="USDCUSDT", category="spot", shift=fall, for_s=90)
    here.run(1)
    assert Reason.VELOCITY in {change.reason for change in here.of(ModeChanged) if change.scope == f"symbol:{USDC}"}
    here.until(lambda: [halt for halt in here.of(Halted) if halt.reason in LOSSES], 5, "the loss to be seen")
    halted_at = here.at
    while here.at < struck_at + 80 * S:
        here.run(5)
        at_market(here)
    assert entries_since(here, halted_at + 1) == 0
    assert here.told_s("halt:book", struck_at) <= ALERT_S
    assert here.core(RISK).state.capital_units() < room, "leverage is measured on what the coins are worth"
    assert max(mark.equity for mark in here.of(PortfolioMarked, since=struck_at)) < from_units(before), (
        "no false profit"
    )
    settled(here)


def at_market(world: World) -> None:
    """Equity is cash, and each position at its mark: coins too."""
    state = world.core(RISK).state
    assert state.markets[USDC].mark < Decimal("0.95")
    held = state.ledger.positions[USDC]
    others = sum(market.unrealised_units for name, market in state.markets.items() if name != USDC)
    worth = held.lots * state.markets[USDC].mark_units
    assert state.equity_units == state.ledger.wallet_units - held.cost_units + worth + others


def test_05_what_is_settled_in_usdc_is_refused(world: Make) -> None:
    """By default, since nobody allows it; and, allowed by mistake, since nobody knows it."""
    here = world({"risk.allow": {"restless": {"symbols": ["BTCUSDT", "BTCPERP"]}, "steady": {"symbols": ["ETHUSDT"]}}})
    here.trading()
    struck_at = here.at
    for symbol, strategy in (("BTCPERP", "restless"), ("BTCUSDC-SPOT", "restless"), ("ETHPERP", "steady")):
        here.stage(signal(symbol=symbol, strategy=strategy), "signal")
        here.run(1)
    refused = {refusal.symbol: refusal.reason for refusal in here.of(OrderRefused, since=struck_at)}
    assert refused.keys() >= {"BTCPERP", "BTCUSDC-SPOT", "ETHPERP"}
    assert {refused[symbol] for symbol in ("BTCPERP", "BTCUSDC-SPOT", "ETHPERP")} <= NOT_OURS
    assert {intent.symbol for intent in here.of(OrderIntent)} <= set(SYMBOLS)
    settled(here)


def test_06_a_crash_with_no_depth_and_late_acks_takes_no_entry_and_gets_out(world: Make) -> None:
    """The tape falls 14 % in ten seconds, the first third of it within one; spread x 50, depth 2 %, answers 30 s late."""
    here = world(minutes=CRASH_TAPE_MIN, tape="crash=14")
    here.trading()
    crash_at = here.began_at + CRASH_TAPE_MIN * 60 * S * BEFORE_CRASH // 1000
    here.run((crash_at - here.at) / S - 1)
    here.exits_cover = True  # a stop that triggers where there is no depth is used up: then risk tries, again and again
    for symbol in SYMBOLS:
        here.do("depth", symbol=symbol, spread_percent=5_000, depth_percent=2, for_s=60)
    here.fault({"kind": "latency", "where": "reply", "ms": 30_000, "match": {"path": "/v5/order"}})
    here.run((crash_at - here.at) / S + 1)
    shut = {change.scope for change in here.of(ModeChanged) if change.reason in (Reason.VELOCITY, Reason.SPREAD)}
    assert shut == {f"symbol:{symbol}" for symbol in SYMBOLS}
    quiet_at = here.at
    for _ in range(20):
        here.run(1)
        assert len(here.core(EXECUTION).state.orders) <= MOST_OPEN
        assert len(here.core(EXECUTION).state.calls.pending) <= MOST_CALLS
    assert entries_since(here, quiet_at + 1) == 0
    here.command(FlattenRequested, reason="get out")
    here.until(lambda: here.of(FlatConfirmed, since=quiet_at), 240, "the exchange's word that all is closed")
    assert here.open_lots() == 0
    exits_were_in_their_collar(here, quiet_at)
    settled(here)


def exits_were_in_their_collar(world: World, since: int) -> None:
    """No exit reaches farther from the mark than the widest collar that retries may have; the first ones no farther than 3 %."""
    marks: dict[str, Decimal] = {}
    tries: Counter[str] = Counter()
    for record in world.log:
        match record.body:
            case Reference(symbol=symbol, mark=mark):
                marks[symbol] = mark
            case OrderIntent(symbol=symbol, price=price, reduce_only=True) if record.at >= since:
                tries[symbol] += 1
                widest = min(Decimal("0.03") * 2 ** (tries[symbol] - 1), Decimal("0.12"))
                assert abs(price / marks[symbol] - 1) <= widest + Decimal("0.001"), (symbol, price, marks[symbol])


def test_07_deleveraging_is_booked_once(world: Make) -> None:
    here = world()
    here.trading()
    symbol = next(symbol for symbol, position in here.account.positions.items() if position.lots)
    assert here.do("adl", symbol=symbol)
    here.until(lambda: here.of(PositionAdjusted), 30, "the adjustment")
    assert len({adjusted.exec_id for adjusted in here.of(PositionAdjusted)}) == len(here.of(PositionAdjusted))
    settled(here)


PAIR = {
    "run.instant_ms": 100,
    "sim.spot": True,
    "marketdata.symbols": ["BTCUSDT", "BTCUSDT-SPOT"],
    "execution.symbols": ["BTCUSDT", "BTCUSDT-SPOT"],
    "risk.allocation": {"arb": 1, "restless": 0, "steady": 0},
    "risk.allow": {"arb": {"symbols": ["BTCUSDT", "BTCUSDT-SPOT"]}},
    "signal.strategies.restless.enabled": False,
    "signal.strategies.steady.enabled": False,
    "signal.strategies.arb": {
        "kind": "funding_arb",
        "symbols": ["BTCUSDT"],
        "parameters": {"enter_rate": 0.00002, "leave_rate": -0.01},
    },
}


def test_07_a_pair_that_loses_a_leg_loses_the_other(world: Make) -> None:
    """The whole leg is deleveraged, or the part that the seed draws; a leg is alone for a second at most."""
    here = world(PAIR, tape="symbols=BTCUSDT")
    here.do("funding", symbol="BTCUSDT", rate="0.0005")
    here.until(lambda: here.account.position("BTCUSDT").lots and here.of(Fill), 90, "a pair")
    here.run(5 + here.dice.randrange(0, 100) / 10)
    part = here.dice.choice(({}, {"qty": "0.02"}, {"qty": "0.05"}))
    struck_at = here.at
    assert here.do("adl", symbol="BTCUSDT", **part)
    here.until(lambda: here.of(PositionAdjusted), 10, "the adjustment")
    here.until(lambda: not imbalance(here), 10, "legs that match")
    assert alone_s(here, struck_at) <= 1
    assert [
        i for i in here.of(OrderIntent, since=struck_at) if i.symbol == "BTCUSDT-SPOT" and i.purpose is Purpose.EXIT
    ]
    here.naked_s = 0.0  # a pair's stop is on both legs together, in risk: no leg has one of its own
    settled(here)


def imbalance(world: World) -> bool:
    """Whether the legs differ by more than the fees of a purchase, which the venue takes in coins."""
    ledger = world.core(RISK).state.ledger
    own, other = ledger.quantity("BTCUSDT"), ledger.quantity("BTCUSDT-SPOT")
    return bool(abs(own + other) > Decimal("0.001") + Decimal("0.002") * max(abs(own), abs(other)))


def alone_s(world: World, since: int) -> float:
    """Seconds from the deleveraging, as the exchange booked it, to the last trade of the other leg."""
    moved = min(adjusted.exec_at for adjusted in world.of(PositionAdjusted))
    back = [fill.exec_at for fill in world.of(Fill, since=since) if fill.symbol == "BTCUSDT-SPOT"]
    return (max(back) - moved) / S


def test_08_a_wick_away_from_the_mark_triggers_nothing(world: Make) -> None:
    here = world()
    here.trading()
    here.run(60)  # a breaker that has seen a minute of the market
    stops = {order.order_id for order in here.account.open_orders.values() if order.stop_type}
    assert stops
    for symbol in SYMBOLS:
        here.do("wick", symbol=symbol, shift="-0.15", for_s=3)
    struck_at = here.at
    here.run(1)
    seen_at = here.at
    here.run(12)
    assert entries_since(here, seen_at) == 0
    shut = [change for change in here.of(ModeChanged, since=struck_at) if change.new is Mode.REDUCE_ONLY]
    assert shut, "expected breakers on symbols that trade 15 % away from their mark"
    assert min(here.told_s(f"reduce_only:{change.scope}", struck_at) for change in shut) <= ALERT_S
    triggered = [fill for fill in here.of(Fill, since=struck_at) if fill.purpose is Purpose.STOP]
    assert not triggered, "a stop was triggered by a price that was not the mark's"
    assert not [halt for halt in here.of(Halted) if halt.reason in LOSSES]
    settled(here)


def test_19_funding_is_booked_and_is_no_losing_trade(world: Make) -> None:
    """0.75 %, every hour, soon. There is no budget for funding that could be exceeded: the loss limits see what was paid."""
    start_ms = 1_704_092_400_000 - 150_000  # 07:00 UTC, the next stamp of an hourly funding
    here = world(tape=f"start={start_ms}")
    for symbol in SYMBOLS:
        here.do("funding", symbol=symbol, rate="0.0075", interval_min=60)
    here.trading()
    here.until(lambda: here.account.position("ETHUSDT").lots, 60, "a position")
    here.until(lambda: here.of(FundingPaid), 240, "a funding payment")
    ledger, paid = Ledger(), 0
    for record in here.log:
        wallet, trips, streak = ledger.wallet_units, ledger.trips, ledger.losing_streak
        ledger.apply(record)
        if isinstance(record.body, FundingPaid):
            paid += 1
            assert wallet - ledger.wallet_units == to_units(record.body.fee) > 0
            assert (ledger.trips, ledger.losing_streak) == (trips, streak)
    assert paid
    assert ledger.wallet_units == here.core(RISK).state.ledger.wallet_units, "what the loss limits are measured on"
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
