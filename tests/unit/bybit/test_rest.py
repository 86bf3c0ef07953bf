from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from libs.bybit import rest
from libs.bybit.errors import Outcome
from libs.bybit.wire import decimal
from libs.common.values import Side


def test_a_create_is_exact_and_compact() -> None:
    call = rest.create_order(
        link_id="tg-1",
        symbol="BTCUSDT",
        side=Side.BUY,
        qty=Decimal("1E-3"),
        price=Decimal("30000.10"),
        time_in_force="IOC",
        reduce_only=False,
        stop_loss=Decimal(29000),
    )
    assert (call.method, call.target, call.weight_class) == ("POST", "/v5/order/create", "create")
    body = msgspec.json.decode(call.body)
    assert (body["qty"], body["price"], body["stopLoss"]) == ("0.001", "30000.10", "29000")
    assert (body["positionIdx"], body["reduceOnly"]) == (0, False)
    assert " " not in call.body


def test_what_is_not_given_is_not_sent() -> None:
    amended = msgspec.json.decode(rest.amend_order("tg-1", "BTCUSDT", price=Decimal(5)).body)
    assert amended == {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "tg-1", "price": "5"}
    exit_body = msgspec.json.decode(
        rest.create_order(
            link_id="x",
            symbol="S",
            side=Side.SELL,
            qty=Decimal(1),
            price=Decimal(1),
            time_in_force="IOC",
            reduce_only=True,
        ).body
    )
    assert "stopLoss" not in exit_body


def test_a_cursor_goes_back_as_received() -> None:
    assert rest.open_orders(cursor="132766%3A2%2C1").target.endswith("&cursor=132766%3A2%2C1")


def test_calls_without_parameters_have_no_question_mark() -> None:
    assert rest.account_info().target == "/v5/account/info"
    assert rest.market_time().private is False


@pytest.mark.parametrize("body", ["<html>502</html>", "", "[]", '{"no":"envelope"}'])
def test_a_body_that_is_no_envelope_is_judged_by_its_status(body: str) -> None:
    reply = rest.reply_of(502, body)
    assert (reply.outcome, reply.code) == (Outcome.AMBIGUOUS, None)


def test_an_error_reply_keeps_code_and_text() -> None:
    reply = rest.reply_of(200, '{"retCode":110007,"retMsg":"ab not enough","result":null,"time":5}')
    assert (reply.outcome, reply.code, reply.message, reply.ok) == (Outcome.FUNDS, 110007, "ab not enough", False)


def test_rows_become_values() -> None:
    rows = [{"orderId": "1", "orderLinkId": "", "symbol": "S", "side": "Buy", "qty": "", "cumExecQty": "0.010",
             "orderStatus": "Cancelled", "rejectReason": "EC_NoError", "cancelType": "CancelByUser", "updatedTime": "7",
             "newField": {"a": 1}}]  # fmt: skip
    result = msgspec.Raw(msgspec.json.encode({"list": rows, "nextPageCursor": None}))
    (order,) = rest.orders_of(rest.page_of(result))
    assert order.qty == 0
    assert (str(order.cum_qty), order.reason, order.closed, order.updated_ms) == (
        "0.010",
        "CancelByUser",
        True,
        7,
    )


def test_positions_are_signed_and_flat_ones_left_out() -> None:
    rows = [{"symbol": "A", "side": "Sell", "size": "2", "avgPrice": "5"}, {"symbol": "B", "side": "", "size": "0"}]
    result = msgspec.Raw(msgspec.json.encode({"list": rows}))
    (position,) = rest.positions_of(rest.page_of(result))
    assert (position.symbol, position.qty, position.entry_price) == ("A", Decimal(-2), Decimal(5))


def test_a_coin_that_is_not_listed_is_zero() -> None:
    result = msgspec.Raw(b'{"list":[{"totalAvailableBalance":"","coin":[]}]}')
    assert rest.wallet_of(result).balance == 0


def test_empty_numbers() -> None:
    assert decimal("") is None
    assert decimal(None) is None
    assert str(decimal("0.00")) == "0.00"
