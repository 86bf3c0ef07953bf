from __future__ import annotations

from decimal import Decimal

import pytest

from libs.common.events import (
    Bar,
    Event,
    Fill,
    Halted,
    Heartbeat,
    Purpose,
    Reason,
    Resumed,
    Signal,
    StrategyFailed,
    Tick,
)
from libs.common.values import Side
from services.signal.config import SignalConfig, StrategyConfig
from services.signal.core import SignalCore, quantised
from services.signal.features import Features, Windows
from services.signal.strategy import Forecast, Strategy
from tests.market_harness import MINUTE, SECOND, T0, Desk, bar, instant, instrument, of

HERE = "tests.unit.signal.test_core"


class Scripted(Strategy):
    """Does what the close says: 101 -> long, 99 -> short, 100 -> flat, 98 -> NaN, 97 -> raises, 96 -> half, 95 -> bad p."""

    symbols = ("BTCUSDT",)
    interval = "1m"

    @property
    def windows(self) -> Windows:
        return Windows(volatility=2, atr=2, rsi=2, z_score=2, momentum=2, channel=2)

    def on_bar(self, bar: Bar, features: Features) -> Forecast | None:
        wish = {101: 1.0, 99: -1.0, 98: float("nan"), 96: 0.5}.get(int(bar.close), 0.0)
        if bar.close == 97:
            raise ZeroDivisionError("by hand")
        p = 1.5 if bar.close == 95 else 0.5123456789
        return Forecast(target=wish, p=p, payoff=2.0, stop_distance=1.23, horizon_ms=60_000)


class Ticking(Scripted):
    def on_tick(self, tick: Tick, features: Features) -> Forecast | None:
        if tick.last > 200:
            raise KeyError("too high")
        return Forecast(target=1.0 if tick.last > 100 else 0.0, p=0.5, payoff=2.0, stop_distance=1.0, horizon_ms=1000)


def config(**kinds: str) -> SignalConfig:
    names = kinds or {"mine": "Scripted"}
    return SignalConfig(strategies={name: StrategyConfig(kind=f"{HERE}:{kind}") for name, kind in names.items()})


class Market(Desk):
    """Feeds one candle a minute."""

    def __init__(self, settings: SignalConfig | None = None) -> None:
        super().__init__(SignalCore(settings or config()))
        self.minute = 0
        self.send(instrument())

    def bar(self, close: float, *, late_minutes: int = 0) -> list[Event]:
        start = T0 + self.minute * MINUTE
        self.minute += 1
        return self.send(bar(start, close), at=start + (1 + late_minutes) * MINUTE)

    def warm(self) -> Market:
        for _ in range(4):
            self.bar(100)
        return self

    def fill(self, side: Side, qty: str, strategy: str = "mine", purpose: Purpose = Purpose.ENTRY) -> None:
        self.send(
            Fill(
                order_link_id="a",
                order_id="b",
                exec_id="c",
                strategy=strategy,
                symbol="BTCUSDT",
                side=side,
                qty=Decimal(qty),
                price=Decimal(100),
                fee=Decimal(0),
                is_maker=False,
                reduce_only=False,
                purpose=purpose,
                cum_qty=Decimal(qty),
                order_qty=Decimal(qty),
                exec_at=0,
            )
        )

    def position(self, strategy: str = "mine") -> Decimal:
        return self.core.state.positions.get(f"{strategy}|BTCUSDT", Decimal(0))


def wishes(out: list[Event]) -> list[int | Decimal]:
    return [signal.target for signal in of(Signal, out)]


def tick(last: str) -> Tick:
    return Tick(symbol="BTCUSDT", last=Decimal(last), bids=(), asks=())


def test_a_change_of_target_is_published_quantised():
    (signal,) = Market().warm().bar(101)
    assert signal == Signal(
        strategy="mine",
        symbol="BTCUSDT",
        target=Decimal("1.000000"),
        p=Decimal("0.512346"),
        payoff=Decimal("2.000000"),
        stop_distance=Decimal("1.30"),
        horizon_ms=60_000,
        score=Decimal("0.000000"),
    )


def test_a_flat_strategy_without_a_position_says_nothing():
    assert Market().warm().bar(100) == []


def test_a_target_is_repeated_every_candle_until_the_position_follows():
    market = Market().warm()
    assert wishes(market.bar(101)) == [1]
    assert wishes(market.bar(101)) == [1]
    market.fill(Side.BUY, "0.5")
    assert wishes(market.bar(101)) == []


