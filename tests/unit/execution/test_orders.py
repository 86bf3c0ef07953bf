"""The transition table, all of it."""

from __future__ import annotations

import itertools

import pytest

from services.execution.orders import CLOSED, TRANSITIONS, OrderState, diagram, following

LABELS = sorted({label for _, label in TRANSITIONS})
PAIRS = list(itertools.product(OrderState, LABELS))


@pytest.mark.parametrize(("state", "label"), PAIRS)
def test_every_pair_leads_where_the_table_says_or_nowhere(state: OrderState, label: str) -> None:
    expected = TRANSITIONS.get((state, label), state)
    assert following(state, label) is expected


def test_no_transition_leaves_a_closed_state() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] in CLOSED]


def test_every_state_is_reached_and_every_open_one_can_end() -> None:
    reached, ends = {OrderState.SUBMITTED}, set(CLOSED)
    for _ in OrderState:
        reached |= {new for (old, _), new in TRANSITIONS.items() if old in reached}
        ends |= {old for (old, _), new in TRANSITIONS.items() if new in ends}
    assert reached == ends == set(OrderState)


def test_the_diagram_shows_every_row() -> None:
    text = diagram()
    for (old, label), new in TRANSITIONS.items():
        assert f"    {old} --> {new}: {label}\n" in text
    assert text.startswith("stateDiagram-v2\n    [*] --> submitted: OrderSubmitted\n")
