from __future__ import annotations

import numpy as np
import pytest

from libs.common.errors import UsageError
from services.signal.dataset import dataset
from services.signal.features import Windows
from services.signal.model import Costs, Rules
from services.signal.validation import PurgedWalkForward, deflated, held_through, play, results, scores
from tests.unit.signal.small import candles, card

RULES = Rules(horizon_bars=5, stop_atr=1.5)


@pytest.mark.parametrize(("rows", "folds", "horizon", "embargo"), [(100, 4, 7, 3), (53, 5, 1, 0), (60, 3, 30, 20)])
def test_no_training_label_reaches_a_test_row_or_its_embargo(rows: int, folds: int, horizon: int, embargo: int):
    tested: list[int] = []
    for train, test in PurgedWalkForward(folds, horizon, embargo).split(rows):
        forbidden = set(range(test.start - embargo, test.stop + horizon))
        naive = [row for row in range(test.start) if not forbidden & set(range(row, row + horizon + 1))]
        assert list(train) == naive  # all that is allowed, nothing else
        tested += test
    assert tested == list(range(rows // (folds + 1), rows))


def test_senseless_splits_are_refused():
    with pytest.raises(UsageError, match="folds"):
        PurgedWalkForward(0, 1, 0)


def test_one_trade_played_is_one_outcome():
    data = dataset(candles(300), Windows(), RULES, Costs())
    rule_card = card(rules=RULES, costs=Costs())
    for row in range(50, 290, 7):
        for side, column in ((2, data.long), (0, data.short)):
            rows = range(row, row + RULES.horizon_bars + 1)
            chances = np.zeros((len(rows), 3))
            chances[0, side] = 1.0  # once, then nothing any more
            played = play(data, rows, chances, rule_card)
            assert len(played.trades) == 1
            assert played.trades[0] == pytest.approx(column[row], abs=1e-12)
            assert played.returns.sum() == pytest.approx(column[row], abs=1e-12)


def test_a_stopped_side_is_not_taken_again_until_the_rule_wants_something_else():
    data = dataset(candles(300, seed=4), Windows(), Rules(horizon_bars=5, stop_atr=0.3), Costs())
    rule_card = card(rules=Rules(horizon_bars=5, stop_atr=0.3), costs=Costs())
    always = np.tile([0.0, 0.0, 1.0], (200, 1))
    assert len(play(data, range(50, 250), always, rule_card).trades) == 1


def test_holding_without_costs_is_holding():
    free = Costs(fee=0, slippage=0, funding=0)
    rules = Rules(horizon_bars=5, stop_atr=1e6)
    data = dataset(candles(300), Windows(), rules, free)
    played = play(data, range(50, 250), np.tile([0.0, 0.0, 1.0], (200, 1)), card(rules=rules, costs=free))
    assert played.returns.sum() == pytest.approx(held_through(data, range(50, 250))["net_return"])
    assert played.exposure == pytest.approx(199 / 200)


def test_scores_are_the_textbook_ones():
    labels = np.array([1, -1, 0, 1])
    chances = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25]])
    found = scores(labels, chances, np.array([0.25, 0.25, 0.5]))
    assert found["log_loss"] == pytest.approx(-np.log([0.5, 0.6, 0.8, 0.25]).mean())
    assert found["brier"] == pytest.approx(
        np.mean([0.04 + 0.09 + 0.25, 0.16 + 0.04 + 0.04, 0.06, 0.25 + 0.0625 + 0.5625])
    )
    assert found["log_loss_base"] == pytest.approx(-np.log([0.5, 0.25, 0.25, 0.5]).mean())


def test_results_of_no_trades_are_zeros_and_drawdown_counts_from_the_start():
    data = dataset(candles(300), Windows(), RULES, Costs())
    nothing = results(play(data, range(50, 250), np.zeros((200, 3)), card(rules=RULES)), 1.0, 1)
    assert (nothing["trades"], nothing["net_return"], nothing["net_sharpe"], nothing["max_drawdown"]) == (0, 0, 0, 0)
    losing = play(data, range(50, 250), np.tile([0.0, 0.0, 1.0], (200, 1)), card(rules=RULES))
    assert results(losing, 1.0, 1)["max_drawdown"] >= -losing.returns.sum()


def test_luck_is_deflated():
    returns = np.random.default_rng(5).normal(0, 1.0, 5000)
    returns += 0.025 - returns.mean()
    alone, many = (deflated(0.025 / returns.std(ddof=1), returns, trials) for trials in (1, 50))
    assert alone == pytest.approx(0.9615, abs=0.002)  # 0.025 x sqrt(5000) = 1.77 standard errors
    assert many < 0.5


def test_the_deflated_ratio_is_right_about_worthless_strategies():
    """Of 20 worthless variants the best looks good alone, and not once it is known to be the best of 20."""
    chance = np.random.default_rng(6)
    alone, known = 0, 0
    for _ in range(100):
        tried = chance.normal(0, 1, (20, 500))
        ratios = tried.mean(axis=1) / tried.std(axis=1, ddof=1)
        best = int(ratios.argmax())
        alone += deflated(ratios[best], tried[best], 1) > 0.95
        known += deflated(ratios[best], tried[best], 20) > 0.95
    assert alone > 40
    assert known < 15
