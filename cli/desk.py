"""One operator at one bus: seals a command, carries the seals of others, appends, and waits for what came of it."""

from __future__ import annotations

import getpass
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter

from cli import views
from cli.bus import LiveBus, live_bus
from cli.context import Context, say
from cli.refusals import refusal
from cli.rundir import config_of
from cli.signing import read_key
from cli.words import words
from libs.bybit.hosts import place_of
from libs.common.errors import TidegateError, UnreachableError, UsageError
from libs.common.events import EVENTS, Command, CommandRefused, FlatConfirmed, PortfolioMarked
from libs.common.record import Record
from libs.common.settings import Settings

TTL_NS = 600_000_000_000
_PATIENCE_S = 30.0
_BLOCK_MS = 200
SECOND_OPERATOR = "SECOND_OPERATOR"
ANSWERS = ("halt", "portfolio")
"""Where risk answers; a halt that stands already is answered by a mark of the book alone."""

Operator = Annotated[
    str | None, Parameter(help="Who says so (default: [run] operator with a key, else your user name).")
]
Key = Annotated[Path | None, Parameter(help="Operator's private key (default: [run] operator_key_file).")]
Dir = Annotated[Path | None, Parameter(name="--run-dir", help="The running run that is meant; gives bus and key.")]
Wait = Annotated[bool, Parameter(negative="--no-wait", help="Wait until risk has answered.")]
Reason = Annotated[str, Parameter(help="Why; it is kept in the log.")]
SignOnly = Annotated[
    bool, Parameter(negative="", help="Print the sealed command instead of sending it, for another operator.")
]
Signatures = Annotated[
    tuple[Path, ...],
    Parameter(negative="", help="A command another operator sealed with --sign-only; sent before yours."),
]
ValidMin = Annotated[int, Parameter(help="Minutes for which the seal is good (at most a day).")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Plain:
    """What every command is given with: in whose name, to which run."""

    operator: Operator = None
    key: Key = None
    run_dir: Dir = None
    wait: Wait = True

    def desk(self, ctx: Context) -> Desk:
        return Desk(ctx, self.run_dir, self.operator, self.key)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Signed(Plain):
    """What a command that needs seals is given with besides."""

    reason: Reason = ""
    sign_only: SignOnly = False
    signature: Signatures = ()
    valid_min: ValidMin = 10


PLAIN, SIGNED = Plain(), Signed()
"""Nothing given."""

Made = TypeVar("Made", bound=Command)


class Desk:
    """Settings, key and bus of one operator. A context manager; the bus is reached for when it is first needed."""

    def __init__(self, ctx: Context, run_dir: Path | None, operator: str | None, key: Path | None) -> None:
        where = ctx if run_dir is None else Context(config_of(run_dir), ctx.bus, ctx.debug)
        self.settings = where.settings()
        self.private = _private_key(self.settings, key)
        signer = self.settings.run.operator if self.private else getpass.getuser()
        self.operator = operator or signer
        self.place = place_of(self.settings.venue.rest_url, self.settings.bus.book)
        self._bus: LiveBus | None = None

    @property
    def bus(self) -> LiveBus:
        if self._bus is None:
            self._bus = live_bus(self.settings)
        return self._bus

    def __enter__(self) -> Desk:  # noqa: PYI034 - final in spirit
        return self

    def __exit__(self, *_: object) -> None:
        if self._bus is not None:
            self._bus.close()

    # --- sending -----------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """ns: tape time where a tape's clock runs, else wall-clock time."""
        if self.settings.run.mode == "tape" or self.bus.is_counting():
            instant = next(self.bus.newest("clock"), None)
            if instant is not None:
                return instant.at
        return time.time_ns()

    def common(self, ttl_ns: int = TTL_NS, now: int | None = None) -> dict[str, Any]:
        nonce, at = f"cli-{secrets.token_hex(8)}", self.now() if now is None else now
        who = {"operator": self.operator, "key_id": self.operator, "place": self.place}
        return {**who, "nonce": nonce, "expires_at": at + ttl_ns}

    def _now_anywhere(self) -> int:
        """`now`, on a machine that does not reach the bus too."""
        try:
            return self.now()
        except UnreachableError:
            return time.time_ns()

    def seal(self, command: Made) -> Made:
        """The command under this operator's key, when there is one."""
        if not self.private:
            return command
        from libs.common.seal import sign

        return sign(self.private, command)

    def send(self, command: Command) -> str:
        """Seal and append; returns the entry id."""
        return self.append(self.seal(command))

    def append(self, command: Command) -> str:
        """Append a command as it is, sealed by whoever it names."""
        entry = self.bus.append(command, self.now())
        if entry is None:
            raise TidegateError(
                "expected a fresh nonce, was one seen before: a sealed command counts once; seal it anew"
            )
        say(f"{type(command).__name__} by {command.operator} at {entry}")
        return entry

    def act(self, by: Signed, kind: type[Command], **fields: Any) -> int:
        """A command that needs a seal: print it sealed, or send the others' seals on the same and then this operator's own."""
        if not self.private and (by.sign_only or not by.signature):
            raise UsageError(
                "expected an operator's key to sign with, was none; name it with --key FILE or --run-dir DIR"
            )
        common = self.common(by.valid_min * 60_000_000_000, self._now_anywhere() if by.sign_only else None)
        own = self.seal(kind(**fields, **common, reason=by.reason))
        if by.sign_only:
            print(encode(own))
            return 0
        commands = [_same(path, own) for path in by.signature] + ([own] if self.private else [])
        for left, command in zip(reversed(range(len(commands))), commands, strict=True):
            entry = self.append(command)
            if not by.wait and not left:
                break
            answer = self.await_answer(entry, ANSWERS, may_miss_second=left > 0)
            if not isinstance(answer.body, CommandRefused):
                break  # obeyed: whatever seals are left would ask for what is done already
        return 0

    # --- answers -----------------------------------------------------------------------------------------------------

    def open_halt(self, start: str) -> str:
        """The full id of an unresumed halt from its start. Raises UsageError naming those there are."""
        halts = views.modes_of(self.bus).open_halts.values()
        found = [record.id for record in halts if record.id.startswith(start)]
        if len(found) != 1:
            there = ", ".join(record.id[:12] for record in halts) or "none"
            raise UsageError(f"expected the start of one open halt's id, was {start!r}; open halts: {there}")
        return found[0]

    def await_answer(self, entry: str, streams: tuple[str, ...], *, may_miss_second: bool = False) -> Record:
        """Wait for the first event that the command caused; print it."""
        return self._await(streams, entry, lambda record: self._is_answer(record, entry), may_miss_second)

    def _is_answer(self, record: Record, entry: str) -> bool:
        """A mark of the book answers only when nothing else does: the streams are not read in one breath."""
        if not self._is_caused_by(record, entry):
            return False
        is_mark = isinstance(record.body, PortfolioMarked)
        return not (is_mark and any(self._is_caused_by(other, entry) for other in self.bus.read("halt", entry)))

    def _is_caused_by(self, record: Record, entry: str) -> bool:
        """Looked up late: on a tape a command waits for the next wave before it is in its stream."""
        seqs = [seq for stream, seq in record.cause if stream == "command"]
        commands = (self.bus.at("command", seq, record.entry) for seq in seqs)
        return any(f"{c.entry[0]}-{c.entry[1]}" == entry for c in commands if c is not None)

    def await_flat(self, entry: str) -> Record:
        """Wait for the exchange's own word that nothing is open."""
        return self._await(("account",), entry, lambda record: isinstance(record.body, FlatConfirmed))

    def _await(
        self, streams: tuple[str, ...], after: str, is_answer: Callable[[Record], bool], may_miss_second: bool = False
    ) -> Record:
        deadline_s = time.monotonic() + _PATIENCE_S
        for record in self.bus.follow(streams, _BLOCK_MS, after):
            if record is not None and is_answer(record):
                if isinstance(record.body, CommandRefused):
                    if may_miss_second and record.body.reason == SECOND_OPERATOR:
                        return record
                    raise TidegateError(refusal(record.body.reason))
                text, name = words(record), record.id[:12]
                print(f"{type(record.body).__name__}: {text}{'' if name in text else f'  {name}'}")
                return record
            if time.monotonic() > deadline_s:
                raise TidegateError(
                    f"expected an answer within {_PATIENCE_S:.0f} s, was none: the command is in the log, but does risk run? "
                    "See tidegate status"
                )
        raise AssertionError("follow never ends")


def encode(command: Command) -> str:
    """A sealed command as one line of JSON, for a file that another operator passes on."""
    return msgspec.json.encode({"type": type(command).__name__, **msgspec.to_builtins(command)}).decode()


def _same(path: Path, own: Command) -> Command:
    """A command sealed elsewhere; it must ask for exactly what is asked for here. Raises UsageError."""
    try:
        fields = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        kind = EVENTS[fields.pop("type", "")]
        found = msgspec.convert(fields, kind)
    except (OSError, KeyError, msgspec.MsgspecError) as e:
        raise UsageError(f"expected a command sealed with --sign-only in {path}, was {type(e).__name__}: {e}") from e
    if not isinstance(found, Command) or not found.seal or _subject(found) != _subject(own):
        raise UsageError(
            f"expected {path} to seal {_subject(own)}, was {_subject(found)}; have the same command sealed"
        )
    if found.place != own.place:
        raise UsageError(
            f"expected {path} to be sealed for {own.place}, was {found.place or 'no place'}; have it sealed under the settings of this book"
        )
    return found


def _subject(command: Any) -> str:
    """What a command asks for, apart from who, when and why."""
    apart = {*Command.__struct_fields__}
    fields = {name: str(getattr(command, name)) for name in command.__struct_fields__ if name not in apart}
    return f"{type(command).__name__} {fields}"


def _private_key(settings: Settings, key: Path | None) -> str:
    """The operator's private key, "" when none is configured."""
    named = settings.run.operator_key_file
    path = key or (settings.path(named) if named else None)
    return "" if path is None else read_key(path, _ask)


def _ask(path: Path) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"expected a terminal to ask for the passphrase of {path}, was none; use a key without one")
    return getpass.getpass(f"passphrase of {path}: ")
