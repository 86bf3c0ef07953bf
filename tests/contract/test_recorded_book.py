"""Recorded order book messages of the venue through marketdata.

The recording is not part of the project: TIDEGATE_MARKET_DATA names the directory that holds it, else `shared/data` beside the
checkout is tried.
"""

from __future__ import annotations

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from libs.common.events import DataRejected, Tick
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore
from tests.market_harness import MS, Desk, of, trades

DATA = Path(os.environ.get("TIDEGATE_MARKET_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
RECORDING = DATA / "bybit_linear_XRPUSDT_ob500_20241201.jsonl.gz"


@pytest.mark.skipif(not RECORDING.exists(), reason=f"no recording at {RECORDING}; set TIDEGATE_MARKET_DATA")
def test_a_recorded_book_is_followed_without_a_complaint():
    with gzip.open(RECORDING, "rt") as file:
        messages = [json.loads(line) for line in file]
    config = MarketdataConfig(symbols=("XRPUSDT",), warmup_bars=0)
    first = messages[0]["ts"]
    desk = Desk(MarketdataCore(config), at=first * MS)
    desk.start()
    outputs = desk.frames(trades((first, messages[0]["data"]["b"][0][0], "1"), symbol="XRPUSDT"))
    naive: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}
    for message in messages:
        outputs += desk.frames(message, at=message["ts"] * MS)
        for side, known in naive.items():
            if message["type"] == "snapshot":
                known.clear()
            known.update({Decimal(price): Decimal(qty) for price, qty in message["data"][side]})
    bids = sorted(((p, q) for p, q in naive["b"].items() if q), reverse=True)
    asks = sorted((p, q) for p, q in naive["a"].items() if q)
    assert len(messages) == 50
    assert of(DataRejected, outputs) == []
    ticks = of(Tick, outputs)
    assert len(ticks) > 10
    assert all(tick.bids[0][0] < tick.asks[0][0] for tick in ticks)
    assert desk.core.state.markets["XRPUSDT"].book.top(10_000) == (tuple(bids), tuple(asks))
