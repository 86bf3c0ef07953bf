"""The models that the settings name, loaded. Whoever names none never imports scikit-learn."""

from __future__ import annotations

from pathlib import Path

from services.signal.config import SignalConfig
from services.signal.model import Model


def named(config: SignalConfig) -> tuple[str, ...]:
    """Every model that enabled strategies serve or operators may promote, as the settings write it."""
    served = [
        str(table.parameters["model"])
        for _, table in sorted(config.strategies.items())
        if table.enabled and "model" in table.parameters
    ]
    return tuple(dict.fromkeys([*served, *config.models]))


def models_of(config: SignalConfig, models: Path) -> dict[str, Model]:
    """Those models by full hash, from the directory `models`. Raises UsageError for one that must not be served."""
    names = named(config)
    if not names:
        return {}
    from services.signal.registry import load

    loaded = [load(models, name, config.inference) for name in names]
    return {model.sha: model for model in loaded}
