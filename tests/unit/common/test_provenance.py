"""Heartbeats say what code and settings a process runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.events import Event, Heartbeat, OrderAccepted
from libs.common.provenance import REVISION_VARIABLE, code_hash, settings_hash, stamping
from libs.common.settings import load


def test_an_image_tells_its_revision_and_a_checkout_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REVISION_VARIABLE, "0123456789abcdef")
    assert code_hash() == "0123456789ab"
    monkeypatch.delenv(REVISION_VARIABLE)
    assert code_hash() == code_hash() != ""
    assert len(code_hash()) == 12


def test_settings_are_compared_by_the_file_that_all_share(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text("[run]\nseed = 3\n")
    second.write_text("[run]\nseed = 4\n")
    hashes = [settings_hash(load({}, path, env={})) for path in (first, second, first)]
    assert hashes[0] == hashes[2] != hashes[1]
    assert settings_hash(load({}, None, env={})) == ""


def test_only_heartbeats_are_stamped_and_the_shell_finishes_the_rest() -> None:
    def inner(event: Event) -> Event:
        return OrderAccepted(order_link_id="sealed", symbol="", order_id="")

    finish = stamping("code", "file", inner)
    assert finish(Heartbeat(service="risk", commits=2)) == Heartbeat(
        service="risk", commits=2, code="code", config="file"
    )
    assert finish(OrderAccepted(order_link_id="", symbol="", order_id="")) == inner(Heartbeat(service=""))
    plain = OrderAccepted(order_link_id="x", symbol="", order_id="")
    assert stamping("code", "file")(plain) is plain
