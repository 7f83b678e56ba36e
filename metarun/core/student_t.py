"""Student's t distribution, exact at every whole number of degrees of freedom."""

from functools import lru_cache
from math import atan, cos, exp, fsum, lgamma, log, pi, sin, sqrt
from statistics import NormalDist

CONFIDENCE = 0.95
TINY, LARGEST = 1e-300, 1e9


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


def inverse(probability: float, freedom: int) -> float:
    """What a Student-t variable stays within, in absolute value, with this probability, 0 to 1."""
    if freedom == 1:
        return sin(pi * probability / 2) / max(cos(pi * probability / 2), TINY)
    if freedom == 2:
        return probability * sqrt(2 / max(1 - probability * probability, TINY))
    low, high = 0.0, 1.0
    while within(high, freedom) < probability and high < LARGEST:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < probability else (low, middle)
    return high


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
