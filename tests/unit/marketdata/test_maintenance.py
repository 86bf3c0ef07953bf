"""When the exchange will be down: asked for every minute, told when it is new or changes."""

from __future__ import annotations

from typing import Any

import pytest

from libs.common.events import DataRejected, MaintenancePlanned
from services.marketdata.config import MarketdataConfig
from services.marketdata.core import MarketdataCore
from tests.market_harness import MINUTE, MS, MS0, SECOND, T0, Desk, live, of

BEGIN_MS, END_MS = MS0 + 600_000, MS0 + 900_000


def row(state: str = "scheduled", name: str = "w", end_ms: int = END_MS, **changes: Any) -> dict[str, Any]:
    """As Bybit documents it."""
    told = {"id": name, "title": "t", "state": state, "begin": str(BEGIN_MS), "end": str(end_ms), "href": ""}
    return told | {"serviceTypes": [1, 5], "product": [1, 2], "uidSuffix": [], "maintainType": 1, "env": 1} | changes


def asked(market: Desk) -> list[int]:
    return [request.number for request in market.core.requests() if request.target == "/v5/system/status"]


def told(market: Desk, *rows: dict[str, Any], at: int) -> list[MaintenancePlanned]:
    """The next turn's answer, and what is published of it."""
    market.timer(at)
    (number,) = asked(market)
    reply = {"retCode": 0, "retMsg": "", "result": {"list": list(rows)}}
    return of(MaintenancePlanned, market.reply(number, reply, at=at))


def test_it_is_asked_every_minute_and_one_question_at_a_time() -> None:
    market = live()
    assert told(market, at=T0) == []
    market.timer(T0 + MINUTE - 1)
    assert asked(market) == []
    market.timer(T0 + MINUTE)
    assert len(asked(market)) == 1
    market.timer(T0 + 3 * MINUTE)
    assert len(asked(market)) == 1, "the first is not answered yet"


def test_a_window_is_told_once_and_again_when_it_changes_or_ends() -> None:
    market = live()
    (planned,) = told(market, row(), at=T0)
    assert (planned.window, planned.title, planned.is_over) == ("w", "t", False)
    assert (planned.begin_at, planned.end_at) == (BEGIN_MS * MS, END_MS * MS)
    assert told(market, row(), at=T0 + MINUTE) == []
    assert told(market, row("ongoing"), at=T0 + 2 * MINUTE) == []
    (longer,) = told(market, row("ongoing", end_ms=END_MS + 1), at=T0 + 3 * MINUTE)
    assert longer.end_at == (END_MS + 1) * MS
    (over,) = told(market, row("completed"), at=T0 + 4 * MINUTE)
    assert over.is_over
    assert told(market, row("completed"), at=T0 + 5 * MINUTE) == []


def test_one_that_is_called_off_is_over_and_history_is_nobodys_news() -> None:
    market = live()
    assert told(market, row("completed", "old"), row("canceled", "older"), at=T0) == []
    told(market, row(), at=T0 + MINUTE)
    assert [plan.is_over for plan in told(market, row("canceled"), at=T0 + 2 * MINUTE)] == [True]


@pytest.mark.parametrize(
    ("symbols", "products", "counts"),
    [
        (("BTCUSDT",), [1], 1),
        (("BTCUSDT",), [2, 3, 4], 0),
        (("BTCUSDT-SPOT",), [2], 1),
        (("BTCUSDT-SPOT",), [1], 0),
        (("BTCUSDT", "BTCUSDT-SPOT"), [2], 1),
        (("BTCUSDT",), [], 1),
    ],
)
def test_only_what_is_traded_counts(symbols: tuple[str, ...], products: list[int], counts: int) -> None:
    market = Desk(MarketdataCore(MarketdataConfig(symbols=symbols, warmup_bars=0)))
    market.start()
    assert len(told(market, row(product=products), at=T0)) == counts


@pytest.mark.parametrize("payload", ["", "{", '{"retCode": 10016, "retMsg": "busy"}', '{"retCode": 0, "result": []}'])
def test_an_answer_that_is_none_is_counted_and_the_next_turn_asks_again(payload: str) -> None:
    market = live()
    market.timer(T0)
    (number,) = asked(market)
    made = market.reply(number, payload, at=T0 + SECOND)
    assert len(of(DataRejected, made)) == 1
    assert market.core.state.calls.failed == 1
    assert len(told(market, row(), at=T0 + MINUTE)) == 1


def test_a_restart_knows_what_it_told() -> None:
    market = live()
    told(market, row(), at=T0)
    other = Desk(MarketdataCore(market.core.config))
    other.core.restore(market.core.snapshot())
    assert told(other, row(), at=T0 + MINUTE) == []
