"""Names of instruments, between us and the venue."""

from __future__ import annotations

import pytest

from libs.common.values import base_coin, category_of, symbol_of, venue_name


@pytest.mark.parametrize(
    ("symbol", "category", "name"), [("BTCUSDT", "linear", "BTCUSDT"), ("BTCUSDT-SPOT", "spot", "BTCUSDT")]
)
def test_a_symbol_is_a_category_and_the_venues_name(symbol: str, category: str, name: str):
    assert (category_of(symbol), venue_name(symbol)) == (category, name)
    assert symbol_of(name, category) == symbol


def test_the_coin_of_a_pair_is_what_stands_before_its_quote() -> None:
    assert [base_coin(name) for name in ("BTCUSDT", "ETHUSDT-SPOT", "USDCUSDT-SPOT")] == ["BTC", "ETH", "USDC"]
