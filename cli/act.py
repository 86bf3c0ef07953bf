"""Commands to a running book: halt, resume, flatten. Each is an event on the command stream; risk decides what follows."""

from __future__ import annotations

import getpass
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli import views
from cli.bus import LiveBus
from cli.context import DEFAULT, Context, Ctx, say
from cli.rundir import config_of
from cli.words import words
from libs.common.errors import TidegateError, UsageError
from libs.common.events import Command, CommandRefused, FlatConfirmed, FlattenRequested, HaltRequested, ResumeRequested
from libs.common.record import Record
from libs.common.settings import Settings

TTL_NS = 600_000_000_000
_PATIENCE_S = 30.0
_BLOCK_MS = 200

Key = Annotated[Path | None, Parameter(help="Operator's private key (default: [run] operator_key_file).")]
Operator = Annotated[
    str | None, Parameter(help="Who says so (default: [run] operator with a key, else your user name).")
]
Dir = Annotated[Path | None, Parameter(name="--run-dir", help="The running run that is meant; gives bus and key.")]
Wait = Annotated[bool, Parameter(negative="--no-wait", help="Wait until risk has answered.")]


def halt(
    *,
    reason: Annotated[str, Parameter(help="Why; it is kept in the log.")],
    flatten: Annotated[bool, Parameter(negative="", help="Close every position, too.")] = False,
    scope: Annotated[str, Parameter(help="book, symbol:X or strategy:Y.")] = "book",
    operator: Operator = None,
    key: Key = None,
    run_dir: Dir = None,
    wait: Wait = True,
    ctx: Ctx = DEFAULT,
) -> int:
    """Stop taking risk at once: entries are refused and resting ones cancelled; protective stops stay. Needs no key."""
    desk = Desk(ctx, run_dir, operator, key)
    with desk:
        entry = desk.send(HaltRequested(reason=reason, flatten=flatten, scope=scope, **desk.common()))
        if wait:
            desk.await_answer(entry, ("halt",))
            if flatten:
                desk.await_flat(entry)
    return 0


def resume(
    halt_id: Annotated[str, Parameter(name="HALT_ID", help="The (start of the) halt's id; tidegate status shows it.")],
    *,
    operator: Operator = None,
    key: Key = None,
    run_dir: Dir = None,
    wait: Wait = True,
    ctx: Ctx = DEFAULT,
) -> int:
    """Take responsibility for a halt and let trading go on. Signed with the operator's key."""
    desk = Desk(ctx, run_dir, operator, key)
    with desk:
        full = desk.open_halt(halt_id)
        if not desk.private:
            raise UsageError(
                "expected an operator's key to sign a resume, was none; name it with --key FILE or --run-dir DIR"
            )
        entry = desk.send(ResumeRequested(halt_id=full, **desk.common()))
        if wait:
            desk.await_answer(entry, ("halt",))
    return 0


def flatten(
    *,
    reason: Annotated[str, Parameter(help="Why; it is kept in the log.")] = "",
    operator: Operator = None,
    key: Key = None,
    run_dir: Dir = None,
    wait: Wait = True,
    ctx: Ctx = DEFAULT,
) -> int:
    """Close every position and cancel every order, until the exchange itself says so. Ends halted."""
    desk = Desk(ctx, run_dir, operator, key)
    with desk:
        entry = desk.send(FlattenRequested(reason=reason, **desk.common()))
        if wait:
            desk.await_flat(entry)
    return 0


class Desk:
    """One operator at one bus: seals a command, appends it, waits for what came of it."""

    def __init__(self, ctx: Context, run_dir: Path | None, operator: str | None, key: Path | None) -> None:
        where = ctx if run_dir is None else Context(config_of(run_dir), ctx.bus, ctx.debug)
        self.settings = where.settings()
        self.private = _private_key(self.settings, key)
        signer = self.settings.run.operator if self.private else getpass.getuser()
        self.operator = operator or signer
        self.bus = LiveBus(self.settings.bus)

    def __enter__(self) -> Desk:  # noqa: PYI034 - final in spirit
        return self

    def __exit__(self, *_: object) -> None:
        self.bus.close()

    def now(self) -> int:
        """ns: tape time where a tape's clock runs, else wall-clock time."""
        if self.settings.run.mode == "tape" or self.bus.is_counting():
            instant = next(self.bus.newest("clock"), None)
            if instant is not None:
                return instant.at
        return time.time_ns()

    def common(self) -> dict[str, Any]:
        nonce = f"cli-{secrets.token_hex(8)}"
        return {"operator": self.operator, "nonce": nonce, "expires_at": self.now() + TTL_NS, "key_id": self.operator}

    def send(self, command: Command) -> str:
        """Append; returns the entry id."""
        if self.private:
            from libs.common.seal import sign

            command = sign(self.private, command)
        entry = self.bus.append(command, self.now())
        if entry is None:
            raise TidegateError("expected a fresh nonce, was one seen before; try again")
        say(f"{type(command).__name__} by {self.operator} at {entry}")
        return entry

    def open_halt(self, start: str) -> str:
        """The full id of an unresumed halt from its start. Raises UsageError naming those there are."""
        halts = views.modes_of(self.bus).open_halts.values()
        found = [record.id for record in halts if record.id.startswith(start)]
        if len(found) != 1:
            there = ", ".join(record.id[:12] for record in halts) or "none"
            raise UsageError(f"expected the start of one open halt's id, was {start!r}; open halts: {there}")
        return found[0]

    def await_answer(self, entry: str, streams: tuple[str, ...]) -> Record:
        """Wait for the first event that the command caused; print it."""
        return self._await(streams, entry, lambda record: self._is_caused_by(record, entry))

    def _is_caused_by(self, record: Record, entry: str) -> bool:
        """Looked up late: on a tape a command waits for the next wave before it is in its stream."""
        seqs = [seq for stream, seq in record.cause if stream == "command"]
        commands = (self.bus.at("command", seq, record.entry) for seq in seqs)
        return any(f"{c.entry[0]}-{c.entry[1]}" == entry for c in commands if c is not None)

    def await_flat(self, entry: str) -> Record:
        """Wait for the exchange's own word that nothing is open."""
        return self._await(("account",), entry, lambda record: isinstance(record.body, FlatConfirmed))

    def _await(self, streams: tuple[str, ...], after: str, is_answer: Any) -> Record:
        deadline_s = time.monotonic() + _PATIENCE_S
        for record in self.bus.follow(streams, _BLOCK_MS, after):
            if record is not None and isinstance(record.body, CommandRefused) and is_answer(record):
                raise TidegateError(f"risk refused the command: {record.body.reason}; see tidegate status")
            if record is not None and is_answer(record):
                print(f"{type(record.body).__name__}: {words(record)}  {record.id[:12]}")
                return record
            if time.monotonic() > deadline_s:
                raise TidegateError(
                    f"expected an answer within {_PATIENCE_S:.0f} s, was none: the command is in the log, but does risk run? "
                    "See tidegate status"
                )
        raise AssertionError("follow never ends")


def _private_key(settings: Settings, key: Path | None) -> str:
    """The operator's private key, "" when none is configured."""
    named = settings.run.operator_key_file
    path = key or (settings.path(named) if named else None)
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except OSError as e:
        raise UsageError(f"cannot read the operator's key {path}: {e.strerror}; name another with --key FILE") from e
