"""Where Bybit is: hosts by network and region, as data (source: the integration guidance of the v5 documentation).

An account belongs to the site it was registered on: its keys work on that site's hosts only. Public market data is the same
everywhere; a site without documented public streams of its own is served by the global ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from urllib.parse import urlsplit

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


class VenueClass(StrEnum):
    """Whose money is at stake: nobody's (our simulator), play money of Bybit's, or the account's own."""

    SIM = "sim"
    TESTNET = "testnet"
    DEMO = "demo"
    LIVE = "live"


CLASS_OF = {MAINNET: VenueClass.LIVE, TESTNET: VenueClass.TESTNET, DEMO: VenueClass.DEMO}

_PLAY = frozenset({VenueClass.SIM, VenueClass.TESTNET, VenueClass.DEMO})
STAGES: dict[str, frozenset[VenueClass]] = {
    "backtest": frozenset({VenueClass.SIM}),
    "paper": _PLAY,
    "staged": frozenset({VenueClass.LIVE}),
    "ramp": frozenset({VenueClass.LIVE}),
    "full": frozenset({VenueClass.LIVE}),
}
"""The classes of venue that a stage may trade at: play money until it is staged, real money from then on."""


def place_of(rest_url: str, book: str) -> str:
    """A book's name among all of a desk's, which its operators' seals carry: `live:main`, `sim:main`."""
    return f"{_class_of(_places(rest_url, stream=False))}:{book}"


def binding(stage: str, region: str, rest_url: str, ws_url: str) -> VenueClass:
    """The class of the venue that these addresses name. Any host that is not Bybit's counts as the simulator, and has to prove it.

    Raises SettingsError when the addresses do not belong together, or stage or region are not theirs.
    """
    places, streams = _places(rest_url, stream=False), _places(ws_url, stream=True)
    found, told = _class_of(places), _class_of(streams)
    if found is not told:
        raise SettingsError(
            f"venue.ws_url: expected the stream of the same venue as {rest_url} ({found}), was {ws_url} ({told}); name both of one venue"
        )
    if found not in STAGES[stage]:
        raise SettingsError(
            f"run.stage: expected a stage for a {found} venue, was {stage!r}, which trades at {' or '.join(sorted(STAGES[stage]))}; "
            f"change run.stage, or venue.rest_url ({rest_url})"
        )
    if found is VenueClass.SIM:
        return found
    for url, scheme in ((rest_url, "https"), (ws_url, "wss")):
        if urlsplit(url).scheme != scheme:
            raise SettingsError(
                f"venue: expected {scheme}:// for a host of Bybit's, was {url}; a key never goes unencrypted"
            )
    regions = {place for _, place in places}
    if region not in regions or region not in {place for _, place in streams}:
        raise SettingsError(
            f"venue.region: expected {' or '.join(sorted(regions))} for {urlsplit(rest_url).hostname}, was {region!r}; "
            "an account's keys work on the hosts of its own site only"
        )
    return found


def _class_of(places: set[tuple[str, str]]) -> VenueClass:
    return next((CLASS_OF[network] for network, _ in places), VenueClass.SIM)


def _places(url: str, *, stream: bool) -> set[tuple[str, str]]:
    """(network, region) of every site that this address serves; none for a host that is not Bybit's."""
    host = urlsplit(url).hostname
    return {(network, region) for network, region, hosts in _sites() if host == _host(hosts, stream=stream)}


def _host(hosts: Hosts, *, stream: bool) -> str | None:
    return urlsplit(hosts.private_stream if stream else hosts.rest).hostname


def _sites() -> Iterator[tuple[str, str, Hosts]]:
    for network, regions in HOSTS.items():
        for region, hosts in regions.items():
            yield network, region, hosts
