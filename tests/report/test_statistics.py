"""Intervals and tests against closed forms, tables and scipy."""

from math import sqrt
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarun.report.statistics import Estimate, over_episodes, over_seeds, paired
from metarun.student import quantile


def test_the_interval_over_three_seeds() -> None:
    found = over_seeds([0.90, 0.92, 0.97])
    assert found.mean == pytest.approx(0.93)
    # Deviations -0.03, -0.01, 0.04: variance 0.0026 / 2.
    assert found.half == pytest.approx(4.30265 * sqrt(0.0013) / sqrt(3), rel=1e-5)


def test_one_seed_has_no_interval() -> None:
    assert over_seeds([0.9]) == Estimate(0.9, None)


def test_intervals_over_episodes_of_seeds_add_in_squares() -> None:
    assert over_episodes([Estimate(1.0, 0.3), Estimate(2.0, 0.4)]) == Estimate(1.5, 0.25)
    assert over_episodes([Estimate(1.0, 0.3)]) == Estimate(1.0, 0.3)
    assert over_episodes([Estimate(1.0, 0.3), Estimate(2.0, None)]) == Estimate(1.5, None)


def test_a_paired_test_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, t = 2√3 with two degrees of freedom: p = 1 - t / √(2 + t²).
    found = paired([2, 4, 6], [1, 2, 3])
    assert found.difference.mean == 2
    assert found.difference.half == pytest.approx(4.30265 / sqrt(3), rel=1e-5)
    assert found.p == pytest.approx(1 - sqrt(12 / 14))
    assert (found.more, found.less, found.equal, found.episodes) == (3, 0, 0, 3)


def test_the_paired_test_is_that_of_scipy() -> None:
    from scipy import stats

    first = [0.8 + 0.1 * ((n * 37) % 11) / 11 for n in range(200)]
    second = [0.82 + 0.1 * ((n * 53) % 13) / 13 for n in range(200)]
    expected = stats.ttest_rel(first, second)
    found = paired(first, second)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-8)
    low, high = expected.confidence_interval()
    assert found.difference.half is not None
    assert found.difference.mean - found.difference.half == pytest.approx(low)
    assert found.difference.mean + found.difference.half == pytest.approx(high)


def test_differences_without_spread() -> None:
    assert paired([1, 2], [1, 2]).p == 1
    assert paired([2, 3], [1, 2]).p == 0


values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


@given(values)
def test_swapping_two_runs_turns_the_sign_and_nothing_else(first: list[float]) -> None:
    second = [value**2 / 7 for value in first]
    one, other = paired(first, second), paired(second, first)
    assert one.difference.mean == pytest.approx(-other.difference.mean)
    assert one.p == pytest.approx(other.p, abs=1e-9)
    assert (one.more, one.less) == (other.less, other.more)


@given(values, st.floats(-100, 100))
def test_moving_all_seeds_moves_the_mean_alone(found: list[float], by: float) -> None:
    assert over_seeds([value + by for value in found]).half == pytest.approx(over_seeds(found).half, abs=1e-6)
    assert over_seeds(found).half == pytest.approx(quantile(len(found) - 1) * stdev(found) / sqrt(len(found)), abs=1e-9)
