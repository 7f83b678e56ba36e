"""Means with 95 % intervals where values come in clusters, such as several episodes of the same task.

Needs no PyTorch, so that the report can use it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt

from metarun.core.student_t import quantile, within

HUGE = 1e100
"""Values of at least this size count as infinite: their squares may overflow."""


@dataclass(frozen=True)
class Estimate:
    """A mean, and how well it is known.

    half: half-width of the 95 % interval; ``None`` if there is none, as with a single cluster or an infinite value.
    clusters: number of independent clusters; 0 if unknown.
    """

    mean: float
    half: float | None
    clusters: int = 0


@dataclass(frozen=True)
class PairedTest:
    """First minus second on the same episodes. p: of a two-sided t-test; ``None`` where there is no interval."""

    difference: Estimate
    p: float | None

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05."""
        return self.p is not None and self.p < 0.05


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """The mean of ``values`` with its cluster-robust 95 % Student-t interval.

    Args:
        values: one number per episode, at least one.
        clusters: which cluster each value belongs to, such as the task of an episode; ``None``: each is its own.

    The mean is over values, hence a ratio of cluster totals: Σ_g S_g / Σ_g n_g. Its variance is
    G / (G - 1) · Σ_g (S_g - n_g · mean)² / n² for G clusters, with G - 1 degrees of freedom (Cochran 1977, chapter 9.A;
    Cameron & Miller 2015). With clusters of one value each this is the usual interval of a mean.
    """
    mean, error, freedom = _mean_and_error(values, clusters)
    return Estimate(mean, None if error is None else quantile(freedom) * error, freedom + 1)


def paired_difference(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable] | None = None
) -> PairedTest:
    """The paired t-test of two sequences measured on the same episodes, cluster-robust as `clustered_mean`.

    If all differences are equal there is no spread to test against: p is 1 if they are 0, otherwise 0.

    Raises:
        ValueError: the lengths differ.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean, error, freedom = _mean_and_error(differences, clusters)
    if error is None:
        return PairedTest(Estimate(mean, None, freedom + 1), None)
    return PairedTest(Estimate(mean, quantile(freedom) * error, freedom + 1), p_value(mean, error, freedom))


def p_value(mean: float, error: float, freedom: int) -> float:
    """Two-sided p of a mean with this standard error against 0."""
    if error > 0:
        return max(0.0, 1 - within(abs(mean) / error, freedom))
    return 0.0 if mean else 1.0


def _mean_and_error(values: Sequence[float], clusters: Sequence[Hashable] | None) -> tuple[float, float | None, int]:
    """Mean, its standard error (``None`` if there is none), and the number of clusters minus 1."""
    labels: Sequence[Hashable] = range(len(values)) if clusters is None else clusters
    members: dict[Hashable, list[float]] = {}
    for value, label in zip(values, labels, strict=True):
        members.setdefault(label, []).append(value)
    count = len(members)
    if not all(isfinite(value) and abs(value) < HUGE for value in values):
        return sum(values) / len(values), None, count - 1
    mean = fsum(values) / len(values)
    if count < 2:
        return mean, None, count - 1
    totals = (fsum(value - mean for value in cluster) for cluster in members.values())
    error = sqrt(count / (count - 1) * fsum(total * total for total in totals)) / len(values)
    return mean, error, count - 1
