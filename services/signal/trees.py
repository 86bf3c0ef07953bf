"""A fitted tree ensemble with its calibration as plain arrays: one row's probabilities in some ten microseconds.

Same figures as scikit-learn to 1e-12: a forest compares inputs as 32-bit floats, gradient boosting as 64-bit ones; a leaf holds class
shares or raw scores; a calibrator is a sigmoid or a monotone step curve for each class, and the classes are then scaled
to sum to 1. Estimators are told apart by the name of their class, so nothing of scikit-learn is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOREST, BOOSTING = "RandomForestClassifier", "HistGradientBoostingClassifier"


class Trees(msgspec.Struct, frozen=True):
    """Every node of every tree, side by side. A leaf's children are itself, so `depth` steps end in one."""

    roots: Ints
    feature: Ints
    threshold: Floats
    children: Ints
    """At 2 n where an input at most the threshold goes from node n, at 2 n + 1 where any other goes."""
    values: Floats
    """(nodes, classes): what a leaf adds."""
    depth: int

    def total(self, row: Floats) -> Floats:
        """Sum of the leaves that `row` (features) ends in, by class."""
        node = self.roots
        for _ in range(self.depth):
            right = row.take(self.feature.take(node)) > self.threshold.take(node)
            node = self.children.take(2 * node + right)
        found: Floats = self.values.take(node, axis=0).sum(axis=0)
        return found


class Flat:
    """Calibrated class probabilities of one row. Exact to rounding against the estimator it was made from."""

    def __init__(self, model: Any) -> None:
        """`model`: a fitted CalibratedClassifierCV over one frozen forest or gradient boosting, three classes or more.

        Raises ValueError for any other.
        """
        (calibrated,) = model.calibrated_classifiers_
        estimator = _thawed(calibrated.estimator)
        self.is_forest = type(estimator).__name__ == FOREST
        if not self.is_forest and type(estimator).__name__ != BOOSTING:
            raise ValueError(f"expected a {FOREST} or a {BOOSTING}, was {type(estimator).__name__}")
        if len(model.classes_) < 3 or len(calibrated.calibrators) != len(model.classes_):
            raise ValueError(f"expected three classes with a calibrator each, was {list(model.classes_)}")
        self.trees = forest(estimator) if self.is_forest else boosting(estimator)
        self.count = len(estimator.estimators_) if self.is_forest else 1
        self.base = np.zeros(len(model.classes_)) if self.is_forest else np.asarray(estimator._baseline_prediction)[0]  # noqa: SLF001  # no public way
        self.curves = [curve(calibrator) for calibrator in calibrated.calibrators]

    def __call__(self, row: Sequence[float]) -> list[float]:
        """Probability of each class, in the order of `classes_`. Inputs must be finite."""
        inputs = np.array(row)
        if self.is_forest:
            inputs = inputs.astype(np.float32).astype(np.float64)
        scores = (self.base + self.trees.total(inputs) / self.count).tolist()
        shares = [curve(score) for curve, score in zip(self.curves, scores, strict=True)]
        total = sum(shares)
        return [share / total for share in shares] if total else [1 / len(shares)] * len(shares)


def _thawed(estimator: Any) -> Any:
    return estimator.estimator if type(estimator).__name__ == "FrozenEstimator" else estimator


def forest(estimator: Any) -> Trees:
    """The trees of a random forest; a leaf holds class shares."""
    parts = []
    for one in estimator.estimators_:
        tree = one.tree_
        leaf = tree.children_left < 0
        parts.append((leaf, tree.feature, tree.threshold, tree.children_left, tree.children_right, tree.value[:, 0, :]))
    return _joined(parts)


def boosting(estimator: Any) -> Trees:
    """The trees of gradient boosting, one a class and round; a leaf holds what it adds to that class's raw score."""
    parts = []
    for predictors in estimator._predictors:  # noqa: SLF001  # no public way
        for index, predictor in enumerate(predictors):
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise ValueError("expected numeric features only, was a categorical one")
            values = np.zeros((len(nodes), len(predictors)))
            values[:, index] = nodes["value"]
            leaf = nodes["is_leaf"].astype(bool)
            parts.append((leaf, nodes["feature_idx"], nodes["num_threshold"], nodes["left"], nodes["right"], values))
    return _joined(parts)


def _joined(parts: list[tuple[Any, ...]]) -> Trees:
    """Trees of (is leaf, feature, threshold, left, right, value) as one table."""
    sizes = [len(part[0]) for part in parts]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    columns: list[list[Any]] = [[], [], [], []]
    for root, (leaf, feature, threshold, left, right, value) in zip(roots, parts, strict=True):
        own = np.arange(len(leaf))
        children = np.column_stack([np.where(leaf, own, left), np.where(leaf, own, right)]).astype(np.int64) + root
        inner = np.where(leaf, 0.0, value.T).T if value.ndim == 1 else np.where(leaf[:, None], value, 0.0)
        for column, new in zip(
            columns,
            (np.where(leaf, 0, feature), np.where(leaf, np.inf, threshold), children.ravel(), inner),
            strict=True,
        ):
            column.append(new)
    feature, threshold, children, values = (np.concatenate(column) for column in columns)
    depth = max(_depth(part[0], part[3], part[4]) for part in parts)
    return Trees(roots, feature.astype(np.int64), threshold.astype(np.float64), children, values, depth)


def _depth(leaf: Any, left: Any, right: Any) -> int:
    """Levels below the root of one tree."""
    level, deepest = [0], 0
    while level := [int(child) for node in level if not leaf[node] for child in (left[node], right[node])]:
        deepest += 1
    return deepest


def curve(calibrator: Any) -> Callable[[float], float]:
    """A fitted calibrator of one class as a function of its score."""
    if type(calibrator).__name__ == "_SigmoidCalibration":
        slope, offset = float(calibrator.a_), float(calibrator.b_)
        return lambda score: logistic(-(slope * score + offset))
    if type(calibrator).__name__ == "IsotonicRegression":
        xs, ys = np.asarray(calibrator.X_thresholds_, float), np.asarray(calibrator.y_thresholds_, float)
        return lambda score: float(np.interp(score, xs, ys))
    raise ValueError(f"expected a sigmoid or an isotonic calibrator, was {type(calibrator).__name__}")


def logistic(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    power = math.exp(value)
    return power / (1 + power)
