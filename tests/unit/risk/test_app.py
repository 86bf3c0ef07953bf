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
from libs.common.settings import Settings, load
from services.risk.app import placed, read_seal_key, sealer
from tests.unit.risk.desk import config, only, opened


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


LIVE, TESTNET, SIM = "https://api.bybit.com", "https://api-testnet.bybit.com", "http://127.0.0.1:8899"


def at(rest_url: str) -> Settings:
    return load({}, env={}, overrides={"venue.rest_url": rest_url, "bus.book": "b1"})


def test_the_place_is_learnt_from_venue_and_book() -> None:
    assert placed(at(SIM), config(auto_arm=True)).place == "sim:b1"
    assert placed(at(TESTNET), config()).place == "testnet:b1"
    assert placed(at(LIVE), config(stage="staged")).place == "live:b1"


@pytest.mark.parametrize(
    ("rest_url", "changes", "said"),
    [
        (LIVE, {}, r"risk\.stage: expected staged, .* was 'paper'"),
        (LIVE, {"stage": "backtest"}, r"risk\.stage"),
        (LIVE, {"stage": "staged", "auto_arm": True}, r"risk\.auto_arm: expected false"),
        (TESTNET, {"auto_arm": True}, r"risk\.auto_arm"),
    ],
)
def test_where_money_is_real_nothing_begins_on_paper_or_by_itself(
    rest_url: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        placed(at(rest_url), config(**changes))


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
