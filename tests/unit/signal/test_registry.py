from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.frozen import FrozenEstimator

from libs.common.errors import UsageError
from services.signal import registry, training
from services.signal.features import NAMES
from services.signal.model import Costs, Rules
from services.signal.training import Plan, Trained, train
from tests.unit.signal.small import candles

ROOT = Path(__file__).resolve().parents[3]
PLAN = Plan(
    name="tiny", interval="1h", folds=2, rules=Rules(horizon_bars=6), costs=Costs(fee=0.002), estimator="boosting"
)


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    with pytest.MonkeyPatch.context() as patch:
        small = {"forest": {"n_estimators": 15}, "boosting": {"max_iter": 8}}
        patch.setattr(
            training, "ESTIMATORS", {name: {**old, **small[name]} for name, old in training.ESTIMATORS.items()}
        )
        yield


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(candles(2400), PLAN, 2000)


@pytest.fixture
def kept(trained: Trained, tmp_path: Path) -> Path:
    return registry.keep(trained, tmp_path / "models")


def text(kept: Path) -> str:
    return f"tiny/{kept.name}"


@pytest.mark.parametrize("engine", ["trees", "sklearn"])
def test_a_kept_model_gives_the_answers_of_training(trained: Trained, kept: Path, engine: str):
    model = registry.load(kept.parent.parent, text(kept), engine)
    assert model.card == trained.card
    rows = np.random.default_rng(8).normal(size=(20, len(NAMES)))
    want = trained.estimator.predict_proba(rows)
    for row, (down, _, up) in zip(rows.tolist(), want.tolist(), strict=True):
        assert model.chances(row) == (round(down, 6), round(up, 6))
    assert model.chances([float("nan")] * len(NAMES)) is None


def test_training_again_gives_the_same_model_and_other_data_another(trained: Trained, kept: Path, tmp_path: Path):
    again = registry.keep(train(candles(2400), PLAN, 2000), tmp_path / "again")
    assert again.name == kept.name
    other = train(candles(2400, seed=2), PLAN, 2000)
    assert registry.keep(other, tmp_path / "again").name != kept.name
    assert other.card.hashes["data"] != trained.card.hashes["data"]
    assert registry.keep(trained, tmp_path / "models") == kept  # a second time is no error


def test_what_comes_after_the_training_span_changes_nothing_that_was_learnt(trained: Trained):
    whole = candles(2400)
    less = {name: getattr(whole, name)[:2100] for name in ("ts", "open", "high", "low", "close", "volume")}
    shorter = train(msgspec.structs.replace(whole, **less), PLAN, 2000)
    assert shorter.reference == trained.reference
    assert shorter.card.metrics["folds"] == trained.card.metrics["folds"]
    assert shorter.card.metrics["shown"] != trained.card.metrics["shown"]


@pytest.mark.parametrize("name", registry.FILES)
def test_a_changed_byte_is_refused(kept: Path, name: str):
    content = bytearray((kept / name).read_bytes())
    content[len(content) // 2] ^= 1
    (kept / name).write_bytes(content)
    with pytest.raises(UsageError, match="hash"):
        registry.load(kept.parent.parent, text(kept))


def rehashed(kept: Path) -> str:
    """Somebody changes files and names the directory after them."""
    sha = registry._hash_of([(kept / name).read_bytes() for name in registry.FILES])
    kept.rename(kept.parent / sha)
    return f"tiny/{sha}"


def test_other_answers_than_in_training_are_refused_though_the_hash_is_right(kept: Path):
    models = kept.parent.parent
    reference = json.loads((kept / "reference.json").read_bytes())
    reference["chances"][0][0] += 1e-9
    (kept / "reference.json").write_text(json.dumps(reference))
    with pytest.raises(UsageError, match="answers of training"):
        registry.load(models, rehashed(kept))


def test_an_empty_sample_proves_nothing(kept: Path):
    models = kept.parent.parent
    reference = json.loads((kept / "reference.json").read_bytes())
    (kept / "reference.json").write_text(json.dumps(reference | {"sample": [], "chances": []}))
    with pytest.raises(UsageError, match="answers of training"):
        registry.load(models, rehashed(kept))


def test_other_types_and_pickles_are_refused(kept: Path):
    import pickle

    models = kept.parent.parent
    (kept / "model.skops").write_bytes(pickle.dumps({"a": 1}))
    changed = rehashed(kept)
    with pytest.raises(UsageError, match="something else"):
        registry.load(models, changed)
    place = models / changed
    rows, labels = np.random.default_rng(1).normal(size=(90, len(NAMES))), np.tile([-1, 0, 1], 30)
    other = CalibratedClassifierCV(FrozenEstimator(ExtraTreesClassifier(3).fit(rows, labels))).fit(rows, labels)
    (place / "model.skops").write_bytes(registry.dumps(other))
    with pytest.raises(UsageError):
        registry.load(models, rehashed(place))


def test_a_type_beyond_the_list_is_refused(trained: Trained, kept: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "TRUSTED", [name for name in registry.TRUSTED if "Predictor" not in name])
    with pytest.raises(UsageError, match="something else"):
        registry.load(kept.parent.parent, text(kept))
    assert trained.card.estimator == "boosting"


def test_a_model_for_other_features_is_refused(trained: Trained, tmp_path: Path):
    card = msgspec.structs.replace(trained.card, features=(*NAMES[1:], NAMES[0]))
    place = registry.keep(Trained(card, trained.estimator, trained.reference), tmp_path)
    with pytest.raises(UsageError, match="features"):
        registry.load(tmp_path, text(place))


def test_names_are_resolved_or_what_there_is_is_said(kept: Path):
    models, sha = kept.parent.parent, kept.name
    for name in ("tiny", f"tiny/{sha[:4]}", sha[:6], text(kept)):
        assert registry.resolve(models, name) == text(kept)
    shutil.copytree(kept, kept.parent / ("0" * 64))
    for name in ("tiny", "big", "tiny/zz", sha[:3]):
        with pytest.raises(UsageError, match=sha[:12]):
            registry.resolve(models, name)
    assert registry.found(models / "nowhere") == []


def test_the_file_holds_no_address_and_no_time(kept: Path):
    with zipfile.ZipFile(io.BytesIO((kept / "model.skops").read_bytes())) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert max(len(entry.filename) for entry in archive.infolist()) < 12


def test_too_little_to_learn_from_is_said():
    with pytest.raises(UsageError, match="at least"):
        train(candles(500), PLAN, 400)


def test_who_names_no_model_imports_no_scikit_learn():
    text = """
import sys
from services.signal.available import models_of
from services.signal.config import SignalConfig
from services.signal.core import SignalCore
from pathlib import Path
SignalCore(SignalConfig(), models_of(SignalConfig(), Path("models")))
print([name for name in ("sklearn", "skops", "numpy", "scipy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
