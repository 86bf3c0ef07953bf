"""The log itself: tail, show, export, verify."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, TextIO

import msgspec
from cyclopts import Parameter

from cli.context import DEFAULT, Ctx, RunDir, say
from cli.output import event_row, print_json, print_json_line, utc
from cli.sources import Source, open_source
from cli.why import find_event
from cli.words import words
from libs.common.archive import Check
from libs.common.errors import DivergedError, UsageError
from libs.common.record import Record
from libs.common.streams import BY_NAME

_FREQUENT = ("raw", "clock", "venue", "tick", "reference")
"""Left out of `events tail` unless asked for: they say little and come often."""

Streams = Annotated[
    list[str] | None,
    Parameter(name=["--stream", "-s"], consume_multiple=True, negative="", help="These streams only (bare names)."),
]
Kinds = Annotated[
    list[str] | None, Parameter(name="--type", consume_multiple=True, negative="", help="These event types only.")
]
Lines = Annotated[
    Literal["table", "json"],
    Parameter(name=["--output", "-o"], help="table: a line for people; json: an object a line."),
]


def tail(
    *,
    stream: Streams = None,
    kind: Kinds = None,
    number: Annotated[int, Parameter(name=["--number", "-n"], help="Begin with so many events.")] = 20,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Go on until Ctrl-C.")] = False,
    output: Lines = "table",
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Print the newest events, oldest first; with --follow those that come, too."""
    names = _names(stream) if stream else tuple(name for name in BY_NAME if name not in _FREQUENT)
    with open_source(ctx, run_dir) as source:
        for record in _last(source, names, kind, number):
            _print_line(record, output)
        if not follow:
            return 0
        if not hasattr(source, "follow"):
            raise UsageError("expected a live bus for --follow, was the archive of a finished run; leave --follow out")
        for news in source.follow(names):
            if news is not None and _is_wanted(news, kind):
                _print_line(news, output)
            sys.stdout.flush()
    return 0


def _last(source: Source, names: tuple[str, ...], kind: list[str] | None, number: int) -> list[Record]:
    newest = merge(*(source.newest(name) for name in names), key=lambda record: record.entry, reverse=True)
    wanted = (record for record in newest if _is_wanted(record, kind))
    return list(reversed(list(islice(wanted, number))))


def _is_wanted(record: Record, kinds: list[str] | None) -> bool:
    return not kinds or type(record.body).__name__ in kinds


def _print_line(record: Record, output: str) -> None:
    if output == "json":
        print_json_line(event_row(record))
    else:
        print(
            f"{utc(record.at)}  {record.stream:<13} {type(record.body).__name__:<17} {words(record)}  {record.id[:12]}"
        )


