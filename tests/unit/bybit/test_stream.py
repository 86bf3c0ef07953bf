from __future__ import annotations

import msgspec
import pytest

from libs.bybit.sign import Key
from libs.bybit.stream import Arrival, Patience, Session, SessionError

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


PATIENCE = Patience(ping_every_ms=20_000, answer_within_ms=10_000, data_within_ms=50_000)


def test_pings_are_due_every_twenty_seconds_and_a_ping_without_an_answer_is_death() -> None:
    session = Session(("order",), patience=PATIENCE)
    session.opened(0)
    assert session.due(19_999) == []
    assert session.due(20_000) == ['{"op":"ping"}']
    assert session.due(20_001) == []
    session.received('{"op":"pong"}', 20_002)
    assert session.due(40_000) == ['{"op":"ping"}']
    assert session.due(50_000) == []
    with pytest.raises(SessionError, match="answer to a ping within 10000 ms, was silent for 29999 ms"):
        session.due(50_001)


def test_pongs_without_data_are_a_lost_subscription_where_data_is_expected() -> None:
    session, private = Session(("tickers.X",), patience=PATIENCE), Session(("order",))
    for one in (session, private):
        one.opened(0)
        one.received('{"topic":"tickers.X","type":"delta","ts":5,"data":{"symbol":"X"}}', 10_000)
        one.received('{"op":"pong"}', 59_000)
        one.due(60_000)
        one.received('{"op":"pong"}', 60_001)
    private.due(60_001)
    with pytest.raises(SessionError, match="data within 50000 ms"):
        session.due(60_001)


def ready_session() -> Session:
    session = Session(("orderbook.50.X", "orderbook.50.Y"))
    session.opened(0)
    assert session.received('{"success":true,"op":"subscribe","req_id":"subscribe"}', 0)[0] is Arrival.READY
    return session


def test_a_topic_is_asked_for_anew_and_only_its_own_ack_answers() -> None:
    session = ready_session()
    texts = [msgspec.json.decode(text) for text in session.resubscribe("orderbook.50.X", "7")]
    assert [(text["op"], text["args"]) for text in texts] == [
        ("unsubscribe", ["orderbook.50.X"]),
        ("subscribe", ["orderbook.50.X"]),
    ]
    assert session.received('{"success":true,"op":"unsubscribe","req_id":"un-7"}', 1)[0] is Arrival.CONTROL
    kind, frame, _ = session.received('{"success":true,"op":"subscribe","req_id":"7"}', 1)
    assert (kind, frame.req_id, session.ready) == (Arrival.RENEWED, "7", True)


def test_acks_without_a_req_id_answer_in_the_order_of_asking() -> None:
    session = ready_session()
    session.resubscribe("orderbook.50.X", "7")
    session.resubscribe("orderbook.50.Y", "8")
    acks = [session.received('{"success":true,"op":"subscribe","ret_msg":""}', 1)[1].req_id for _ in range(2)]
    assert acks == ["7", "8"]


@pytest.mark.parametrize("op", ["unsubscribe", "subscribe"])
def test_a_refused_renewal_ends_the_session(op: str) -> None:
    session = ready_session()
    session.resubscribe("orderbook.50.X", "7")
    with pytest.raises(SessionError, match="not now"):
        session.received(f'{{"success":false,"ret_msg":"not now","op":"{op}","req_id":"7"}}', 1)


def test_too_many_topics_are_refused_before_the_venue_does() -> None:
    with pytest.raises(ValueError, match="characters of topics"):
        Session(tuple(f"orderbook.50.SYMBOL{i}USDT" for i in range(900)))
