"""Spot beside its perpetual: the venue names their topics alike, the stream tells them apart."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from libs.common.events import FeedDown, RawFrame, Reference, Tick
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore
from tests.market_harness import MS, T0, Desk, snapshot, ticker, trades

SPOT = "BTCUSDT-SPOT"


def spot(payload: dict) -> RawFrame:
    return RawFrame(channel="public", payload=json.dumps(payload), category="spot")


@pytest.fixture
def desk() -> Desk:
    desk = Desk(MarketdataCore(MarketdataConfig(symbols=("BTCUSDT", SPOT), intervals=("1m",))))
    desk.start()
    return desk


def test_frames_of_the_spot_stream_move_the_spot_pair_alone(desk: Desk):
    out = desk.send(spot(snapshot()), spot(trades((T0 // MS, "100.05", "1"))), at=T0 + MS)
    assert [event.symbol for event in out if isinstance(event, Tick)] == [SPOT]


@pytest.mark.parametrize(("index", "mark"), [("99.5", "99.5"), ("", "100.07")])
def test_coins_are_valued_at_their_index_and_without_one_at_the_last_trade(desk: Desk, index: str, mark: str):
    out = desk.send(spot(ticker(kind="snapshot", lastPrice="100.07", usdIndexPrice=index)), at=T0 + MS)
    (found,) = [event for event in out if isinstance(event, Reference)]
    assert (found.symbol, found.mark, found.index) == (SPOT, Decimal(mark), Decimal(mark))


def test_a_lost_spot_stream_is_no_loss_of_the_perpetuals(desk: Desk):
    out = desk.send(RawFrame(channel="disconnected", payload="", category="spot"), at=T0 + MS)
    assert [event.symbol for event in out if isinstance(event, FeedDown)] == [SPOT]


def test_calls_name_category_and_pair_as_the_venue_does(desk: Desk):
    targets = {request.target for request in desk.core.requests()}
    assert any("category=spot&symbol=BTCUSDT" in target for target in targets)
    assert any("category=linear&symbol=BTCUSDT" in target for target in targets)
    assert not any(SPOT in target for target in targets)


def test_topics_are_asked_for_stream_by_stream():
    config = MarketdataConfig(symbols=("BTCUSDT", SPOT, "ETHUSDT-SPOT"))
    assert not any(topic.endswith("ETHUSDT") for topic in config.topics())
    assert {topic.rpartition(".")[2] for topic in config.topics("spot")} == {"BTCUSDT", "ETHUSDT"}
