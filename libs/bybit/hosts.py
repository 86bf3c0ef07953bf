"""Where Bybit is: hosts by network and region, as data (source: the integration guidance of the v5 documentation).

An account belongs to the site it was registered on: its keys work on that site's hosts only. Public market data is the same
everywhere; a site without documented public streams of its own is served by the global ones.
"""

from __future__ import annotations

import msgspec

from libs.common.errors import SettingsError

MAINNET, TESTNET, DEMO = "mainnet", "testnet", "demo"
GLOBAL = "global"


class Hosts(msgspec.Struct, frozen=True):
    """Base addresses without a path. `stream` carries public data; `private` is "" where it is the same host."""

    rest: str
    stream: str
    private: str = ""

    @property
    def private_stream(self) -> str:
        return self.private or self.stream


_STREAM = "wss://stream.bybit.com"

HOSTS: dict[str, dict[str, Hosts]] = {
    MAINNET: {
        GLOBAL: Hosts("https://api.bybit.com", _STREAM),
        "bytick": Hosts("https://api.bytick.com", _STREAM),
        "nl": Hosts("https://api.bybit.nl", _STREAM),
        "tr": Hosts("https://api.bybit.tr", "wss://stream.bybit.tr"),
        "kz": Hosts("https://api.bybit.kz", "wss://stream.bybit.kz"),
        "ge": Hosts("https://api.bybitgeorgia.ge", "wss://stream.bybitgeorgia.ge"),
        "ae": Hosts("https://api.bybit.ae", _STREAM),
        "eu": Hosts("https://api.bybit.eu", _STREAM),
        "id": Hosts("https://api.bybit.id", "wss://stream.bybit.id"),
        "jp": Hosts("https://api.manepa.jp", "wss://stream.manepa.jp"),
    },
    TESTNET: {
        GLOBAL: Hosts("https://api-testnet.bybit.com", "wss://stream-testnet.bybit.com"),
        "jp": Hosts("https://api-testnet.manepa.jp", "wss://stream-testnet.bybit.com"),
    },
    DEMO: {
        GLOBAL: Hosts("https://api-demo.bybit.com", _STREAM, "wss://stream-demo.bybit.com"),
    },
}
"""By network, then region. A demo account lives inside mainnet: it has its own private side and mainnet's data."""


def hosts_of(network: str, region: str = GLOBAL) -> Hosts:
    """Raises SettingsError naming the regions of the network."""
    regions = HOSTS.get(network)
    if regions is None:
        raise SettingsError(f"venue.network: expected one of {', '.join(HOSTS)}, was {network!r}")
    found = regions.get(region)
    if found is None:
        raise SettingsError(f"venue.region: expected one of {', '.join(regions)} on {network}, was {region!r}")
    return found


def public_hosts(network: str, region: str = GLOBAL) -> Hosts:
    """Where public data of a network comes from: REST too, which a demo account's own host does not serve in full."""
    hosts_of(network, region)
    return hosts_of(MAINNET if network == DEMO else network, region)
