"""What every verb is told: which settings file, which bus, how much to say. And how settings are loaded for all sections."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from libs.common.settings import Settings

DEFAULT_CONFIG = Path("tidegate.toml")

SECTION_OWNERS = {
    "marketdata": "services.marketdata.config:MarketdataConfig",
    "signal": "services.signal.config:SignalConfig",
    "risk": "services.risk.config:RiskConfig",
    "execution": "services.execution.config:ExecutionConfig",
    "watchdog": "services.execution.watchdog.config:WatchdogConfig",
    "monitor": "services.monitor.config:MonitorConfig",
    "sim": "sim.config:SimConfig",
}
"""Where each section's struct lives; imported when settings are read, not before."""


@dataclass(frozen=True)
class Context:
    """The options that stand before or after any verb."""

    config: Path | None = None
    bus: str | None = None
    debug: bool = False

    def settings(self, overrides: Mapping[str, Any] | None = None, base: Path | None = None) -> Settings:
        """Settings of all sections: `base`, then --config (or ./tidegate.toml when there is one), then the environment."""
        from libs.common.settings import load

        extra = dict(overrides or {})
        if self.bus:
            extra |= {"bus.market_url": self.bus, "bus.book_url": self.bus}
        file = self.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)
        return load(section_types(), file, base=base, overrides=extra)


DEFAULT = Context()
"""What a verb gets when it is called as a function."""


def section_types() -> dict[str, type[Any]]:
    """The struct of every section that a service or the simulator owns, by section; of what this image holds."""
    found = {}
    for name, place in SECTION_OWNERS.items():
        module, _, struct = place.partition(":")
        if is_here(module.rpartition(".")[0]):
            found[name] = getattr(import_module(module), struct)
    return found


def is_here(module: str) -> bool:
    """Whether this image holds a module: monitor's has the verbs that look and act, and no service but its own."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package it would lie in
        return False


Ctx = Annotated[Context, Parameter(parse=False)]
"""Parameter of a verb that the launcher fills in."""

Format = Annotated[Literal["table", "json", "csv"], Parameter(name=["--output", "-o"], help="How to print.")]
RunDir = Annotated[Path | None, Parameter(name="--run-dir", help="Read a run's directory instead of the bus.")]


def say(text: str) -> None:
    """A line for the person at the terminal: stderr, so that stdout stays data."""
    print(text, file=sys.stderr, flush=True)
