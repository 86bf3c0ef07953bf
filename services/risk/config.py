"""What the settings file says about risk: section [risk]. Seeds a fresh book; afterwards limits and stage are events."""

from __future__ import annotations

from decimal import Decimal

import msgspec

NARROWEST_EXIT = Decimal("0.001")
HIGHEST = Decimal(10) ** 12
"""More than any limit means; its units still fit where numbers are fast."""
KEY_BYTES = 32


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every number that can refuse or halt. Smaller is tighter for each of them. Names are those of `Reason`.

    Loss limits are fractions of capital (= stage share x equity); `_usd` of the settlement coin; `_ms` milliseconds.
    """

    max_daily_loss: Decimal = Decimal("0.02")
    max_weekly_loss: Decimal = Decimal("0.05")
    max_drawdown: Decimal = Decimal("0.10")
    max_consecutive_losses: Decimal = Decimal(5)
    max_position_size: Decimal = Decimal("1.0")
    """Base units per symbol."""
    position_limit_usd: Decimal = Decimal(50_000)
    max_gross_usd: Decimal = Decimal(100_000)
    max_net_usd: Decimal = Decimal(50_000)
    max_leverage: Decimal = Decimal(5)
    """Gross exposure over capital."""
    max_order_usd: Decimal = Decimal(10_000)
    max_order_qty: Decimal = Decimal(0)
    """Base units an order; 0 means the venue's own maximum."""
    entry_collar: Decimal = Decimal("0.01")
    exit_collar: Decimal = Decimal("0.03")
    max_latency_ms: Decimal = Decimal(1000)
    feed_delay_ms: Decimal = Decimal(1000)
    feed_silence: Decimal = Decimal(15_000)
    """Milliseconds without any tick of any symbol; never below three instants of a tape."""
    max_error_rate: Decimal = Decimal("0.20")
    order_rate: Decimal = Decimal(8)
    """Entries a second."""
    signal_repeats: Decimal = Decimal(3)
    """Entries approved on the same words of a strategy within a minute."""
    fills_per_minute: Decimal = Decimal(30)
    """Orders filled a minute, per strategy."""
    velocity: Decimal = Decimal(10)
    """Standard deviations (1 h EWMA) that the price may move in 5 s."""
    spread: Decimal = Decimal(20)
    """Multiples of the median spread."""
    clock_offset_ms: Decimal = Decimal(500)
    max_margin_ratio: Decimal = Decimal("0.5")
    """Maintenance margin over margin balance of the account."""
    signal_flood: Decimal = Decimal(300)
    """The same words of a strategy on a symbol within a minute, decided or refused."""

    def __post_init__(self) -> None:
        for name in Limits.__struct_fields__:
            value: Decimal = getattr(self, name)
            if not value.is_finite() or not 0 <= value <= HIGHEST:
                raise ValueError(f"{name}: expected a number from 0 to {HIGHEST:f}, was {value}")
        if self.exit_collar < NARROWEST_EXIT:
            raise ValueError(
                f"exit_collar: expected {NARROWEST_EXIT} or more, so that exits fill, was {self.exit_collar}"
            )


class Allow(msgspec.Struct, frozen=True, kw_only=True):
    """What one strategy may trade, and in which stages."""

    symbols: tuple[str, ...]
    stages: tuple[str, ...] = ("backtest", "paper", "staged", "ramp", "full")


class EntryStyle(msgspec.Struct, frozen=True, kw_only=True):
    """How a strategy's entries go to the book: `ioc` takes, `post_only` rests at the touch for `ttl_ms`."""

    style: str = "ioc"
    ttl_ms: int = 30_000

    def __post_init__(self) -> None:
        if self.style not in ("ioc", "post_only"):
            raise ValueError(f"style: expected ioc or post_only, was {self.style!r}")

    @property
    def rests(self) -> bool:
        """Whether what does not trade at once stays in the venue's book."""
        return self.style == "post_only"


STAGE_SHARES: dict[str, Decimal] = {
    "backtest": Decimal(1),
    "paper": Decimal(1),
    "staged": Decimal("0.01"),
    "ramp": Decimal("0.05"),
    "ramp-10": Decimal("0.10"),
    "ramp-25": Decimal("0.25"),
    "ramp-50": Decimal("0.50"),
    "full": Decimal(1),
}
"""Share of equity that counts as capital, by stage."""

LIVE_STAGES = ("staged", "ramp", "ramp-10", "ramp-25", "ramp-50", "full")
"""Stages with real money: two operators for what raises risk, one loss re-base a day."""


class RiskConfig(Limits, frozen=True, kw_only=True):
    """Section [risk]: the limits of a fresh book, side by side with the rest."""

    allow: dict[str, Allow] = {}
    """By strategy. What is not listed is refused."""
    allocation: dict[str, Decimal] = {}
    """Share of capital by strategy, in [0, 1]; a strategy without one has none."""
    stage: str = "paper"
    kelly_fraction: Decimal = Decimal("0.25")
    entry: dict[str, EntryStyle] = {}
    """Entry style by strategy; `ioc` by default."""
    slippage: Decimal = Decimal("0.001")
    """How far beyond the touch an entry's IOC limit reaches."""
    min_resize: Decimal = Decimal("0.25")
    """A position is not resized for less than this fraction of the wanted size."""
    signal_ttl_ms: int = 10_000
    """A signal older than this is refused; never below three instants of a tape."""
    intent_ttl_ms: int = 2_000
    flatten_on_halt: bool = False
    flatten_slice_usd: Decimal = Decimal(10_000)
    auto_arm: bool = False
    """Resume a fresh book by itself once reconciled with fresh market data. Simulator only."""
    naked_ms: int = 500
    """How long one leg of a pair may stand alone while the other's order is open."""
    quiet_ms: int = 60_000
    clears_a_day: int = 3
    operator_keys: dict[str, str] = {}
    """Ed25519 public key (hex) by operator."""
    place: str = ""
    """Set by the composition root: class of the venue and book, `live:main`, which every sealed command has to name."""

    @property
    def limits(self) -> Limits:
        return Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})

    def is_for(self, stage: str) -> bool:
        """Whether a book in this stage may trade at this place: real money wants a stage of real money."""
        return stage in LIVE_STAGES or not self.place.startswith("live:")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stage not in STAGE_SHARES:
            raise ValueError(f"stage: expected one of {', '.join(STAGE_SHARES)}, was {self.stage!r}")
        if not 0 < self.kelly_fraction <= 1:
            raise ValueError(f"kelly_fraction: expected more than 0 and at most 1, was {self.kelly_fraction}")
        if not 0 < self.intent_ttl_ms <= 2_000:
            raise ValueError(f"intent_ttl_ms: expected 1 to 2000, was {self.intent_ttl_ms}")
        keys = [_key_bytes(name, key) for name, key in self.operator_keys.items()]
        if len(set(keys)) < len(keys):
            raise ValueError("operator_keys: expected a key of his own for each operator, was one key under two names")
        total = sum(self.allocation.values(), Decimal(0))
        if total > 1 or any(share < 0 for share in self.allocation.values()):
            raise ValueError(f"allocation: expected shares of 0 or more that add up to at most 1, was {total}")


def _key_bytes(operator: str, key: str) -> bytes:
    """The key itself: the same one written in other letters is no second operator's."""
    try:
        found = bytes.fromhex(key)
    except ValueError:
        found = b""
    if len(found) != KEY_BYTES:
        raise ValueError(
            f"operator_keys: expected {2 * KEY_BYTES} hex digits for {operator!r}, was {len(key)} characters; "
            "`tidegate operator keygen` prints the line"
        )
    return found
