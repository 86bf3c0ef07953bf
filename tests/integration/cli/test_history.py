"""A short recorded run: replayed, asked what if, checked, told. One demo for all tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from libs.common.archive import ArchiveReader
from libs.common.segments import merged, parquet, read_rows

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo of a minute of tape."""
    directory = tmp_path_factory.mktemp("history") / "run"
    command = [sys.executable, "-m", "cli.main", "demo", "--seed", "3", "--duration", "1m", "--run-dir", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    """The run without its bus, to be damaged."""
    return shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("bus", "*.sock"))


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(arguments) == code
    return capsys.readouterr()


def segment(run_dir: Path, stream: str) -> Path:
    return min((run_dir / "events" / stream).glob("*.parquet"))


# --- verify ---------------------------------------------------------------------------------------------------------


def test_an_untouched_archive_is_whole_and_signed_with_the_runs_key(run_dir: Path, capsys):
    document = json.loads(answer(capsys, "events", "verify", str(run_dir), "-o", "json")[0])
    reader = ArchiveReader(run_dir)
    assert document["rows"] == sum(reader.count(name) for name in reader.streams())
    assert (document["closed"], document["signed"]) == (True, True)


def test_one_changed_byte_anywhere_in_a_segment_is_found_and_named(copy: Path, capsys):
    path = segment(copy, "order")
    whole = path.read_bytes()
    for place in (8, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        error = answer(capsys, "events", "verify", str(copy), code=4)[1]
        assert "order" in error
        assert path.name in error
    path.write_bytes(whole)
    answer(capsys, "events", "verify", str(copy))


@pytest.mark.parametrize("damage", ["missing", "added", "reordered"])
def test_a_row_that_is_missing_added_or_moved_is_found(copy: Path, capsys, damage: str):
    """As somebody would who also mends the file's hash in the manifest (which then is not signed any more)."""
    path = segment(copy, "signal")
    names = (
        "entry_id",
        "id",
        "type",
        "v",
        "seq",
        "at",
        "cause",
        "correlation",
        "traceparent",
        "data",
        "extra",
        "prev_hash",
        "hash",
    )
    rows = list(read_rows(path, names))
    assert len(rows) >= 2
    changed = {"missing": rows[:-1], "added": [*rows, rows[-1]], "reordered": [rows[1], rows[0], *rows[2:]]}[damage]
    path.write_bytes(parquet(changed))
    assert "signal" in answer(capsys, "events", "verify", str(copy), code=4)[1]


def test_a_missing_file_a_missing_manifest_and_another_key_are_found(copy: Path, capsys):
    assert "signature" in answer(capsys, "events", "verify", str(copy), "--key", "ab" * 32, code=4)[1]
    path = segment(copy, "order")
    kept = path.read_bytes()
    path.unlink()
    assert "order" in answer(capsys, "events", "verify", str(copy), code=4)[1]
    path.write_bytes(kept)
    (copy / "events/manifest.json").unlink()
    assert "manifest" in answer(capsys, "events", "verify", str(copy), code=4)[1]


def test_a_manifest_that_was_mended_after_a_change_has_no_valid_signature(copy: Path, capsys):
    path = copy / "events/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["closed"] = False
    path.write_text(json.dumps(manifest))
    assert "signature" in answer(capsys, "events", "verify", str(copy), code=4)[1]


# --- replay ---------------------------------------------------------------------------------------------------------


def test_a_replay_gives_the_same_bytes_and_a_part_of_it_too(run_dir: Path, capsys):
    whole = json.loads(answer(capsys, "replay", str(run_dir), "--verify", "-o", "json")[0])
    assert (whole["differences"], whole["not_recorded"]) == (0, [])
    part = (
        "replay",
        str(run_dir),
        "--verify",
        "--service",
        "risk",
        "--from",
        "06:00:10",
        "--to",
        "06:00:40",
        "-o",
        "json",
    )
    some = json.loads(answer(capsys, *part)[0])
    assert some["differences"] == 0
    assert 0 < some["delivered"] < whole["delivered"]


def test_a_replay_finds_an_event_that_was_exchanged(copy: Path, capsys):
    path = segment(copy, "signal")
    names = (
        "entry_id",
        "id",
        "type",
        "v",
        "seq",
        "at",
        "cause",
        "correlation",
        "traceparent",
        "data",
        "extra",
        "prev_hash",
        "hash",
    )
    rows = list(read_rows(path, names))
    rows[0]["data"] = rows[0]["data"].replace('"p":"0.', '"p":"0.9', 1)
    path.write_bytes(parquet(rows))
    done = answer(capsys, "replay", str(copy), "--verify", "--service", "signal", code=4)
    assert "signal 1" in done[1]


def test_a_plain_replay_shows_what_the_cores_decide(run_dir: Path, capsys):
    out = answer(capsys, "replay", str(run_dir), "--service", "risk", "-o", "json")[0]
    replayed = [json.loads(line) for line in out.splitlines()]
    recorded = list(ArchiveReader(run_dir).rows("order-intent", columns=("id",)))
    assert [row["id"] for row in replayed if row["stream"] == "order-intent"] == [row["id"] for row in recorded]


def test_a_tighter_drawdown_would_have_halted(run_dir: Path, capsys):
    """Fees alone cost more than 0.05 % of equity in this run."""
    arguments = ("replay", str(run_dir), "--set", "risk.max_drawdown=0.0005", "-o", "json")
    found = json.loads(answer(capsys, *arguments)[0])
    assert found["settings"] == {"risk.max_drawdown": ["0.10", "0.0005"]}
    new = [c["what"] for c in found["on_record"]["risk"]["changes"] if (c["how"], c["kind"]) == ("new", "halts")]
    assert [what for what in new if "max_drawdown" in what], new
    played = found["simulation"]
    assert played["repeats"], played
    assert "max_drawdown" in played["after"]["halts"]
    assert "max_drawdown" not in played["before"]["halts"]
    assert played["before"]["equity"] == played["recorded_equity"]
    assert float(found["pnl"]) == pytest.approx(float(played["after"]["equity"]) - float(played["before"]["equity"]))
    text = answer(capsys, *arguments[:-2])[0]
    assert "HALTED book: max_drawdown" in text
    assert "equity at the end" in text


def test_settings_as_they_were_change_nothing(run_dir: Path, capsys):
    found = json.loads(answer(capsys, "replay", str(run_dir), "--set", "risk.max_drawdown=0.1", "-o", "json")[0])
    assert found["on_record"]["risk"]["changes"] == []
    assert found["simulation"]["comparison"]["changes"] == []
    assert float(found["pnl"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [("--set", "risk.max_drawdwn=1"), ("--set", "run.seed=1"), ("--set", "max_drawdown"), ("--verify", "--set", "risk.max_drawdown=1"),
     ("--verify", "--from", "soon"), ("--verify", "--from", "07:00", "--to", "06:00")],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(run_dir: Path, capsys, arguments: tuple[str, ...]):
    answer(capsys, "replay", str(run_dir), *arguments, code=2)


# --- telling --------------------------------------------------------------------------------------------------------


def test_an_incident_is_told_whole(run_dir: Path, tmp_path: Path, capsys):
    text = answer(capsys, "incident", "last", "--run-dir", str(run_dir))[0]
    for title in (
        "Cause chain",
        "Positions",
        "Limits in use",
        "Orders open at the halt",
        "events before",
        "Versions",
        "Settings",
    ):
        assert f"## {title}" in text or title in text
    assert "risk.max_drawdown = 0.10" in text
    secret = json.loads((run_dir / "keys/venue.json").read_text())["secret"]
    out = tmp_path / "incident"
    answer(capsys, "incident", "last", "--run-dir", str(run_dir), "--out", str(out))
    assert {path.name for path in out.iterdir()} == {
        "incident.md",
        "events.jsonl",
        "chain.jsonl",
        "settings.txt",
        "versions.json",
    }
    assert not [path for path in out.iterdir() if secret in path.read_text()]
    answer(capsys, "incident", "last", "--run-dir", str(run_dir), "--out", str(out), code=2)


@pytest.mark.parametrize("kind", ["OrderIntent", "OrderSubmitted", "Fill", "Halted"])
def test_why_leads_back_to_where_it_began(run_dir: Path, capsys, kind: str):
    exported = answer(capsys, "events", "export", "--type", kind, "--run-dir", str(run_dir))[0]
    last = json.loads(exported.splitlines()[-1])
    chain = json.loads(answer(capsys, "why", last["id"], "-o", "json", "--run-dir", str(run_dir))[0])["chain"]
    assert last["id"] in [hop["id"] for hop in chain]
    assert chain[0]["cause"] == [] or chain[0]["cause"][0][0] in ("timer", "clock")
    assert all({"hop_ms", "wire_ms"} <= hop.keys() for hop in chain)


def test_a_merge_of_segments_is_what_it_was(copy: Path):
    """The reader by columns gives what the reader by rows gives."""
    path = segment(copy, "order")
    path.write_bytes(merged([path]))
    reader = ArchiveReader(copy)
    names = ("entry_id", "seq", "data")
    by_rows = [tuple(row[name] for name in names) for row in reader.rows("order", columns=names)]
    by_columns = [row for columns in reader.columns("order", names) for row in zip(*columns, strict=True)]
    assert by_columns == by_rows
