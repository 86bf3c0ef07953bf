"""Changes of resting orders: sealed like approvals, void when late, none for an entry of a halted scope."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common import seal
from libs.common.events import AmendIntent, Halted, Reason, TimeInForce
from tests.unit.execution.desk import KEY_ID, PRIVATE_KEY, START, Desk, S, intent, order_row


@pytest.fixture
def desk() -> Desk:
    """A resting entry."""
    desk = Desk().opened()
    desk.feed("order-intent", intent(time_in_force=TimeInForce.GTC))
    desk.reply(desk.call("/order/create"))
    desk.frame("order", order_row())
    return desk


def amend(**changes: Any) -> AmendIntent:
    fields: dict[str, Any] = {
        "order_link_id": "tg-1", "symbol": "BTCUSDT", "price": Decimal("29999.5"), "expires_at": START + 2 * S,
        "key_id": KEY_ID,
    }  # fmt: skip
    return seal.sign(PRIVATE_KEY, AmendIntent(**(fields | changes)))


def test_a_sealed_amend_is_sent_for_an_open_order_only(desk: Desk) -> None:
    desk.feed("order-intent", amend())
    desk.feed("order-intent", amend(order_link_id="tg-9"))
    assert msgspec.json.decode(desk.call("/order/amend").body)["price"] == "29999.5"


@pytest.mark.parametrize(
    "bad",
    [
        msgspec.structs.replace(amend(), seal=""),
        msgspec.structs.replace(amend(), price=Decimal("29999.6")),
        msgspec.structs.replace(amend(), expires_at=START + S),
        amend(key_id="other"),
        amend(book="another"),
        amend(expires_at=START + 3 * S),
        amend(expires_at=START),
        amend(symbol="ETHUSDT"),
    ],
)
def test_an_amend_that_nobody_sealed_or_that_is_late_changes_nothing(desk: Desk, bad: AmendIntent) -> None:
    desk.feed("order-intent", bad)
    assert desk.calls("/order/amend") == []


def test_a_halted_book_amends_no_entry(desk: Desk) -> None:
    desk.feed("halt", Halted(reason=Reason.OPERATOR, measured=Decimal(0), limit=Decimal(0), scope="strategy:trend"))
    desk.feed("order-intent", amend())
    assert desk.calls("/order/amend") == []
