"""Keys of every unsafe kind, out of an accounts file of the simulator: each is refused at the start by a sentence that names its fault."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from libs.bybit.client import BybitDriver
from libs.bybit.hosts import VenueClass
from libs.common.errors import SettingsError
from services.execution.config import ExecutionConfig
from services.execution.vet import Vet, settled
from sim.config import SimConfig
from sim.door.accounts import read_accounts
from sim.exchange import Exchange
from sim.server import SimServer
from sim.tapes.tape import LiveTape, open_tape
from tests.integration.bybit.test_client import Inbox
from tests.integration.bybit.venue import Venue

ACCOUNTS = """
[[keys]]
key = "good"
secret = "good-secret"
ips = ["127.0.0.1"]

[[keys]]
key = "withdraws"
secret = "withdraws-secret"
permissions = ["Order", "Position", "Withdraw"]
ips = ["127.0.0.1"]

[[keys]]
key = "transfers"
secret = "transfers-secret"
permissions = ["Order", "Position", "AccountTransfer"]
ips = ["127.0.0.1"]

[[keys]]
key = "unbound"
secret = "unbound-secret"
ips = ["*"]

[[keys]]
key = "master"
secret = "master-secret"
parent_uid = 0
ips = ["127.0.0.1"]

[[keys]]
key = "expiring"
secret = "expiring-secret"
ips = ["127.0.0.1"]
expires_at = {soon}

[[keys]]
key = "orderless"
secret = "orderless-secret"
permissions = ["Position"]
ips = ["127.0.0.1"]

[[keys]]
key = "reader"
secret = "reader-secret"
read_only = true
ips = ["127.0.0.1"]

[[keys]]
key = "turkish"
secret = "turkish-secret"
kyc_region = "TUR"
ips = ["127.0.0.1"]

[[keys]]
key = "elsewhere"
secret = "elsewhere-secret"
ips = ["203.0.113.9"]

[[keys]]
key = "ended"
secret = "ended-secret"
ips = ["127.0.0.1"]
expires_at = 2020-01-01T00:00:00Z
"""

Start = Callable[..., Any]


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("vet") / "accounts.toml"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10 * 86_400))
    path.write_text(ACCOUNTS.format(soon=soon))
    return path


@pytest.fixture
async def server(accounts: Path) -> AsyncIterator[SimServer]:
    tape = LiveTape(open_tape(["synthetic:seed=7"], 7), time.time_ns())
    server = SimServer(Exchange(SimConfig(), tape, 7, read_accounts(accounts), "here"))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def start(server: SimServer, tmp_path: Path) -> AsyncIterator[Start]:
    drivers: list[BybitDriver] = []

    async def begin(*names: str, check: bool = True, venue: VenueClass = VenueClass.SIM, url: str = "") -> BybitDriver:
        files = []
        for name in names:
            files.append(tmp_path / f"{name}.json")
            files[-1].write_text(json.dumps({"key": name, "secret": f"{name}-secret"}))
        base = url or f"http://127.0.0.1:{server.port}"
        driver = BybitDriver(
            base,
            "",
            files[0],
            "execution",
            lockstep=False,
            second_key_file=files[1] if len(files) > 1 else None,
            vet=Vet(ExecutionConfig(check_key=check), venue, base, check=check),
        )
        drivers.append(driver)
        await driver.start(Inbox())
        return driver

    yield begin
    for driver in drivers:
        await driver.stop()


async def test_a_key_that_can_trade_and_nothing_else_passes(start: Start) -> None:
    driver = await start("good")
    assert [slot for slot, _ in driver.keys] == ["A"]


UNSAFE = {
    "withdraws": r"it can move money \(Withdraw\)",
    "transfers": r"it can move money \(AccountTransfer\)",
    "unbound": "it is bound to no address",
    "master": "it is of the master account",
    "expiring": "it expires in 9 days, less than 14",
    "orderless": "it lacks the permission ContractTrade Order",
    "reader": "it is read-only",
    "turkish": "its account is of TUR: expected venue.region 'tr', was 'global'",
}


@pytest.mark.parametrize("name", UNSAFE)
async def test_an_unsafe_key_is_refused_by_its_fault(start: Start, name: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"API key A: expected one that can trade and nothing else, but .*{UNSAFE[name]}"
    ) as caught:
        await start(name)
    assert "-secret" not in str(caught.value)


@pytest.mark.parametrize("name", UNSAFE)
async def test_the_second_key_is_looked_at_as_well(start: Start, name: str) -> None:
    with pytest.raises(SettingsError, match=f"API key B: .*{UNSAFE[name]}"):
        await start("good", name)


@pytest.mark.parametrize("name", ["elsewhere", "ended", "nobodys"])
async def test_a_key_the_venue_does_not_take_is_refused_unless_there_is_another(start: Start, name: str) -> None:
    with pytest.raises(SettingsError, match=r"expected an API key that .* takes, was none"):
        await start(name)
    driver = await start(name, "good")
    assert [slot for slot, _ in driver.keys] == ["B", "A"]


@pytest.mark.parametrize("name", [*UNSAFE, "good"])
async def test_on_the_simulator_the_check_may_be_relaxed(start: Start, name: str) -> None:
    await start(name, check=False)


def test_where_money_is_at_stake_it_may_not() -> None:
    for venue in (VenueClass.LIVE, VenueClass.DEMO):
        with pytest.raises(SettingsError, match=f"expected true at a {venue} venue"):
            settled(ExecutionConfig(check_key=False), venue)
        assert settled(ExecutionConfig(), venue)
    assert settled(ExecutionConfig(), VenueClass.TESTNET)
    assert not settled(ExecutionConfig(), VenueClass.SIM)
    assert settled(ExecutionConfig(check_key=True), VenueClass.SIM)


async def test_a_host_that_is_neither_bybits_nor_ours_gets_no_key(start: Start) -> None:
    async with Venue() as other:
        other.http.script = lambda *_: (200, '{"retCode":0,"result":{"timeNano":"1"},"time":1}')
        with pytest.raises(SettingsError, match=r"expected a sim venue at .*, was another exchange"):
            await start("good", url=other.base_url)
        assert all("x-bapi-api-key" not in headers for _, _, headers, _ in other.http.seen)


async def test_the_simulator_is_not_taken_for_bybit(start: Start) -> None:
    with pytest.raises(SettingsError, match=r"expected a testnet venue at .*, was Tidegate's simulator"):
        await start("good", venue=VenueClass.TESTNET)


async def test_a_venue_that_cannot_be_reached_at_the_start_is_looked_at_later(start: Start) -> None:
    await start("unbound", url="http://127.0.0.1:1")
