"""Time spent aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarun.runs.share import Share


class Clock:
    now = 0

    def __call__(self) -> float:
        return self.now


@given(
    percent=st.integers(0, 100),
    ahead=st.lists(st.integers(1, 1000), min_size=1, max_size=50),
    aside=st.integers(1, 300),
)
def test_no_more_than_the_share_is_spent_but_for_one_doing(percent: int, ahead: list[int], aside: int) -> None:
    clock, spent = Clock(), 0
    kept = Share(percent / 100, clock)
    for seconds in ahead:
        clock.now += seconds
        if kept.left():
            with kept.spending():
                clock.now += aside
            spent += aside
            assert spent - aside <= percent / 100 * clock.now + 1e-9
        else:
            assert spent >= percent / 100 * clock.now - 1e-9, "some was left"


@pytest.mark.parametrize(("share", "looks"), [(0.0, 1), (0.1, 3), (1.0, 20)])
def test_spent_evenly(share: float, looks: int) -> None:
    clock, done = Clock(), 0
    kept = Share(share, clock)
    for _ in range(20):
        clock.now += 10
        if kept.left():
            done += 1
            with kept.spending():
                clock.now += 10
    assert done == looks
