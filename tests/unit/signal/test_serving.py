from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from libs.common import seal
from libs.common.errors import UsageError
from libs.common.events import (
    DriftMeasured,
    Event,
    Fill,
    ModelPromote,
    ModelPromoted,
    ModelRefused,
    ModelRollback,
    ModelRolledBack,
    Purpose,
    Signal,
)
from libs.common.values import Side
from services.signal.config import SignalConfig, StrategyConfig
from services.signal.core import SignalCore
from services.signal.drift import DAY_NS
from services.signal.model import Model, Rules
from tests.market_harness import MINUTE, T0, Desk, bar, instrument, of
from tests.unit.signal.small import model

PRIVATE, PUBLIC = seal.generate()
UP, DOWN, LATER, ELSEWHERE = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


def bull(_: Sequence[float]) -> Sequence[float]:
    return [0.1, 0.2, 0.7]


def bear(_: Sequence[float]) -> Sequence[float]:
    return [0.7, 0.2, 0.1]


def models() -> dict[str, Model]:
    found = [model(UP, bull), model(DOWN, bear), model(LATER, bear, symbol="ETHUSDT"), model(ELSEWHERE, bull)]
    return {one.sha: one for one in found}


def config(**changes: Any) -> SignalConfig:
    table = StrategyConfig(interval="1m", parameters={"model": f"small/{UP}"})
    values: dict[str, Any] = {"strategies": {"ml_momentum": table}, "operator_keys": {"ana": PUBLIC}, "drift_bars": 5}
    return SignalConfig(**{**values, **changes})


class Market(Desk):
    """A candle a minute; closes wander a little so that every feature is defined."""

    def __init__(self, settings: SignalConfig | None = None) -> None:
        super().__init__(SignalCore(settings or config(), models()))
        self.minute = self.commands = 0
        self.send(instrument())
        self.first = self.start()

    def bars(self, count: int) -> list[Event]:
        found: list[Event] = []
        for _ in range(count):
            start = T0 + self.minute * MINUTE
            close = 100 + (self.minute * 7 % 11) / 10
            self.minute += 1
            found += self.send(bar(start, close), at=start + MINUTE)
        return found

    def order(self, kind: type[ModelPromote | ModelRollback], **fields: Any) -> Event:
        self.commands += 1
        common = {"operator": "ana", "nonce": f"n{self.commands}", "expires_at": self.at + MINUTE, "key_id": "ana"}
        given = {"strategy": "ml_momentum", **common, **fields}
        (answer,) = self.send(seal.sign(PRIVATE, kind(**given)))
        return answer

    def promote(self, sha: str = DOWN, **fields: Any) -> Event:
        return self.order(ModelPromote, model=f"small/{sha}", **fields)

    def fill(self, side: Side, price: str) -> None:
        self.send(
            Fill(
                order_link_id="a", order_id="b", exec_id="c", strategy="ml_momentum", symbol="BTCUSDT", side=side,
                qty=Decimal(1), price=Decimal(price), fee=Decimal("0.1"), is_maker=False, reduce_only=False,
                purpose=Purpose.ENTRY, cum_qty=Decimal(1), order_qty=Decimal(1), exec_at=self.at,
            )
        )  # fmt: skip


def test_a_signal_says_which_model_made_it_and_carries_its_probability():
    market = Market()
    assert market.first == [ModelPromoted(strategy="ml_momentum", model=UP[:12])]
    (first, *_) = of(Signal, market.bars(12))
    assert first.model == UP[:12]
    assert (first.target, first.p, first.payoff, first.score) == (1, Decimal("0.7"), Decimal(1), Decimal("0.6"))


def test_a_promoted_model_decides_from_then_on_and_a_rollback_ends_it():
    market = Market()
    market.bars(12)
    assert market.promote() == ModelPromoted(strategy="ml_momentum", model=DOWN[:12])
    signals = of(Signal, market.bars(6))
    assert {signal.model for signal in signals} == {DOWN[:12]}
    assert signals[-1].target == -1
    assert market.order(ModelRollback) == ModelRolledBack(strategy="ml_momentum", model=UP[:12])
    assert of(Signal, market.bars(6))[-1].target == 1
    assert market.order(ModelRollback) == ModelRefused(nonce="n3", operator="ana", reason="NOTHING_BEFORE")


def test_the_only_strategy_need_not_be_named_and_the_hash_alone_will_do():
    market = Market()
    assert market.promote(strategy="") == ModelPromoted(strategy="ml_momentum", model=DOWN[:12])
    assert market.order(ModelPromote, model=UP) == ModelPromoted(strategy="ml_momentum", model=UP[:12])


