"""Models on disk: `<models>/<name>/<sha256>/{model.skops,card.json,reference.json}`, never changed once written.

The directory is named after the hash of its files, so whoever names a model names its content. A skops file is data: only the types
listed here may be in it, nothing is executed on load. A model is refused when its files are not the ones that were kept, or when
it does not give the answers it gave when it was trained.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from libs.common.errors import UsageError
from services.signal.drift import Reference
from services.signal.features import NAMES
from services.signal.model import Card, Model
from services.signal.training import Trained

FILES = ("model.skops", "card.json", "reference.json")
TRUSTED = [
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]
"""The types beyond skops' own list that our estimators are made of. Anything else in a file makes it no model."""
TOLERANCE = 1e-12
TREES, SKLEARN = "trees", "sklearn"
_LEAST_PREFIX = 6


def dumps(estimator: Any) -> bytes:
    """The skops file of an estimator, the same bytes for the same estimator: names and stamps are made anew."""
    from skops import io as skops_io

    with zipfile.ZipFile(io.BytesIO(skops_io.dumps(estimator))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    schema = parts.pop("schema.json").decode()
    fresh: dict[str, str] = {}
    # skops numbers objects by their address in memory: number them by appearance.
    pattern = re.compile(r'("__id__": |"file": ")(\d+)')
    schema = pattern.sub(lambda found: found[1] + fresh.setdefault(found[2], str(len(fresh) + 1)), schema)
    parts = {
        fresh.get(name.partition(".")[0], name.partition(".")[0]) + "." + name.partition(".")[2]: body
        for name, body in parts.items()
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in [*sorted(parts.items()), ("schema.json", schema.encode())]:
            archive.writestr(zipfile.ZipInfo(name), body, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def keep(trained: Trained, models: Path) -> Path:
    """Write a trained model; returns its directory. One that is there already is the same one."""
    pretty = msgspec.json.format
    contents = (
        dumps(trained.estimator),
        pretty(msgspec.json.encode(trained.card), indent=1),
        msgspec.json.encode(trained.reference),
    )
    place = models / trained.card.name / _hash_of(contents)
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as beside:
        for name, content in zip(FILES, contents, strict=True):
            (Path(beside) / name).write_bytes(content)
        Path(beside).chmod(0o755)
        Path(beside).rename(place)
        Path(beside).mkdir()  # what the context manager clears away
    return place


def _hash_of(contents: Iterable[bytes]) -> str:
    """SHA-256 over the files' own hashes, in the order of FILES."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in zip(FILES, contents, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def found(models: Path) -> list[tuple[str, str]]:
    """(name, sha) of every model kept, by name."""
    if not models.is_dir():
        return []
    places = (path for path in models.glob("*/*") if re.fullmatch(r"[0-9a-f]{64}", path.name))
    return sorted((path.parent.name, path.name) for path in places)


def resolve(models: Path, text: str) -> str:
    """`name`, `name/sha`, or the start of a sha -> `name/sha` in full. Raises UsageError unless it names exactly one."""
    name, _, start = text.partition("/")
    everything = found(models)
    hits = [(one, sha) for one, sha in everything if one == name and sha.startswith(start)]
    if not hits and not start and len(name) >= _LEAST_PREFIX:
        hits = [(one, sha) for one, sha in everything if sha.startswith(name)]
    if len(hits) != 1:
        there = ", ".join(f"{one}/{sha[:12]}" for one, sha in hits or everything) or "none"
        raise UsageError(
            f"expected {text!r} to name one model in {models}, there are: {there}; give name/start of its hash"
        )
    return "/".join(hits[0])


def card_of(models: Path, model: str) -> Card:
    """The card of `name/sha`, without loading the model. Raises UsageError when it is not there or not whole."""
    return _read(models, model)[1]


def _read(models: Path, model: str) -> tuple[bytes, Card, Reference]:
    name, _, sha = model.partition("/")
    place = models / name / sha
    try:
        contents = [(place / file).read_bytes() for file in FILES]
    except OSError as e:
        raise UsageError(
            f"expected a model in {place}, cannot read {e.filename}: {e.strerror}; see tidegate model list"
        ) from e
    if (is_hash := _hash_of(contents)) != sha:
        raise UsageError(
            f"expected the files in {place} to hash to the directory's name, was {is_hash[:12]}…; they were changed"
        )
    try:
        card = msgspec.json.decode(contents[1], type=Card)
        return contents[0], card, msgspec.json.decode(contents[2], type=Reference)
    except msgspec.MsgspecError as e:
        raise UsageError(f"{place}: {e}; train it again") from e


def load(models: Path, model: str, engine: str = TREES) -> Model:
    """`name/sha` ready to serve. `engine`: `trees` (arrays, fast) or `sklearn`.

    Raises UsageError when a file was changed, holds other types, or gives other answers than when it was trained.
    """
    data, card, reference = _read(models, model)
    if card.features != NAMES:
        raise UsageError(
            f"{model}: expected the features {', '.join(NAMES)}, was {', '.join(card.features)}; train it again"
        )
    estimator = _unpacked(data, model)
    slow = _by_sklearn(estimator)
    predict = slow if engine == SKLEARN else _by_trees(estimator, model)
    _check(model, "scikit-learn", slow, reference)
    if predict is not slow:
        _check(model, "the arrays", predict, reference)
    return Model(model.partition("/")[2], card, reference, predict)


def _unpacked(data: bytes, model: str) -> Any:
    from skops import io as skops_io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops_io.loads(data, trusted=TRUSTED)
    except (UntrustedTypesFoundException, zipfile.BadZipFile, TypeError) as e:
        raise UsageError(
            f"{model}: expected a skops file of a calibrated forest or boosting, was something else: {e}"
        ) from e


def _by_sklearn(estimator: Any) -> Callable[[Sequence[float]], Sequence[float]]:
    def predict(row: Sequence[float]) -> Sequence[float]:
        answer: list[float] = estimator.predict_proba([list(row)])[0].tolist()
        return answer

    return predict


def _by_trees(estimator: Any, model: str) -> Callable[[Sequence[float]], Sequence[float]]:
    from services.signal.trees import Flat

    try:
        return Flat(estimator)
    except ValueError as e:
        raise UsageError(f"{model}: {e}; serve it with signal.inference = 'sklearn'") from e


def _check(
    model: str, engine: str, predict: Callable[[Sequence[float]], Sequence[float]], reference: Reference
) -> None:
    """Every answer to the sample as it was in training. Raises UsageError."""
    rows = (
        reference.sample if engine == "the arrays" else reference.sample[::16]
    )  # scikit-learn takes milliseconds a row
    kept = reference.chances if engine == "the arrays" else reference.chances[::16]
    far = max(
        (abs(a - b) for row, old in zip(rows, kept, strict=True) for a, b in zip(predict(row), old, strict=True)),
        default=1.0,
    )
    if not far <= TOLERANCE:
        raise UsageError(
            f"{model}: expected {engine} to give the answers of training to {TOLERANCE:g}, was {far:g} off; "
            "the libraries changed: train it again"
        )
