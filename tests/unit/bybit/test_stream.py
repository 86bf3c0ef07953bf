from __future__ import annotations

import msgspec
import pytest

from libs.bybit.sign import Key
from libs.bybit.stream import PING_EVERY_MS, SILENCE_MS, Arrival, Session, SessionError

KEY = Key("k", "s")


def test_a_private_session_authenticates_then_subscribes_then_is_ready() -> None:
    session = Session(("order", "execution"), KEY)
    (auth,) = session.opened(1_000)
    assert msgspec.json.decode(auth)["args"][:2] == ["k", 11_000]
    kind, _, texts = session.received('{"success":true,"ret_msg":"","op":"auth","conn_id":"c"}', 1_001)
    assert kind is Arrival.CONTROL
    assert msgspec.json.decode(texts[0])["args"] == ["order", "execution"]
    assert not session.ready
    kind, _, texts = session.received('{"success":true,"ret_msg":"","op":"subscribe","conn_id":"c"}', 1_002)
    assert (kind, texts, session.ready) == (Arrival.READY, [], True)


def test_a_public_session_subscribes_at_once() -> None:
    (text,) = Session(("tickers.BTCUSDT",)).opened(0)
    assert msgspec.json.decode(text) == {"req_id": "subscribe", "op": "subscribe", "args": ["tickers.BTCUSDT"]}


def test_data_is_told_apart_from_control() -> None:
    session = Session(("tickers.X",))
    session.opened(0)
    kind, frame, _ = session.received('{"topic":"tickers.X","type":"delta","ts":5,"data":{"symbol":"X"}}', 0)
    assert (kind, frame.topic, frame.sent_ms) == (Arrival.DATA, "tickers.X", 5)
    for pong in (
        '{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"","op":"ping"}',
        '{"req_id":"test","op":"pong","args":["1675418560633"],"conn_id":"c"}',
    ):
        assert session.received(pong, 0)[0] is Arrival.CONTROL


@pytest.mark.parametrize("op", ["auth", "subscribe"])
def test_a_refusal_ends_the_session(op: str) -> None:
    session = Session(("order",), KEY)
    session.opened(0)
    with pytest.raises(SessionError, match="Params Error"):
        session.received(f'{{"success":false,"ret_msg":"Params Error","op":"{op}"}}', 0)


def test_pings_are_due_every_twenty_seconds_and_silence_is_death() -> None:
    session = Session(("order",))
    session.opened(0)
    assert session.due(PING_EVERY_MS - 1) == []
    assert session.due(PING_EVERY_MS) == ['{"op":"ping"}']
    assert session.due(PING_EVERY_MS + 1) == []
    session.received('{"op":"pong"}', PING_EVERY_MS + 2)
    with pytest.raises(SessionError, match="silent"):
        session.due(PING_EVERY_MS + 3 + SILENCE_MS)


def test_too_many_topics_are_refused_before_the_venue_does() -> None:
    with pytest.raises(ValueError, match="characters of topics"):
        Session(tuple(f"orderbook.50.SYMBOL{i}USDT" for i in range(900)))
