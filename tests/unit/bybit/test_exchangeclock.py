from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.bybit.exchangeclock import MS, ExchangeClock

S = 1_000 * MS
WALL = 1_700_000_000 * S


def test_before_the_first_reply_the_wall_clock_is_taken() -> None:
    assert ExchangeClock.assumed(WALL, 5 * S).now(6 * S) == WALL + S


@given(
    ahead=st.integers(-(10**6), 10**6),
    replies=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=20),
)
def test_the_estimate_is_never_farther_off_than_its_doubt(ahead: int, replies: list[tuple[int, int]]) -> None:
    """Whatever the way there and the way back took, in ms."""
    clock, steady = ExchangeClock.assumed(WALL + ahead * MS, 0), 0
    for there_ms, back_ms in replies:
        sent = steady
        at = sent + there_ms * MS
        steady = at + back_ms * MS
        clock.learn((WALL + at) // MS * MS, sent, steady)
        assert abs(clock.now(steady) - (WALL + steady)) <= clock.doubt
        assert clock.doubt <= (there_ms + back_ms) * MS // 2 + MS
        steady += 7 * S


def test_a_slow_reply_does_not_replace_a_good_measure() -> None:
    clock = ExchangeClock.assumed(0, 0)
    clock.learn(WALL + 5 * MS, 0, 10 * MS)
    good = clock.offset
    clock.learn(WALL + S + 890 * MS, S, S + 900 * MS)
    assert clock.offset == good


def test_an_exchange_that_sets_its_clock_is_followed_at_the_next_reply() -> None:
    clock = ExchangeClock.assumed(0, 0)
    clock.learn(WALL, 0, 10 * MS)
    for jump in (1_200 * MS, -6_000 * MS):
        clock.learn(WALL + S + jump, S, S + 80 * MS)
        assert abs(clock.now(S + 80 * MS) - (WALL + S + jump)) < 100 * MS
