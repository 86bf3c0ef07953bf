from __future__ import annotations

import json
from pathlib import Path

import pytest

from libs.bybit.keyring import KeyRing
from libs.bybit.sign import Key
from libs.common import logs
from libs.common.errors import SettingsError


def write(path: Path, key: str) -> Path:
    """As a Secret is replaced: a new file in the place of the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"key": key, "secret": f"{key}-secret"}))
    fresh.replace(path)
    return path


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing((write(tmp_path / "a.json", "ka"), write(tmp_path / "b.json", "kb")))


def test_a_is_used_until_it_is_refused_and_never_again_then(ring: KeyRing) -> None:
    first = ring.key
    assert (ring.slot, first.key) == ("A", "ka")
    assert ring.refuse(first)
    assert (ring.slot, ring.key.key) == ("B", "kb")
    assert ring.refuse(first), "an answer that was on its way: another key is in use already"
    assert not ring.refuse(ring.key), "back to A only with a new file"
    assert ring.slot == "B"


def test_a_new_file_makes_a_refused_slot_good(ring: KeyRing, tmp_path: Path) -> None:
    ring.refuse(ring.key)
    assert not ring.refresh()
    write(tmp_path / "a.json", "ka2")
    assert not ring.refresh(), "B works: A waits"
    assert ring.refuse(ring.key)
    assert (ring.slot, ring.key.key) == ("A", "ka2")


def test_a_new_file_is_used_at_once_when_there_was_nothing_left(ring: KeyRing, tmp_path: Path) -> None:
    ring.refuse(ring.key)
    ring.refuse(ring.key)
    write(tmp_path / "a.json", "ka2")
    assert ring.refresh()
    assert (ring.slot, ring.key.key) == ("A", "ka2")


def test_the_key_in_use_is_replaced_without_a_restart_and_hidden_in_the_logs(ring: KeyRing, tmp_path: Path) -> None:
    write(tmp_path / "a.json", "rotated")
    assert ring.refresh()
    assert not ring.refresh()
    assert ring.key == Key("rotated", "rotated-secret")
    assert "rotated-secret" not in logs.redact("it is rotated-secret")


@pytest.mark.parametrize("text", ["", '{"key": "half', '{"key": "k"}'])
def test_a_file_that_is_half_written_or_gone_changes_nothing(ring: KeyRing, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert not ring.refresh()
    assert ring.key.key == "ka"
    (tmp_path / "a.json").unlink()
    assert not ring.refresh()
    assert ring.key.key == "ka"
    write(tmp_path / "a.json", "ka3")
    assert ring.refresh()


def test_at_the_start_every_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"b\.json"):
        KeyRing((write(tmp_path / "a.json", "ka"), tmp_path / "b.json"))
