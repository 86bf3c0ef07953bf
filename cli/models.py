"""`tidegate model`: which models there are, what they are worth, and which one is live."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.context import DEFAULT, Context, Ctx, Format, RunDir

if TYPE_CHECKING:
    from libs.common.events import Command
    from libs.common.settings import Settings

Models = Annotated[Path | None, Parameter(help="Where models are kept (default: [signal] models_dir).")]
Model = Annotated[str, Parameter(name="MODEL", help="NAME, NAME/START-OF-HASH or START-OF-HASH.")]
Strategy = Annotated[str, Parameter(help="Whose model (default: the only strategy that serves one).")]
Key = Annotated[Path | None, Parameter(help="Operator's private key (default: [run] operator_key_file).")]
Operator = Annotated[str | None, Parameter(help="Who says so (default: [run] operator).")]
Dir = Annotated[
    Path | None, Parameter(name="--run-dir", help="The running run that is meant; gives bus, key and models.")
]


def list_(*, models: Models = None, run_dir: RunDir = None, output: Format = "table", ctx: Ctx = DEFAULT) -> int:
    """Every model kept; with --run-dir those of a run, and for which strategy each is live."""
    from cli.candles import day_of
    from cli.output import print_rows
    from services.signal.registry import card_of, found

    directory = models or models_dir(ctx, run_dir)
    live = _live(ctx, run_dir) if run_dir is not None else {}
    rows = []
    for name, sha in found(directory):
        card = card_of(directory, f"{name}/{sha}")
        shown = card.metrics.get("shown") or {}
        rows.append(
            {
                "model": f"{name}/{sha[:12]}",
                "symbol": card.symbol,
                "interval": card.interval,
                "estimator": card.estimator,
                "trained until": day_of(card.trained_until_ms),
                "net sharpe shown": round(shown["net_sharpe"], 2) if shown else None,
                "live": ", ".join(strategy for strategy, model in live.items() if sha.startswith(model)),
            }
        )
    columns = ("model", "symbol", "interval", "estimator", "trained until", "net sharpe shown", "live")
    print_rows(rows, columns, output)
    return 0


def show(model: Model, *, models: Models = None, run_dir: RunDir = None, ctx: Ctx = DEFAULT) -> int:
    """A model's report: training data, costs, every fold, the period it never saw."""
    from cli.modeltext import report
    from services.signal.registry import card_of, resolve

    directory = models or models_dir(ctx, run_dir)
    full = resolve(directory, model)
    print(report(card_of(directory, full), full))
    return 0


def promote(
    model: Model,
    *,
    strategy: Strategy = "",
    operator: Operator = None,
    key: Key = None,
    run_dir: Dir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Let a strategy serve another model, from the next event on. Signed; the run's settings must name the model."""
    from libs.common.events import ModelPromote
    from services.signal.registry import resolve

    full = resolve(models_dir(ctx, run_dir), model)
    return _send(ctx, run_dir, operator, key, lambda common: ModelPromote(model=full, strategy=strategy, **common))


def rollback(
    *, strategy: Strategy = "", operator: Operator = None, key: Key = None, run_dir: Dir = None, ctx: Ctx = DEFAULT
) -> int:
    """Back to the model before. Signed."""
    from libs.common.events import ModelRollback

    return _send(ctx, run_dir, operator, key, lambda common: ModelRollback(strategy=strategy, **common))


def _send(ctx: Context, run_dir: Path | None, operator: str | None, key: Path | None, command: Any) -> int:
    from cli.desk import Desk
    from libs.common.errors import TidegateError, UsageError
    from libs.common.events import ModelRefused

    desk = Desk(ctx, run_dir, operator, key)
    if not desk.private:
        raise UsageError("expected an operator's key to sign with, was none; name it with --key FILE or --run-dir DIR")
    with desk:
        made: Command = command(desk.common())
        answer = desk.await_answer(desk.send(made), ("model",)).body
    if isinstance(answer, ModelRefused):
        raise TidegateError(f"signal refused the command: {answer.reason}")
    return 0


def _live(ctx: Context, run_dir: Path) -> dict[str, str]:
    """The model each strategy serves, as the log says."""
    from cli.sources import open_source
    from libs.common.events import ModelPromoted, ModelRolledBack

    with open_source(ctx, run_dir) as source:
        bodies = (record.body for record in source.read("model"))
        return {body.strategy: body.model for body in bodies if isinstance(body, ModelPromoted | ModelRolledBack)}


def models_dir(ctx: Context, run_dir: Path | None = None) -> Path:
    """Where the settings (of a run) say that models are."""
    from cli.rundir import config_of
    from services.signal.config import SignalConfig

    where = ctx if run_dir is None else Context(config_of(run_dir), ctx.bus, ctx.debug)
    settings = where.settings()
    return settings.path(settings.section("signal", SignalConfig).models_dir)


def carried(settings_of: Callable[[dict[str, object]], Settings], places: dict[str, object], run_dir: Path) -> Settings:
    """The settings of a run, with the models they name kept in its directory."""
    settings = settings_of(places)
    models = carry(settings, run_dir)
    return settings_of(places | models) if models else settings


def carry(settings: Settings, run_dir: Path) -> dict[str, object]:
    """Copy the models that the settings name into a run directory, so that it can be replayed wherever it lies.

    Returns the settings that name them there, in full, by dotted key. Raises UsageError for a model that is not there.
    """
    from services.signal.available import named
    from services.signal.config import SignalConfig

    config = settings.section("signal", SignalConfig)
    if not named(config):
        return {}
    from services.signal.registry import resolve

    source = settings.path(config.models_dir)
    full = {text: resolve(source, text) for text in named(config)}
    for model in set(full.values()):
        place = run_dir / "models" / model
        if not place.exists():
            shutil.copytree(source / model, place)
    overrides: dict[str, object] = {
        "signal.models_dir": "models",
        "signal.models": [full[text] for text in config.models],
    }
    for name, table in config.strategies.items():
        if table.enabled and "model" in table.parameters:
            overrides[f"signal.strategies.{name}.parameters.model"] = full[str(table.parameters["model"])]
    return overrides
