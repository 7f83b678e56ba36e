"""How well methods optimized: normalized regret, ranks, and what differs by more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarun.core.intervals import clustered_mean, paired_difference
from metarun.hpo.history import Floats


def normalized_regret(losses: Floats, tried: Sequence[int], trials: int) -> Floats:
    """(lowest loss so far - lowest of the task) / (highest - lowest) after each of ``trials`` trials: ``[trials]``.

    losses: of the task, ``[C]``, NaN where there is none. 1 as long as all trials failed; after the last trial, as it
    was then. 0 where all losses are equal.
    """
    low, high = np.nanmin(losses), np.nanmax(losses)
    found = losses[np.asarray(tried, np.int64)]
    best = np.minimum.accumulate(np.where(np.isnan(found), high, found))
    curve = (best - low) / (high - low) if high > low else np.zeros(len(best))
    return np.concatenate([curve, np.repeat(curve[-1:], trials - len(curve))])


@dataclass(frozen=True)
class Regrets:
    """Normalized regrets of methods on the same tasks, averaged over seeds.

    methods: names. values: ``[methods, tasks, trials]``. groups: of each task, equal for variants of one data set.
    """

    methods: tuple[str, ...]
    values: Floats
    groups: tuple[int, ...]

    @property
    def ranks(self) -> Floats:
        """Rank of each method on each task after each trial, from 1 for the lowest regret; ties share the mean."""
        from scipy.stats import rankdata

        # Regrets of equal configurations may differ by rounding in their mean over seeds.
        found: Floats = rankdata(self.values.round(12), axis=0)
        return found

    def summary(self, trials: Sequence[int]) -> dict[str, dict[str, Any]]:
        """The mean regret and rank of each method after each number of trials, with 95 % intervals over tasks.

        Intervals are clustered by group.
        """
        ranks = self.ranks
        return {
            name: {
                str(trial): {
                    "regret": _estimate(self.values[place, :, trial - 1], self.groups),
                    "rank": _estimate(ranks[place, :, trial - 1], self.groups),
                }
                for trial in trials
            }
            for place, name in enumerate(self.methods)
        }

    def paired(self, method: str, trials: Sequence[int]) -> dict[str, dict[str, Any]]:
        """A method's regret minus that of each other on the same tasks, with paired t-tests clustered by group."""
        own = self.values[self.methods.index(method)]
        found: dict[str, dict[str, Any]] = {}
        for place, other in enumerate(self.methods):
            if other == method:
                continue
            found[other] = {}
            for trial in trials:
                test = paired_difference(
                    own[:, trial - 1].tolist(), self.values[place, :, trial - 1].tolist(), self.groups
                )
                found[other][str(trial)] = {
                    "difference": test.difference.mean,
                    "ci95": test.difference.half,
                    "p": test.p,
                }
        return found

    def critical_difference(self, trial: int) -> "CriticalDifference":
        """Friedman's and Nemenyi's tests of the ranks after a trial, in which each group counts once."""
        ranks, groups = self.ranks[:, :, trial - 1], np.array(self.groups)
        mean = np.stack([ranks[:, groups == group].mean(1) for group in np.unique(groups)], 1)
        return critical_difference(self.methods, mean)


def _estimate(values: Floats, groups: Sequence[int]) -> dict[str, Any]:
    found = clustered_mean(values.tolist(), groups)
    return {"mean": found.mean, "ci95": found.half}


@dataclass(frozen=True)
class CriticalDifference:
    """Average ranks, and by how much two of them must differ (Demšar 2006).

    ranks: the average rank of each method. p: of Friedman's test that all methods rank alike; ``None`` for two methods.
    difference: average ranks further apart differ at the 5 % level (Nemenyi). blocks: over how many groups of tasks.
    """

    ranks: Mapping[str, float]
    p: float | None
    difference: float
    blocks: int

    def plain(self) -> dict[str, Any]:
        return {
            "ranks": dict(self.ranks),
            "friedman_p": self.p,
            "critical_difference": self.difference,
            "groups": self.blocks,
        }


def critical_difference(methods: Sequence[str], ranks: Floats) -> CriticalDifference:
    """Of ranks ``[methods, blocks]``. The difference is q √(k (k + 1) / 6 N), q the 95 % quantile / √2 of the
    studentized range of k methods."""
    from scipy.stats import friedmanchisquare, studentized_range

    many, blocks = ranks.shape
    difference = float(studentized_range.ppf(0.95, many, np.inf)) / 2**0.5 * (many * (many + 1) / (6 * blocks)) ** 0.5
    p = None
    if many > 2 and blocks > 1:
        alike = bool((ranks == ranks[:, :1]).all() and (ranks == ranks[:1]).all())
        p = 1.0 if alike else float(friedmanchisquare(*ranks).pvalue)
    means = dict(zip(methods, ranks.mean(1).tolist(), strict=True))
    return CriticalDifference(means, p, difference, blocks)


def cliques(found: CriticalDifference) -> list[tuple[float, float]]:
    """The lowest and the highest average rank of each largest set of methods that do not differ."""
    means = sorted(found.ranks.values())
    spans: list[tuple[float, float]] = []
    for low in means:
        high = max(mean for mean in means if mean - low <= found.difference)
        if high > low and not any(a <= low and high <= b for a, b in spans):
            spans.append((low, high))
    return spans
