"""Acquisition functions: how much it is worth to try a configuration next, by a prediction of its loss."""

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from metarun.hpo.history import Floats

Acquisition = Callable[[Floats, Floats, float, np.random.Generator], Floats]
"""``f(mean, std, best, random)``: predicted losses ``[n]`` with their standard deviations, and the lowest loss so far,
all in the same units; returns values ``[n]``, of which the highest is to be tried."""


def expected_improvement(xi: float) -> Acquisition:
    """E[max(best - xi - loss, 0)] for a normal loss (Mockus 1975; Jones, Schonlau & Welch 1998)."""

    def value(mean: Floats, std: Floats, best: float, random: np.random.Generator) -> Floats:
        gain = best - xi - mean
        positive = std > 0
        z = np.divide(gain, std, out=np.zeros_like(gain), where=positive)
        density = np.exp(-z * z / 2) / sqrt(2 * pi)
        return np.where(positive, gain * _cumulative(z) + std * density, np.maximum(gain, 0))

    return value


def confidence_bound(beta: float) -> Acquisition:
    """The negative lower confidence bound of the loss, beta · std - mean (Srinivas et al. 2010)."""
    return lambda mean, std, best, random: beta * std - mean


def thompson() -> Acquisition:
    """A draw from each prediction, independently (Thompson 1933)."""
    return lambda mean, std, best, random: -(mean + std * random.standard_normal(len(mean)))


def _cumulative(z: Floats) -> Floats:
    """The standard normal distribution function."""
    from scipy.special import ndtr

    found: Floats = ndtr(z)
    return found
