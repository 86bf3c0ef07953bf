"""The guards of the risk core by name, and a mutant of each: the shipped function replaced by one without the guard.

Each mutant comes with the small world that the search is to break it in. A guard whose mutant survives guards nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common import events as e
from libs.common.record import Started
from services.risk import commands, exits, facts, kernel, limits, modes, orders
from tests.model.letters import Letters

Patch = Callable[[pytest.MonkeyPatch], None]


class Guard(msgspec.Struct):
    """`theorem` is what the search must find broken when `remove` was applied."""

    name: str
    theorem: str
    remove: Patch
    world: Callable[[], Letters]


def _without_entry_limit(name: e.Reason) -> Patch:
    def remove(patch: pytest.MonkeyPatch) -> None:
        # A table of its own: an entry put back into this one would come last, and the order is what binds.
        patch.setattr(limits, "ENTRY", {key: limit for key, limit in limits.ENTRY.items() if key is not name})

    return remove


def _learns(kind: type[e.Event], function: Callable[..., None]) -> Patch:
    return lambda patch: patch.setitem(facts.LEARN, kind, function)


def _no_sided_rule(patch: pytest.MonkeyPatch) -> None:
    _without_entry_limit(e.Reason.MAX_POSITION_SIZE)(patch)
    patch.setattr(limits, "CAPS", tuple(cap for cap in limits.CAPS if cap.__name__ != "_cap_position"))


def _forget_halts(state: Any, config: Any, body: e.Event, record: Any) -> None:
    state.reconciled = False
    state.blocks.clear()


def _free_on_duplicate(state: Any, config: Any, body: e.OrderRejected, record: Any) -> None:
    orders._end(state, body.order_link_id, Decimal(0))


def _free_before_the_fills(patch: pytest.MonkeyPatch) -> None:
    def end(state: Any, link: str, traded: Decimal) -> None:
        state.orders.pop(link, None)

    patch.setattr(orders, "_end", end)


def _halted_exits(patch: pytest.MonkeyPatch) -> None:
    """The peers' way: a halt that denies exits too."""
    shipped = exits.intent
    patch.setattr(
        exits,
        "intent",
        lambda state, config, seed, wanted: None if state.blocks else shipped(state, config, seed, wanted),
    )


def _clearing_halts(patch: pytest.MonkeyPatch) -> None:
    """The textbook breaker: a later good tick ends the halt."""

    def cleared(state: Any, key: str, quiet_ms: int) -> e.Event | None:
        block = state.blocks[key]
        return e.ModeChanged(
            scope=block.scope, old=block.mode, new=e.Mode.NORMAL, reason=block.reason, cleared=True, detail="calm again"
        )

    patch.setattr(modes, "cleared", cleared)


def _unlimited_reduce(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kernel, "closable", lambda lots, open_reduce, sign: max(-lots * sign, 0))


def _book(*letters: str, **changes: Any) -> Callable[[], Letters]:
    return lambda: Letters("mutant", letters, **changes)


GUARDS: tuple[Guard, ...] = (
    Guard("mode limit on entries", "T1", _without_entry_limit(e.Reason.MODE), _book("long_a", "halt", "fill")),
    Guard("gate by strategy", "T1", _without_entry_limit(e.Reason.MODE), _book("long_a", "halt_strategy")),
    Guard("gate by symbol", "T1", _without_entry_limit(e.Reason.MODE), _book("long_a", "halt_symbol")),
    Guard(
        "sided rule, not net",
        "T2",
        lambda patch: patch.setattr(kernel, "sided_use", _net_use),
        _book("short_a", "long_b", "long_c", "fill", "adl_all"),
    ),
    Guard("position limit", "T2", _no_sided_rule, _book("long_a", "long_b", "fill")),
    Guard(
        "reservation outlives a duplicate",
        "T2",
        _learns(e.OrderRejected, _free_on_duplicate),
        _book("long_a", "long_b", "long_c", "again"),
    ),
    Guard(
        "reservation until the fills are told", "T2", _free_before_the_fills, _book("long_a", "long_b", "late", "cancel")
    ),
    Guard("halt survives a restart", "T3", _learns(Started, _forget_halts),
          _book("halt", "restart")),
    Guard("a halt does not clear itself", "T3", _clearing_halts, _book("halt", "time", "reconcile")),
    Guard(
        "seal of a resume",
        "T3",
        lambda patch: patch.setattr(commands, "_unsigned", lambda *_: None),
        _book("halt", "forge"),
    ),
    Guard(
        "second operator",
        "T3",
        lambda patch: patch.setattr(commands, "_alone", lambda *_, **__: None),
        _book("halt", "resume_alice", "resume_bob", operators=2, auto_arm=False, stage="full"),
    ),
    Guard("exits pass in a halt", "T4", _halted_exits, _book("long_a", "fill", "halt", "exit_a")),
    Guard("exits count each other", "T4", _unlimited_reduce, _book("long_a", "long_b", "fill", "adl", "exit_a", "exit_b")),
)  # fmt: skip


def _net_use(lots: int, open_buys: int, open_sells: int, sign: int) -> int:
    """What looks right and is not: position plus open orders."""
    return lots + open_buys if sign > 0 else open_sells - lots
