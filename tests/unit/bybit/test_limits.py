from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.bybit.limits import CREATE, IP_SILENCE_MS, MS, Budget, Budgets

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


CANCEL, QUERY = "/v5/order/cancel", "/v5/order/realtime"


def test_each_endpoint_has_its_own_budget_below_the_venues() -> None:
    budgets = Budgets()
    assert sum(budgets.take(CREATE, 0) for _ in range(20)) == 6, "a third of nine is kept for exits"
    assert sum(budgets.take(CREATE, 0, urgent=True) for _ in range(20)) == 3
    assert sum(budgets.take(CANCEL, 0, urgent=True) for _ in range(20)) == 9
    assert sum(budgets.take(QUERY, 0) for _ in range(60)) == 45


def test_the_address_has_a_budget_of_its_own_with_a_share_for_cancels_and_exits() -> None:
    budgets = Budgets(all=Budget(3, reserved=1))
    assert [budgets.take(QUERY, 0) for _ in range(3)] == [True, True, False]
    assert budgets.take(CANCEL, 0, urgent=True)
    assert not budgets.take(CANCEL, 0, urgent=True)


def test_the_trade_socket_draws_on_the_endpoints_budget_and_not_on_the_address() -> None:
    budgets = Budgets(all=Budget(0))
    assert not budgets.take(CANCEL, 0, urgent=True)
    assert sum(budgets.take(CANCEL, 0, urgent=True, http=False) for _ in range(20)) == 9


def test_a_call_refused_by_one_budget_spends_nothing_of_the_other() -> None:
    budgets = Budgets(by_endpoint={QUERY: Budget(1)}, all=Budget(5))
    assert budgets.take(QUERY, 0)
    assert not budgets.take(QUERY, 0)
    assert budgets.all.room(0) == 4


HEADERS = {"x-bapi-limit": "10", "x-bapi-limit-status": "0", "x-bapi-limit-reset-timestamp": "700"}


def test_nothing_left_closes_the_endpoint_until_the_reset() -> None:
    budgets = Budgets()
    budgets.learn(CREATE, 0, HEADERS)
    assert not budgets.take(CREATE, 699 * MS, urgent=True)
    assert budgets.take(CREATE, 700 * MS, urgent=True)


def test_the_reset_is_read_on_the_exchanges_clock() -> None:
    budgets = Budgets()
    budgets.learn(CREATE, 5 * S, HEADERS | {"x-bapi-limit-reset-timestamp": "100700"}, venue_ms=100_000)
    assert not budgets.has_room(CREATE, 5 * S + 699 * MS, urgent=True)
    assert budgets.has_room(CREATE, 5 * S + 700 * MS, urgent=True)


def test_a_low_bucket_is_left_to_cancels_and_exits() -> None:
    budgets = Budgets()
    budgets.learn(CREATE, 0, HEADERS | {"x-bapi-limit-status": "3"})
    assert not budgets.take(CREATE, 249 * MS)
    assert budgets.take(CREATE, 249 * MS, urgent=True)
    assert budgets.take(CREATE, 250 * MS)


def test_the_bucket_is_as_large_as_the_venue_says() -> None:
    budgets = Budgets()
    budgets.learn(CANCEL, 0, HEADERS | {"x-bapi-limit": "20", "x-bapi-limit-status": "19"})
    assert sum(budgets.take(CANCEL, 0, urgent=True) for _ in range(40)) == 18
    budgets.learn(CREATE, 0, HEADERS | {"x-bapi-limit": "1", "x-bapi-limit-status": "1"})
    assert budgets.take(CREATE, 0)


def test_a_refusal_waits_even_without_headers_and_never_for_long() -> None:
    budgets = Budgets()
    budgets.refuse(CANCEL, 0, {})
    assert not budgets.take(CANCEL, 199 * MS)
    budgets.refuse(CANCEL, 0, {"x-bapi-limit-reset-timestamp": "99999999"})
    assert budgets.take(CANCEL, 2 * S)


def test_http_403_silences_http_for_ten_minutes_and_the_trade_socket_never() -> None:
    budgets = Budgets()
    budgets.silence(0)
    assert budgets.silent_ms(1) == IP_SILENCE_MS
    assert not budgets.take(CANCEL, (IP_SILENCE_MS - 1) * MS, urgent=True)
    assert budgets.take(CANCEL, (IP_SILENCE_MS - 1) * MS, urgent=True, http=False)
    assert budgets.silent_ms(IP_SILENCE_MS * MS) == 0
    assert budgets.take(CANCEL, IP_SILENCE_MS * MS, urgent=True)
