"""A limit on the time of optional work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarun.runs.time_budget import TimeBudget


class Clock:
    now = 0

    def __call__(self) -> float:
        return self.now


@given(
    percent=st.integers(0, 100),
    steps=st.lists(st.integers(1, 1000), min_size=1, max_size=50),
    extra=st.integers(1, 300),
)
def test_at_most_the_last_piece_exceeds_the_budget(percent: int, steps: list[int], extra: int) -> None:
    clock, spent = Clock(), 0
    budget = TimeBudget(percent / 100, clock)
    for seconds in steps:
        clock.now += seconds
        if budget.available():
            with budget.spend():
                clock.now += extra
            spent += extra
            assert spent - extra <= percent / 100 * clock.now + 1e-9
        else:
            assert spent >= percent / 100 * clock.now - 1e-9, "some of the budget was left"


@pytest.mark.parametrize(("fraction", "pieces"), [(0.0, 1), (0.1, 3), (1.0, 20)])
def test_budget_is_spent_evenly(fraction: float, pieces: int) -> None:
    clock, done = Clock(), 0
    budget = TimeBudget(fraction, clock)
    for _ in range(20):
        clock.now += 10
        if budget.available():
            done += 1
            with budget.spend():
                clock.now += 10
    assert done == pieces
