from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest

from services.marketdata import replies
from tests.market_harness import history, instrument_reply


def raw(value) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_candle_rows_keep_the_venues_digits():
    (candle,) = replies.candles(raw(history((60_000, "1.50", "2", "1", "1.75", "10"))["result"]))
    assert (candle.start_at, str(candle.open), str(candle.close)) == (60_000_000_000, "1.50", "1.75")


@pytest.mark.parametrize("row", [(60_000, "1", "0.5", "1", "1", "1"), (60_000, "NaN", "1", "1", "1", "1")])
def test_impossible_candles_are_refused(row):
    with pytest.raises(msgspec.DecodeError):
        replies.candles(raw(history(row)["result"]))


def test_an_instrument_without_a_price_band_gets_the_usual_one():
    result = instrument_reply()["result"]
    del result["list"][0]["riskParameters"]
    found = replies.instrument(raw(result), "BTCUSDT", 5)
    assert (found.price_limit_ratio, found.effective_from_at) == (Decimal("0.01"), 5)


@pytest.mark.parametrize("tick", ["0", "NaN", "x"])
def test_an_instrument_without_a_tick_is_refused(tick):
    with pytest.raises(msgspec.DecodeError):
        replies.instrument(raw(instrument_reply(tick=tick)["result"]), "BTCUSDT", 5)


def test_a_spot_instrument_has_its_own_words_for_lot_and_minimum():
    row = {
        "symbol": "BTCUSDT",
        "status": "Trading",
        "priceFilter": {"tickSize": "0.1"},
        "lotSizeFilter": {
            "basePrecision": "0.000001",
            "minOrderQty": "0.000011",
            "maxOrderQty": "83",
            "maxLimitOrderQty": "80",
            "minOrderAmt": "5",
        },
        "riskParameters": {"priceLimitRatioX": "0.005"},
    }
    found = replies.instrument(raw({"category": "spot", "list": [row]}), "BTCUSDT-SPOT", 5)
    assert (found.symbol, found.category) == ("BTCUSDT-SPOT", "spot")
    assert (found.lot_size, found.min_notional, found.max_qty) == (Decimal("0.000001"), Decimal(5), Decimal(80))
    assert found.max_leverage == 1
