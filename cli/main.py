"""`tidegate`: the command line. One verb, one function, loaded only when it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnknownCommandError, UnknownOptionError

from cli.context import Context, is_here
from libs.common.errors import TidegateError

EXIT_CODES = (
    "Exit codes: 0 ok · 1 error · 2 usage, configuration, bad tape · 3 halted · 4 replay diverged · 5 unreachable"
)

RUN, LOOK, ACT, HISTORY, RESEARCH = "1 Run", "2 Look", "3 Act", "4 History", "5 Research"

VERBS: tuple[tuple[str, str, str, str], ...] = (
    ("demo", "cli.demo:demo", RUN, "Trade a tape with five services and a simulated exchange; replay and report."),
    ("up", "cli.up:up", RUN, "Paper trading in the foreground: Bybit's live public data (or a tape), simulated fills."),
    ("sim", "cli.simulate:sim", RUN, "Serve the simulated exchange alone."),
    ("status", "cli.listing:status", LOOK, "Mode, money, open halts and services at a glance."),
    ("watch", "cli.watch:watch", LOOK, "The status, again and again, in place."),
    ("positions", "cli.listing:positions", LOOK, "Open positions at mark."),
    ("orders", "cli.listing:orders", LOOK, "Orders with their last known state."),
    ("fills", "cli.listing:fills", LOOK, "Executions of our orders."),
    ("risk", "cli.listing:risk", LOOK, "Every limit with what was last measured."),
    ("runs", "cli.listing:runs", LOOK, "Runs kept on this machine."),
    ("doctor", "cli.doctor:doctor", LOOK, "Check the environment, the settings and the bus."),
    ("halt", "cli.act:halt", ACT, "Stop taking risk at once."),
    ("pause", "cli.act:pause", ACT, "No entries until resumed; exits go on."),
    ("resume", "cli.act:resume", ACT, "Take responsibility for a halt and go on."),
    ("flatten", "cli.act:flatten", ACT, "Close every position and cancel every order."),
    ("upgrade", "cli.stage:upgrade", ACT, "Open a window in which services may run on different code."),
    ("audit", "cli.audit:audit", HISTORY, "Who did what, when and why, and what came of it."),
    ("replay", "cli.rerun:replay", HISTORY, "Run the cores again on a recorded run; compare every byte; ask what if."),
    ("incident", "cli.incident:incident", HISTORY, "One halt told whole, for whoever is called and for the file."),
    ("why", "cli.why:why", HISTORY, "The causal chain of an order or any event."),
    ("backtest", "cli.research:backtest", RESEARCH, "Play a tape through cores and matching engine in one process."),
    ("train", "cli.train:train", RESEARCH, "Train a model on candles: walk-forward, costs, calibration, report."),
)
GROUPS: tuple[tuple[str, str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "events",
        "Read the log: tail, show, export, verify.",
        HISTORY,
        (
            ("tail", "cli.history:tail", "The newest events; with --follow those that come."),
            ("show", "cli.history:show", "One event, whole."),
            ("export", "cli.history:export", "Write events out as JSON lines or CSV."),
            ("verify", "cli.history:verify", "Check every hash of an archive, and its signature."),
        ),
    ),
    (
        "model",
        "Trained models: list, show, promote, rollback.",
        RESEARCH,
        (
            ("list", "cli.models:list_", "Every model kept, and where it is live."),
            ("show", "cli.models:show", "A model's report."),
            ("promote", "cli.models:promote", "Let a running strategy serve another model."),
            ("rollback", "cli.models:rollback", "Back to the model before."),
        ),
    ),
    (
        "limit",
        "The limits in force: show, set.",
        ACT,
        (
            ("show", "cli.limit:show", "Every limit, what was last measured, who set it and why."),
            ("set", "cli.limit:set_", "Move one limit."),
        ),
    ),
    (
        "stage",
        "How much of the account is at stake: status, promote, demote.",
        ACT,
        (
            ("status", "cli.stage:status", "The stage, and every change of it."),
            ("promote", "cli.stage:promote", "One stage up."),
            ("demote", "cli.stage:demote", "One stage down."),
        ),
    ),
    (
        "operator",
        "Who may sign: keygen.",
        ACT,
        (("keygen", "cli.operator:keygen", "A fresh key pair of an operator."),),
    ),
    (
        "config",
        "Look at the settings.",
        LOOK,
        (("show", "cli.settings:show", "Every setting, its value and its source."),),
    ),
)


def build() -> App:
    """The verbs that this image holds, without importing any of them."""
    app = App(
        name="tidegate",
        help="Machine-learning trading on Bybit with a risk service inline.",
        help_epilogue=EXIT_CODES,
        version=_version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main says it, with its exit code
    )
    for name, target, group, text in VERBS:
        if is_here(target.partition(":")[0]):
            app.command(target, name=name, group=group, help=text)
    for name, text, group, commands in GROUPS:
        below = App(name=name, help=text, group=group)
        for verb, target, what in commands:
            if is_here(target.partition(":")[0]):
                below.command(target, name=verb, help=what)
        if any(is_here(target.partition(":")[0]) for _, target, _ in commands):
            app.command(below)
    return app


def _version() -> str:
    """Of the installed distribution, or of the checkout this runs from."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tidegate")
    except PackageNotFoundError:
        import tomllib

        project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
        return str(project["version"])


def launcher(app: App) -> App:
    """Wrap the app so that --config, --bus and --debug are understood before and after the verb."""

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[
            Path | None, Parameter(help="Settings file (default: tidegate.toml where there is one).")
        ] = None,
        bus: Annotated[str | None, Parameter(help="URL of the bus, instead of [bus] in the settings.")] = None,
        debug: Annotated[bool, Parameter(negative="", help="Show tracebacks.")] = False,
    ) -> Any:
        command, bound, ignored = app.parse_args(tokens, print_error=False, exit_on_error=False)
        context = Context(config, bus, debug)
        extra = {name: context for name in ignored if name == "ctx"}
        return command(*bound.args, **bound.kwargs, **extra)

    app.meta.result_action = "return_value"
    app.meta.suppress_keyboard_interrupt = False
    return app.meta


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit code. Errors are one sentence on stderr; --debug adds the traceback."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    # A polite end is an end in order, whoever asks; also where a script started us with SIGINT ignored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    debug = "--debug" in tokens
    try:
        result = launcher(build())(tokens, print_error=False, exit_on_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except TidegateError as e:
        return _fail(str(e), e.exit_code, debug)
    except CycloptsError as e:
        return _fail(_usage(e), 2, debug)
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in ("cli", "services", "sim"):
            raise
        return _fail(f"this image does not hold {e.name}; use the image tidegate/tools", 1, debug)
    except KeyboardInterrupt:
        return _fail("interrupted", 130, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader (head, less) had enough
        return 0
    except Exception as e:  # noqa: BLE001 - the last resort: a bug is told as a sentence too, with the way to its traceback
        return _fail(
            f"unexpected {type(e).__name__}: {e}; this is a bug, run it again with --debug to see where", 1, debug
        )


def _fail(text: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"tidegate: {text}", file=sys.stderr)
    return code


def _usage(error: CycloptsError) -> str:
    """cyclopts' own message as one sentence with the way to help."""
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, (UnknownCommandError, UnknownOptionError)) or not text.endswith("?"):
        return f"{text}; see tidegate --help"
    return text


if __name__ == "__main__":
    sys.exit(main())