def test_an_exit_is_repeated_until_the_position_is_gone():
    market = Market().warm()
    market.bar(101)
    market.fill(Side.BUY, "0.5")
    assert wishes(market.bar(100)) == [0]
    market.fill(Side.SELL, "0.4")
    assert wishes(market.bar(100)) == [0]
    market.fill(Side.SELL, "0.1")
    assert wishes(market.bar(100)) == []


def test_a_stopped_target_is_not_taken_up_again_until_the_strategy_changed_its_mind():
    market = Market().warm()
    market.bar(101)
    market.fill(Side.BUY, "0.5")
    market.fill(Side.SELL, "0.5", purpose=Purpose.STOP)
    assert [wishes(market.bar(close)) for close in (101, 101, 100, 101)] == [[], [], [0], [1]]


def test_a_new_size_of_the_same_sign_is_news_only_when_it_moved_enough():
    market = Market().warm()
    market.bar(101)
    market.fill(Side.BUY, "1")
    assert wishes(market.bar(96)) == [Decimal("0.5")]


def test_candles_of_the_past_warm_up_and_publish_nothing():
    market = Market()
    out = [event for _ in range(10) for event in market.bar(101, late_minutes=5)]
    assert out == []
    assert wishes(market.bar(101)) == [1]


def test_no_forecast_before_the_warm_up_and_none_of_nan():
    market = Market()
    assert [market.bar(101) for _ in range(2)] == [[], []]
    assert wishes(market.bar(101)) == [1]
    market.fill(Side.BUY, "1")
    assert market.bar(98) == []


def test_an_unknown_instrument_gives_no_signal():
    market = Desk(SignalCore(config()))
    out = [event for n in range(6) for event in market.send(bar(T0 + n * MINUTE, 101), at=T0 + (n + 1) * MINUTE)]
    assert out == []


@pytest.mark.parametrize(
    ("close", "error"), [(97, "ZeroDivisionError: by hand"), (95, "ValueError: expected p in (0, 1), was 1.5")]
)
def test_a_strategy_that_fails_is_off_for_good_and_the_others_go_on(close, error):
    market = Market(config(first="Scripted", second="Ticking")).warm()
    out = market.bar(close)
    assert of(StrategyFailed, out) == [StrategyFailed(strategy=name, error=error) for name in ("first", "second")]
    other = Market(config(bad="Ticking", good="Scripted")).warm()
    failed = other.send(tick("300"))
    assert failed == [StrategyFailed(strategy="bad", error="KeyError: 'too high'")]
    assert [signal.strategy for signal in of(Signal, other.bar(101))] == ["good"]
    assert other.send(tick("300")) == []


def test_ticks_publish_changes_only():
    market = Market(config(mine="Ticking")).warm()
    assert [wishes(market.send(tick(last))) for last in ("99", "101", "102", "99")] == [[], [1], [], [0]]


def test_fills_of_nobody_close_what_strategies_hold_in_order_of_name():
    market = Market(config(a="Scripted", b="Scripted"))
    market.fill(Side.BUY, "0.3", "a")
    market.fill(Side.BUY, "0.5", "b")
    market.fill(Side.SELL, "0.4", "")
    assert (market.position("a"), market.position("b")) == (0, Decimal("0.4"))


def test_halts_are_marked_and_stop_nothing():
    market = Market().warm()
    market.send(Halted(reason=Reason.OPERATOR, measured=Decimal(0), limit=Decimal(0)))
    assert market.core.state.halts == {"book": "OPERATOR"}
    assert wishes(market.bar(101)) == [1]
    market.send(Resumed(halt_id="x", scope="book", operator="me"))
    assert market.core.state.halts == {}


def test_a_heartbeat_each_minute():
    market = Market()
    beats = [len(of(Heartbeat, market.send(instant(n), at=T0 + n * 20 * SECOND))) for n in range(7)]
    assert beats == [1, 0, 0, 1, 0, 0, 1]


def test_a_disabled_strategy_does_not_run():
    table = StrategyConfig(kind=f"{HERE}:Scripted", enabled=False)
    assert SignalCore(SignalConfig(strategies={"mine": table})).strategies == {}


def test_quantised_is_exact_to_a_millionth():
    assert (quantised(0.1234565), quantised(-1.0)) == (Decimal("0.123456"), Decimal("-1.000000"))
