from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import Clock, now_ns

S = 1_000_000_000


class Watch:
    """A wall clock that a test sets, beside one that only runs."""

    def __init__(self) -> None:
        self.steady, self.ahead = 0, 1_700_000_000 * S

    def clock(self) -> Clock:
        return Clock(lambda: self.steady + self.ahead, lambda: self.steady)

    @property
    def wall(self) -> int:
        return self.steady + self.ahead


def test_a_wall_clock_that_runs_is_followed_exactly() -> None:
    watch = Watch()
    clock = watch.clock()
    for _ in range(5):
        watch.steady += S
        assert clock.now() == watch.wall


def test_a_jump_ahead_is_followed_at_once() -> None:
    watch = Watch()
    clock = watch.clock()
    watch.ahead += 1_200_000_000
    assert clock.now() == watch.wall


def test_after_a_jump_back_time_goes_on_at_half_its_speed_until_the_wall_has_caught_up() -> None:
    watch = Watch()
    clock = watch.clock()
    before = clock.now()
    watch.ahead -= 6 * S
    watch.steady += 4 * S
    assert clock.now() == before + 2 * S
    watch.steady += 8 * S
    assert clock.now() == before + 6 * S == watch.wall
    watch.steady += S
    assert clock.now() == watch.wall


@given(st.lists(st.tuples(st.integers(1, 10 * S), st.integers(-20 * S, 20 * S)), max_size=40))
def test_it_always_rises_and_is_never_behind_the_wall(steps: list[tuple[int, int]]) -> None:
    watch = Watch()
    clock = watch.clock()
    last = clock.now()
    for passed, jump in steps:
        watch.steady += passed
        watch.ahead += jump
        now = clock.now()
        assert now >= last + passed // 2
        assert now >= watch.wall
        last = now


def test_the_process_has_one() -> None:
    assert now_ns() <= now_ns()
