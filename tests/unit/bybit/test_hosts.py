from __future__ import annotations

import pytest

from libs.bybit.hosts import HOSTS, hosts_of, public_hosts
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
