"""`tidegate incident HALT_ID`: everything about one halt on one page, for whoever is called at 3 a.m. and for the file afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from cli.context import DEFAULT, Context, Ctx, RunDir, say
from cli.output import decimal_text, event_row, plain, utc
from cli.rundir import CONFIG
from cli.settings import rows
from cli.sources import Source, open_source
from cli.views import health_rows, limit_rows, order_rows, position_rows
from cli.why import find_event, trace
from cli.words import words
from libs.common.errors import UsageError
from libs.common.events import Halted, PortfolioMarked, Resumed
from libs.common.record import Record
from libs.common.streams import BY_NAME, SERVICES

_NOISE = ("raw", "clock", "venue", "tick", "reference", "bar", "portfolio", *(f"health:{name}" for name in SERVICES))
_OPEN = ("submitted", "accepted", "partly filled", "unknown", "live")
_NS_PER_S = 1_000_000_000


class Incident(msgspec.Struct):
    """`before` and `after`: events of the book around the halt, oldest first. Rows are those of the listings."""

    halt: Record
    ended: Record | None
    chain: list[Record]
    before: list[Record]
    after: list[Record]
    mark: Record | None
    orders: list[dict[str, Any]]
    services: list[dict[str, Any]]


def incident(
    identity: Annotated[str, Parameter(name="HALT_ID", help="The (start of a) halt's id; `last` for the newest.")],
    *,
    events: Annotated[int, Parameter(help="How many events before and after the halt.")] = 40,
    out: Annotated[Path | None, Parameter(help="Write a directory: report, events, chain, settings.")] = None,
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Tell one halt whole: what measured what, why, what stood open, what came before and after, settings and versions."""
    with open_source(ctx, run_dir) as source:
        found = collect(source, identity, events)
    settings = _settings(ctx, run_dir)
    if out is None:
        sys.stdout.write("\n".join(page(found, settings)) + "\n")
        return 0
    _write(out, found, settings)
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    return 0


def collect(source: Source, identity: str, events: int) -> Incident:
    """Raises UsageError when `identity` is not a halt of this log."""
    halt = _newest_halt(source) if identity == "last" else find_event(source, identity)
    if not isinstance(halt.body, Halted):
        raise UsageError(
            f"expected the id of a halt, was {type(halt.body).__name__} {identity}; see tidegate events tail -s halt"
        )
    names = [name for name in BY_NAME if name not in _NOISE]
    newest = merge(*(_until(source, name, halt) for name in names), key=lambda record: record.entry, reverse=True)
    before = list(reversed(list(islice(newest, events))))
    rest = merge(*(source.read(name, _text(halt)) for name in names), key=lambda record: record.entry)
    after = list(islice((record for record in rest if record.id != halt.id), events))
    ended = next(
        (r for r in source.read("halt", _text(halt)) if isinstance(r.body, Resumed) and r.body.halt_id == halt.id), None
    )
    mark = next((r for r in _until(source, "portfolio", halt) if isinstance(r.body, PortfolioMarked)), None)
    lives = merge(source.read("order"), source.read("fill"), key=lambda record: record.entry)
    orders = order_rows(record for record in lives if record.entry <= halt.entry)
    standing = [row for row in orders if row["status"] in _OPEN]
    return Incident(halt, ended, trace(source, halt.id), before, after, mark, standing, health_rows(source))


def _newest_halt(source: Source) -> Record:
    for record in source.newest("halt"):
        if isinstance(record.body, Halted):
            return record
    raise UsageError("expected a halt in this log, was none")


def _until(source: Source, stream: str, last: Record) -> Iterator[Record]:
    """Newest first, nothing written after `last`."""
    return (record for record in source.newest(stream) if record.entry <= last.entry)


def _text(record: Record) -> str:
    return f"{record.entry[0]}-{record.entry[1]}"


