from __future__ import annotations

import msgspec
import pytest

from libs.bybit import rest
from libs.bybit.sign import Key
from libs.bybit.stream import Patience, SessionError
from libs.bybit.trade import AuthRefusedError, TradeArrival, TradeSession, headers_of, order_text

KEY = Key("k", "s")
ACK = (
    '{"reqId":"execution-5","retCode":0,"retMsg":"OK","op":"order.create","data":{"orderId":"a","orderLinkId":""},"retExtInfo":{},'
    '"header":{"X-Bapi-Limit":"10","X-Bapi-Limit-Status":"9","X-Bapi-Limit-Reset-Timestamp":"1711001595208","Traceid":"38","Timenow":"1711001595209"},'
    '"connId":"cnt5leec0hvan15eukcg-2v"}'
)  # fmt: skip


def test_a_session_is_ready_once_its_key_was_taken() -> None:
    session = TradeSession(KEY)
    (auth,) = session.opened(1_000, 11_000)
    assert msgspec.json.decode(auth)["op"] == "auth"
    assert msgspec.json.decode(auth)["args"][:2] == ["k", 11_000]
    assert not session.ready
    kind, _ = session.received('{"retCode":0,"retMsg":"OK","op":"auth","connId":"c"}', 1_001)
    assert (kind, session.ready) == (TradeArrival.READY, True)


def test_a_key_that_is_not_taken_ends_it_with_the_code() -> None:
    session = TradeSession(KEY)
    session.opened(0, 10_000)
    with pytest.raises(AuthRefusedError, match="10003 no such key") as caught:
        session.received('{"retCode":10003,"retMsg":"no such key","op":"auth","connId":"c"}', 1)
    assert caught.value.code == 10003


def test_answers_name_their_request_and_pongs_do_not() -> None:
    session = TradeSession(KEY)
    session.opened(0, 10_000)
    kind, frame = session.received(ACK, 1)
    assert (kind, frame.req_id) == (TradeArrival.ANSWER, "execution-5")
    assert headers_of(frame)["x-bapi-limit-status"] == "9"
    pong = '{"retCode":0,"retMsg":"OK","op":"pong","data":["1711002002529"],"connId":"c"}'
    assert session.received(pong, 2)[0] is TradeArrival.CONTROL


def test_a_silent_server_is_given_up() -> None:
    session = TradeSession(KEY, Patience(ping_every_ms=20, answer_within_ms=10))
    session.opened(0, 10_000)
    assert session.due(20) == ['{"op":"ping"}']
    with pytest.raises(SessionError):
        session.due(31)


def test_an_order_goes_as_it_would_over_http_byte_for_byte() -> None:
    request = rest.cancel_order("tg-1", "BTCUSDT").numbered(7)
    text = order_text(request, "execution-7", 1_711_001_595_207, 3_000)
    assert f'"args":[{request.body}]' in text
    sent = msgspec.json.decode(text)
    assert (sent["op"], sent["reqId"]) == ("order.cancel", "execution-7")
    assert sent["header"] == {"X-BAPI-TIMESTAMP": "1711001595207", "X-BAPI-RECV-WINDOW": "3000"}


def test_its_answer_reads_like_any_reply() -> None:
    assert rest.reply_of(200, ACK).ok
    assert rest.reply_of(200, ACK.replace('"retCode":0', '"retCode":110001')).code == 110001
