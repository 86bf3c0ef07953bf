"""What follows from --tape, --seed and --duration for the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.context import Context
from cli.tapes import absolute, duration_ms, plan
from libs.common.errors import TapeError, UsageError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tidegate.toml of anybody's lies here."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "span_ms"), [("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("1s", 1000)]
)
def test_spans(text: str, span_ms: int):
    assert duration_ms(text) == span_ms


@pytest.mark.parametrize("text", ["", "5", "m5", "5x", "0s", "-5m", "5 m", "1.5h"])
def test_what_is_no_span_is_refused(text: str):
    with pytest.raises(UsageError, match="--duration: expected a span like"):
        duration_ms(text)


def test_files_get_their_full_path_and_the_rest_stays(tmp_path: Path):
    assert absolute("synthetic:seed=7") == "synthetic:seed=7"
    assert absolute("BTCUSDT=a/b=c.csv") == f"BTCUSDT={tmp_path}/a/b=c.csv"
    assert absolute("/x/BTCUSDT.csv") == "/x/BTCUSDT.csv"


def test_the_default_is_a_synthetic_tape_of_the_seed():
    overrides, span_ms, _ = plan(Context(), 3, None, None, None)
    assert overrides["run.tapes"] == ["synthetic:seed=3"]
    assert overrides["marketdata.symbols"] == overrides["execution.symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert span_ms == 3 * 3_600_000


def test_the_symbols_are_those_of_the_tape_and_a_duration_shortens_it():
    overrides, span_ms, _ = plan(Context(), None, "5", "2m", ["synthetic:seed=7,symbols=ETHUSDT"])
    assert overrides["marketdata.symbols"] == ["ETHUSDT"]
    assert (overrides["run.speed"], overrides["run.duration_ms"], span_ms) == ("5", 120_000, 120_000)


def test_tapes_of_the_settings_file_are_played_when_none_is_named(tmp_path: Path):
    (tmp_path / "tidegate.toml").write_text('[run]\ntapes = ["synthetic:seed=11"]\nseed = 5\n')
    overrides, _, _ = plan(Context(), None, None, None, None)
    assert (overrides["run.tapes"], overrides["run.seed"]) == (["synthetic:seed=11"], 5)


@pytest.mark.parametrize("tape", ["nothing.csv", "BTCUSDT=nothing.parquet", "synthetic:sed=7"])
def test_a_tape_that_cannot_be_played_is_refused(tape: str):
    with pytest.raises(TapeError):
        plan(Context(), None, None, None, [tape])
