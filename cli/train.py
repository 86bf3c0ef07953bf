"""`tidegate train`: candles in, a calibrated model with its card and report out. Its figures are told as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cli.context import DEFAULT, Ctx, say
from libs.common.errors import UsageError


def train(
    *,
    data: Annotated[
        str, Parameter(help="[SYMBOL=]FILE of candles or trades (Parquet, CSV, recorded frames) or synthetic:seed=N.")
    ],
    name: Annotated[str, Parameter(help="What the model is called; its directory below --models.")],
    interval: Annotated[str, Parameter(help="Candles it decides on.")] = "1h",
    symbol: Annotated[str | None, Parameter(help="Which one, when the data holds several.")] = None,
    since: Annotated[str | None, Parameter(help="First day to use (UTC).")] = None,
    until: Annotated[
        str | None, Parameter(help="Train on what is before this day; what follows is shown, never learnt.")
    ] = None,
    estimator: Annotated[
        Literal["forest", "boosting"], Parameter(help="Random forest or histogram gradient boosting.")
    ] = "forest",
    calibration: Annotated[
        Literal["sigmoid", "isotonic"], Parameter(help="How scores become probabilities.")
    ] = "sigmoid",
    horizon: Annotated[int, Parameter(help="Candles a trade is held.")] = 12,
    stop_atr: Annotated[float, Parameter(help="Stop distance in average true ranges.")] = 3.0,
    min_edge: Annotated[float, Parameter(help="Least expectation to trade, in average losses.")] = 0.02,
    fee: Annotated[float, Parameter(help="Taker's fee, fraction of the value, each side.")] = 0.00055,
    slippage: Annotated[float, Parameter(help="Fraction of the value, each side.")] = 0.0001,
    funding: Annotated[float, Parameter(help="Paid each 8 hours a position is held, fraction of the value.")] = 0.0001,
    folds: Annotated[int, Parameter(help="Walk-forward folds.")] = 5,
    embargo: Annotated[int, Parameter(help="Candles left out between training and test, beside the horizon.")] = 24,
    trials: Annotated[
        int, Parameter(help="How many variants you tried on this data, this one included: deflates the Sharpe ratio.")
    ] = 1,
    seed: Annotated[int, Parameter(help="Of the estimator.")] = 7,
    models: Annotated[Path | None, Parameter(help="Where models are kept (default: [signal] models_dir).")] = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Train a model by purged walk-forward with costs, calibrate it, keep it under the hash of its files, and report.

    The same data, settings and library versions give the same model and the same hash.
    """
    import numpy as np

    from cli.candles import date_ms, load_candles
    from cli.models import models_dir
    from cli.modeltext import report
    from services.signal.model import Costs, Rules
    from services.signal.registry import keep, load
    from services.signal.training import Plan
    from services.signal.training import train as fit

    _check_name(name)
    candles = load_candles(data, interval, symbol, date_ms("--since", since) if since else 0)
    stop = int(np.searchsorted(candles.ts, date_ms("--until", until))) if until else len(candles)
    plan = Plan(
        name=name, interval=interval, estimator=estimator, calibration=calibration, seed=seed, folds=folds, embargo=embargo,
        trials=trials,
        rules=Rules(horizon_bars=horizon, stop_atr=stop_atr, min_edge=min_edge),
        costs=Costs(fee=fee, slippage=slippage, funding=funding),
    )  # fmt: skip
    trained = fit(candles, plan, stop, say)
    directory = models or models_dir(ctx)
    place = keep(trained, directory)
    kept = f"{name}/{place.name}"
    load(directory, kept)  # what cannot be served must be known now
    text = report(trained.card, kept)
    page = place.parent / f"{place.name[:12]}.md"
    page.write_text(text)
    print(text)
    print(f"model {kept}\nreport {page}")
    return 0


def _check_name(name: str) -> None:
    if not name or not all(character.isalnum() or character in "-_" for character in name):
        raise UsageError(f"--name: expected letters, digits, - and _, was {name!r}")
