"""Who may do what on the bus: the access list (ACL) of its server, generated from the table of streams.

Each role is one user of the server. A rule names commands and the keys they may be used on, so a service can append to its own
streams and not rewrite them. The scripts obey the same rules, call by call: what EVALSHA has to declare is named with EVALSHA alone,
which gives no command on it. Redis 7 or newer, Valkey.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from libs.common import streams
from libs.common.streams import (
    DRIVER,
    EXECUTION,
    GATE_READERS,
    GATE_WRITER,
    LOCKSTEP_SERVICES,
    MARKETDATA,
    MONITOR,
    OPERATORS,
    SERVICES,
    TRAINER,
    WATCHDOG,
)

TOOLS, ADMIN, PROBE = "tools", "admin", "probe"
"""`tools` reads everything (listings, replay). `admin` may do anything: a person restoring a bus. `probe` may PING, with any password."""

NOBODY = "user default off resetpass allkeys allchannels +@all"
"""Who has not logged in; nobody can log in as this. The rights are the server's own: it reads its append-only file as this user, and
without them a server that lacks the fix of redis#14541 (Valkey: #3983) drops every transaction in it, as all commits are."""

APPENDERS = (OPERATORS, TRAINER, WATCHDOG)
"""Who appends to a stream without being a service (libs/common/appender.py)."""

_OF_ALL_BOOKS = (MARKETDATA, DRIVER, ADMIN, PROBE)
_COMMON = ("+ping", "+time", "+script|load")
_READ, _HASH = ("xread", "xrange", "xrevrange", "xlen"), ("hget", "hmget", "hgetall")
R, W, RW = "%R~", "%W~", "~"


def roles(*, tape: bool, admin: bool) -> tuple[str, ...]:
    """Every role with a password. `tape`: with the driver, who exists in tape runs only."""
    return (*SERVICES, *((DRIVER,) if tape else ()), *APPENDERS, TOOLS, *((ADMIN,) if admin else ()))


def user_of(role: str, book: str) -> str:
    """Name of a role's user: `risk.main`; those that serve every book have no book in it."""
    return role if role in _OF_ALL_BOOKS else f"{role}.{book}"


def access_list(book: str, passwords: Mapping[str, str], *, tape: bool) -> str:
    """The text of an ACL file. It holds hashes of the passwords only; `passwords` are by role (see `roles`)."""
    lines = [NOBODY]
    for role, password in passwords.items():
        hashed = hashlib.sha256(password.encode()).hexdigest()
        lines.append(" ".join((f"user {user_of(role, book)} on #{hashed}", *rules(role, book, tape=tape))))
    lines.append(f"user {PROBE} on nopass resetkeys resetchannels -@all +ping")
    return "\n".join(lines) + "\n"


def rules(role: str, book: str, *, tape: bool) -> tuple[str, ...]:
    """What a role may do, as the words of an ACL rule."""
    if role == ADMIN:
        return ("allkeys", "allchannels", "+@all")
    own = {TOOLS: _tools, DRIVER: _driver, WATCHDOG: _watchdog}.get(role)
    if own is not None:
        selectors = own(book, tape)
    else:
        selectors = _service(role, book, tape) if role in SERVICES else _appender(role, book, tape)
    return ("resetkeys", "resetchannels", "-@all", *_COMMON, *selectors)


def _may(commands: tuple[str, ...], *keys: str) -> str:
    return f"({' '.join((*(f'+{command}' for command in commands), *keys))})"


def _keys(kind: str, names: tuple[str, ...] | dict[str, int], book: str) -> list[str]:
    return [kind + streams.key(name, book) for name in names]


def _own(kind: str, role: str, book: str) -> str:
    return streams.service_key(kind, role, book)


