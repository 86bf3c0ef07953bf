"""`tidegate backtest`: the same cores and matching engine in one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.context import DEFAULT, Ctx, say
from cli.models import carried
from cli.rundir import default_run_dir, make_run_dir, write_accounts, write_config, write_keys
from cli.tapes import Duration, Seed, plan

if TYPE_CHECKING:
    from cli.backtest import Result
    from libs.common.settings import Settings


def backtest(
    *,
    tape: Annotated[
        list[str], Parameter(consume_multiple=True, negative="", help="[SYMBOL=]FILE or synthetic:seed=N.")
    ],
    seed: Seed = None,
    duration: Duration = None,
    run_dir: Annotated[
        Path | None, Parameter(name="--run-dir", help="Where report and archive go; empty or new.")
    ] = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Play a tape through the cores and the matching engine, as fast as it goes, and report."""
    overrides, _, base = plan(ctx, seed, "max", duration, tape)
    overrides |= {"run.name": "backtest", "run.stage": "backtest", "risk.stage": "backtest"}
    ctx.settings(overrides, base)
    directory = make_run_dir(run_dir or default_run_dir(overrides["run.seed"]))
    places = write_keys(directory) | {"run.run_dir": str(directory)}
    settings = carried(lambda found: ctx.settings(overrides | found, base), places, directory)
    write_accounts(directory, settings)
    result, report = _run(write_config(directory, settings), settings, directory)
    say(f"{result.seconds:.1f} s, {result.events / max(result.seconds, 0.001):,.0f} events/s")
    _summary(report, directory)
    return 0


def _run(config: Path, settings: Settings, directory: Path) -> tuple[Result, dict[str, Any]]:
    from cli.backtest import backtest as run

    if not sys.stderr.isatty():
        return run(config, settings, directory)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("backtest", total=None)

        def move(at: int, start_at: int, end_at: int) -> None:
            bar.update(task, completed=at - start_at, total=end_at - start_at)

        return run(config, settings, directory, move)


def _summary(report: dict[str, Any], directory: Path) -> None:
    from cli.summary import money_lines

    for line in money_lines(report):
        print(line)
    print(f"  report: {directory / 'report.html'}")
