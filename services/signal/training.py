"""Train a model: walk-forward folds to know what it is worth, then one fit on everything, calibrated, with its reference.

Nothing here reads a clock or unseeded chance: the same candles, settings and library versions give the same model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from libs.common.errors import UsageError
from services.signal import dataset as data_module
from services.signal.dataset import Candles, Dataset, dataset
from services.signal.drift import BINS, CRITICAL, WARN, WINDOW, Distribution, Reference, place_of, psi
from services.signal.features import NAMES, Windows
from services.signal.model import Card, Costs, Rules
from services.signal.validation import CLASSES, PurgedWalkForward, held_through, play, results, scores

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ESTIMATORS: dict[str, dict[str, Any]] = {
    "forest": {"n_estimators": 200, "max_depth": 8, "min_samples_leaf": 100, "max_features": 0.5},
    "boosting": {
        "max_iter": 100,
        "learning_rate": 0.05,
        "max_depth": 3,
        "min_samples_leaf": 200,
        "l2_regularization": 1.0,
    },
}
"""What `--estimator` names, and the parameters it gets: shallow and with large leaves, for there is little to be learnt."""
CALIBRATION_SHARE = 0.2
"""The last part of the training rows is kept for calibration."""
SAMPLE = 256
LEAST_ROWS, LEAST_OF_EACH = 200, 5
_HASHED = ("dataset.py", "features.py", "model.py", "strategies/held.py", "training.py", "trees.py", "validation.py")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to train. `trials`: how many variants were tried on this data, this one included."""

    name: str
    interval: str
    estimator: str = "forest"
    calibration: str = "sigmoid"
    seed: int = 7
    folds: int = 5
    embargo: int = 24
    trials: int = 1
    windows: Windows = Windows()
    rules: Rules = Rules()
    costs: Costs = Costs()


class Trained(msgspec.Struct, frozen=True):
    """A finished model that has not been kept yet."""

    card: Card
    estimator: Any
    """Fitted CalibratedClassifierCV."""
    reference: Reference


def train(candles: Candles, plan: Plan, until: int, progress: Callable[[str], None] | None = None) -> Trained:
    """Train on candles [0, until), show what is after them as a period the model never saw.

    Raises UsageError when there is too little to learn from.
    """
    say = progress or (lambda _: None)
    data = dataset(candles, plan.windows, plan.rules, plan.costs)
    splitter = PurgedWalkForward(plan.folds, plan.rules.horizon_bars, plan.embargo)
    folds = []
    for number, (before, after) in enumerate(splitter.split(until), 1):
        say(f"fold {number} of {plan.folds}")
        folds.append(_judged(data, plan, before, after, _fitted(data, plan, before)))
    say("all of it")
    rows = splitter.before(until)
    estimator = _fitted(data, plan, rows)
    shown = range(until, len(candles))
    metrics: dict[str, Any] = {"folds": folds, "trials": plan.trials, "embargo": plan.embargo}
    if len(shown) > plan.rules.horizon_bars:
        metrics["shown"] = _judged(data, plan, rows, shown, estimator)
        metrics["shown"]["holding"] = held_through(data, shown)
    return Trained(_card(data, plan, rows, until, metrics), estimator, reference(data, rows, estimator))


def _fitted(data: Dataset, plan: Plan, rows: range) -> Any:
    """Fit on the first part of `rows`, calibrate on the rest; a horizon of rows between them is left out."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.frozen import FrozenEstimator

    kinds = {"forest": RandomForestClassifier, "boosting": HistGradientBoostingClassifier}
    usable, labels = _usable(data, rows), data.labels
    cut = int(len(usable) * (1 - CALIBRATION_SHARE))
    fit, rest = usable[: max(0, cut - plan.rules.horizon_bars)], usable[cut:]
    rarest = min(int((labels[part] == one).sum()) for part in (fit, rest) for one in CLASSES)
    if len(fit) < LEAST_ROWS or rarest < LEAST_OF_EACH:
        raise UsageError(
            f"expected at least {LEAST_ROWS} candles to fit on, and each outcome (a long wins, a short wins, neither) {LEAST_OF_EACH} times "
            f"there and in the calibration part, was {len(fit)} and {rarest}; give more data, fewer folds or another horizon"
        )
    extra = {"early_stopping": False} if plan.estimator == "boosting" else {}
    made = kinds[plan.estimator](**ESTIMATORS[plan.estimator], **extra, random_state=plan.seed)
    made.fit(data.vectors[fit], labels[fit])
    calibrated = CalibratedClassifierCV(FrozenEstimator(made), method=plan.calibration)
    return calibrated.fit(data.vectors[rest], labels[rest])


def _usable(data: Dataset, rows: range) -> Ints:
    return np.flatnonzero(data.usable[: rows.stop])[np.flatnonzero(data.usable[: rows.stop]) >= rows.start]


def chances(data: Dataset, rows: range, estimator: Any) -> Floats:
    """The model's answers to `rows` (rows, 3), NaN where features are not defined."""
    found = np.full((len(rows), len(CLASSES)), np.nan)
    vectors = data.vectors[rows.start : rows.stop]
    defined = np.isfinite(vectors).all(axis=1)
    if defined.any():
        found[defined] = estimator.predict_proba(vectors[defined])
    return found


