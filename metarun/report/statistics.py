"""Student's t distribution, exact at every whole number of degrees of freedom, and the intervals that rest on it.

`metarun.engine.evaluation` approximates the quantile, which is good for hundreds of episodes; seeds are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, exp, fsum, lgamma, log, pi, sin, sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


def within(t: float, freedom: int) -> float:
    """The probability that a Student-t variable lies within ±``t``.

    The finite series of Abramowitz & Stegun 26.7.3 and 26.7.4.
    """
    angle = atan(t / sqrt(freedom))
    if freedom == 1:
        return 2 * angle / pi
    term = 1.0 if freedom % 2 == 0 else cos(angle)
    terms = [term]
    square = cos(angle) ** 2
    for power in range(2 + freedom % 2, freedom - 1, 2):
        term *= square * (power - 1) / power
        terms.append(term)
    series = sin(angle) * fsum(terms)
    return series if freedom % 2 == 0 else 2 / pi * (angle + series)


@lru_cache
def quantile(freedom: int) -> float:
    """What a Student-t variable stays within, in absolute value, with probability 0.95."""
    if freedom == 1:
        return 1 / cos(pi * CONFIDENCE / 2) * sin(pi * CONFIDENCE / 2)
    t = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    # The density falls where t is positive, so that Newton's steps from below never pass the quantile.
    for _ in range(60):
        step = (CONFIDENCE - within(t, freedom)) / (2 * _density(t, freedom))
        t += step
        if abs(step) < 1e-13 * t:
            break
    return t


def _density(t: float, freedom: int) -> float:
    half = (freedom + 1) / 2
    scale = lgamma(half) - lgamma(freedom / 2) - log(freedom * pi) / 2
    return exp(scale - half * log(1 + t * t / freedom))


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
