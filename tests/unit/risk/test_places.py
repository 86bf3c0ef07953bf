"""Which book a command is for, whose key sealed it, and what a book with real money never does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from libs.common import events as e
from libs.common.events import CommandRefused, LimitChanged, OrderIntent, OrderRefused, Reason
from tests.unit.risk.desk import D, config, of, only, opened
from tests.unit.risk.test_commands import PUBLIC, command, halt, settings


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (e.ResumeRequested, {}),
        (e.LimitChange, {"name": "max_drawdown", "value": D("0.05")}),
        (e.StageChange, {"stage": "backtest"}),
        (e.UpgradeWindow, {"minutes": 1}),
    ],
)
def test_a_seal_for_another_book_or_venue_counts_for_nothing(kind: type[e.Command], fields: dict[str, Any]) -> None:
    """Ids are made from causes: the first halts of two books have the same one, so a seal has to name its book."""
    live, test = (opened(settings(place=place)) for place in ("demo:main", "testnet:main"))
    halt_id = halt(live)
    assert halt(test) == halt_id
    fields = fields or {"halt_id": halt_id}
    for place in ("testnet:main", "demo:other", ""):
        assert only(command(live, kind, place=place, **fields), CommandRefused).reason == "OTHER_BOOK"
    assert of(command(live, kind, place="demo:main", **fields), CommandRefused) == []


def test_one_key_under_two_names_is_refused_in_the_settings() -> None:
    key = PUBLIC["alice"]
    with pytest.raises(ValueError, match="a key of his own"):
        config(operator_keys={"alice": key, "alias": key})
    with pytest.raises(ValueError, match="a key of his own"):
        config(operator_keys={"alice": key, "alias": key.upper()})


@pytest.mark.parametrize("key", ["", "ab", "no hex at all", "0" * 62, "0" * 66])
def test_an_operators_key_that_is_none_is_refused_in_the_settings(key: str) -> None:
    with pytest.raises(ValueError, match="expected 64 hex digits for 'alice'"):
        config(operator_keys={"alice": key})


@pytest.mark.parametrize("down", ["paper", "backtest"])
def test_real_money_never_goes_back_to_paper_where_one_operator_has_the_whole_account(down: str) -> None:
    desk = opened(settings(stage="staged"))
    assert only(command(desk, e.StageChange, stage=down), CommandRefused).reason == "REAL_MONEY"
    assert (desk.state.stage, desk.state.share) == ("staged", D("0.01"))
    made = command(desk, e.LimitChange, name="max_order_usd", value=D(20_000))
    assert only(made, CommandRefused).reason == "SECOND_OPERATOR"


def test_a_book_logged_on_paper_takes_no_entry_where_money_is_real() -> None:
    assert of(opened(settings(place="demo:main")).signal(), OrderIntent) != []
    desk = opened(settings(place="live:main"))
    assert only(desk.signal(), OrderRefused).reason is Reason.ALLOW_LIST
    staged = opened(settings(place="live:main", stage="staged"), equity="1000000")
    assert of(staged.signal(), OrderIntent) != []


def test_the_first_of_two_seals_is_none_when_its_operator_may_sign_no_more() -> None:
    desk = opened(settings(stage="full"))
    raised = {"name": "max_drawdown", "value": D("0.5")}
    assert only(command(desk, e.LimitChange, **raised), CommandRefused).reason == "SECOND_OPERATOR"
    desk.settings = msgspec.structs.replace(desk.settings, operator_keys={"bob": PUBLIC["bob"]})
    desk.restart()
    assert only(command(desk, e.LimitChange, "bob", **raised), CommandRefused).reason == "SECOND_OPERATOR"
    desk.settings = settings(stage="full")
    desk.restart()
    changed = only(command(desk, e.LimitChange, **raised), LimitChanged)
    assert (changed.operator, changed.requested_by) == ("alice", "bob"), "bob's is the first that counts"
