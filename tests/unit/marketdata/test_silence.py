"""A 403: the venue banned our address, and every call would make that longer."""

from __future__ import annotations

from libs.bybit.limits import IP_SILENCE_MS
from libs.common.events import InstrumentDefined
from services.marketdata.core import MarketdataCore
from tests.market_harness import MS, SECOND, T0, Desk, book, desk, instrument_reply, live, of

LONG = IP_SILENCE_MS * MS


def targets(market: Desk) -> list[str]:
    return [request.target.partition("?")[0] for request in market.core.requests() if request.method == "GET"]


def test_http_is_silent_for_ten_minutes_and_the_stream_is_not() -> None:
    market = live()
    market.timer(T0)
    (status,) = [request.number for request in market.core.requests() if request.target == "/v5/system/status"]
    market.reply(status, "access too frequent", at=T0, status=403)
    market.timer(T0 + LONG - 1)
    assert targets(market) == []
    market.frames(book("BTCUSDT", 13, [["100.0", "5"]], []))
    assert [request.method for request in market.core.requests()] == ["WS"]
    market.timer(T0 + LONG)
    assert targets(market) == ["/v5/system/status"]


def test_a_start_does_not_break_the_silence_and_asks_for_everything_after_it() -> None:
    market = desk(filled=False)
    for request in list(market.core.requests()):
        market.reply(request.number, "access too frequent", status=403)
    assert targets(market) == []
    market.timer(T0 + 30 * SECOND)
    other = Desk(MarketdataCore(market.core.config), at=T0 + 60 * SECOND)
    other.core.restore(market.core.snapshot())
    other.start(fresh=False)
    other.timer(T0 + LONG - 1)
    assert targets(other) == []
    other.timer(T0 + LONG)
    assert set(targets(other)) >= {"/v5/market/instruments-info", "/v5/market/kline", "/v5/system/status"}
    number = next(r.number for r in other.core.requests() if "instruments" in r.target)
    assert of(InstrumentDefined, other.reply(number, instrument_reply(), at=T0 + LONG))
