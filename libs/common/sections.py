"""The sections of the settings that every process shares. Those of one service are structs in its own package.

A section checks itself in `__post_init__` and raises ValueError("<field>: expected ..., was ..."); `settings` adds where
the value came from.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

import msgspec

MASK = "********"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """[run]: what this run is. `mode`: `tape` (lockstep, tape time) or `realtime` (wall clock)."""

    name: str = "main"
    mode: str = "realtime"
    seed: int = 7
    stage: str = "paper"
    speed: str = "max"
    """`max`, or how many times faster than wall clock a tape plays."""
    instant_ms: int = 0
    """Tape time that one instant (wave) covers; 0: a second, or the shortest candle of the tape."""
    duration_ms: int = 0
    """Stop the tape after this span; 0 plays all of it."""
    tapes: tuple[str, ...] = ()
    """`[SYMBOL=]FILE` or `synthetic:seed=N`, in order."""
    run_dir: str = ""
    resume_after_ms: int = 0
    """Tape runs: the scripted operator resumes a halt this long (tape time) after it; 0: nobody does."""
    flatten_at_end: bool = False
    """Tape runs: the scripted operator flattens when the tape is over, and the run ends when the exchange says flat."""

    seal_key_file: str = ""
    """Risk's private key, 64 hex digits, mode 0600; relative to the settings file. Its public half: [execution] seal_keys."""
    seal_key_id: str = "run"
    operator: str = "operator"
    """Who signs commands given from here; the public half of the key is in [risk] operator_keys under this name."""
    operator_key_file: str = ""

    def __post_init__(self) -> None:
        _one_of("mode", self.mode, ("tape", "realtime"))
        _one_of("stage", self.stage, ("backtest", "paper", "staged", "ramp", "full"))
        if self.speed != "max" and not _is_positive_number(self.speed):
            raise ValueError(f"speed: expected 'max' or a number above 0, was {self.speed!r}")
        _at_least("instant_ms", self.instant_ms, 0)
        _at_least("duration_ms", self.duration_ms, 0)
        _at_least("resume_after_ms", self.resume_after_ms, 0)


class Bus(msgspec.Struct, frozen=True, kw_only=True):
    """[bus]: where the streams are. `book`: the trading book, one account and one risk domain."""

    market_url: str = "redis://127.0.0.1:6379/0"
    book_url: str = "redis://127.0.0.1:6379/0"
    book: str = "main"
    passwords: str = ""
    """Folder with a file for each role this process has on the server (`risk`, `tools`), its password in it; relative to the
    settings file. Empty: the server asks for none."""

    def __post_init__(self) -> None:
        for name, url in (("market_url", self.market_url), ("book_url", self.book_url)):
            if not url.startswith(("redis://", "rediss://", "unix://")):
                raise ValueError(f"{name}: expected redis://, rediss:// or unix://, was {mask_url(url)!r}")
        if not self.book.replace("-", "").replace("_", "").isalnum() or self.book == "md":
            raise ValueError(f"book: expected letters, digits, - and _, and not 'md', was {self.book!r}")


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """[venue]: the exchange. Live, testnet and simulator differ in these lines only. Keys come from `key_file`."""

    rest_url: str = "http://127.0.0.1:8899"
    ws_url: str = "ws://127.0.0.1:8899"
    """The account's side: what execution talks to."""
    public_rest_url: str = ""
    public_ws_url: str = ""
    """The market's side: what marketdata follows. Empty: the same hosts as the account's."""
    key_file: str = ""
    """JSON file {"key": ..., "secret": ...}, mode 0600; relative to the settings file."""
    second_key_file: str = ""
    """The same for key B, which takes over when the exchange refuses key A; both are read again when their files change."""
    network: str = "mainnet"
    """`mainnet`, `testnet` or `demo`: whose public data `tidegate up` follows."""
    region: str = "global"
    """The site the account belongs to; names the hosts (libs/bybit/hosts.py)."""

    @property
    def market_rest_url(self) -> str:
        return self.public_rest_url or self.rest_url

    @property
    def market_ws_url(self) -> str:
        return self.public_ws_url or self.ws_url

    def __post_init__(self) -> None:
        _one_of("network", self.network, ("mainnet", "testnet", "demo"))


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """[telemetry]: each service serves /livez /readyz /metrics on `probes_port` (0: any free port of loopback)."""

    probes_port: int = 0
    probes_host: str = "127.0.0.1"
    traces: bool = False
    log_level: str = "info"

    def __post_init__(self) -> None:
        _one_of("log_level", self.log_level, ("debug", "info", "warning", "error"))
        if not 0 <= self.probes_port <= 65535:
            raise ValueError(f"probes_port: expected 0 to 65535, was {self.probes_port}")


OWN_SECTIONS: dict[str, type[msgspec.Struct]] = {"run": Run, "bus": Bus, "venue": Venue, "telemetry": Telemetry}


def with_login(url: str, user: str, password: str) -> str:
    """A URL that logs in; one that already names a user stays as it is."""
    scheme, found, rest = url.partition("://")
    return url if "@" in rest or not found else f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def password_in(url: str) -> str:
    """The password a URL logs in with; "" for none."""
    return unquote(urlsplit(url).password or "")


def mask_url(url: str) -> str:
    """A URL without the password in it."""
    head, at, tail = url.rpartition("@")
    if not at or "://" not in head:
        return url
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}:{MASK}@{tail}" if ":" in user else url


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}, was {value!r}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}: expected {least} or more, was {value}")


def _is_positive_number(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False
