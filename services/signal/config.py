"""[signal]: which strategies run, on what, and with which priors. `[signal.strategies.<name>]` adds one.

The table's name is the strategy's name in every event. Its `kind` is a shipped strategy (`threshold`, `trend`,
`mean_reversion`, `funding_arb`, `ml_momentum`; left out: the name itself) or `module:Class` of your own. What a table leaves out is the class's default.
"""

from __future__ import annotations

import msgspec

INTERVALS_MS: dict[str, int] = {
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}

Value = bool | int | float | str


class StrategyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One strategy. Empty or None: as the class says."""

    kind: str = ""
    enabled: bool = True
    symbols: tuple[str, ...] = ()
    interval: str = ""
    """Candle interval it decides on, e.g. "4h"; marketdata must publish it."""
    parameters: dict[str, Value] = {}
    """The strategy's own Parameters, by name."""

    def __post_init__(self) -> None:
        if self.interval and self.interval not in INTERVALS_MS:
            raise ValueError(f"interval: expected one of {', '.join(INTERVALS_MS)}, was {self.interval!r}")


class SignalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the signal service."""

    strategies: dict[str, StrategyConfig] = msgspec.field(
        default_factory=lambda: {name: StrategyConfig() for name in ("threshold", "trend", "mean_reversion")}
    )
    min_change: float = 0.1
    """A new target of the same sign is published when it moved at least this far."""
    fresh_bars: float = 1.0
    """A candle that is known later than this many of its own lengths after its end moves features, and publishes nothing."""
    models_dir: str = "models"
    """Where trained models are kept; relative to the settings file."""
    models: tuple[str, ...] = ()
    """Further models (`name/sha256`) that operators may promote, beside those that strategies name."""
    inference: str = "trees"
    """`trees`: models as arrays, some ten microseconds an answer; `sklearn`: scikit-learn itself, milliseconds."""
    operator_keys: dict[str, str] = {}
    place: str = ""
    """Set by the composition root: class of the venue and book, `live:main`, which every sealed command has to name."""
    """Public keys (hex) of those who may promote models and roll them back, by operator."""
    drift_bars: int = 24
    """Candles between two measurements of a model's drift."""
    block_psi: float = 0.5
    """PSI (scaled, see services/signal/drift.py) at which a model's factor is 0 and risk blocks it."""

    def __post_init__(self) -> None:
        if self.inference not in ("trees", "sklearn"):
            raise ValueError(f"inference: expected trees or sklearn, was {self.inference!r}")
        if self.drift_bars < 1:
            raise ValueError(f"drift_bars: expected 1 or more, was {self.drift_bars}")
        if not self.block_psi > 0.2:
            raise ValueError(f"block_psi: expected above 0.2, was {self.block_psi}")
        if not 0 < self.min_change <= 1:
            raise ValueError(f"min_change: expected above 0 and at most 1, was {self.min_change}")
        if any("|" in name or not name for name in self.strategies):
            raise ValueError("strategies: expected names that are not empty and hold no '|'")
