"""Clustered intervals and tests against closed forms, numpy and scipy, and their coverage by simulation."""

from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from scipy import stats

from metarun.core.intervals import Estimate, clustered_mean, paired_difference
from metarun.core.student_t import quantile


def test_single_value_clusters_have_the_usual_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 50)
    low, high = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    found = clustered_mean(values.tolist())
    assert found.half is not None
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert found.clusters == 50


def test_equal_clusters_have_the_interval_of_their_means() -> None:
    values = np.random.default_rng(1).normal(size=(7, 30)) + np.arange(7)[:, None]
    found = clustered_mean(values.ravel().tolist(), np.repeat(np.arange(7), 30).tolist())
    assert found.half == pytest.approx(stats.t.ppf(0.975, 6) * stats.sem(values.mean(1)))
    assert (found.mean, found.clusters) == (pytest.approx(values.mean()), 7)


def test_unequal_clusters_have_the_sandwich_variance() -> None:
    """The sandwich estimator of a regression on a constant, with the factor G / (G - 1)."""
    random = np.random.default_rng(2)
    labels = random.integers(0, 9, 60)
    values = random.normal(size=60) + labels
    member = (labels[:, None] == np.unique(labels)).astype(float)
    bread = 1 / 60
    meat = ((member.T @ (values - values.mean())) ** 2).sum()
    error = sqrt(bread * meat * bread * 9 / 8)
    found = clustered_mean(values.tolist(), labels.tolist())
    assert (found.mean, found.half) == pytest.approx((values.mean(), stats.t.ppf(0.975, 8) * error))


def test_a_single_cluster_has_no_interval() -> None:
    assert clustered_mean([1.0, 2.0, 3.0], ["a"] * 3) == Estimate(2.0, None, 1)
    assert clustered_mean([1.0]) == Estimate(1.0, None, 1)
    assert paired_difference([1.0, 2.0], [0.0, 0.0], ["a", "a"]).p is None


def test_non_finite_values_have_no_interval_and_no_error() -> None:
    assert clustered_mean([inf, 1.0]).mean == inf
    assert isnan(clustered_mean([inf, -inf]).mean)
    assert isnan(clustered_mean([nan, 1.0]).mean)
    assert clustered_mean([1e200, 1.0]).half is None
    assert paired_difference([inf, 1.0], [1.0, 1.0]).p is None


def test_the_paired_test_is_that_of_scipy() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(0.2, 1, 80), random.normal(0, 1, 80)
    expected = stats.ttest_rel(first, second)
    found = paired_difference(first.tolist(), second.tolist())
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.significant == (expected.pvalue < 0.05)


def test_the_paired_test_of_equal_clusters_is_that_of_their_means() -> None:
    random = np.random.default_rng(4)
    difference = random.normal(0.5, 1, (6, 1)) + random.normal(size=(6, 20))
    found = paired_difference(difference.ravel().tolist(), [0.0] * 120, np.repeat(np.arange(6), 20).tolist())
    assert found.p == pytest.approx(stats.ttest_1samp(difference.mean(1), 0).pvalue, rel=1e-9)


def test_differences_without_spread() -> None:
    assert paired_difference([1, 2], [1, 2]).p == 1
    assert paired_difference([2, 3], [1, 2]).p == 0
    assert not paired_difference([1], [2]).significant


def test_an_interval_over_eleven_tasks_visited_a_thousand_times_covers_the_mean_over_tasks() -> None:
    """A task's own effect has the deviation of an episode: ± over episodes covers one time in six, over tasks 95 %."""
    random = np.random.default_rng(5)
    tasks = (np.arange(1000) % 11).tolist()
    covered = {"tasks": 0, "episodes": 0}
    for _ in range(400):
        values = (random.normal(size=11)[tasks] + random.normal(size=1000)).tolist()
        for name, clusters in (("tasks", tasks), ("episodes", None)):
            found = clustered_mean(values, clusters)
            assert found.half is not None
            covered[name] += abs(found.mean) <= found.half
    # Binomial: deviation 0.011 of the share around 0.95.
    assert 0.92 <= covered["tasks"] / 400 <= 0.98
    assert covered["episodes"] / 400 < 0.35


def test_degrees_of_freedom_are_those_of_the_clusters() -> None:
    found = clustered_mean([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1])
    assert found.half == pytest.approx(quantile(1) * 0.5)