def _judged(data: Dataset, plan: Plan, before: range, after: range, estimator: Any) -> dict[str, Any]:
    """Scores and results on `after` of what was fitted on `before`."""
    trained, tested = _usable(data, before), _usable(data, after)
    answers, labels = chances(data, after, estimator), data.labels
    base = np.array([(labels[trained] == one).mean() for one in CLASSES])
    card = _card(data, plan, before, before.stop, {})
    ts = data.candles.ts
    return {
        "from_ms": int(ts[after.start]),
        "until_ms": int(ts[after.stop - 1]) + data.candles.interval_ms,
        "rows": len(tested),
        **scores(labels[tested], answers[tested - after.start], base),
        **results(play(data, after, answers, card), data.candles.hours, plan.trials),
    }


def _card(data: Dataset, plan: Plan, rows: range, until: int, metrics: dict[str, Any]) -> Card:
    usable, candles = _usable(data, rows), data.candles
    names, counts = np.unique(data.labels[usable], return_counts=True)
    return Card(
        name=plan.name,
        symbol=candles.symbol,
        interval=plan.interval,
        windows=plan.windows,
        rules=plan.rules,
        costs=plan.costs,
        payoff_long=payoff(data.long[usable]),
        payoff_short=payoff(data.short[usable]),
        estimator=plan.estimator,
        parameters=ESTIMATORS[plan.estimator],
        calibration=plan.calibration,
        seed=plan.seed,
        trained_from_ms=int(candles.ts[0]),
        trained_until_ms=int(candles.ts[until - 1]) + candles.interval_ms,
        bars=len(usable),
        labels={str(name): int(count) for name, count in zip(names.tolist(), counts, strict=True)},
        hashes={"data": candles.digest(until), "code": code_hash(), "features": features_hash(plan.windows)},
        versions={name: version(name) for name in ("scikit-learn", "skops", "numpy")},
        metrics=metrics,
    )


def payoff(outcomes: Floats) -> float:
    """Average win over average loss, to 1e-6; 1 when there are only wins or only losses."""
    wins, losses = outcomes[outcomes > 0], outcomes[outcomes <= 0]
    if not len(wins) or not len(losses) or losses.mean() == 0:
        return 1.0
    return round(float(wins.mean() / -losses.mean()), 6)


def reference(data: Dataset, rows: range, estimator: Any, window: int = WINDOW, bins: int = BINS) -> Reference:
    """Distribution of each feature in training, how far stretches of `window` candles stray from it, and a sample of answers."""
    vectors = data.vectors[_usable(data, rows)]
    binned, found = [], []
    for column in vectors.T:
        edges = np.unique(np.quantile(column, np.arange(1, bins) / bins))
        plain = Distribution(edges=tuple(edges.tolist()), shares=())
        places = np.array([place_of(plain, value) for value in column.tolist()])
        counts = np.bincount(places, minlength=len(edges) + 1) + 0.5
        found.append(msgspec.structs.replace(plain, shares=tuple((counts / counts.sum()).tolist())))
        binned.append(places)
    scaled = _scales(found, binned, window)
    picked = vectors[np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(int)]
    return Reference(
        bars=len(vectors),
        window=window,
        distributions={
            name: msgspec.structs.replace(one, scale=scale)
            for name, one, scale in zip(NAMES, found, scaled, strict=True)
        },
        sample=tuple(map(tuple, picked.tolist())),
        chances=tuple(map(tuple, estimator.predict_proba(picked).tolist())),
    )


def _scales(distributions: list[Distribution], binned: list[Ints], window: int) -> list[float]:
    """What brings each feature's PSI of undisturbed stretches to 0.1 (95 of 100) and 0.2 (99 of 100), the worst feature's too."""
    starts = range(0, len(binned[0]) - window + 1, max(1, window // 4))
    if len(starts) < 8:
        return [1.0] * len(distributions)
    null = np.array(
        [
            [
                psi(one.shares, np.bincount(places[start : start + window], minlength=len(one.shares)).tolist())
                for start in starts
            ]
            for one, places in zip(distributions, binned, strict=True)
        ]
    )
    scale = _scale(null)
    together = _scale((null / scale[:, None]).max(axis=0)[None, :])
    return [round(float(one * together[0]), 6) for one in scale]


def _scale(null: Floats) -> Floats:
    found: Floats = np.maximum(
        1.0, np.maximum(np.quantile(null, 0.95, axis=1) / WARN, np.quantile(null, 0.99, axis=1) / CRITICAL)
    )
    return found


def code_hash() -> str:
    """SHA-256 of the sources that features, labels, fit and rule are made of."""
    home = Path(data_module.__file__).parent
    found = hashlib.sha256()
    for name in _HASHED:
        found.update(f"{name}\n".encode() + (home / name).read_bytes())
    return found.hexdigest()


def features_hash(windows: Windows) -> str:
    """SHA-256 of the features' names and windows: two models with the same one take the same inputs."""
    return hashlib.sha256(msgspec.json.encode([NAMES, windows])).hexdigest()
