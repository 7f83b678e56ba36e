"""Regret, ranks and tests against independent computations."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from metarun.hpo.scoring import CriticalDifference, Regrets, cliques, critical_difference, normalized_regret


def test_regret_is_normalized_by_the_task() -> None:
    losses = np.array([0.2, 0.6, 0.4, np.nan, 1.2])
    assert normalized_regret(losses, [3, 1, 2, 4, 0], 7).tolist() == pytest.approx([1, 0.4, 0.2, 0.2, 0, 0, 0])
    assert normalized_regret(np.full(3, 0.5), [1, 0], 2).tolist() == [0, 0]


def regrets(methods: int = 3, tasks: int = 12, trials: int = 4) -> Regrets:
    values = np.random.default_rng(0).random((methods, tasks, trials)).round(1)
    groups = tuple(place // 2 for place in range(tasks))
    return Regrets(tuple("abcdefgh"[:methods]), values, groups)


def test_ranks_are_by_task_and_ties_share() -> None:
    found = regrets()
    for task in range(12):
        for trial in range(4):
            column = found.values[:, task, trial]
            expected = [1 + sum(column < own) + (sum(column == own) - 1) / 2 for own in column]
            assert found.ranks[:, task, trial].tolist() == expected


def test_the_summary_and_paired_tests() -> None:
    found = Regrets(("a", "b"), regrets(2).values, tuple(range(12)))
    told = found.summary([2])["b"]["2"]
    values = found.values[1, :, 1]
    assert told["regret"]["mean"] == pytest.approx(values.mean())
    assert told["regret"]["ci95"] == pytest.approx(2.200985 * values.std(ddof=1) / 12**0.5)
    assert told["rank"]["mean"] == pytest.approx(found.ranks[1, :, 1].mean())
    paired = found.paired("a", [2])["b"]["2"]
    theirs = ttest_rel(found.values[0, :, 1], found.values[1, :, 1])
    assert paired["p"] == pytest.approx(theirs.pvalue)
    assert paired["difference"] == pytest.approx((found.values[0, :, 1] - values).mean())


def test_groups_count_once_in_the_ranking() -> None:
    found = regrets().critical_difference(3)
    assert found.blocks == 6
    ranks = regrets().ranks[:, :, 2]
    assert list(found.ranks.values()) == pytest.approx(ranks.mean(1).tolist())


def test_critical_differences_are_those_of_the_literature() -> None:
    """Demšar (2006): q .05 is 2.343 for three methods, 2.569 for four, 3.164 for ten; his example has 4 and 14."""
    for many, q in ((2, 1.960), (3, 2.343), (4, 2.569), (10, 3.164)):
        ranks = np.tile(np.arange(1.0, many + 1)[:, None], (1, 14))
        found = critical_difference([str(place) for place in range(many)], ranks)
        assert found.difference == pytest.approx(q * (many * (many + 1) / (6 * 14)) ** 0.5, rel=1e-3)
    assert found.p is not None
    # Ranks that always agree: chi² = N (k - 1) with k - 1 degrees of freedom.
    from scipy.stats import chi2

    assert found.p == pytest.approx(chi2.sf(14 * 9, 9))


def test_two_methods_have_no_friedman_test() -> None:
    assert critical_difference(["a", "b"], np.array([[1.0, 1.0], [2.0, 2.0]])).p is None
    equal = critical_difference(["a", "b", "c"], np.full((3, 5), 2.0))
    assert equal.p == 1


def test_cliques_are_the_largest_sets_within_the_difference() -> None:
    found = CriticalDifference({"a": 1.0, "b": 1.6, "c": 2.1, "d": 3.5}, 0.01, 1.0, 9)
    assert cliques(found) == [(1.0, 1.6), (1.6, 2.1)]
    assert cliques(CriticalDifference({"a": 1.0, "b": 3.0}, 0.01, 1.0, 9)) == []
