"""The console command itself, as a subprocess: what it says about bad input, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def tidegate(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    command = [sys.executable, "-m", "cli.main", *arguments]
    path = {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=cwd, env=clean | path | env, capture_output=True, text=True, timeout=60, check=False
    )


def assert_one_clear_sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("tidegate: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["dmeo"], 2, 'Did you mean "demo"'),
        (["demo", "--sped", "3"], 2, "--sped"),
        (["demo", "--seed", "seven"], 2, 'unable to convert "seven" into int'),
        (["demo", "--speed", "fast"], 2, "run.speed: expected 'max' or a number above 0, was 'fast'"),
        (["demo", "--duration", "5x"], 2, "--duration: expected a span like 90s"),
        (["demo", "--tape", "nothing.csv"], 2, "nothing.csv: expected a tape file, found none"),
        (["demo", "--tape", "synthetic:seed=x"], 2, "seed"),
        (["demo", "--config", "nothing.toml"], 2, "expected a settings file at nothing.toml"),
        (["--config", "nothing.toml", "config", "show"], 2, "expected a settings file at nothing.toml"),
        (["status", "--bus", "redis://127.0.0.1:1/0"], 5, "expected a bus at redis://127.0.0.1:1/0"),
        (["--bus", "unix:///nowhere/bus.sock", "orders"], 5, "could not reach it"),
        (["halt", "--bus", "redis://127.0.0.1:1/0", "--reason", "x"], 5, "could not reach it"),
        (["halt"], 2, "reason"),
        (["status", "--run-dir", "nowhere"], 2, "expected a run directory at nowhere"),
        (["replay", "nowhere", "--verify"], 2, "nowhere"),
        (["why", "abc", "--run-dir", "."], 2, "expected a run directory with events in it"),
        (["up", "--speed", "2"], 2, "expected --tape with it"),
        (["events", "export", "--stream", "tock", "--run-dir", "."], 2, "expected streams of"),
        (["status", "-o", "xml"], 2, "xml"),
    ],
)
def test_bad_input_is_one_sentence_and_its_code(tmp_path: Path, arguments: list[str], code: int, told: str):
    text = assert_one_clear_sentence(tidegate(*arguments, cwd=tmp_path), code)
    assert told in text
    assert list(tmp_path.iterdir()) == []  # nothing half made


def test_settings_are_refused_all_at_once_before_anything_is_made(tmp_path: Path):
    (tmp_path / "tidegate.toml").write_text('[risk]\nmax_drawdow = 0.1\n[run]\nseed = "x"\n')
    text = assert_one_clear_sentence(tidegate("demo", cwd=tmp_path, TIDEGATE_RISK__MAX_LEVERAGE="many"), 2)
    assert "3 settings are wrong" in text
    assert "tidegate.toml: risk.max_drawdow: unknown key (did you mean max_drawdown?)" in text
    assert "environment TIDEGATE_RISK__MAX_LEVERAGE: risk.max_leverage: invalid decimal string, was 'many'" in text
    assert [path.name for path in tmp_path.iterdir()] == ["tidegate.toml"]


def test_a_run_directory_that_holds_something_is_refused(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    text = assert_one_clear_sentence(tidegate("demo", "--run-dir", "run", cwd=tmp_path), 2)
    assert "expected an empty run directory" in text
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_debug_shows_the_traceback(tmp_path: Path):
    done = tidegate("--debug", "demo", "--config", "nothing.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "SettingsError" in done.stderr


def test_config_show_names_sources_and_masks_passwords(tmp_path: Path):
    (tmp_path / "mine.toml").write_text("[risk]\nmax_drawdown = 0.2\n")
    arguments = ("config", "show", "-o", "json", "--bus", "redis://ana:sesame@h:1/0", "--config", "mine.toml")
    done = tidegate(*arguments, cwd=tmp_path, TIDEGATE_RISK__MAX_LEVERAGE="3")
    assert done.returncode == 0, done.stderr
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(done.stdout)}
    assert rows["risk.max_drawdown"] == ("0.2", "mine.toml")
    assert rows["risk.max_leverage"] == ("3", "environment TIDEGATE_RISK__MAX_LEVERAGE")
    assert rows["bus.book_url"] == ("redis://ana:********@h:1/0", "command line")
    assert rows["run.seed"] == ("7", "default")
    assert "sesame" not in done.stdout + done.stderr


def test_every_verb_has_help(tmp_path: Path):
    from cli.main import GROUPS, VERBS

    verbs = [[name] for name, *_ in VERBS] + [[group, verb] for group, _, _, verbs in GROUPS for verb, *_ in verbs]
    done = tidegate("--help", cwd=tmp_path)
    assert done.returncode == 0
    for verb in verbs:
        assert verb[0] in done.stdout
    script = (
        "import sys, contextlib, io\nfrom cli.main import main\nfailed = []\n"
        f"for verb in {verbs!r}:\n    out = io.StringIO()\n    with contextlib.redirect_stdout(out):\n        code = main([*verb, '--help'])\n"
        "    if code or 'Usage: tidegate ' + ' '.join(verb) not in out.getvalue(): failed.append((verb, code))\n"
        "sys.exit(f'no help: {failed}' if failed else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_version(tmp_path: Path):
    assert tidegate("--version", cwd=tmp_path).stdout.strip() == "0.1.0"
