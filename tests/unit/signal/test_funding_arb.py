"""The strategy that holds spot against a short perpetual while longs pay."""

from __future__ import annotations

from decimal import Decimal

import pytest

from libs.common.errors import UsageError
from libs.common.events import Event, Reference, Signal
from services.signal.config import SignalConfig, StrategyConfig
from services.signal.core import SignalCore
from services.signal.strategy import load
from tests.market_harness import MINUTE, Desk, bar, instrument


class Market(Desk):
    def __init__(self) -> None:
        super().__init__(SignalCore(SignalConfig(strategies={"arb": StrategyConfig(kind="funding_arb")})))
        self.send(instrument())

    def rate(self, rate: str, mark: str = "50000") -> list[Event]:
        reference = Reference(symbol="BTCUSDT", mark=Decimal(mark), index=Decimal(mark), funding_rate=Decimal(rate))
        return [event for event in self.send(reference, at=self.at + MINUTE) if isinstance(event, Signal)]


def test_it_enters_both_legs_with_one_signal_when_longs_pay_enough():
    (signal,) = Market().rate("0.0004")
    assert (signal.symbol, signal.target, signal.hedge) == ("BTCUSDT", Decimal(-1), "BTCUSDT-SPOT")
    assert signal.stop_distance == Decimal(500)


def test_it_holds_while_the_rate_falls_and_leaves_when_it_turns():
    market = Market()
    market.rate("0.0004")
    assert market.rate("0.0000") == []
    (signal,) = market.rate("-0.0002")
    assert (signal.target, signal.hedge) == (0, "BTCUSDT-SPOT")


@pytest.mark.parametrize("rate", ["0.0001", "-0.01"])
def test_it_takes_no_small_and_no_negative_funding(rate: str):
    assert Market().rate(rate) == []


def test_it_asks_again_every_candle_until_the_pair_is_held():
    market = Market()
    market.rate("0.0004")
    hour = market.at - market.at % (60 * MINUTE)
    out = market.send(bar(hour, 50_000, interval_ms=3_600_000), at=hour + 60 * MINUTE)
    assert [event.hedge for event in out if isinstance(event, Signal)] == ["BTCUSDT-SPOT"]


def test_rates_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="leave_rate < enter_rate"):
        load("funding_arb", StrategyConfig(parameters={"enter_rate": 0.0001, "leave_rate": 0.0002}))
