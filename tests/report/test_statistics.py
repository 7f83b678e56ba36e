"""Intervals and tests against closed forms, tables and scipy."""

from math import sqrt
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from metarun.core.intervals import Estimate, clustered_mean
from metarun.core.student_t import quantile
from metarun.report.statistics import (
    Measured,
    crossed,
    holm,
    mean,
    over_episodes,
    over_seeds,
    paired,
    without_episodes,
)


def test_the_interval_over_three_seeds() -> None:
    found = over_seeds([0.90, 0.92, 0.97])
    assert found.mean == pytest.approx(0.93)
    # Deviations -0.03, -0.01, 0.04: variance 0.0026 / 2.
    assert found.half == pytest.approx(4.30265 * sqrt(0.0013) / sqrt(3), rel=1e-5)


def test_one_seed_has_no_interval() -> None:
    assert over_seeds([0.9]) == Estimate(0.9, None, 1)


def test_without_episodes_intervals_add_in_squares_if_these_are_separate() -> None:
    assert without_episodes([Estimate(1.0, 0.3), Estimate(2.0, 0.4)], shared=False) == Estimate(1.5, 0.25)
    assert without_episodes([Estimate(1.0, 0.3), Estimate(2.0, 0.5)], shared=True) == Estimate(1.5, 0.4)
    assert without_episodes([Estimate(1.0, 0.3)], shared=False) == Estimate(1.0, 0.3)
    assert without_episodes([Estimate(1.0, 0.3), Estimate(2.0, None)], shared=True) == Estimate(1.5, None)


def measured(values: NDArray[np.float64], tasks: list[int] | None = None, shared: bool = True) -> list[Measured]:
    """Values ``[seeds, episodes]``; ``tasks``: of each episode, else its own; shared by the seeds, or separate."""
    labels = list(range(values.shape[1])) if tasks is None else tasks
    return [
        Measured(row.tolist(), labels if shared else [(seed, label) for label in labels])
        for seed, row in enumerate(values)
    ]


def test_shared_episodes_are_averaged_over_seeds_first() -> None:
    values = np.random.default_rng(0).normal(size=(3, 40)) + np.random.default_rng(1).normal(size=40)
    found, expected = over_episodes(measured(values)), clustered_mean(values.mean(0).tolist())
    assert (found.mean, found.half) == pytest.approx((expected.mean, expected.half))
    visits = [number % 8 for number in range(40)]
    found, expected = over_episodes(measured(values, visits)), clustered_mean(values.mean(0).tolist(), visits)
    assert (found.half, found.clusters) == (pytest.approx(expected.half), 8)


def test_separate_episodes_have_additive_variances() -> None:
    values = np.random.default_rng(2).normal(size=(3, 40)) + np.array([[0.0], [5.0], [9.0]])
    error = sqrt((values.var(1, ddof=1) / 40).sum()) / 3
    found = over_episodes(measured(values, shared=False))
    assert found.half == pytest.approx(stats.t.ppf(0.975, 117) * error)


def test_one_seed_has_its_own_interval() -> None:
    values = np.random.default_rng(3).normal(size=(1, 30))
    assert over_episodes(measured(values)).half == pytest.approx(clustered_mean(values[0].tolist()).half)


CASES = [
    # deviation of seeds, of episodes (tasks), of both together; tasks; shared
    pytest.param(0.1, 1.0, 0.3, None, True, id="shared episodes"),
    pytest.param(0.1, 1.0, 0.3, None, False, id="separate episodes"),
    pytest.param(0.1, 1.0, 0.3, 11, True, id="shared tasks that come again"),
    pytest.param(0.1, 1.0, 0.3, 11, False, id="separate tasks that come again"),
    pytest.param(0.3, 0.3, 1.0, None, True, id="no source alone"),
    pytest.param(0.0, 1.0, 0.3, None, True, id="seeds alike"),
]


