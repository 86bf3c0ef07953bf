from __future__ import annotations

import pytest

from services.marketdata.config import MarketdataConfig, venue_code


def test_topics_cover_book_trades_ticker_and_the_shortest_candle():
    config = MarketdataConfig(symbols=("BTCUSDT",), intervals=("1h", "5m"))
    assert config.topics() == ("orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT", "kline.5.BTCUSDT")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("A", "A")}, "symbols"),
        ({"depth": 500}, "depth"),
        ({"intervals": ("7m",)}, "intervals"),
        ({"intervals": ("3m", "5m")}, "intervals"),
        ({"intervals": ()}, "intervals"),
        ({"cadence_ms": 0}, "cadence_ms"),
        ({"warmup_bars": 1001}, "warmup_bars"),
    ],
)
def test_wrong_values_are_refused_by_name(wrong, field):
    with pytest.raises(ValueError, match=f"^{field}: expected"):
        MarketdataConfig(**wrong)


def test_cadence_of_single_symbols():
    config = MarketdataConfig(cadence_by_symbol={"ETHUSDT": 5000})
    assert (config.cadence("ETHUSDT"), config.cadence("BTCUSDT")) == (5000, 1000)


def test_venue_codes():
    assert [venue_code(minutes * 60_000_000_000) for minutes in (1, 60, 240, 1440)] == ["1", "60", "240", "D"]
