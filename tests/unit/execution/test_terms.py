"""The terms: what is asserted and read at the start and daily, the key, the alarm about fees, disconnection protection."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.events import FeeDiffers, Heartbeat, Mismatch, Reconciled
from services.execution.config import ExecutionConfig
from tests.unit.execution.desk import CONFIG, Desk, execution_row, intent, order_row

DAY_MS = 86_400_000
CHECKED = msgspec.structs.replace(CONFIG, check_key=True, venue_class="testnet")
GOOD_KEY: dict[str, Any] = {
    "readOnly": 0, "permissions": {"ContractTrade": ["Order", "Position"]}, "ips": ["203.0.113.7"], "deadlineDay": -2,
    "isMaster": False, "type": 1, "createdAt": "2023-09-01T00:00:00Z",
}  # fmt: skip


# --- modes ------------------------------------------------------------------------------------------------------------


def test_cross_margin_is_left_as_it_is() -> None:
    desk = Desk().opened()
    assert desk.of(Mismatch) == []
    assert desk.state.terms.said["margin mode"] == "ok"


def test_another_margin_mode_is_set() -> None:
    desk = Desk()
    desk.margin_mode = "ISOLATED_MARGIN"
    desk.start()
    desk.reply(desk.call("/account/info"), {"marginMode": "ISOLATED_MARGIN"})
    assert desk.call("/set-margin-mode").body == '{"setMarginMode":"REGULAR_MARGIN"}'
    desk.reply(desk.call("/set-margin-mode"), code=110026, message="already so")
    desk.answer_polls()
    assert desk.one(Reconciled).checks == 1


def test_a_margin_mode_that_cannot_be_set_withholds_reconciliation() -> None:
    desk = Desk()
    desk.margin_mode = "PORTFOLIO_MARGIN"
    desk.start()
    for _ in range(2):
        desk.reply(desk.call("/account/info"), {"marginMode": "PORTFOLIO_MARGIN"})
        desk.reply(desk.call("/set-margin-mode"), code=3400000, message="equity too low")
        desk.answer_polls()
        desk.pass_time(600)
    assert desk.of(Reconciled) == []
    assert desk.one(Mismatch).venue == "3400000 equity too low"


# --- the key ----------------------------------------------------------------------------------------------------------


def test_nothing_is_agreed_on_before_the_key_was_looked_at() -> None:
    desk = Desk(CHECKED)
    desk.start()
    desk.answer_polls()
    desk.pass_time(600)
    desk.answer_polls()
    assert desk.of(Reconciled) == desk.of(Mismatch) == []
    desk.reply(desk.call("/user/query-api"), GOOD_KEY)
    desk.pass_time(600)
    desk.answer_polls()
    assert desk.of(Mismatch) == []
    desk.one(Reconciled)


def test_an_unsafe_key_stops_entries_and_says_why() -> None:
    desk = Desk(CHECKED)
    desk.start()
    desk.reply(desk.call("/user/query-api"), GOOD_KEY | {"permissions": {"Wallet": ["Withdraw"]}, "ips": ["*"]})
    for _ in range(2):
        desk.answer_polls()
        desk.pass_time(600)
    assert desk.of(Reconciled) == []
    assert [event.venue for event in desk.of(Mismatch)] == [
        "it can move money (Withdraw)", "it is bound to no address", "it lacks the permission ContractTrade Order",
        "it lacks the permission ContractTrade Position",
    ]  # fmt: skip


def test_another_key_is_looked_at_before_anything_else_is_agreed_on() -> None:
    desk = Desk(CHECKED)
    desk.start()
    desk.reply(desk.call("/user/query-api"), GOOD_KEY)
    desk.answer_polls()
    desk.one(Reconciled)
    desk.message("key", "B")
    desk.pass_time(100)
    desk.answer_polls()
    assert len(desk.of(Reconciled)) == 1
    desk.reply(desk.call("/user/query-api"), GOOD_KEY)
    desk.pass_time(600)
    desk.answer_polls()
    assert len(desk.of(Reconciled)) == 2


def test_the_key_is_looked_at_daily_and_its_age_told() -> None:
    desk = Desk(CHECKED)
    desk.start()
    desk.reply(desk.call("/user/query-api"), GOOD_KEY)
    desk.answer_polls()
    desk.pass_time(60_000)
    assert desk.of(Heartbeat)[-1].key_age_days == 74
    desk.answer_polls()
    desk.pass_time(DAY_MS)
    assert len(desk.calls("/user/query-api")) == 1


def test_the_simulators_key_has_no_age() -> None:
    desk = Desk(msgspec.structs.replace(CHECKED, venue_class="sim"))
    desk.incarnation = "here"
    desk.start()
    desk.reply(desk.call("/user/query-api"), GOOD_KEY)
    desk.answer_polls()
    desk.pass_time(60_000)
    assert desk.of(Heartbeat)[-1].key_age_days == 0


def test_a_host_that_is_neither_bybits_nor_the_simulator_is_not_traded_at() -> None:
    desk = Desk(msgspec.structs.replace(CONFIG, venue_class="sim"))
    desk.start()
    for _ in range(2):
        desk.answer_polls()
        desk.pass_time(600)
    assert desk.of(Reconciled) == []
    assert desk.one(Mismatch).venue == "another exchange"


# --- fees -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk().opened()
    desk.feed("order-intent", intent(qty=Decimal("0.04")))
    desk.frame("order", order_row(qty="0.04"))
    return desk


def test_a_fee_as_told_is_no_news(desk: Desk) -> None:
    desk.frame("execution", execution_row("e1", "0.01"))
    desk.frame("execution", execution_row("e2", "0.01", isMaker=True, execFee="0.06"))
    assert desk.of(FeeDiffers) == []


def test_a_fee_that_is_not_as_told_alarms_once_and_the_rates_are_read_anew(desk: Desk) -> None:
    for name in ("e1", "e2"):
        desk.frame("execution", execution_row(name, "0.01", execFee="0.3"))
    assert desk.one(FeeDiffers) == FeeDiffers(
        symbol="BTCUSDT", exec_id="e1", is_maker=False, expected=Decimal("0.00055"), charged=Decimal("0.0010000")
    )
    desk.pass_time(5_000)
    desk.reply(
        desk.call("/account/fee-rate"),
        {"list": [{"symbol": "BTCUSDT", "takerFeeRate": "0.001", "makerFeeRate": "0.0002"}]},
    )
    desk.events.clear()
    desk.frame("execution", execution_row("e3", "0.01", execFee="0.3"))
    assert desk.of(FeeDiffers) == []


def test_fees_are_read_at_the_start_and_daily(desk: Desk) -> None:
    assert desk.state.terms.rates["BTCUSDT"].taker == Decimal("0.00055")
    desk.pass_time(DAY_MS - 1_000)
    desk.answer_polls()
    assert desk.calls("/account/fee-rate") == []
    desk.pass_time(6_000)
    assert len(desk.calls("/account/fee-rate")) == 1


# --- disconnection protection -----------------------------------------------------------------------------------------


def test_protection_is_armed_where_it_is_offered() -> None:
    desk = Desk()
    desk.dcp = "ON"
    desk.start()
    desk.reply(desk.call("/query-dcp-info"), {"dcpInfos": [{"product": "DERIVATIVES", "dcpStatus": "ON"}]})
    armed = desk.call("/order/disconnected-cancel-all")
    assert armed.body == '{"product":"DERIVATIVES","timeWindow":40}'
    desk.reply(armed)
    (subscribe,) = desk.calls("subscribe:dcp.future")
    assert subscribe.method == "WS"
    desk.message("reply", '{"success":true,"ret_msg":"","op":"subscribe"}', subscribe.number, 200)
    assert desk.state.terms.dcp == "armed"
    desk.answer_polls()
    desk.message("disconnected")
    desk.message("connected")
    desk.pass_time(100)
    assert len(desk.calls("/query-dcp-info")) == 1, "another connection: all of it again"


OFF = {"result": {"dcpInfos": [{"product": "DERIVATIVES", "dcpStatus": "OFF"}]}}


@pytest.mark.parametrize("answer", [{"code": 10005}, OFF, {"result": {"dcpInfos": []}}])
def test_where_it_is_not_offered_nothing_is_missing(answer: dict[str, Any]) -> None:
    """Refused at once, told to be off, or refused only when it is set: an account that never set it lists nothing."""
    desk = Desk()
    desk.start()
    desk.reply(desk.call("/query-dcp-info"), **answer)
    for armed in desk.calls("/order/disconnected-cancel-all"):
        desk.reply(armed, code=10005, message="Permission denied")
    desk.answer_polls()
    desk.one(Reconciled)
    assert desk.state.terms.dcp == "none"


def test_a_topic_that_is_refused_is_no_protection() -> None:
    desk = Desk()
    desk.start()
    desk.reply(desk.call("/query-dcp-info"), {"dcpInfos": [{"product": "DERIVATIVES", "dcpStatus": "ON"}]})
    desk.reply(desk.call("/order/disconnected-cancel-all"))
    (subscribe,) = desk.calls("subscribe:dcp.future")
    desk.message("reply", '{"success":false,"ret_msg":"no","op":"subscribe"}', subscribe.number, 400)
    assert desk.state.terms.dcp == "none"


def test_demo_accounts_and_tapes_are_not_asked() -> None:
    for config in (
        msgspec.structs.replace(CONFIG, venue_class="demo"),
        msgspec.structs.replace(CONFIG, dcp_window_s=0),
    ):
        desk = Desk(config)
        desk.start()
        assert desk.calls("/query-dcp-info") == []


# --- settings ---------------------------------------------------------------------------------------------------------


OPTIONS = ["BTC-29DEC23-80000-C", "BTC-26JUN26-60000-P-USDT"]
IN_USDC = ["BTCPERP", "BTCUSDC-SPOT"]


@pytest.mark.parametrize("symbol", [*OPTIONS, *IN_USDC, "BTCUSDT-26DEC25", ""])
def test_what_is_no_perpetual_or_spot_pair_in_usdt_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="settled or quoted in another coin are not traded"):
        ExecutionConfig(symbols=(symbol,))


def test_perpetuals_and_spot_pairs_are_taken() -> None:
    assert ExecutionConfig(symbols=("BTCUSDT", "1000PEPEUSDT", "BTCUSDT-SPOT")).symbols[2] == "BTCUSDT-SPOT"


def test_what_is_approved_without_being_tradable_is_turned_down() -> None:
    desk = Desk().opened()
    events = desk.feed("order-intent", intent("tg-o", symbol="BTC-29DEC23-80000-C"))
    assert [event.reason for event in events] == ["UNSUPPORTED"]