def _settings(ctx: Context, run_dir: Path | None) -> str:
    """The settings in force, one a line, secrets masked."""
    own = run_dir is not None and (run_dir / CONFIG).is_file()
    context = Context(run_dir / CONFIG, ctx.bus, ctx.debug) if own and run_dir else ctx
    return "\n".join(f"{row['key']} = {row['value']}" for row in rows(context.settings()))


# --- the page --------------------------------------------------------------------------------------------------------


def page(found: Incident, settings: str) -> Iterator[str]:
    """The report as lines of Markdown."""
    halt = found.halt.body
    assert isinstance(halt, Halted)
    yield f"# Halt {found.halt.id[:12]}: {halt.reason} of {halt.scope}"
    yield ""
    figures = f" Measured {decimal_text(halt.measured)}, limit {decimal_text(halt.limit)}." if halt.limit else ""
    yield f"{utc(found.halt.at)} UTC, mode {halt.mode}.{figures} {halt.detail}".rstrip()
    if isinstance(ended := found.ended and found.ended.body, Resumed):
        assert found.ended is not None
        seconds = (found.ended.at - found.halt.at) / _NS_PER_S
        yield f"Resumed {utc(found.ended.at)} by {ended.operator}, after {seconds:,.0f} s."
    else:
        yield f"Not resumed. `tidegate resume {found.halt.id}` takes responsibility for it."
    yield from _section(
        "Cause chain", [f"- {utc(r.at)}  {r.stream} {r.seq}  {type(r.body).__name__}: {words(r)}" for r in found.chain]
    )
    mark = found.mark.body if found.mark else None
    if isinstance(mark, PortfolioMarked):
        yield ""
        yield f"Equity {decimal_text(mark.equity)}, peak {decimal_text(mark.peak)}, drawdown {mark.drawdown * 100:.2f} % at the last valuation before it."
        yield from _section("Positions", _listed(position_rows(mark)))
        used = [row for row in limit_rows(mark) if row["measured"]]
        yield from _section("Limits in use", _listed(sorted(used, key=lambda row: -row["used"])))
    yield from _section("Orders open at the halt", _listed(found.orders))
    yield from _section(
        f"The {len(found.before)} events before, the halt last", [_line(record) for record in found.before]
    )
    yield from _section(f"The {len(found.after)} events after", [_line(record) for record in found.after])
    yield from _section("Services (last heartbeat)", _listed(found.services))
    yield from _section("Versions", [f"- {name} {version}" for name, version in versions().items()])
    yield from _section("Settings", ["```", settings, "```"])


def _section(title: str, lines: list[str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from lines or ["none"]


def _listed(rows: list[dict[str, Any]]) -> list[str]:
    return ["- " + ", ".join(f"{k} {_cell(k, v)}" for k, v in row.items() if v not in ("", None)) for row in rows]


def _cell(name: str, value: Any) -> str:
    return utc(value) if name == "at" else str(plain(value))


def _line(record: Record) -> str:
    return f"- {utc(record.at)}  {record.stream:<13} {type(record.body).__name__:<17} {words(record)}"


def versions() -> dict[str, str]:
    """Of what takes part in a decision."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("tidegate", "msgspec", "faststream", "redis", "hiredis", "uvloop", "cryptography"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# --- the directory -----------------------------------------------------------------------------------------------------


def _write(out: Path, found: Incident, settings: str) -> None:
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"expected {out} to be new or empty, was not; name another with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "incident.md").write_text("\n".join(page(found, settings)) + "\n")
        for name, records in (("events.jsonl", [*found.before, *found.after]), ("chain.jsonl", found.chain)):
            (out / name).write_text(
                "".join(msgspec.json.encode(event_row(record)).decode() + "\n" for record in records)
            )
        (out / "settings.txt").write_text(settings + "\n")
        (out / "versions.json").write_bytes(msgspec.json.format(msgspec.json.encode(versions())))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; name another with --out") from error
    say(f"halt {found.halt.id[:12]} told in {out}")
