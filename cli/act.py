"""Commands to a running book: halt, pause, resume, flatten. Each is an event on the command stream; risk decides what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli.context import DEFAULT, Ctx
from cli.desk import ANSWERS, PLAIN, SIGNED, Plain, Reason, Signed
from libs.common.events import FlattenRequested, HaltRequested, PauseRequested, ResumeRequested

Scope = Annotated[str, Parameter(help="book, symbol:X or strategy:Y.")]
ID_LENGTH = 32


def halt(
    *,
    reason: Annotated[str, Parameter(help="Why; it is kept in the log.")],
    flatten: Annotated[bool, Parameter(negative="", help="Close every position, too.")] = False,
    scope: Scope = "book",
    by: Plain = PLAIN,
    ctx: Ctx = DEFAULT,
) -> int:
    """Stop taking risk at once: entries are refused and resting ones cancelled; protective stops stay. Needs no key."""
    with by.desk(ctx) as desk:
        entry = desk.send(HaltRequested(reason=reason, flatten=flatten, scope=scope, **desk.common()))
        if by.wait:
            desk.await_answer(entry, ANSWERS)
            if flatten:
                desk.await_flat(entry)
    return 0


def pause(
    *,
    scope: Scope = "book",
    reason: Reason = "",
    by: Plain = PLAIN,
    ctx: Ctx = DEFAULT,
) -> int:
    """No entries of a scope until it is resumed (tidegate resume); exits go on by themselves. Needs no key."""
    with by.desk(ctx) as desk:
        entry = desk.send(PauseRequested(scope=scope, reason=reason, **desk.common()))
        if by.wait:
            desk.await_answer(entry, ANSWERS)
    return 0


def resume(
    halt_id: Annotated[str, Parameter(name="HALT_ID", help="The (start of the) halt's id; tidegate status shows it.")],
    *,
    by: Signed = SIGNED,
    ctx: Ctx = DEFAULT,
) -> int:
    """Take responsibility for a halt or a pause and let trading go on. Signed; in stages with real money by two operators."""
    with by.desk(ctx) as desk:
        # A whole id can be sealed away from the bus.
        full = halt_id if by.sign_only and len(halt_id) == ID_LENGTH else desk.open_halt(halt_id)
        return desk.act(by, ResumeRequested, halt_id=full)


def flatten(
    *,
    reason: Reason = "",
    by: Plain = PLAIN,
    direct: Annotated[
        bool, Parameter(negative="", help="Past the bus and every service: only the exchange and a key are needed.")
    ] = False,
    venue_key: Annotated[
        Path | None, Parameter(help="With --direct: the API key (default: [watchdog] key_file).")
    ] = None,
    url: Annotated[str | None, Parameter(help="With --direct: the exchange (default: [venue] rest_url).")] = None,
    within: Annotated[int, Parameter(help="With --direct: seconds after which it gives up.")] = 600,
    ctx: Ctx = DEFAULT,
) -> int:
    """Close every position and cancel every order, until the exchange itself says so. Ends halted.

    With --direct nothing of ours has to run: entries are cancelled, positions closed in reduce-only slices, then stops cancelled.
    """
    if direct:
        from cli.direct import flatten_direct

        return flatten_direct(ctx, by.run_dir, venue_key, url, within)
    with by.desk(ctx) as desk:
        entry = desk.send(FlattenRequested(reason=reason, **desk.common()))
        if by.wait:
            desk.await_flat(entry)
    return 0
