from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.bybit.limits import IP_SILENCE_MS, MS, Budget, Budgets, default_budgets

S = 1_000 * MS


def test_a_budget_counts_any_second_exactly() -> None:
    budget = Budget(per_second=3)
    assert [budget.take(at) for at in (0, 10, 20, 30)] == [True, True, True, False]
    assert not budget.take(S - 1)
    assert budget.take(S), "the first of them left the window"
    assert not budget.take(S + 9)


def test_the_reserved_share_is_for_urgent_calls() -> None:
    budget = Budget(per_second=3, reserved=1)
    assert [budget.take(0), budget.take(0), budget.take(0)] == [True, True, False]
    assert budget.take(0, urgent=True)
    assert not budget.take(0, urgent=True)


@given(st.lists(st.tuples(st.integers(0, 5 * S), st.booleans()), max_size=60))
def test_never_more_than_the_limit_in_any_second(asked: list[tuple[int, bool]]) -> None:
    budget = Budget(per_second=4, reserved=1)
    sent = [at for at, urgent in sorted(asked) if budget.take(at, urgent)]
    for start in sent:
        assert sum(start <= at < start + S for at in sent) <= 4


def test_the_address_has_a_budget_of_its_own_in_which_cancels_are_urgent() -> None:
    budgets = Budgets(by_class={"query": Budget(9), "cancel": Budget(9)}, all=Budget(3, reserved=1))
    assert [budgets.take("query", 0) for _ in range(3)] == [True, True, False]
    assert budgets.take("cancel", 0)
    assert not budgets.take("cancel", 0)


def test_a_call_refused_by_one_budget_spends_nothing_of_the_other() -> None:
    budgets = Budgets(by_class={"query": Budget(1)}, all=Budget(5))
    assert budgets.take("query", 0)
    assert not budgets.take("query", 0)
    assert budgets.all.room(0) == 4


def test_headers_steer() -> None:
    budgets = default_budgets()
    headers = {"x-bapi-limit": "10", "x-bapi-limit-status": "0", "x-bapi-limit-reset-timestamp": "700"}
    budgets.learn("create", 0, headers)
    assert not budgets.take("create", 699 * MS, urgent=True)
    assert budgets.take("create", 700 * MS, urgent=True)
    budgets.learn("create", 700 * MS, headers | {"x-bapi-limit-status": "5"})
    assert budgets.take("create", 700 * MS, urgent=True)


def test_a_refusal_waits_even_without_headers_and_never_for_long() -> None:
    budgets = default_budgets()
    budgets.refuse("cancel", 0, {})
    assert not budgets.take("cancel", 199 * MS)
    budgets.refuse("cancel", 0, {"x-bapi-limit-reset-timestamp": "99999999"})
    assert budgets.take("cancel", 2 * S)


def test_http_403_silences_the_address() -> None:
    budgets = default_budgets()
    budgets.silence(0)
    assert not budgets.take("cancel", (IP_SILENCE_MS - 1) * MS, urgent=True)
    assert budgets.take("cancel", IP_SILENCE_MS * MS, urgent=True)
