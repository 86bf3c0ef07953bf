from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.bybit.hosts import VenueClass
from libs.bybit.vetting import checks_by_default, created_ms, key_faults, may_relax
from libs.bybit.wire import KeyInfo


def info(**changes: Any) -> KeyInfo:
    """A key as it should be: it trades from one address and can do nothing else."""
    fields: dict[str, Any] = {
        "permissions": {"ContractTrade": ["Order", "Position"], "Spot": ["SpotTrade"], "Wallet": []},
        "ips": ["203.0.113.7"], "deadline_day": -2, "is_master": False, "type": 1,
    }  # fmt: skip
    return KeyInfo(**(fields | changes))


ORDERS = {"ContractTrade": ["Order", "Position"]}


def test_a_good_key_has_no_fault() -> None:
    assert key_faults(info(), "global", spot=True) == []
    assert key_faults(info(deadline_day=14), "global") == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"permissions": ORDERS | {"Wallet": ["Withdraw"]}}, "it can move money (Withdraw)"),
        ({"permissions": ORDERS | {"Wallet": ["AccountTransfer"]}}, "it can move money (AccountTransfer)"),
        ({"permissions": ORDERS | {"FiatP2P": ["FiatP2POrder"]}}, "it can move money (FiatP2POrder)"),
        ({"ips": ["*"]}, "it is bound to no address"),
        ({"ips": []}, "it is bound to no address"),
        ({"ips": None}, "it is bound to no address"),
        ({"is_master": True}, "it is of the master account"),
        ({"deadline_day": 13}, "it expires in 13 days, less than 14"),
        ({"deadline_day": -1}, "it expires in 0 days, less than 14"),
        ({"read_only": 1}, "it is read-only"),
        ({"permissions": {"ContractTrade": ["Position"]}}, "it lacks the permission ContractTrade Order"),
        ({"permissions": {"ContractTrade": ["Order"]}}, "it lacks the permission ContractTrade Position"),
        ({"kyc_region": "USA"}, "its account is of USA, where Bybit serves nobody"),
        ({"kyc_region": "NLD"}, "its account is of NLD: expected venue.region 'nl', was 'global'"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_named(changes: dict[str, Any], fault: str) -> None:
    assert key_faults(info(**changes), "global") == [fault]


def test_spot_needs_its_own_permission() -> None:
    assert key_faults(info(permissions=ORDERS), "global") == []
    assert key_faults(info(permissions=ORDERS), "global", spot=True) == ["it lacks the permission Spot SpotTrade"]


def test_the_sites_of_countries() -> None:
    assert key_faults(info(kyc_region="NLD"), "nl") == []
    assert key_faults(info(kyc_region="TUR"), "tr") == []
    assert key_faults(info(type=2), "eu") == []
    assert "third-party apps only" in key_faults(info(), "eu")[0]


def test_everything_is_told_at_once() -> None:
    assert len(key_faults(info(permissions={"Wallet": ["Withdraw"]}, ips=["*"], is_master=True, read_only=1), "x")) == 6


def test_where_the_check_is_on_and_where_it_may_be_off() -> None:
    assert [venue for venue in VenueClass if checks_by_default(venue)] == ["testnet", "demo", "live"]
    assert [venue for venue in VenueClass if may_relax(venue)] == ["sim", "testnet"]


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 (naive by design of the strategy)
def test_the_birthday_of_a_key(at: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    text = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert created_ms(info(created_at=text)) == int(at.timestamp()) * 1000


@pytest.mark.parametrize("text", ["", None, "yesterday", "2024-01-01", "2024-01-01T00:00Z"])
def test_a_birthday_that_cannot_be_read_is_not_known(text: str | None) -> None:
    assert created_ms(info(created_at=text)) == 0
