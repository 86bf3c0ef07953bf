"""The real exchange's frames as the simulator's market."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.errors import TapeError
from sim.engine.instruments import Instrument, rules_of
from sim.engine.market import Market
from sim.tapes.public import PublicFeed, instrument_of, topics_of
from sim.tapes.tape import PushTape
from tests.market_harness import instrument_reply

MS = 1_000_000
START = 1_700_000_000_000 * MS
TOPIC = "orderbook.50.BTCUSDT"


class Feed:
    """A feed behind one market; `play` moves what arrived into it."""

    def __init__(self) -> None:
        instrument = Instrument("BTCUSDT", rules_of("BTCUSDT", Decimal(40_000)))
        self.tape = PushTape({"BTCUSDT": instrument}, START)
        self.market = Market(instrument, 7, 0)
        self.feed = PublicFeed(self.tape, {"BTCUSDT": self.market})
        self.at = START

    def take(self, frame: dict[str, Any]) -> str:
        return self.feed.take(json.dumps(frame))

    def book(self, update: int, kind: str = "delta", bids: Any = (), asks: Any = ()) -> str:
        data = {"s": "BTCUSDT", "b": list(bids), "a": list(asks), "u": update, "seq": update}
        return self.take({"topic": TOPIC, "type": kind, "ts": START // MS, "data": data})

    def snapshot(self, update: int) -> str:
        return self.book(update, "snapshot", [["40000.0", "1"]], [["40000.1", "2"]])

    def play(self) -> tuple[int, int]:
        """Number of levels (bids, asks) after everything that came."""
        self.at += 10 * MS
        for event in self.tape.window(self.at):
            self.market.on_change(event)  # type: ignore[arg-type]
        return len(self.market.book.bids), len(self.market.book.asks)


def test_a_book_in_sequence_is_followed():
    feed = Feed()
    assert feed.snapshot(10) == ""
    assert feed.book(11, bids=[["39999.9", "3"]]) == ""
    assert feed.book(12, asks=[["40000.1", "0"], ["40000.2", "1"], ["40000.3", "1"]]) == ""
    assert feed.book(12, bids=[["39999.8", "3"]]) == "", "a repeated message changes nothing"
    assert feed.play() == (2, 2)


def test_a_missing_message_empties_the_book_and_is_asked_for_once():
    feed = Feed()
    feed.snapshot(10)
    assert feed.play() == (1, 1)
    assert feed.book(12) == TOPIC
    assert feed.play() == (0, 0)
    assert feed.book(13) == ""
    assert feed.play() == (0, 0)
    feed.snapshot(20)
    assert feed.book(21, bids=[["39999.9", "3"]]) == ""
    assert feed.play() == (2, 1)
    assert feed.book(23) == TOPIC, "the next gap is a new one"


def test_a_request_that_was_lost_is_made_again_at_the_next_delta():
    feed = Feed()
    assert feed.book(5) == TOPIC
    feed.feed.unanswered(TOPIC)
    assert feed.book(6) == TOPIC


def test_a_lost_connection_leaves_nothing_to_trade_against():
    feed = Feed()
    feed.snapshot(10)
    assert feed.play() == (1, 1)
    feed.feed.lost()
    assert feed.play() == (0, 0)
    feed.snapshot(99)
    assert feed.play() == (1, 1)


@pytest.mark.parametrize("text", ["{", '{"topic":"publicTrade.BTCUSDT","data":[{"s":"BTCUSDT"}]}'])
def test_what_makes_no_sense_is_counted_and_stops_nothing(text: str):
    feed = Feed()
    feed.snapshot(10)
    assert feed.feed.take(text) == ""
    assert feed.feed.malformed == 1
    assert feed.book(11) == ""


def test_a_malformed_book_frame_is_a_gap():
    feed = Feed()
    feed.snapshot(10)
    assert feed.book(11, bids=[["nonsense", "1"]]) == TOPIC
    assert feed.play() == (0, 0)


def test_mark_index_and_funding_are_the_exchanges():
    feed = Feed()
    stamp = (START // MS // 28_800_000 + 1) * 28_800_000
    fields = {
        "markPrice": "40000.50",
        "indexPrice": "40001.00",
        "fundingRate": "-0.000125",
        "nextFundingTime": str(stamp),
    }
    feed.take({"topic": "tickers.BTCUSDT", "type": "snapshot", "data": {"symbol": "BTCUSDT", **fields}})
    feed.take({"topic": "tickers.BTCUSDT", "type": "delta", "data": {"symbol": "BTCUSDT", "markPrice": "40002.00"}})
    assert (feed.market.mark, feed.market.index, feed.market.funding_e8(stamp)) == (400_020, 400_010, -12_500)
    feed.take({"topic": "tickers.BTCUSDT", "type": "delta", "data": {"symbol": "BTCUSDT", "fundingRate": "0.0001"}})
    assert feed.market.funding_e8(stamp) == 10_000
    after = stamp + 28_800_000
    feed.take(
        {"topic": "tickers.BTCUSDT", "type": "delta", "data": {"symbol": "BTCUSDT", "nextFundingTime": str(after)}}
    )
    assert (feed.market.funding_e8(stamp), feed.market.funding_e8(after)) == (10_000, 10_000)


def test_rules_come_from_instruments_info():
    result = msgspec.Raw(json.dumps(instrument_reply()["result"]).encode())
    rules = instrument_of(result, "BTCUSDT").rules
    assert (rules.tick_size, rules.lot_size, rules.min_notional) == (Decimal("0.10"), Decimal("0.001"), Decimal(5))
    assert rules.price_limit_ratio_x == Decimal("0.02")
    with pytest.raises(TapeError, match="ETHUSDT to be traded"):
        instrument_of(result, "ETHUSDT")


def test_what_fills_need_is_followed():
    assert topics_of(("X",)) == ("orderbook.50.X", "publicTrade.X", "tickers.X")
