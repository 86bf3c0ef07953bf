"""Settings of the watchdog, section [watchdog] of the configuration file. Spans are ms of wall-clock time."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlsplit

import msgspec

SCHEME = "udp"


class WatchdogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`armed` allows it to close positions; cancelling entries it does in any case."""

    enabled: bool = False
    """`tidegate up` starts one."""
    beat_url: str = ""
    """udp://host:port of the watchdog: where execution beats to, past the bus. Empty: execution does not."""
    listen_host: str = ""
    """What the watchdog binds; empty: the host of `beat_url`. In a container 0.0.0.0."""
    key_file: str = ""
    """JSON file {"key", "secret"} of the same account as execution's: a key of its own, bound to the address it calls from."""
    bind_address: str = ""
    """Local address its calls leave from; empty: what the system takes."""
    beat_every_ms: int = 1_000
    cancel_after_ms: int = 5_000
    flatten_after_ms: int = 60_000
    armed: bool = False
    settle_coin: str = "USDT"
    slice_usd: Decimal = Decimal(10_000)
    """One reduce-only order closes at most so much of a position."""
    collar: Decimal = Decimal("0.03")
    """How far from mark a slice may trade; twice as far at each try that closed nothing, never beyond the venue's limit."""
    round_every_ms: int = 500
    """Between two looks at the account while it acts."""
    prove_every_ms: int = 30_000
    """How often it proves, while all is well, that the exchange still takes its key."""

    def __post_init__(self) -> None:
        if self.beat_url:
            address_of(self.beat_url)
        for name in ("beat_every_ms", "round_every_ms", "prove_every_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, was {getattr(self, name)}")
        if self.cancel_after_ms < 3 * self.beat_every_ms:
            raise ValueError(
                f"cancel_after_ms: expected at least three beats ({3 * self.beat_every_ms}), was {self.cancel_after_ms}"
            )
        if self.flatten_after_ms < self.cancel_after_ms:
            raise ValueError(
                f"flatten_after_ms: expected cancel_after_ms ({self.cancel_after_ms}) or more, was {self.flatten_after_ms}"
            )
        if self.slice_usd <= 0:
            raise ValueError(f"slice_usd: expected more than 0, was {self.slice_usd}")
        if not 0 < self.collar < 1:
            raise ValueError(f"collar: expected a fraction between 0 and 1, was {self.collar}")


def address_of(beat_url: str) -> tuple[str, int]:
    """Host and port of `udp://host:port`. Raises ValueError naming the setting."""
    try:
        parts = urlsplit(beat_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != SCHEME:
        raise ValueError(f"beat_url: expected {SCHEME}://host:port, was {beat_url!r}")
    return host, port