def _service(role: str, book: str, tape: bool) -> tuple[str, ...]:
    """A service: its inputs to read, its own streams and journal to append to, its own snapshot, its own cursors."""
    cursor, journal, snapshot = (_own(kind, role, book) for kind in ("cursor", "journal", "snapshot"))
    outputs, gate = _keys("", streams.outputs_of(role), book), streams.gate_key(book)
    readable = [*_keys(R, streams.inputs_of(role), book), *(R + key for key in (*outputs, journal))]
    declared = [cursor, journal, snapshot, *outputs]
    found = [
        _may(_READ, *readable),
        _may(("xadd",), *(W + key for key in (*outputs, journal))),
        _may(("get", "set"), RW + snapshot),
        _may((*_HASH, "hset", "hsetnx", "hincrby"), RW + cursor),
    ]
    if role == GATE_WRITER or role in GATE_READERS:
        found.append(_may(("hget", "hset"), RW + gate) if role == GATE_WRITER else _may(("hget",), R + gate))
        declared.append(gate)
    if role == MONITOR:
        found += _monitor(book, tape)
    if tape:
        found.append(_may(("hget",), R + streams.WAVE))
    if tape and role in LOCKSTEP_SERVICES:
        found += _staging(role)
        declared += (streams.WAVE, streams.BELL, streams.stage_key(role))
    return (*found, _may(("evalsha",), *(RW + key for key in declared)))


def _staging(role: str) -> tuple[str, ...]:
    return (
        _may(("hincrby",), RW + streams.WAVE),
        _may(("lpush",), W + streams.BELL),
        _may(("rpush",), W + streams.stage_key(role)),
    )


def _monitor(book: str, tape: bool) -> tuple[str, ...]:
    """The archiver: copies every stream and journal, trims what is archived and needed by nobody, measures memory, and asks
    for a halt, as an operator may, when the bus does not have what is archived."""
    kept = [*_keys("", tuple(streams.BY_NAME), book), *(_own("journal", service, book) for service in SERVICES)]
    return (
        "+info",
        _may(_READ, *(R + key for key in kept)),
        _may(("xtrim",), *(W + key for key in kept)),
        _may(("get",), *(R + _own("snapshot", service, book) for service in SERVICES)),
        *_appender(OPERATORS, book, tape),
    )


def _tools(book: str, _: bool) -> tuple[str, ...]:
    reading = (*_READ, *_HASH, "get", "exists", "type")
    return ("+info", _may(reading, f"{R}{{md}}:*", f"{R}{{{book}}}:*"))


def _appender(role: str, book: str, tape: bool) -> tuple[str, ...]:
    """Its streams to append to; its cursor gives the next number and remembers nonces."""
    outputs, cursor = _keys("", streams.outputs_of(role), book), _own("cursor", role, book)
    found = [
        _may(("xadd",), *(W + key for key in outputs)),
        _may(("hsetnx", "hincrby", "hmget", "hset"), RW + cursor),
    ]
    declared = [*outputs, cursor]
    if role in streams.STAGERS:
        found.append(_may(("exists",), R + streams.WAVE))
        declared += (streams.WAVE, streams.stage_key(role))
        found += [_may(("rpush",), W + streams.stage_key(role))] if tape else []
    return (*found, _may(("evalsha",), *(RW + key for key in declared)))


def _watchdog(book: str, tape: bool) -> tuple[str, ...]:
    """It sees whether execution commits, tells what it did, and may ask for a halt as an operator may."""
    pulse = _may(("hget",), R + _own("cursor", EXECUTION, book))
    return (pulse, *_appender(WATCHDOG, book, tape), *_appender(OPERATORS, book, tape))


def _driver(book: str, tape: bool) -> tuple[str, ...]:
    """The clock, exchange and scripted operator of a tape run; it alone releases what others staged (release.lua)."""
    stages = [streams.stage_key(writer) for writer in streams.STAGERS]
    staged = [key for writer in streams.STAGERS for key in _keys("", streams.staged_of(writer), book)]
    gate = streams.gate_key(book)
    return (
        *_appender(OPERATORS, book, tape),
        _may(("xrange",), *(R + key for key in staged)),
        _may(("xadd",), *(W + key for key in staged)),
        _may(("hset",), W + gate),
        _may(("hget", "hset", "hincrby"), RW + streams.WAVE),
        _may(("brpop", "lpush"), RW + streams.BELL),
        _may(("lrange", "del"), *(RW + key for key in stages)),
        _may(("rpush",), W + streams.stage_key(DRIVER)),
        _may(("evalsha",), *(RW + key for key in (streams.WAVE, streams.BELL, gate, *stages, *staged))),
    )