@pytest.mark.parametrize(
    ("reason", "sha", "fields"),
    [
        ("UNKNOWN_MODEL", "f" * 64, {}),
        ("LIVE_ALREADY", UP, {}),
        ("OTHER_INPUTS", LATER, {}),
        ("UNKNOWN_STRATEGY", DOWN, {"strategy": "trend"}),
        ("EXPIRED", DOWN, {"expires_at": T0}),
        ("SEAL", DOWN, {"operator": "eve"}),
        ("OTHER_BOOK", DOWN, {"place": "testnet:main"}),
    ],
)
def test_what_must_not_be_promoted_is_refused_and_changes_nothing(reason: str, sha: str, fields: dict[str, Any]):
    market = Market()
    market.bars(12)
    answer = market.promote(sha, **fields)
    assert isinstance(answer, ModelRefused)
    assert answer.reason == reason
    assert {signal.model for signal in of(Signal, market.bars(6))} == {UP[:12]}


def test_a_changed_or_repeated_command_is_refused():
    market = Market()
    common = {"operator": "ana", "nonce": "x", "expires_at": T0 + MINUTE, "strategy": "ml_momentum"}
    signed = seal.sign(PRIVATE, ModelPromote(model=f"small/{DOWN}", **common))
    forged = ModelPromote(model=f"small/{ELSEWHERE}", seal=signed.seal, **common)
    assert [one.reason for one in of(ModelRefused, market.send(forged))] == ["SEAL"]
    assert [one.reason for one in of(ModelRefused, market.send(signed))] == ["DUPLICATE"]


def test_drift_is_measured_every_few_bars_once_there_are_enough_and_anew_for_another_model():
    market = Market()
    measured = of(DriftMeasured, market.bars(40))
    assert len(measured) >= 4
    assert {one.model for one in measured} == {UP[:12]}
    assert measured[0].bars == 20  # the window of this reference is shorter than the least sample
    assert measured[0].feature in (
        "rsi",
        "volatility",
        "atr_ratio",
        "volume_ratio",
    )  # always above 0: not half and half
    assert measured[0].psi > Decimal("0.5")
    assert measured[0].factor == 0
    market.promote()
    assert of(DriftMeasured, market.bars(19)) == []
    assert [one.model for one in of(DriftMeasured, market.bars(1))] == [DOWN[:12]]


def test_the_results_of_its_trades_are_measured():
    market = Market()
    market.bars(38)
    for day in range(12):
        market.at = T0 + day * DAY_NS
        market.fill(Side.BUY, "100")
        market.fill(Side.SELL, "101" if day % 3 else "103")
    market.minute = 12 * 24 * 60
    (last, *_) = of(DriftMeasured, market.bars(5))
    assert last.trades == 12
    assert last.rolling_sharpe > 5


def test_a_restart_serves_the_model_of_the_log_not_of_the_file():
    market = Market()
    market.bars(12)
    market.promote()
    market.bars(7)
    saved = market.core.snapshot()
    again = SignalCore(config(), models())
    again.restore(saved)
    assert again.strategies["ml_momentum"].model is not None
    assert again.strategies["ml_momentum"].model.sha == DOWN
    assert again.snapshot() == saved
    without = {sha: one for sha, one in models().items() if sha != DOWN}
    with pytest.raises(UsageError, match=r"signal\.models"):
        SignalCore(config(), without).restore(saved)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (StrategyConfig(interval="1m", parameters={"model": f"small/{'e' * 64}"}), "eeeeeeeeeeee"),
        (StrategyConfig(interval="1h", parameters={"model": f"small/{UP}"}), "on 1m"),
        (StrategyConfig(interval="1m", parameters={"model": f"small/{LATER}"}), "for ETHUSDT"),
        (StrategyConfig(interval="1m", parameters={"model": "small"}), "name/sha256"),
        (StrategyConfig(interval="1m"), "model"),
    ],
)
def test_a_strategy_without_a_fitting_model_does_not_start(table: StrategyConfig, text: str):
    with pytest.raises(UsageError, match=text):
        SignalCore(config(strategies={"ml_momentum": table}), models())


def test_no_edge_no_position_and_the_horizon_is_sat_out():
    flat = model(UP, lambda _: [0.45, 0.1, 0.45])
    once: list[list[float]] = [[0.1, 0.2, 0.7]] + [[0.7, 0.2, 0.1]] * 50
    turning = model(UP, lambda _: once.pop(0), rules=Rules(horizon_bars=4))
    for served, wanted in ((flat, set()), (turning, {1, -1})):
        market = Market()
        market.core = SignalCore(config(), {UP: served})
        market.stepper.core = market.core
        market.send(instrument())
        market.start()
        targets = [signal.target for signal in of(Signal, market.bars(20))]
        assert set(targets) == wanted
        if wanted:
            assert targets[:5] == [1, 1, 1, 1, -1]  # repeated while unfilled, kept for four candles