def show(
    identity: Annotated[str, Parameter(name="ID", help="The (start of an) event's id.")],
    *,
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Print one event whole, as JSON."""
    with open_source(ctx, run_dir) as source:
        print_json(event_row(find_event(source, identity)))
    return 0


def export(
    *,
    stream: Streams = None,
    kind: Kinds = None,
    output: Annotated[
        Literal["json", "csv"], Parameter(name=["--output", "-o"], help="json: one object a line.")
    ] = "json",
    out: Annotated[Path | None, Parameter(help="Write to this file instead of stdout.")] = None,
    run_dir: RunDir = None,
    ctx: Ctx = DEFAULT,
) -> int:
    """Write events out, all streams merged in the order in which they were written.

    json: one object a line with `stream` (bare), `entry_id`, the envelope, then the event's own fields; instants (ns) and
    decimals are strings. csv: the envelope, and the own fields as JSON in `data`.
    """
    names = _names(stream) if stream else tuple(BY_NAME)
    with open_source(ctx, run_dir) as source, _target(out) as target:
        merged = merge(*(source.read(name) for name in names), key=lambda record: (record.entry, record.stream))
        wanted = (record for record in merged if _is_wanted(record, kind))
        count = _write_csv(wanted, target) if output == "csv" else _write_json(wanted, target)
    say(f"{count:,} events")
    return 0


def _write_json(records: Iterator[Record], target: TextIO) -> int:
    count = 0
    for record in records:
        target.write(msgspec.json.encode(event_row(record)).decode() + "\n")
        count += 1
    return count


def _write_csv(records: Iterator[Record], target: TextIO) -> int:
    columns = ("stream", "entry_id", "id", "type", "v", "seq", "at", "cause", "correlation", "data")
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    count = 0
    for record in records:
        count += 1
        row = event_row(record)
        cause = msgspec.json.encode(record.cause).decode()
        writer.writerow(
            [*(row[name] for name in columns[:7]), cause, row["correlation"], msgspec.json.encode(record.body).decode()]
        )
    return count


@contextmanager
def _target(out: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that appears only when it is whole."""
    if out is None:
        yield sys.stdout
        return
    aside = out.with_name(f"{out.name}.part")
    try:
        with aside.open("w") as file:
            yield file
        aside.replace(out)
    except OSError as e:
        raise UsageError(f"cannot write {out}: {e.strerror}; name another file with --out") from e
    finally:
        aside.unlink(missing_ok=True)


def _names(stream: list[str]) -> tuple[str, ...]:
    unknown = [name for name in stream if name not in BY_NAME]
    if unknown:
        raise UsageError(f"expected streams of {', '.join(BY_NAME)}; was {', '.join(unknown)}")
    return tuple(stream)


def verify(
    run: Annotated[Path | None, Parameter(name="RUN_DIR", help="Run directory (or --run-dir).")] = None,
    *,
    key: Annotated[
        str | None, Parameter(help="Public key (64 hex digits) that the manifest must be signed with.")
    ] = None,
    run_dir: RunDir = None,
    output: Lines = "table",
) -> int:
    """Check an archive: every hash of every row and file, and the manifest's signature. Exit code 4 names what is wrong.

    Without --key the run's own archive key is asked for; keep its public half elsewhere, or whoever can write here can sign too.
    """
    from libs.common.archive import ArchiveReader, manifest_check

    directory = run or run_dir
    if directory is None:
        raise UsageError("expected a run directory, was none; try tidegate events verify runs/...")
    reader = ArchiveReader(directory)
    manifest = reader.manifest()
    if manifest is None:
        raise DivergedError(f"expected {reader.path} with a manifest, was none; the archive cannot be checked")
    public = key or archive_key(directory)
    rows = reader.verify_chain(_checked(manifest_check, public) if public else None)
    state = "closed" if manifest.closed else "still open"
    if output == "json":
        signed = {"signed": bool(public), "key_id": manifest.key_id if public else ""}
        print_json({"rows": rows, "streams": len(manifest.streams), "closed": manifest.closed, **signed})
        return 0
    print(f"{rows:,} rows of {len(manifest.streams)} streams are as they were archived ({state})")
    if public:
        print(f"the manifest is signed with key {public[:32]}")
    else:
        print("the manifest is not signed: a change by somebody who can write the whole directory would not be found")
    return 0


def _checked(make: Callable[[str], Check], public: str) -> Check:
    try:
        return make(public)
    except ValueError as error:
        raise UsageError(f"--key: expected 64 hex digits of an Ed25519 public key, was {public!r}") from error


def archive_key(run_dir: Path) -> str:
    """The public half of the key that a run signs its archive with; "" when it has none."""
    from cli.context import section_types
    from cli.rundir import CONFIG
    from libs.common.seal import public_of
    from libs.common.settings import load

    config = run_dir / CONFIG
    if not config.is_file():
        return ""
    settings = load(section_types(), config, env={})
    file = str(settings.values()["monitor"]["archive_key_file"])
    if not file:
        return ""
    try:
        return public_of(settings.path(file).read_text().strip())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the archive key {file}: {error}; give its public half with --key") from error
