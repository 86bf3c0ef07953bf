"""The shell of risk: the seal that it puts on approvals."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from libs.common import seal
from libs.common.errors import SettingsError
from libs.common.events import CancelIntent, OrderIntent
from services.risk.app import read_seal_key, sealer
from tests.unit.risk.desk import only, opened


def test_every_approval_is_sealed_with_the_writers_epoch() -> None:
    private, public = seal.generate()
    log = SimpleNamespace(epoch=7, book="main")
    finish = sealer(private, "k1")(cast("Any", log))
    order = only(opened().signal(), OrderIntent)
    sealed = finish(order)
    assert isinstance(sealed, OrderIntent)
    assert (sealed.book, sealed.epoch, sealed.key_id, seal.verify(public, sealed)) == ("main", 7, "k1", True)
    assert finish(CancelIntent()) == CancelIntent()
    log.epoch = 8
    again = finish(order)
    assert isinstance(again, OrderIntent)
    assert again.epoch == 8


def test_seal_key_is_read_from_a_file_of_its_owner_alone(tmp_path: Path) -> None:
    private, _ = seal.generate()
    path = tmp_path / "key"
    path.write_text(private + "\n")
    path.chmod(0o600)
    assert read_seal_key(path) == private
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_seal_key(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
def test_seal_key_of_a_kubernetes_secret_is_roots_and_readable_by_the_pods_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = seal.generate()
    path = tmp_path / "key"
    path.write_text(private)
    path.chmod(0o440)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_seal_key(path)  # root's own file
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    assert read_seal_key(path) == private
    path.chmod(0o444)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_seal_key(path)
    path.chmod(0o440)
    os.chown(path, 10001, 10001)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_seal_key(path)


@pytest.mark.parametrize("text", ["", "not hex", "ab" * 31])
def test_seal_key_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        read_seal_key(path)
    assert text == "" or text not in str(caught.value)
    with pytest.raises(SettingsError):
        read_seal_key(tmp_path / "none")
