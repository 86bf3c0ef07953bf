"""`tidegate doctor`: can this machine run it, and is what runs healthy?"""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli import views
from cli.context import DEFAULT, Context, Ctx, Format, RunDir
from cli.output import print_rows, utc
from cli.sources import Source, open_source
from libs.common.errors import HaltedError, SettingsError, TidegateError, UnreachableError
from libs.common.events import InstrumentDefined

OK, BAD, NOTE = "ok", "BAD", "note"
_LEAST_PYTHON = (3, 11)
_LEAST_FREE_GB = 1
_MOST_CLOCK_STEP_S = 0.5


def doctor(*, output: Format = "table", run_dir: RunDir = None, ctx: Ctx = DEFAULT) -> int:
    """Check the environment, the settings and the bus. Exit code 1 when something is bad, 3 when the book is halted."""
    rows = list(environment(ctx))
    halted = False
    try:
        with open_source(ctx, run_dir) as source:
            rows.extend(running(source))
            halted = views.modes_of(source).is_halted
    except SettingsError:
        pass  # told above
    except UnreachableError as e:
        rows.append(("bus", NOTE, str(e)))
    columns = ("check", "state", "detail")
    print_rows([dict(zip(columns, row, strict=True)) for row in rows], columns, output)
    if any(state == BAD for _, state, _ in rows):
        return 1
    return HaltedError.exit_code if halted else 0


Row = tuple[str, str, str]


def environment(ctx: Context) -> Iterator[Row]:
    """What does not need a running system."""
    checks: tuple[tuple[str, Callable[[], Row]], ...] = (
        ("python", _python),
        ("server", _server),
        ("disk", _disk),
        ("clock", _clock),
        ("settings", lambda: _settings(ctx)),
        ("libraries", _libraries),
    )
    for name, check in checks:
        try:
            yield check()
        except TidegateError as e:
            yield (name, BAD, str(e))


def _python() -> Row:
    good = sys.version_info >= _LEAST_PYTHON
    return ("python", OK if good else BAD, f"{platform.python_version()}; needs 3.11 or newer")


def _server() -> Row:
    from cli.embedded import find_server, version_of

    binary = find_server()
    version = version_of(binary) or ()
    return ("server", OK, f"{binary} {'.'.join(map(str, version))}")


def _disk() -> Row:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    return ("disk", OK if free_gb > _LEAST_FREE_GB else BAD, f"{free_gb:.1f} GB free here")


def _clock() -> Row:
    """The wall clock must run with the monotonic one: a jumping clock is refused by the exchange."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.2)
    drift_s = abs((time.time() - wall) - (time.monotonic() - steady))
    return (
        "clock",
        OK if drift_s < _MOST_CLOCK_STEP_S else BAD,
        f"moved {drift_s * 1000:.1f} ms against the steady clock in 0.2 s",
    )


def _settings(ctx: Context) -> Row:
    settings = ctx.settings()
    return ("settings", OK, f"{settings.file or 'defaults'}; digest {settings.digest()}")


def _libraries() -> Row:
    import hiredis
    import msgspec
    import redis

    return ("libraries", OK, f"redis {redis.__version__}, hiredis {hiredis.__version__}, msgspec {msgspec.__version__}")


def running(source: Source) -> Iterator[Row]:
    """What a log says of its system."""
    modes = views.modes_of(source)
    yield ("mode", OK if not modes.is_halted else NOTE, str(modes.worst))
    for row in views.health_rows(source):
        bad = bool(row["gap"]) and row["at"] > 0
        yield (
            row["service"],
            BAD if bad else OK if row["at"] else NOTE,
            row["gap"] or f"last heartbeat {utc(row['at'])}",
        )
    yield from capital_rows(source)


def capital_rows(source: Source) -> Iterator[Row]:
    """The least equity with which each stage can place the smallest order of each instrument at the last mark."""
    from services.risk.config import STAGE_SHARES

    marks = _marks(source)
    for instrument in _instruments(source).values():
        mark = marks.get(instrument.symbol)
        if mark is None:
            continue
        least = max(instrument.min_qty * mark, instrument.min_notional)
        stages = ", ".join(f"{stage} {least / share:,.2f}" for stage, share in STAGE_SHARES.items() if share)
        yield (
            f"capital {instrument.symbol}",
            NOTE,
            f"smallest order {least:,.2f} USD is all of the capital of: {stages}",
        )


def _instruments(source: Source) -> dict[str, InstrumentDefined]:
    found: dict[str, InstrumentDefined] = {}
    for record in source.read("instrument"):
        if isinstance(record.body, InstrumentDefined):
            found[record.body.symbol] = record.body
    return found


def _marks(source: Source) -> dict[str, Decimal]:
    """The newest mark price by symbol, from the newest few hundred references."""
    from itertools import islice

    found: dict[str, Decimal] = {}
    for record in islice(source.newest("reference"), 500):
        body: Any = record.body
        found.setdefault(body.symbol, body.mark)
    return found