@pytest.mark.parametrize(("of_seeds", "of_tasks", "of_both", "tasks", "shared"), CASES)
def test_intervals_have_nominal_coverage(
    of_seeds: float, of_tasks: float, of_both: float, tasks: int | None, shared: bool
) -> None:
    """Three seeds and 66 episodes: over episodes, over seeds, and over both at once, 400 times."""
    random, episodes, repeats = np.random.default_rng(0), 66, 400
    labels = [number % (tasks or episodes) for number in range(episodes)]
    covered = {"episodes": 0, "seeds": 0, "both": 0, "root of squares": 0}
    for _ in range(repeats):
        models = of_seeds * random.normal(size=(3, 1))
        own = of_tasks * random.normal(size=(1 if shared else 3, tasks or episodes))
        joint = of_both * random.normal(size=(3, tasks or episodes))
        noise = 0.2 * random.normal(size=(3, episodes)) if tasks else 0.0
        seeds = measured(models + (own + joint)[:, labels] + noise, labels, shared)
        estimates = {
            "episodes": (over_episodes(seeds), models.mean()),
            "seeds": (over_seeds([mean(one.values) for one in seeds]), own[:, labels].mean() if shared else 0.0),
            "both": (crossed(seeds).difference, 0.0),
            "root of squares": (without_episodes([clustered_mean(one.values) for one in seeds], False), models.mean()),
        }
        for name, (estimate, truth) in estimates.items():
            assert estimate.half is not None
            covered[name] += abs(estimate.mean - truth) <= estimate.half
    # Binomial: deviation 0.011 of the share around 0.95; `crossed` is exact only where one source is all.
    assert 0.915 <= covered["episodes"] / repeats <= 0.985
    assert 0.915 <= covered["seeds"] / repeats <= 0.985
    assert covered["both"] / repeats >= 0.915
    if shared and of_tasks > 0.5:
        assert covered["root of squares"] / repeats < 0.85, "what was reported before"


def test_with_one_seed_both_are_the_episodes_and_with_separate_ones_the_seeds() -> None:
    values = np.random.default_rng(4).normal(0.3, 1, size=(3, 50))
    alone, expected = crossed(measured(values[:1])), stats.ttest_1samp(values[0], 0)
    assert (alone.p, alone.seeds, alone.tasks) == (pytest.approx(expected.pvalue), 1, 50)
    apart, expected = crossed(measured(values, shared=False)), stats.ttest_1samp(values.mean(1), 0)
    assert (apart.p, apart.seeds, apart.tasks) == (pytest.approx(expected.pvalue), 3, 150)


def test_a_crossed_design_adds_the_half_widths_of_its_mean_squares() -> None:
    """By the sums of squares of a two-way analysis of variance, and p by where the half-width is the mean."""
    random = np.random.default_rng(5)
    values = 0.9 + random.normal(size=(4, 1)) + random.normal(size=(1, 30)) + 0.5 * random.normal(size=(4, 30))
    center = values.mean()
    rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    of_rows = 30 * ((rows - center) ** 2).sum() / 3
    of_columns = 4 * ((columns - center) ** 2).sum() / 29
    rest = ((values - rows - columns + center) ** 2).sum() / (3 * 29)

    def half(p: float) -> float:
        squares = stats.t.isf(p / 2, 3) ** 2 * of_rows + stats.t.isf(p / 2, 29) ** 2 * (of_columns - rest)
        return sqrt(squares / 120)

    found = crossed(measured(values))
    assert found.difference.half == pytest.approx(half(0.05))
    assert found.p is not None
    assert half(found.p) == pytest.approx(abs(center))


def test_few_seeds_are_no_strong_evidence() -> None:
    """Of differences that are 0 on average, at most a few in a thousand have p < 0.001, although seeds are three."""
    random, repeats = np.random.default_rng(6), 400
    ps = []
    for _ in range(repeats):
        values = 0.3 * random.normal(size=(3, 1)) + random.normal(size=(1, 40)) + random.normal(size=(3, 40))
        ps.append(crossed(measured(values)).p or 0.0)
    assert sum(p < 0.001 for p in ps) <= 2
    assert sum(p < 0.05 for p in ps) / repeats < 0.08


def test_single_task_has_no_interval() -> None:
    found = crossed([Measured([0.1, 0.2], ["a", "a"]), Measured([0.1, 0.4], ["a", "a"])])
    assert (found.p, found.difference.half, found.tasks) == (None, None, 1)


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


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
