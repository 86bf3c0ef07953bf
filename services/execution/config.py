"""Settings of execution, section [execution] of the configuration file."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from libs.common.values import venue_name

LONGEST_APPROVAL_MS = 2_000
MOST_KEYS = 2


class ExecutionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; the composition root fills in the keys. Spans are ms of tape or wall-clock time."""

    seal_keys: dict[str, str] = {}
    """Public keys (hex) that approvals may be sealed with, by key id: one, or two while a rotation overlaps."""
    seal_retired: dict[str, int] = {}
    """Key id -> instant (ns since 1970 UTC) from which its seals are refused: the end of a rotation's overlap."""
    longest_approval_ms: int = 2_000
    """An approval that runs out later than this after it was made is refused."""
    book: str = ""
    """Set by the composition root: the trading book, which every approval has to name."""
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    """Where leverage and position mode are asserted at start."""
    settle_coin: str = "USDT"
    leverage: Decimal = Decimal(5)
    recv_window_ms: int = 3_000
    dead_after_ms: int = 2_000
    """On top of recv_window: an order nobody knows of is dead only then."""
    ack_timeout_ms: int = 2_000
    """Without proof from the private stream for so long, an acknowledged order is asked for."""
    retry_ms: int = 500
    """Between two attempts of a cancel or a lookup."""
    reconcile_every_ms: int = 5_000
    reconcile_every_instants: int = 240
    recheck_ms: int = 500
    """After a poll that differs; in tape runs the next instant."""
    overlap_ms: int = 10_000
    """How far executions are read again behind the last one known."""
    heartbeat_every_ms: int = 60_000
    wallet_tolerance_units: int = 0
    """Difference of the wallet, in 1e-8 coins, that is not one."""
    attach_stops: bool = True
    own_prefix: str = "tg-"
    watchdog_prefix: str = "tgw-"
    """Orders of the watchdog: not ours, but not foreign either."""
    check_key: bool | None = None
    """Refuse a key that can move money, is bound to no address, is a master's, read-only or runs out. Unset: wherever the key is
    Bybit's. False is taken on the simulator and on testnet only."""
    venue_class: str = ""
    """sim, testnet, demo or live, as the composition root learns it from the hosts; "" where nobody needs to know."""
    region: str = "global"
    """The composition root copies venue.region."""
    margin_mode: str = "REGULAR_MARGIN"
    """Cross margin; ISOLATED_MARGIN for one margin a position. Asserted at the start, for the whole account."""
    dcp_window_s: int = 40
    """Disconnection protection, where the account has it: the venue cancels what rests after so long without us; 0 leaves it off."""

    def __post_init__(self) -> None:
        for symbol in self.symbols:
            if not tradable(symbol):
                raise ValueError(
                    f"symbols: expected USDT perpetuals (BTCUSDT) and spot pairs (BTCUSDT-SPOT), was {symbol!r}; "
                    "options, dated futures and what is settled or quoted in another coin are not traded"
                )
        if not 0 < self.longest_approval_ms <= LONGEST_APPROVAL_MS:
            raise ValueError(
                f"longest_approval_ms: expected 1 to {LONGEST_APPROVAL_MS}, was {self.longest_approval_ms}"
            )
        lasting = sorted(self.seal_keys.keys() - self.seal_retired.keys())
        if len(lasting) > MOST_KEYS:
            raise ValueError(
                f"seal_keys: expected one key, or two while a rotation overlaps, was {', '.join(lasting)}; "
                "say in seal_retired when the old ones end"
            )
        if self.margin_mode not in MARGIN_MODES:
            raise ValueError(f"margin_mode: expected one of {', '.join(MARGIN_MODES)}, was {self.margin_mode!r}")
        if self.dcp_window_s and not 3 <= self.dcp_window_s <= 300:
            raise ValueError(f"dcp_window_s: expected 0 or 3 to 300, was {self.dcp_window_s}")


MARGIN_MODES = ("REGULAR_MARGIN", "ISOLATED_MARGIN", "PORTFOLIO_MARGIN")


def tradable(symbol: str) -> bool:
    """A perpetual or a spot pair in USDT by its name: what has a dash besides our suffix is dated, or an option; BTCPERP is
    settled in USDC, and BTCUSDC-SPOT is paid for in it."""
    name = venue_name(symbol)
    return name.isalnum() and name.endswith("USDT")
