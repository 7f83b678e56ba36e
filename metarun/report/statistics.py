"""Means with their intervals, over seeds and over episodes, and the paired t-test."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from metarun.student import quantile, within


@dataclass(frozen=True)
class Estimate:
    """A mean and the half-width of its 95 % interval, None where there is none (of a single value, say)."""

    mean: float
    half: float | None


def mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """The sample standard deviation (n - 1)."""
    middle = mean(values)
    return sqrt(fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one figure a seed: how well the mean over all seeds that might have been is known."""
    if len(values) < 2:
        return Estimate(mean(values), None)
    return Estimate(mean(values), quantile(len(values) - 1) * deviation(values) / sqrt(len(values)))


def over_episodes(runs: Sequence[Estimate]) -> Estimate:
    """The mean of several runs' means: how well it is known for *these* trained models.

    Runs of different seeds are measured on different episodes, so that variances add: half-width √Σh² / k. It is a
    little wide, for each h has the quantile of its own run's degrees of freedom.
    """
    middle = mean([run.mean for run in runs])
    halves = [run.half for run in runs if run.half is not None]
    if len(halves) < len(runs):
        return Estimate(middle, None)
    return Estimate(middle, sqrt(fsum(half * half for half in halves)) / len(runs))


@dataclass(frozen=True)
class Paired:
    """First minus second, over the episodes that both were measured on."""

    difference: Estimate
    p: float
    """Of a two-sided paired t-test."""
    more: int
    less: int
    equal: int

    @property
    def episodes(self) -> int:
        return self.more + self.less + self.equal


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """The paired t-test of two equally long sequences, of two values or more.

    Where all differences are alike they have no spread to test against: p is 1 if they are 0, and else 0.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    estimate = over_seeds(differences)
    assert estimate.half is not None
    freedom = len(differences) - 1
    error = deviation(differences) / sqrt(len(differences))
    alike = 0.0 if estimate.mean else 1.0
    p = max(0.0, 1 - within(abs(estimate.mean) / error, freedom)) if error > 0 else alike
    more, less = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Paired(estimate, p, more, less, len(differences) - more - less)
