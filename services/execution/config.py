"""Settings of execution, section [execution] of the configuration file."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class ExecutionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; the composition root fills in the keys. Spans are ms of tape or wall-clock time."""

    seal_keys: dict[str, str] = {}
    """Public keys (hex) that approvals may be sealed with, by key id; two while a rotation overlaps."""
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
    check_key: bool = False
    """Refuse a key that can withdraw, is not bound to addresses, or runs out: on for a live venue."""
