"""The accounts file."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.errors import UsageError
from sim.door.accounts import read_accounts

TOML = """
[[keys]]
account = "desk"
key = "trader"
secret = "hush"
usdt = "25000"
ips = ["127.0.0.1", "::1"]
permissions = ["Order", "Position", "SpotTrade"]

[[keys]]
account = "desk"
key = "watcher"
secret = "hush"
read_only = true
expires_at = 2030-01-01T00:00:00Z
parent_uid = 0
"""


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    toml, text = tmp_path / "accounts.toml", tmp_path / "accounts.json"
    toml.write_text(TOML)
    text.write_text(
        '[{"account":"desk","key":"trader","secret":"hush","usdt":"25000","ips":["127.0.0.1","::1"],'
        '"permissions":["Order","Position","SpotTrade"]},'
        '{"account":"desk","key":"watcher","secret":"hush","read_only":true,'
        '"expires_at":"2030-01-01T00:00:00Z","parent_uid":0}]'
    )
    assert read_accounts(toml) == read_accounts(text)
    trader, watcher = read_accounts(toml)
    assert (trader.name, watcher.name, watcher.read_only) == ("desk", "desk", True)
    assert watcher.expires_ms == 1_893_456_000_000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("not a list", "JSON list"),
        ("[]", "at least one"),
        ('[{"key":"a"},{"key":"a"}]', "no key twice"),
        ('[{"key":"a","sercet":"x"}]', "sercet"),
        ('[{"key":"a","usdt":"-1"}]', "usdt"),
        ('[{"key":"a","permissions":["Everything"]}]', "Everything"),
        ('[{"key":"a","ips":["localhost"]}]', "localhost"),
        ('[{"key":"a","expires_at":"2030-01-01T00:00:00"}]', "time zone"),
        ('[{"key":"a","rsa_public_key":"x"}]', "PEM"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=word) as caught:
        read_accounts(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="readable"):
        read_accounts(tmp_path / "none.toml")
