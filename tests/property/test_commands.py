"""Operators' commands of any kind, whole or forged, in any order, over restarts: nothing rises without the seals it needs."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import events as e
from libs.common.events import CommandRefused, LimitChanged, Resumed
from services.risk import limitfile
from services.risk.config import LIVE_STAGES, Limits
from tests.unit.risk.desk import MINUTE, SECOND, D, only, opened
from tests.unit.risk.test_commands import command, halt
from tests.unit.risk.test_commands import settings as signed_for

PLACE = "staged:main"
NAMES = (*Limits.__struct_fields__, "", "nope", "__class__")
VALUES = ("0", "0.05", "0.5", "1000", "1e12", "1e13", "-1", "NaN", "sNaN", "Infinity", "1e-999999", "5.000", "1E+3")
SCOPES = ("book", "symbol:BTCUSDT", "symbol:", "strategy:trend", "strategy:none", "", ":")
STAGES = ("backtest", "paper", "staged", "ramp-10", "full", "", "moon")
RISES = (Resumed, LimitChanged, e.StageChanged, e.UpgradeOpened)

FIELDS: dict[type[e.Command], st.SearchStrategy[dict[str, Any]]] = {
    e.HaltRequested: st.fixed_dictionaries(
        {"reason": st.just("fire"), "scope": st.sampled_from(SCOPES), "flatten": st.booleans()}
    ),
    e.PauseRequested: st.fixed_dictionaries({"scope": st.sampled_from(SCOPES)}),
    e.FlattenRequested: st.just({}),
    e.ResumeRequested: st.fixed_dictionaries({"halt_id": st.sampled_from(("first", "newest", "", "x"))}),
    e.LimitChange: st.fixed_dictionaries({"name": st.sampled_from(NAMES), "value": st.sampled_from(VALUES).map(D)}),
    e.StageChange: st.fixed_dictionaries({"stage": st.sampled_from(STAGES)}),
    e.UpgradeWindow: st.fixed_dictionaries({"minutes": st.sampled_from((0, 1, 120, 121, -1, 10**30))}),
}


class Ask(msgspec.Struct, frozen=True):
    """One command: `key` signs it ("none" nobody), it `lasts` so long (ns), `then` time passes or the process is restarted."""

    kind: type[e.Command]
    fields: dict[str, Any]
    operator: str
    key: str
    lasts: int
    place: str
    is_repeat: bool
    then: str


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((*[usual] * (3 * len(others)), *others))


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    kind = draw(st.sampled_from(tuple(FIELDS)))
    operator = draw(st.sampled_from(("alice", "bob", "alice", "bob", "mallory")))
    others = [name for name in ("alice", "bob", "none") if name != operator]
    key = draw(st.sampled_from(("alice", "bob", "none")) if operator == "mallory" else mostly(operator, *others))
    lasts, place = draw(mostly(MINUTE, 0, -MINUTE, 10**30)), draw(mostly(PLACE, "testnet:main"))
    is_repeat, then = draw(mostly(False, True)), draw(mostly("", "later", "restart"))
    return Ask(kind, draw(FIELDS[kind]), operator, key, lasts, place, is_repeat, then)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(("paper", "staged", "full")), st.lists(asks(), max_size=25))
def test_nothing_rises_without_the_seals_it_needs(stage: str, script: list[Ask]) -> None:
    desk = opened(signed_for(stage=stage, place=PLACE), equity="1000000")
    first = halt(desk)
    used: set[str] = set()
    for number, ask in enumerate(script):
        limits, stood = desk.state.limits, desk.state.stage
        nonce = "again" if ask.is_repeat else f"n{number}"
        fields = ask.fields | {"expires_at": desk.now + ask.lasts, "place": ask.place, "nonce": nonce}
        if "halt_id" in fields:
            fields["halt_id"] = {"first": first, "newest": desk.halts()[-1].id}.get(
                fields["halt_id"], fields["halt_id"]
            )
        made = command(desk, ask.kind, ask.operator, ask.key, **fields)
        is_whole = ask.key == ask.operator and ask.lasts == MINUTE and ask.place == PLACE and nonce not in used
        used.add(nonce)
        rose = [event for event in made if isinstance(event, RISES)]
        assert is_whole or not rose
        assert not (rose and any(isinstance(event, CommandRefused) for event in made))
        if stood in LIVE_STAGES:
            assert desk.state.stage in LIVE_STAGES
            assert all(event.requested_by not in ("", event.operator) for event in rose if is_up(event, limits, ask))
        if ask.then == "later":
            desk.later(MINUTE // 3)
        elif ask.then == "restart":
            desk.restart()


def is_up(event: e.Event, before: Limits, ask: Ask) -> bool:
    """Whether this takes two operators where money is real."""
    if isinstance(event, LimitChanged):
        return any(limitfile.is_looser(move.name, getattr(before, move.name), move.new) for move in event.changed)
    return isinstance(event, Resumed) or (isinstance(event, e.UpgradeOpened) and ask.fields["minutes"] > 0)


def test_a_market_beyond_all_reason_ends_no_process() -> None:
    """A print a hundred times too high made a number that no snapshot could hold."""
    for price in ("6000000", "999999999999", "0.0000001"):
        desk = opened()
        desk.hold()
        for _ in range(3):
            desk.later(6 * SECOND)
            desk.tick(price)
        held = desk.core.snapshot()
        desk.restart()
        assert desk.core.snapshot() == held
        assert desk.state.ledger.lots("BTCUSDT") > 0
        assert only(desk.signal("0"), e.OrderIntent).reduce_only, "and the way out is open"
