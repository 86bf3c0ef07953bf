from __future__ import annotations

import pytest

from libs.bybit.hosts import HOSTS, STAGES, binding, hosts_of, public_hosts
from libs.common.errors import SettingsError


def test_every_host_is_encrypted_and_bare():
    for regions in HOSTS.values():
        for hosts in regions.values():
            assert hosts.rest.startswith("https://")
            assert hosts.stream.startswith("wss://")
            assert "/" not in hosts.rest.removeprefix("https://") + hosts.private_stream.removeprefix("wss://")


def test_networks_do_not_mix():
    assert public_hosts("mainnet").rest == "https://api.bybit.com"
    assert public_hosts("testnet").rest == "https://api-testnet.bybit.com"
    assert public_hosts("mainnet", "kz").stream == "wss://stream.bybit.kz"
    tests = {hosts.rest for hosts in HOSTS["testnet"].values()}
    assert not tests & {hosts.rest for hosts in HOSTS["mainnet"].values()}


def test_a_demo_account_trades_on_its_own_host_and_looks_at_mainnet():
    assert hosts_of("demo").private_stream == "wss://stream-demo.bybit.com"
    assert public_hosts("demo") == hosts_of("mainnet")


def test_an_unknown_place_is_refused_with_those_there_are():
    with pytest.raises(SettingsError, match="global, jp on testnet, was 'mars'"):
        public_hosts("testnet", "mars")
    with pytest.raises(SettingsError, match="mainnet, testnet, demo"):
        hosts_of("moonnet")


LIVE = ("https://api.bybit.com", "wss://stream.bybit.com")
TESTNET = ("https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com")
DEMO = ("https://api-demo.bybit.com", "wss://stream-demo.bybit.com")
SIM = ("http://127.0.0.1:8899", "ws://127.0.0.1:8899")


@pytest.mark.parametrize(
    ("urls", "venue", "stages"),
    [
        (SIM, "sim", {"backtest", "paper"}),
        (TESTNET, "testnet", {"paper"}),
        (DEMO, "demo", {"paper"}),
        (LIVE, "live", {"staged", "ramp", "full"}),
    ],
)
@pytest.mark.parametrize("stage", list(STAGES))
def test_a_stage_trades_at_its_class_of_venue_only(
    urls: tuple[str, str], venue: str, stages: set[str], stage: str
) -> None:
    if stage in stages:
        assert binding(stage, "global", *urls) == venue
    else:
        with pytest.raises(SettingsError, match=rf"run\.stage: expected a stage for a {venue} venue, was '{stage}'"):
            binding(stage, "global", *urls)


def test_every_site_of_the_table_is_reached_by_its_urls_and_region_alone():
    for network, regions in HOSTS.items():
        stage = "full" if network == "mainnet" else "paper"
        for region, hosts in regions.items():
            assert binding(stage, region, hosts.rest, hosts.private_stream) != "sim"


def test_a_region_that_is_not_the_hosts_is_refused():
    with pytest.raises(SettingsError, match=r"venue\.region: expected nl for api\.bybit\.nl, was 'global'"):
        binding("full", "global", "https://api.bybit.nl", LIVE[1])
    with pytest.raises(SettingsError, match=r"was 'tr'"):
        binding("full", "tr", *LIVE)
    with pytest.raises(SettingsError, match=r"was 'tr'"):
        binding("full", "tr", "https://api.bybit.tr", LIVE[1])  # its streams are elsewhere


@pytest.mark.parametrize("other", [TESTNET, DEMO, SIM])
def test_rest_and_stream_are_of_one_venue(other: tuple[str, str]):
    with pytest.raises(SettingsError, match=r"venue\.ws_url: expected the stream of the same venue"):
        binding("full", "global", LIVE[0], other[1])


def test_a_key_never_goes_unencrypted_to_bybit():
    with pytest.raises(SettingsError, match="expected https://"):
        binding("full", "global", "http://api.bybit.com", LIVE[1])
    with pytest.raises(SettingsError, match="expected wss://"):
        binding("full", "global", LIVE[0], "ws://stream.bybit.com")


def test_a_host_that_only_looks_like_bybits_is_taken_for_a_simulator_and_has_to_prove_it():
    with pytest.raises(SettingsError, match="sim venue"):
        binding("full", "global", "https://api.bybit.com.example.org", "wss://stream.bybit.com.example.org")
