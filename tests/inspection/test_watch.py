"""When a training is looked at."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from metarun.inspection.watch import evenly


@given(total=st.integers(1, 300), most=st.integers(1, 40))
def test_looks_lie_evenly(total: int, most: int) -> None:
    chosen = [number for number in range(1, total + 1) if evenly(number, total, most)]
    assert len(chosen) == min(total, most)
    assert chosen[-1] == total
    apart = {later - earlier for earlier, later in pairwise([0, *chosen])}
    assert max(apart) - min(apart) <= 1
