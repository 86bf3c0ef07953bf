from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator

from services.signal.trees import Flat, logistic

KINDS: dict[str, Any] = {
    "forest": lambda: RandomForestClassifier(40, max_depth=7, min_samples_leaf=5, random_state=1),
    "deep forest": lambda: RandomForestClassifier(10, random_state=1),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=1),
}


def fitted(estimator: Any, method: str) -> tuple[Any, np.ndarray]:
    chance = np.random.default_rng(3)
    rows = chance.normal(size=(2500, 9))
    labels = np.sign(np.round(rows[:, 0] * rows[:, 1] + chance.normal(size=2500))).astype(int)
    estimator.fit(rows[:1500], labels[:1500])
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator), method=method)
    return calibrated.fit(rows[1500:], labels[1500:]), chance.normal(size=(300, 9)) * 3


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_give_what_scikit_learn_gives(kind: str, method: str):
    model, rows = fitted(KINDS[kind](), method)
    flat = Flat(model)
    got = np.array([flat(row) for row in rows.tolist()])
    assert np.abs(got - model.predict_proba(rows)).max() <= 1e-12
    assert got.std(axis=0).min() > 0.001  # it does not say the same to everything


def test_a_threshold_is_compared_as_the_forest_does_in_32_bits():
    model, rows = fitted(KINDS["forest"](), "sigmoid")
    flat = Flat(model)
    edges = [tree.tree_.threshold[0] for tree in model.calibrated_classifiers_[0].estimator.estimator.estimators_]
    at = np.vstack([np.full((len(edges), 9), np.array(edges)[:, None]) * (1 + eps) for eps in (0, 1e-9, -1e-9, 1e-7)])
    assert np.abs(np.array([flat(row) for row in at.tolist()]) - model.predict_proba(at)).max() <= 1e-12
    assert len(rows)


def test_other_estimators_are_refused():
    model, _ = fitted(ExtraTreesClassifier(5, random_state=1), "sigmoid")
    with pytest.raises(ValueError, match="ExtraTreesClassifier"):
        Flat(model)


def test_the_logistic_curve_knows_no_overflow():
    assert logistic(-1e6) == 0.0
    assert logistic(1e6) == 1.0
    assert logistic(0.0) == 0.5
