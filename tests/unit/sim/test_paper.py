"""What a paper exchange does when it comes back: the tape goes on where it would be, and nobody trades on what was missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libs.common.errors import UsageError
from libs.common.sections import Venue
from libs.common.settings import load
from sim.config import SimConfig
from sim.exchange import Exchange
from sim.paper import live_tape, origin_of
from sim.tapes.tape import LiveTape, open_tape
from sim.wiretypes import WireRequest

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND


def exchange(speed: int = 1) -> Exchange:
    return Exchange(SimConfig(), LiveTape(open_tape(["synthetic:seed=7"], 7), NOW, speed), 7)


def test_the_tape_began_when_the_run_began(tmp_path: Path):
    assert origin_of(tmp_path / "state", NOW) == NOW
    assert origin_of(tmp_path / "state", NOW + 500 * SECOND) == NOW
    assert origin_of(None, NOW + SECOND) == NOW + SECOND


def test_what_was_missed_moved_the_market_and_filled_nobody():
    later = NOW + 600 * SECOND
    seen, missed = exchange(), exchange()
    for one in (seen, missed):
        one.advance(NOW + 5 * SECOND)
        market = one.venue.markets["BTCUSDT"]
        price = market.instrument.price_text(market.last + market.last // 2000)
        body = json.dumps({"category": "linear", "symbol": "BTCUSDT", "side": "Sell", "orderType": "Limit", "qty": "0.010",
                           "price": price, "timeInForce": "GTC"})  # fmt: skip
        account = next(iter(one.desk.accounts))
        one.answer(
            WireRequest(method="POST", path="/v5/order/create", query="", body=body, headers={}, account=account)
        )
    seen.advance(later)
    missed.skip(later)
    assert missed.venue.markets["BTCUSDT"].last == seen.venue.markets["BTCUSDT"].last
    assert missed.now == later
    fills = [sum(len(account.fills) for account in one.desk.accounts.values()) for one in (seen, missed)]
    assert fills[0] > 0
    assert fills[1] == 0


def test_candles_shrink_with_the_speed():
    tape = LiveTape(open_tape(["synthetic:seed=7"], 7), NOW, 10)
    tape.native_ms = {"BTCUSDT": 60_000}
    faster = LiveTape(tape, NOW, 20)
    assert faster.native_ms == {"BTCUSDT": 3_000}


def test_only_whole_speeds(tmp_path: Path):
    settings = load({"sim": SimConfig}, None, env={}, overrides={"run.speed": "max", "run.tapes": ["synthetic:seed=7"]})
    with pytest.raises(UsageError, match="whole number"):
        live_tape(settings, tmp_path, NOW)


def test_the_public_side_is_the_accounts_unless_it_is_named():
    assert Venue(rest_url="http://a", ws_url="ws://a").market_rest_url == "http://a"
    assert Venue(ws_url="ws://a", public_ws_url="wss://b").market_ws_url == "wss://b"
    with pytest.raises(ValueError, match="network"):
        Venue(network="moonnet")
